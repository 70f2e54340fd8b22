//! The domain's words as Cedar's: a target as an entity, the user as an entity, the facts as a context.
//!
//! What is written here and what `inshore.cedarschema` says are held together by a test.

use std::collections::HashSet;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, LazyLock};

use super::uses::Uses;
use cedar_policy_core::FromNormalizedStr;
use cedar_policy_core::ast::{
    Context, Eid, Entity, EntityType, EntityUID, EntityUIDEntry, Literal, Name, Request, Value, ValueKind,
};
use inshore_domain::{Capabilities, Capability, Facts, Profile, Sensitivity, Target, Tier};

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Answer a conversation or continue a text.
    Infer,
    /// Make vectors.
    Embed,
}

/// The question of one request, the same for all targets.
#[derive(Debug)]
pub(crate) struct Asking {
    pub(super) principal: Arc<EntityUID>,
    /// `None`: no policy asks about the user.
    pub(super) user: Option<Arc<Entity>>,
    pub(super) action: Action,
    pub(super) context: Context,
}

impl Asking {
    pub(super) fn new(facts: &Facts, uses: &Uses) -> Self {
        let embeds = facts.needs.has(Capability::Embeddings);
        let name = facts.principal.user.as_deref();
        Self {
            principal: name.map_or_else(nobody, |name| Arc::new(uid(&WORDS.user, name))),
            user: uses.user.then(|| Arc::new(user(facts))),
            action: if embeds { Action::Embed } else { Action::Infer },
            context: context(facts, uses),
        }
    }
}

/// Names and values that every question uses.
struct Words {
    user: EntityType,
    app: EntityType,
    organisation: EntityType,
    group: EntityType,
    target: EntityType,
    nobody: Arc<EntityUID>,
    infer: Arc<EntityUID>,
    embed: Arc<EntityUID>,
    tiers: Vec<Arc<EntityUID>>,
    levels: Vec<Arc<EntityUID>>,
    profiles: Vec<Arc<EntityUID>>,
    capabilities: Vec<Arc<EntityUID>>,
}

static WORDS: LazyLock<Words> = LazyLock::new(|| {
    let user = entity_type("User");
    let all = |kind: &str, words: &[&'static str]| {
        words.iter().map(|word| Arc::new(uid(&entity_type(kind), word))).collect::<Vec<_>>()
    };
    let action = entity_type("Action");
    Words {
        app: entity_type("App"),
        organisation: entity_type("Organisation"),
        group: entity_type("Group"),
        target: entity_type("Target"),
        nobody: Arc::new(uid(&user, "")),
        user,
        infer: Arc::new(uid(&action, "infer")),
        embed: Arc::new(uid(&action, "embed")),
        tiers: all("Tier", &[Tier::Device, Tier::Edge, Tier::Cloud].map(Tier::as_str)),
        levels: all("Sensitivity", &Sensitivity::ALL.map(Sensitivity::as_str)),
        profiles: all("Profile", &Profile::ALL.map(Profile::as_str)),
        capabilities: all("Capability", &Capability::ALL.map(Capability::as_str)),
    }
});

#[expect(clippy::expect_used, reason = "the names are plain words that stand in this file")]
fn entity_type(name: &str) -> EntityType {
    EntityType::from(Name::from_normalized_str(name).expect("a plain word is a name"))
}

fn uid(kind: &EntityType, id: &str) -> EntityUID {
    EntityUID::from_components(kind.clone(), Eid::new(id), None)
}

/// One of the words of an enumerated type.
fn word(words: &[Arc<EntityUID>], word: &str) -> Option<Value> {
    let found = words.iter().find(|uid| AsRef::<str>::as_ref(uid.eid()) == word)?;
    Some(Value::from(found.clone()))
}

/// The user that no app names.
pub(super) fn nobody() -> Arc<EntityUID> {
    WORDS.nobody.clone()
}

pub(super) fn request(
    principal: Arc<EntityUID>,
    action: Action,
    resource: &Arc<EntityUID>,
    context: Context,
) -> Request {
    let entry = |euid| EntityUIDEntry::Known { euid, loc: None };
    let action = match action {
        Action::Infer => &WORDS.infer,
        Action::Embed => &WORDS.embed,
    };
    Request::new_unchecked(entry(principal), entry(action.clone()), entry(resource.clone()), Some(context))
}

