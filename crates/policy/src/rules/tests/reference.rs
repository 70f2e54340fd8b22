//! Our way of asking, held against Cedar's own authorizer, and our entities against the schema.

use std::collections::HashSet;
use std::time::Duration;

use super::*;
use crate::samples::chat;
use cedar_policy_core::ast::{self, Effect};
use cedar_policy_core::authorizer::{AuthorizationError, Authorizer, Decision as Answer};
use cedar_policy_core::entities::{Entities, TCComputation};
use cedar_policy_core::extensions::Extensions;
use cedar_policy_core::validator::CoreSchema;
use inshore_domain::{Currency, DeviceState, Finding, Price, Profile};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

/// Policies of every form that a head and a condition can have.
const POOL: [&str; 20] = [
    "permit (principal, action, resource);",
    "forbid (principal, action, resource) when { context.sensitivity > 1 };",
    r#"permit (principal == User::"anna", action, resource);"#,
    r#"permit (principal in Group::"premium", action == Action::"infer", resource in Tier::"cloud");"#,
    r#"permit (principal is User in App::"mail", action, resource is Target);"#,
    r#"permit (principal, action in [Action::"embed", Action::"infer"], resource == Target::"openai/big");"#,
    r#"forbid (principal, action == Action::"embed", resource) unless { resource in [Tier::"device", Tier::"edge"] };"#,
    r#"forbid (principal in Organisation::"acme", action, resource is Target in Tier::"edge");"#,
    r#"permit (principal, action, resource) when { resource.tier == Tier::"device" } when { resource.free };"#,
    r#"forbid (principal, action, resource) when { resource.tags.contains("premium") } unless { principal in Group::"premium" };"#,
    r#"permit (principal, action, resource) when { context has regions && resource has region && context.regions.contains(resource.region) };"#,
    r#"forbid (principal, action, resource) when { context.findings.containsAny(["iban", "email"]) && !(resource.can.contains(Capability::"chat")) };"#,
    r#"permit (principal, action, resource) when { context.level == Sensitivity::"public" || context.profile == Profile::"batch" };"#,
    r#"permit (principal, action, resource) when { {all: context}.all.sensitivity == 0 };"#,
    r#"forbid (principal, action, resource) when { if context has metered then context.metered else context.offline };"#,
    r#"permit (principal, action, resource) when { principal has name && principal.name like "a*" && principal.app != "x" };"#,
    r#"forbid (principal, action, resource) when { context.answers * 9223372036854775807 > 2 };"#,
    r#"permit (principal, action, resource) when { context.prompt_tokens * 9223372036854775807 > 2 };"#,
    r#"permit (principal, action, resource) when { ip("127.0.0.1").isLoopback() && decimal("1.0").lessThan(decimal("1.1")) };"#,
    r#"forbid (principal, action, resource) when { resource has quality && context has quality_floor && resource.quality + 10 < context.quality_floor };"#,
];

