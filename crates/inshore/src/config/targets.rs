//! `[[targets]]`: models on other machines.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use inshore_domain::{Capabilities, Capability, Currency, Price, Sensitivity, Tier};
use inshore_providers::ProviderKind;
use inshore_providers::prices::{self, Listed};
use toml::Value;
use url::Url;

use super::endpoints::{Place, places};
use super::reader::Reader;
use super::values;

/// Which protocol a target speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum TargetKind {
    /// OpenAI's, as llama.cpp's server, vLLM, Ollama, LM Studio and many others speak it.
    #[default]
    OpenAi,
    /// Anthropic's.
    Anthropic,
    /// Google's Gemini API.
    Gemini,
    /// That of another Inshore.
    Inshore,
}

/// Where a target's key is kept; never the key itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum KeySource {
    /// In this environment variable of the daemon.
    Environment(String),
    /// In the operating system's keyring, under this name (`inshore secret set NAME`).
    Keyring(String),
}

/// One target.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RemoteTarget {
    pub(crate) id: String,
    /// The id of the entry, where it has several endpoints and this is one of them.
    pub(crate) endpoint_of: Option<String>,
    pub(crate) tier: Tier,
    pub(crate) kind: TargetKind,
    pub(crate) base_url: String,
    pub(crate) model: String,
    pub(crate) aliases: Vec<String>,
    pub(crate) key: Option<KeySource>,
    pub(crate) certificates: Certificates,
    /// `None`: not permitted at all.
    pub(crate) permitted_up_to: Option<Sensitivity>,
    pub(crate) context_window: u32,
    pub(crate) max_output: Option<u32>,
    pub(crate) capabilities: Capabilities,
    /// `None`: unknown, so that `decide` leaves the target out.
    pub(crate) price: Option<Price>,
    /// Where in the world it works.
    pub(crate) region: Option<String>,
    /// How good its answers are, 0 to 100.
    pub(crate) quality: Option<u8>,
    /// For policies to ask about.
    pub(crate) tags: Vec<String>,
    pub(crate) timeouts: Timeouts,
    /// Plain HTTP to a public address is meant.
    pub(crate) plain_http: bool,
    /// The endpoint knows OpenAI's `/responses`.
    pub(crate) responses_api: bool,
    /// The endpoint knows `stream_options.include_usage`.
    pub(crate) stream_usage: bool,
    /// `None`: each request for vectors is a call of its own.
    pub(crate) batch: Option<Batch>,
    /// `None`: it is never asked for its models while nobody calls it.
    pub(crate) probe: Option<Duration>,
}

/// How small requests for vectors are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Batch {
    pub(crate) window: Duration,
    pub(crate) inputs: u32,
    pub(crate) across_apps: bool,
}

/// Files in PEM.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Certificates {
    /// Authorities that are trusted at this target instead of the system's.
    pub(crate) authority: Option<PathBuf>,
    /// This side's certificate and its key.
    pub(crate) client: Option<(PathBuf, PathBuf)>,
}

/// `None`: the provider client's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Timeouts {
    pub(crate) connect: Option<Duration>,
    pub(crate) first_byte: Option<Duration>,
    pub(crate) idle: Option<Duration>,
}

/// Beyond this, waiting costs more than the round trips that are saved.
const LONGEST_WINDOW: Duration = Duration::from_millis(100);

/// More often would be a load of its own on a small machine.
const SHORTEST_PROBE: Duration = Duration::from_secs(5);

/// What a chat model behind such an API can be expected to do when the config does not say.
const USUAL: [Capability; 4] =
    [Capability::Chat, Capability::Tools, Capability::JsonSchema, Capability::Logprobs];
const USUAL_ANTHROPIC: [Capability; 2] = [Capability::Chat, Capability::Tools];
const USUAL_GEMINI: [Capability; 4] =
    [Capability::Chat, Capability::Tools, Capability::JsonSchema, Capability::Vision];
const USUAL_INSHORE: [Capability; 4] =
    [Capability::Chat, Capability::Completion, Capability::Tools, Capability::JsonSchema];