fn user(facts: &Facts) -> Entity {
    let principal = &facts.principal;
    let mut attributes: Vec<(&str, Value)> = vec![("app", text(&principal.app))];
    attributes.extend(principal.user.as_deref().map(|name| ("name", text(name))));
    attributes.extend(principal.organisation.as_deref().map(|name| ("organisation", text(name))));
    let mut parents: HashSet<EntityUID> = facts.groups.iter().map(|group| uid(&WORDS.group, group)).collect();
    parents.insert(uid(&WORDS.app, &principal.app));
    parents.extend(principal.organisation.as_deref().map(|name| uid(&WORDS.organisation, name)));
    entity(uid(&WORDS.user, principal.user.as_deref().unwrap_or_default()), attributes, parents)
}

/// The name of one endpoint of a target, where there are several.
pub(super) fn endpoint(target: &Target) -> Option<EntityUID> {
    target.endpoint_of.is_some().then(|| uid(&WORDS.target, &target.id.0))
}

/// A target with everything that a policy may ask about it. Its endpoints are the same entity, so that what is said of the target
/// is said of each of them; only their attributes differ, and that an endpoint is also in its own name.
pub(super) fn target(target: &Target, tags: &[String]) -> Entity {
    let price = target.price.as_ref();
    let free = match price {
        Some(price) => price.dearest_input() == 0 && price.output == 0,
        None => target.tier == Tier::Device,
    };
    let mut attributes: Vec<(&str, Value)> = vec![
        ("id", text(&target.configured_as().0)),
        ("model", text(&target.model)),
        ("tags", texts(tags)),
        ("can", capabilities(target.capabilities)),
        ("context_window", whole(target.context_window)),
        ("free", Value::from(free)),
    ];
    let tier = word(&WORDS.tiers, target.tier.as_str());
    attributes.extend(tier.map(|tier| ("tier", tier)));
    attributes.extend(target.region.as_deref().map(|region| ("region", text(region))));
    attributes.extend(target.destination.as_deref().map(|authority| ("host", text(host(authority)))));
    attributes.extend(target.quality.map(|quality| ("quality", whole(quality))));
    attributes.extend(price.map(|price| ("input_price", amount(price.input))));
    attributes.extend(price.map(|price| ("output_price", amount(price.output))));
    if target.tier != Tier::Device {
        let level = target.permitted_up_to;
        attributes.extend(level.map(|level| ("consent", whole(rank(level)))));
    }
    let parents = WORDS.tiers.iter().filter(|uid| AsRef::<str>::as_ref(uid.eid()) == target.tier.as_str());
    let parents = parents.map(|uid| (**uid).clone()).chain(endpoint(target)).collect();
    entity(uid(&WORDS.target, &target.configured_as().0), attributes, parents)
}

/// The attributes that some policy asks about.
fn context(facts: &Facts, uses: &Uses) -> Context {
    let device = &facts.device;
    let mut pairs = Pairs { uses, pairs: Vec::with_capacity(24) };
    pairs.add("sensitivity", || whole(rank(facts.leaving())));
    pairs.add_known("level", || word(&WORDS.levels, facts.leaving().as_str()));
    pairs.add("findings", || findings(facts));
    pairs.add_known("feature", || facts.feature.as_deref().map(text));
    pairs.add("egress", || Value::from(facts.egress));
    pairs.add_known("regions", || facts.regions.as_deref().map(texts));
    pairs.add_known("profile", || word(&WORDS.profiles, facts.profile.as_str()));
    pairs.add("model", || text(&facts.model));
    pairs.add("needs", || capabilities(facts.needs));
    pairs.add("prompt_tokens", || whole(facts.prompt_tokens));
    pairs.add_known("max_output_tokens", || facts.max_output_tokens.map(whole));
    pairs.add("answers", || whole(facts.answers));
    pairs.add_known("latency_budget", || facts.latency_budget.map(|budget| amount(budget.as_millis())));
    pairs.add_known("quality_floor", || facts.quality_floor.map(whole));
    pairs.add("offline", || Value::from(device.offline));
    pairs.add_known("metered", || device.metered.map(Value::from));
    pairs.add_known("on_battery", || device.on_battery.map(Value::from));
    pairs.add_known("battery_percent", || device.battery_percent.map(whole));
    pairs.add_known("hot", || device.hot.map(Value::from));
    pairs.add_known("memory_available_percent", || device.memory_available_percent.map(whole));
    pairs.add("queue_depth", || whole(device.queue_depth));
    match Value::record(pairs.pairs, None).value {
        ValueKind::Record(pairs) => Context::Value(pairs),
        // A record is a record; without one, whatever asks for an attribute fails, and so does not permit.
        _ => Context::empty(),
    }
}

