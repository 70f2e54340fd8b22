//! The configuration: one TOML format, read in layers.
//!
//! Built-in values, then the system's file, the user's file, the environment (`INSHORE_SECTION__KEY`) and `--set`; a
//! later layer replaces the value of an earlier one, key by key ([[targets]] by their `id`). Every effective value
//! knows where it came from.
//!
//! Layout: [`keys`] every key there is; [`layers`] reads and merges; [`reader`] takes typed values out and says what is
//! wrong with them; [`targets`] with its [`endpoints`], [`caps`], [`features`] and [`models`] the sections with entries of the user's
//! own; [`values`] sizes, durations and prices; [`plan`] a file of features that are only planned; [`sections`] what is added to a file.
//!
//! Invariants: a key that nobody knows is an error, never ignored. A secret is never in a config value: targets name
//! the environment variable or keyring entry that holds theirs.

mod caps;
mod endpoints;
mod features;
mod keys;
mod layers;
mod models;
pub(crate) mod plan;
mod problem;
mod reader;
pub(crate) mod sections;
mod targets;
mod values;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) use features::Policy;
#[cfg(test)]
use layers::Origin;
pub(crate) use layers::{Setting, Settings};
pub(crate) use models::{KvType, ModelOverrides};
pub(crate) use problem::Problems;
pub(crate) use targets::{Batch, Certificates, KeySource, RemoteTarget, TargetKind};

use inshore_domain::{Cap, Currency};
use inshore_providers::KeepWarm;
use inshore_runtime::{CacheSettings, RetryRules};

use crate::environment::Environment;
use crate::paths::Paths;
pub(crate) use keys::nearest;
use reader::Reader;
pub(crate) use values::{micros, written as values_written};

/// The sample that documents every key, as it is shipped.
pub(crate) const SAMPLE: &str = include_str!("../../../../config/inshore.sample.toml");

/// Everything that can be configured, checked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Config {
    pub(crate) server: Server,
    pub(crate) engine: Engine,
    pub(crate) models: Models,
    pub(crate) targets: Vec<RemoteTarget>,
    pub(crate) money: Money,
    pub(crate) caps: Vec<Cap>,
    pub(crate) policy: Policy,
    pub(crate) cache: CacheSettings,
    pub(crate) retry: RetryRules,
    /// Users by the groups they are in.
    pub(crate) groups: BTreeMap<String, Vec<String>>,
    pub(crate) machine: Machine,
    pub(crate) store: Store,
    pub(crate) log: Log,
}

/// `[server]`
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Server {
    /// Always a loopback address.
    pub(crate) listen: SocketAddr,
    pub(crate) unix_socket: UnixSocket,
    pub(crate) max_connections: u32,
    pub(crate) body_limit: u64,
    pub(crate) cors_origins: Vec<String>,
    pub(crate) allowed_hosts: Vec<String>,
}

/// Where the Unix socket is bound.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum UnixSocket {
    /// In the platform's folder for such things.
    Auto,
    /// Nowhere.
    Off,
    /// Here.
    At(PathBuf),
}

/// `[engine]`
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Engine {
    /// `None`: the physical cores.
    pub(crate) threads: Option<u32>,
    pub(crate) context: u32,
    pub(crate) parallel: u32,
    pub(crate) batch: u32,
    /// `None`: for ever.
    pub(crate) keep_alive: Option<Duration>,
    /// Bytes for all models together; `None`: what the machine can spare.
    pub(crate) memory_limit: Option<u64>,
    /// `None`: all.
    pub(crate) gpu_layers: Option<u32>,
    pub(crate) kv_type: KvType,
    pub(crate) require_sandbox: bool,
    pub(crate) retained_prefix_bytes: u64,
    pub(crate) saved_prefix_bytes: u64,
}

/// `[models]`
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Models {
    /// `None`: below the data folder.
    pub(crate) dir: Option<PathBuf>,
    pub(crate) default: String,
    pub(crate) builtin: bool,
    pub(crate) hub: String,
    pub(crate) overrides: BTreeMap<String, ModelOverrides>,
}

/// `[money]`
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Money {
    /// Of all caps and prices.
    pub(crate) currency: Currency,
    /// How long a call of unknown cost is held in doubt before it counts as a charge.
    pub(crate) in_doubt_expires: Duration,
}

/// `[machine]`
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Machine {
    /// The network is paid by the byte, or is not; `None`: as the system says.
    pub(crate) metered: Option<bool>,
    /// To which targets connections are kept ready.
    pub(crate) keep_warm: KeepWarm,
}

/// `[store]`
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Store {
    pub(crate) key: StoreKey,
}

/// Where the database's key is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum StoreKey {
    /// In the keyring where there is one, else in a file.
    #[default]
    Auto,
    /// In the keyring or not at all.
    Keyring,
    /// In a file that only this user can read.
    File,
}

/// `[log]`
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Log {
    /// `error`, `warn`, `info`, `debug`, `trace`, or `crate=level` pairs with commas between.
    pub(crate) level: String,
}