const KINDS: [(&str, TargetKind); 4] = [
    ("openai", TargetKind::OpenAi),
    ("anthropic", TargetKind::Anthropic),
    ("gemini", TargetKind::Gemini),
    ("inshore", TargetKind::Inshore),
];

pub(super) fn targets(reader: &mut Reader<'_>) -> Vec<RemoteTarget> {
    let settings = reader.settings;
    let mut seen = BTreeSet::new();
    let mut targets = Vec::new();
    for entry in settings.list("targets") {
        let target = reader.within("targets", &entry.entries, entry.origin.clone(), |reader| {
            let found = one(reader);
            let ids: BTreeSet<&String> = found
                .iter()
                .flat_map(|target| [Some(&target.id), target.endpoint_of.as_ref()])
                .flatten()
                .collect();
            for id in ids {
                if !seen.insert(id.clone()) {
                    reader.wrong("id", format!("there are two targets with the id `{id}`"), None);
                }
            }
            found
        });
        targets.extend(target);
    }
    targets
}

/// What the entry says, where the table of well-known models may say it otherwise.
struct Said {
    context_window: Option<u32>,
    max_output: Option<u32>,
    capabilities: Option<Capabilities>,
    price: Option<Price>,
}

/// A target, or each of its endpoints.
fn one(reader: &mut Reader<'_>) -> Vec<RemoteTarget> {
    for key in ["id", "tier", "model"] {
        if !reader.has(key) {
            reader.wrong(key, format!("this target has no `{key}`"), None);
        }
    }
    let tier = reader.maybe("tier", tier).unwrap_or(Tier::Cloud);
    let said = Said {
        context_window: reader.maybe("context_window", |reader, path| reader.whole(path, 256, u32::MAX)),
        max_output: reader.maybe("max_output", |reader, path| reader.whole(path, 1, u32::MAX)),
        capabilities: reader.maybe("capabilities", capabilities),
        price: price(reader),
    };
    let places = places(reader);
    let target = RemoteTarget {
        id: id(reader),
        endpoint_of: None,
        tier,
        kind: reader.choice("kind", &KINDS),
        base_url: String::new(),
        model: reader.text("model"),
        aliases: reader.texts("aliases"),
        key: None,
        certificates: certificates(reader, &places),
        permitted_up_to: permitted(reader),
        // Small enough that a model of unknown size is not sent what it cannot read.
        context_window: said.context_window.unwrap_or(8192),
        max_output: said.max_output,
        capabilities: Capabilities::NONE,
        price: None,
        region: None,
        quality: reader
            .maybe("quality", |reader, path| reader.whole(path, 0, 100))
            .and_then(|quality| u8::try_from(quality).ok()),
        tags: reader.maybe("tags", Reader::texts).unwrap_or_default(),
        timeouts: Timeouts {
            connect: reader.maybe("connect_timeout", Reader::duration),
            first_byte: reader.maybe("first_byte_timeout", Reader::duration),
            idle: reader.maybe("idle_timeout", Reader::duration),
        },
        plain_http: reader.flag("plain_http"),
        responses_api: reader.flag("responses_api"),
        stream_usage: reader.maybe("stream_usage", Reader::flag).unwrap_or(true),
        batch: batch(reader),
        probe: probe(reader, tier),
    };
    places.into_iter().map(|place| at(&target, &said, place)).collect()
}

/// The target at one place.
fn at(target: &RemoteTarget, said: &Said, place: Place) -> RemoteTarget {
    let Place { base_url, region, key, endpoint } = place;
    let listed = listed(target.kind, &base_url, &target.model);
    let usual = || listed.map_or_else(|| usual(target.kind), |listed| listed.capabilities);
    let id = match &region {
        Some(region) if endpoint => format!("{}@{region}", target.id),
        _ => target.id.clone(),
    };
    RemoteTarget {
        endpoint_of: endpoint.then(|| target.id.clone()),
        id,
        base_url,
        region,
        key,
        context_window: said
            .context_window
            .unwrap_or_else(|| listed.map_or(target.context_window, |listed| listed.context_window)),
        max_output: said.max_output.or_else(|| listed?.max_output),
        capabilities: said.capabilities.unwrap_or_else(usual),
        // Providers ask more in some regions, so what one endpoint costs says nothing of the others.
        price: said.price.or_else(|| Some(listed?.price)),
        ..target.clone()
    }
}