struct Pairs<'a> {
    uses: &'a Uses,
    pairs: Vec<(&'static str, Value)>,
}

impl Pairs<'_> {
    fn add(&mut self, name: &'static str, value: impl FnOnce() -> Value) {
        self.add_known(name, || Some(value()));
    }

    fn add_known(&mut self, name: &'static str, value: impl FnOnce() -> Option<Value>) {
        if self.uses.attribute(name) {
            self.pairs.extend(value().map(|value| (name, value)));
        }
    }
}

fn findings(facts: &Facts) -> Value {
    Value::set_of_lits(facts.findings.iter().map(|finding| Literal::from(finding.kind)), None)
}

fn entity(uid: EntityUID, attributes: Vec<(&str, Value)>, parents: HashSet<EntityUID>) -> Entity {
    let attributes = attributes.into_iter().map(|(name, value)| (name.into(), value.into()));
    Entity::new_with_attr_partial_value(uid, attributes, HashSet::new(), parents, [])
}

/// From 0, harmless, to 3.
fn rank(level: Sensitivity) -> u8 {
    match level {
        Sensitivity::Public => 0,
        Sensitivity::Internal => 1,
        Sensitivity::Confidential => 2,
        Sensitivity::Restricted => 3,
    }
}

fn text(text: &str) -> Value {
    Value::from(text)
}

fn texts<T: AsRef<str>>(texts: &[T]) -> Value {
    Value::set_of_lits(texts.iter().map(|text| Literal::from(text.as_ref())), None)
}

fn capabilities(set: Capabilities) -> Value {
    let all = Capability::ALL.iter().zip(&WORDS.capabilities);
    Value::set_of_lits(all.filter(|(one, _)| set.has(**one)).map(|(_, uid)| Literal::from(uid.clone())), None)
}

fn whole(number: impl Into<i64>) -> Value {
    Value::from(number.into())
}

/// More than Cedar's numbers hold is as much as they hold.
fn amount<T: TryInto<i64>>(number: T) -> Value {
    Value::from(number.try_into().unwrap_or(i64::MAX))
}

/// The host of `host:port`, `[v6]:port` or a host alone.
pub(crate) fn host(authority: &str) -> &str {
    if let Some((inside, _)) = authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return inside;
    }
    match authority.rsplit_once(':') {
        // More than one colon outside of brackets: an address of version 6, without a port.
        Some((host, _)) if !host.contains(':') => host,
        _ => authority,
    }
}

/// Whether a call to this host stays on this machine.
pub(crate) fn is_loopback(authority: &str) -> bool {
    let host = host(authority);
    let v4 = host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback());
    let v6 = host.parse::<Ipv6Addr>().is_ok_and(|address| address.is_loopback());
    v4 || v6 || host.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_found_in_every_form_of_authority() {
        for (authority, found, loopback) in [
            ("api.example.test:443", "api.example.test", false),
            ("127.0.0.1:8080", "127.0.0.1", true),
            ("127.9.9.9", "127.9.9.9", true),
            ("LocalHost:1", "LocalHost", true),
            ("[::1]:443", "::1", true),
            ("::1", "::1", true),
            ("[fd00::1]:443", "fd00::1", false),
            ("localhost.example.test:1", "localhost.example.test", false),
            ("", "", false),
        ] {
            assert_eq!((host(authority), is_loopback(authority)), (found, loopback), "{authority}");
        }
    }
}