fn any_facts() -> impl Strategy<Value = Facts> {
    let name =
        || option::of(select(vec!["anna".to_owned(), "bob".to_owned(), String::new(), "mail".to_owned()]));
    let words = |words: &[&'static str]| subsequence(words.to_vec(), 0..=words.len());
    let who = (select(vec!["mail", "x"]), name(), name(), words(&["premium", "staff"]));
    let what = (
        select(Sensitivity::ALL.to_vec()),
        select(Profile::ALL.to_vec()),
        words(&["email", "iban", "api-key"]),
        option::of(words(&["eu", "us"])),
        any::<[bool; 3]>(),
    );
    let numbers = (0..3_u32, 1..4_u32, option::of(0..=100_u8), option::of(any::<u32>()));
    let device = (any::<[Option<bool>; 3]>(), option::of(0..=100_u8), any::<u32>());
    (who, what, numbers, device).prop_map(|(who, what, numbers, (flags, percent, queue_depth))| {
        let (app, user, organisation, groups) = who;
        let (sensitivity, profile, kinds, regions, [egress, offline, embeds]) = what;
        let (prompt_tokens, answers, quality_floor, limit) = numbers;
        let owned = |words: Vec<&str>| words.into_iter().map(str::to_owned).collect::<Vec<_>>();
        let [metered, on_battery, hot] = flags;
        Facts {
            feature: user.clone(),
            principal: Principal { app: app.into(), user, organisation },
            groups: owned(groups),
            sensitivity,
            profile,
            findings: kinds.into_iter().map(|kind| Finding { kind, span: 0..1, confidence: 50 }).collect(),
            regions: regions.map(owned),
            egress,
            prompt_tokens,
            answers,
            quality_floor,
            max_output_tokens: limit,
            latency_budget: limit.map(|millis| Duration::from_millis(millis.into())),
            needs: if embeds { Capabilities::NONE.with(Capability::Embeddings) } else { chat() },
            device: DeviceState {
                offline,
                metered,
                on_battery,
                battery_percent: percent,
                hot,
                memory_available_percent: percent,
                queue_depth,
            },
            ..facts("auto")
        }
    })
}

fn any_target() -> impl Strategy<Value = (Target, Vec<String>)> {
    let tier = select(vec![Tier::Device, Tier::Edge, Tier::Cloud]);
    let region = option::of(select(vec!["eu".to_owned(), "us".to_owned()]));
    let permitted = option::of(select(Sensitivity::ALL.to_vec()));
    let price = option::of(prop_oneof![Just(0), any::<u64>()]);
    let tags = subsequence(vec!["premium".to_owned(), "other".to_owned()], 0..=2);
    (tier, region, permitted, price, tags, option::of(0..=100_u8), any::<bool>()).prop_map(
        |(tier, region, permitted_up_to, price, tags, quality, can)| {
            let target = Target {
                region,
                permitted_up_to,
                price: price.map(|price| Price::flat(Currency::USD, price, price)),
                quality,
                capabilities: if can { chat() } else { Capabilities::NONE },
                ..target("openai/big", tier)
            };
            (target, tags)
        },
    )
}

/// What Cedar's own authorizer says of the same question, with everything checked against the schema.
fn reference(rules: &Rules, facts: &Facts, target: &Target, tags: &[String]) -> bool {
    // Everything that a policy might ask about, whether or not one does.
    let everything: ast::Expr = "principal == context".parse().expect("an expression");
    let asking = Asking::new(facts, &Uses::of([&everything]));
    let extensions = Extensions::all_available();
    let schema = CoreSchema::new(parse::schema());
    let resource = words::target(target, tags);
    let uid = Arc::new(resource.uid().clone());
    let user = asking.user.as_deref().expect("the user is asked about").clone();
    let all = [resource, user];
    let entities = Entities::from_entities(all, Some(&schema), TCComputation::ComputeNow, extensions);
    let entities = entities.expect("the entities are as the schema says");
    let unchecked = words::request(asking.principal.clone(), asking.action, &uid, asking.context.clone());
    let uid_of = |entry: &ast::EntityUIDEntry| (entry.uid().expect("known").clone(), None);
    let request = ast::Request::new(
        uid_of(unchecked.principal()),
        uid_of(unchecked.action()),
        uid_of(unchecked.resource()),
        asking.context.clone(),
        Some(&schema),
        extensions,
    );
    let request = request.expect("the request is as the schema says");

    let mut set = ast::PolicySet::new();
    for (number, policy) in rules.policies.iter().enumerate() {
        set.add(policy.source.new_id(ast::PolicyID::from_string(format!("p{number}")))).expect("one of each");
    }
    let response = Authorizer::new().is_authorized(request, &set, &entities);
    // Cedar skips what fails; here, what fails forbids.
    let failed: HashSet<String> = response
        .diagnostics
        .errors
        .iter()
        .map(|AuthorizationError::PolicyEvaluationError { id, .. }| id.to_string())
        .collect();
    let fails_to_forbid =
        |policy: &ast::Policy| policy.effect() == Effect::Forbid && failed.contains(policy.id().as_ref());
    response.decision == Answer::Allow && !set.policies().any(fails_to_forbid)
}

proptest! {
    #[test]
    fn our_answers_are_those_of_cedars_authorizer(
        facts in any_facts(),
        (target, tags) in any_target(),
        texts in subsequence(POOL.to_vec(), 0..=8),
        without_shipped: bool,
    ) {
        let settings = Settings { without_shipped, ..Settings::default() };
        let rules = Rules::parse(&texts.join("\n"), settings).expect("valid");
        let rules = rules.with_tags([(target.id.clone(), tags.clone())]);
        let judgement = rules.resource(&target).judge(&rules.asking(&facts));
        prop_assert_eq!(judgement.outcome.is_ok(), reference(&rules, &facts, &target, &tags), "{:?}", judgement);
    }
}