/// What is read, and from where.
#[derive(Debug, Clone)]
pub(crate) struct Sources<'a> {
    pub(crate) paths: &'a Paths,
    pub(crate) environment: &'a Environment,
    /// `section.key=value`, in the order given.
    pub(crate) sets: &'a [String],
}

/// The effective configuration, with the origin of each value.
#[derive(Debug, Clone)]
pub(crate) struct Loaded {
    pub(crate) config: Config,
    pub(crate) settings: Settings,
    /// Files that were there and were read, in their order.
    pub(crate) files: Vec<PathBuf>,
}

/// Reads all layers. Every problem is reported, not only the first.
pub(crate) fn load(sources: &Sources<'_>) -> Result<Loaded, Problems> {
    let mut problems = Problems::default();
    let (settings, files) = layers::read(sources, None, &mut problems);
    finish(settings, files, sources.environment, problems)
}

/// Reads all layers with this text in place of the user's file: what they would be, were it written.
pub(crate) fn load_with(sources: &Sources<'_>, users: &str) -> Result<Loaded, Problems> {
    let mut problems = Problems::default();
    let (settings, files) = layers::read(sources, Some(users), &mut problems);
    finish(settings, files, sources.environment, problems)
}

/// Checks one file on its own, on top of the built-in values.
pub(crate) fn check_file(path: &Path, text: &str, environment: &Environment) -> Result<Loaded, Problems> {
    let mut problems = Problems::default();
    let mut settings = Settings::built_in();
    layers::merge_text(&mut settings, path, text, &mut problems);
    finish(settings, vec![path.to_owned()], environment, problems)
}

fn finish(
    settings: Settings,
    files: Vec<PathBuf>,
    environment: &Environment,
    mut problems: Problems,
) -> Result<Loaded, Problems> {
    let mut reader = Reader::new(
        &settings,
        environment.path("HOME").or_else(|| environment.path("USERPROFILE")),
        &mut problems,
    );
    let config = config(&mut reader);
    caps::same_currency(&config, &mut problems);
    if problems.is_empty() { Ok(Loaded { config, settings, files }) } else { Err(problems) }
}

fn config(reader: &mut Reader<'_>) -> Config {
    Config {
        server: server(reader),
        engine: engine(reader),
        models: Models {
            dir: reader.auto("models.dir", Reader::path),
            default: reader.text("models.default"),
            builtin: reader.flag("models.builtin"),
            hub: reader.web_address("models.hub"),
            overrides: models::overrides(reader),
        },
        targets: targets::targets(reader),
        money: Money {
            currency: caps::currency(reader),
            in_doubt_expires: reader.duration("money.in_doubt_expires"),
        },
        caps: caps::caps(reader),
        policy: features::policy(reader),
        cache: features::cache(reader),
        retry: RetryRules {
            attempts: reader.whole("retry.attempts", 1, 10),
            cap: reader.duration("retry.longest_wait"),
            longest_asked: reader.duration("retry.longest_wait"),
            even_if_billed: reader.flag("retry.even_if_billed"),
            hedge: reader.flag("retry.hedge"),
            ..RetryRules::default()
        },
        groups: caps::groups(reader),
        machine: Machine {
            metered: reader.auto("machine.metered", Reader::flag),
            keep_warm: reader.choice(
                "machine.keep_warm",
                &[("used", KeepWarm::Used), ("all", KeepWarm::All), ("off", KeepWarm::Off)],
            ),
        },
        store: Store {
            key: reader.choice(
                "store.key",
                &[("auto", StoreKey::Auto), ("keyring", StoreKey::Keyring), ("file", StoreKey::File)],
            ),
        },
        log: Log { level: reader.text("log.level") },
    }
}

fn server(reader: &mut Reader<'_>) -> Server {
    Server {
        listen: reader.loopback("server.listen"),
        unix_socket: reader.unix_socket("server.unix_socket"),
        max_connections: reader.whole("server.max_connections", 1, 1_000_000),
        body_limit: reader.size("server.body_limit"),
        cors_origins: reader.texts("server.cors_origins"),
        allowed_hosts: reader.texts("server.allowed_hosts"),
    }
}

fn engine(reader: &mut Reader<'_>) -> Engine {
    Engine {
        threads: reader.auto("engine.threads", |reader, path| reader.whole(path, 1, 1024)),
        context: reader.whole("engine.context", 32, 16_777_216),
        parallel: reader.whole("engine.parallel", 1, 256),
        batch: reader.whole("engine.batch", 1, 65_536),
        keep_alive: reader.keep_alive("engine.keep_alive"),
        memory_limit: reader.auto("engine.memory_limit", Reader::size),
        gpu_layers: reader.auto("engine.gpu_layers", |reader, path| reader.whole(path, 0, 100_000)),
        kv_type: reader.choice("engine.kv_type", &models::KV_TYPES),
        require_sandbox: reader.flag("engine.require_sandbox"),
        retained_prefix_bytes: reader.size("engine.retained_prefix_bytes"),
        saved_prefix_bytes: reader.size("engine.saved_prefix_bytes"),
    }
}

#[cfg(test)]
mod tests;