/// What the table of well-known models says of a model at its provider's own address.
fn listed(kind: TargetKind, base_url: &str, model: &str) -> Option<Listed> {
    let kind = match kind {
        TargetKind::OpenAi => ProviderKind::OpenAiCompatible,
        TargetKind::Anthropic => ProviderKind::Anthropic,
        TargetKind::Gemini => ProviderKind::Gemini,
        TargetKind::Inshore => ProviderKind::Inshore,
    };
    prices::lookup(kind, Url::parse(base_url).ok()?.host_str()?, model)
}

fn usual(kind: TargetKind) -> Capabilities {
    match kind {
        TargetKind::OpenAi => USUAL.into_iter().collect(),
        TargetKind::Anthropic => USUAL_ANTHROPIC.into_iter().collect(),
        TargetKind::Gemini => USUAL_GEMINI.into_iter().collect(),
        TargetKind::Inshore => USUAL_INSHORE.into_iter().collect(),
    }
}

fn id(reader: &mut Reader<'_>) -> String {
    let id = reader.text("id");
    if id == "device" || id.starts_with("device/") {
        reader.wrong("id", format!("`{id}` is a name for models on this machine"), None);
    }
    id
}

fn tier(reader: &mut Reader<'_>, path: &str) -> Tier {
    // Two-step, because `device` is a tier but not one that a config can add to.
    let cloud = reader.choice(path, &[("edge", Some(false)), ("cloud", Some(true))]);
    if cloud == Some(false) { Tier::Edge } else { Tier::Cloud }
}

fn permitted(reader: &mut Reader<'_>) -> Option<Sensitivity> {
    let levels: Vec<(&str, Sensitivity)> =
        Sensitivity::ALL.into_iter().map(|level| (level.as_str(), level)).collect();
    let up_to =
        reader.maybe("max_sensitivity", |reader, path| reader.choice(path, &levels)).unwrap_or_default();
    if up_to == Sensitivity::Restricted {
        reader.wrong(
            "max_sensitivity",
            "restricted text never leaves the device".to_owned(),
            Some("use `confidential` at most"),
        );
    }
    reader.flag("permit").then_some(up_to)
}

pub(super) fn key(reader: &mut Reader<'_>, path: &str) -> Option<KeySource> {
    let value = reader.value(path)?;
    key_source(reader, path, value)
}

/// Where a key is kept, as this value of the setting says.
pub(super) fn key_source(reader: &mut Reader<'_>, path: &str, value: &Value) -> Option<KeySource> {
    let hint = "use `key = { env = \"OPENAI_API_KEY\" }`, or `inshore secret set NAME` and `key = { keyring = \"NAME\" }`";
    let source = match value {
        Value::Table(table) => {
            let text = |key: &str| table.get(key).and_then(Value::as_str).map(str::to_owned);
            match (text("env"), text("keyring"), table.len()) {
                (Some(name), None, 1) => Some(KeySource::Environment(name)),
                (None, Some(name), 1) => Some(KeySource::Keyring(name)),
                _ => None,
            }
        }
        Value::String(_) => {
            // The text is not shown: it may be the key.
            reader.wrong(path, "a key may not be written in the config file".to_owned(), Some(hint));
            return None;
        }
        _ => None,
    };
    if source.is_none() {
        reader.wrong(path, "`key` must name where the key is kept".to_owned(), Some(hint));
    }
    source
}

fn certificates(reader: &mut Reader<'_>, places: &[Place]) -> Certificates {
    let authority = reader.maybe("ca", Reader::path);
    let certificate = reader.maybe("client_certificate", Reader::path);
    let key = reader.maybe("client_key", Reader::path);
    if certificate.is_some() != key.is_some() {
        let (there, missing) = if key.is_none() {
            ("client_certificate", "client_key")
        } else {
            ("client_key", "client_certificate")
        };
        reader.wrong(there, format!("`{there}` needs `{missing}` beside it"), None);
    }
    let secure = places.iter().all(|place| !place.base_url.starts_with("http://"));
    if !secure && (authority.is_some() || certificate.is_some()) {
        let hint = Some("begin it with `https://`, or leave the certificates out");
        let place = if reader.has("endpoints") { "endpoints" } else { "base_url" };
        reader.wrong(place, "certificates are of no use at an address of `http://`".to_owned(), hint);
    }
    Certificates { authority, client: certificate.zip(key) }
}

