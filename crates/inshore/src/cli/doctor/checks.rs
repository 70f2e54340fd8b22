//! Config, models, database, targets and daemon.

use inshore_domain::Tier;
use inshore_providers::forwarding;

use super::{Finding, State};
use crate::catalogue::builtin;
use crate::cli::Context;
use crate::cli::answer::PULL_CHAT_MODEL;
use crate::client::Daemon;
use crate::config::{KeySource, Loaded};
use crate::daemon::{self, key, lock};
use crate::failure::Failure;
use crate::output;

pub(super) fn config(context: &Context, loaded: &Result<Loaded, Failure>) -> Vec<Finding> {
    let finding = match loaded {
        Err(failure) => Finding::new("config", State::Bad, format!("{:#}", failure.error)),
        Ok(loaded) if loaded.files.is_empty() => {
            let detail = format!("built-in values; no file at {}", context.paths.user_config.display());
            Finding::new("config", State::Good, detail)
        }
        Ok(loaded) => {
            let files: Vec<String> = loaded.files.iter().map(|path| path.display().to_string()).collect();
            Finding::new("config", State::Good, files.join(", then "))
        }
    };
    vec![finding]
}

pub(super) fn models(context: &Context, loaded: &Loaded) -> Vec<Finding> {
    let catalogue = context.catalogue(loaded);
    let listing = match catalogue.list() {
        Ok(listing) => listing,
        Err(error) => return vec![Finding::new("models", State::Bad, format!("{error:#}"))],
    };
    let mut findings: Vec<Finding> =
        listing.broken.iter().map(|broken| Finding::new("model", State::Bad, broken.clone())).collect();
    let ids: Vec<&str> = listing.entries.iter().map(|entry| entry.manifest.id.as_str()).collect();
    findings.push(Finding::new(
        "models",
        State::Good,
        format!("{} in {}", ids.join(", "), catalogue.dir().display()),
    ));
    let default = loaded.config.models.default.as_str();
    findings.push(match (ids.contains(&default), default == builtin::ID) {
        (false, _) => Finding::new("chosen", State::Bad, format!("`models.default` is `{default}`, which is not there")),
        (true, true) if ids.len() == 1 => {
            let detail = format!("device/{default}, which finishes sentences only; one that answers questions: {PULL_CHAT_MODEL}");
            Finding::new("chosen", State::Notice, detail)
        }
        (true, _) => Finding::new("chosen", State::Good, format!("device/{default} for `auto` and `device`")),
    });
    findings
}

pub(super) fn store(context: &Context) -> Vec<Finding> {
    let database = context.paths.database();
    let Some(place) = key::place(&context.paths) else {
        return vec![Finding::new(
            "database",
            State::Notice,
            format!("not made yet; it will be {}", database.display()),
        )];
    };
    let size = std::fs::metadata(&database).map_or(0, |metadata| metadata.len());
    vec![
        Finding::new(
            "database",
            State::Good,
            format!("{}, {}, encrypted", database.display(), output::bytes(size)),
        ),
        Finding::new("database key", State::Good, place.in_words(&context.paths)),
    ]
}

pub(super) fn targets(context: &Context, loaded: &Loaded) -> Vec<Finding> {
    if loaded.config.targets.is_empty() {
        return vec![Finding::new("remote targets", State::Good, "none: nothing can leave this device")];
    }
    loaded
        .config
        .targets
        .iter()
        .map(|target| {
            let key = match (&target.key, daemon::targets::key(target, &context.environment)) {
                (_, Err(error)) => {
                    return Finding::new("remote target", State::Bad, format!("{}: {error:#}", target.id));
                }
                (None, Ok(_)) => "no key".to_owned(),
                (Some(KeySource::Environment(name)), Ok(_)) => format!("key in ${name}"),
                (Some(KeySource::Keyring(name)), Ok(_)) => format!("key `{name}` in the keyring"),
            };
            let (state, permit) = match target.permitted_up_to {
                None => (State::Good, "not permitted".to_owned()),
                Some(level) => (State::Notice, format!("permitted up to `{level}`")),
            };
            let priced = match target.price.map(|price| price.as_of) {
                None => ", no price, so it is not used".to_owned(),
                Some(None) => String::new(),
                Some(Some((year, month, day))) => {
                    format!(", price as listed on {year}-{month:02}-{day:02}")
                }
            };
            let forwards = forwarding::of_name(&target.model).filter(|_| target.tier == Tier::Edge);
            let state = if forwards.is_some() { State::Notice } else { state };
            let forwards = forwards.map(|reason| format!("; not near: {reason}")).unwrap_or_default();
            let detail = format!(
                "{} ({} at {}): {permit}, {key}{priced}{forwards}",
                target.id, target.tier, target.base_url
            );
            Finding::new("remote target", state, detail)
        })
        .collect()
}

pub(super) async fn daemon(context: &Context) -> Finding {
    let daemon = match Daemon::find(&context.paths) {
        Ok(Some(daemon)) => daemon,
        Ok(None) if lock::is_held(&context.paths) => {
            return Finding::new("daemon", State::Notice, "starting or ending just now");
        }
        Ok(None) => {
            return Finding::new("daemon", State::Good, "not running; `chat`, `ask` and `complete` start it");
        }
        Err(failure) => return Finding::new("daemon", State::Bad, format!("{:#}", failure.error)),
    };
    match daemon.get("/inshore/v1/status").await {
        Ok(_) => {
            let (pid, tcp, version) = (daemon.address.pid, daemon.address.tcp, &daemon.address.version);
            Finding::new(
                "daemon",
                State::Good,
                format!("version {version}, process {pid}, answers on http://{tcp}"),
            )
        }
        Err(failure) => Finding::new("daemon", State::Bad, format!("{:#}", failure.error)),
    }
}