fn probe(reader: &mut Reader<'_>, tier: Tier) -> Option<Duration> {
    // A machine of one's own may be asked unasked; a cloud would learn when this one is awake.
    let usual = if tier == Tier::Edge { Duration::from_secs(60) } else { Duration::ZERO };
    let interval = reader.maybe("probe_interval", Reader::duration).unwrap_or(usual);
    if !interval.is_zero() && interval < SHORTEST_PROBE {
        let message = format!("`probe_interval` must be {} s at least, or \"0\"", SHORTEST_PROBE.as_secs());
        reader.wrong("probe_interval", message, None);
    }
    (!interval.is_zero()).then_some(interval)
}

fn batch(reader: &mut Reader<'_>) -> Option<Batch> {
    let window = reader.maybe("batch_window", Reader::duration).unwrap_or_default();
    // Gemini takes no more in one call, and round trips saved beyond so many are not worth the risk of losing them at once.
    let inputs = reader.maybe("batch_inputs", |reader, path| reader.whole(path, 2, 100)).unwrap_or(64);
    let across_apps = reader.flag("batch_across_apps");
    if window > LONGEST_WINDOW {
        let message = format!("`batch_window` may be {} ms at most", LONGEST_WINDOW.as_millis());
        reader.wrong("batch_window", message, Some("every request for vectors waits so long"));
    }
    (!window.is_zero()).then_some(Batch { window, inputs, across_apps })
}

pub(super) fn capabilities(reader: &mut Reader<'_>, path: &str) -> Capabilities {
    let mut all = Capabilities::NONE;
    for word in reader.texts(path) {
        match Capability::ALL.into_iter().find(|capability| capability.as_str() == word) {
            Some(capability) => all = all.with(capability),
            None => {
                let words: Vec<_> = Capability::ALL.iter().map(|capability| capability.as_str()).collect();
                reader.wrong(
                    path,
                    format!("`{word}` is not a capability"),
                    Some(&format!("there are: {}", words.join(", "))),
                );
            }
        }
    }
    all
}

fn price(reader: &mut Reader<'_>) -> Option<Price> {
    let free = reader.flag("free");
    match (free, reader.maybe("price", price_table)) {
        (true, Some(_)) => {
            reader.wrong("free", "this target has a price and is declared free".to_owned(), None);
            None
        }
        (true, None) => Some(Price::FREE),
        (false, price) => price.flatten(),
    }
}

fn price_table(reader: &mut Reader<'_>, path: &str) -> Option<Price> {
    let hint = "price = { currency = \"USD\", input = \"0.25\", cached_input = \"0.025\", output = \"2.00\" }, \
                amounts for a million tokens, in quotes";
    let Some(Value::Table(table)) = reader.value(path) else {
        reader.wrong(path, "`price` must be a table".to_owned(), Some(hint));
        return None;
    };
    if let Some(key) =
        table.keys().find(|key| !["currency", "input", "cached_input", "output"].contains(&key.as_str()))
    {
        reader.wrong(path, format!("`price` has no `{key}`"), Some(hint));
        return None;
    }
    let amount = |key: &str| table.get(key).and_then(Value::as_str).and_then(values::micros);
    let currency =
        table.get("currency").map_or(Some(Currency::USD), |code| code.as_str().and_then(Currency::new));
    let cached = if table.contains_key("cached_input") { amount("cached_input") } else { amount("input") };
    match (currency, amount("input"), cached, amount("output")) {
        (Some(currency), Some(input), Some(cached_input), Some(output)) => {
            Some(Price { cached_input, ..Price::flat(currency, input, output) })
        }
        _ => {
            reader.wrong(
                path,
                "`price` needs `input` and `output` as amounts in quotes".to_owned(),
                Some(hint),
            );
            None
        }
    }
}
