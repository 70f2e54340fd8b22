mod language;
mod reference;

use super::*;
use crate::samples::{facts, target};
use inshore_domain::{Capabilities, Capability, Principal, Sensitivity, Tier};

fn read(text: &str) -> Rules {
    Rules::parse(text, Settings::default()).expect("valid")
}

/// What the policies say of one target: `ok` or the reasons, and the policies that say so.
fn judged(rules: &Rules, facts: &Facts, target: &Target) -> String {
    let judgement = rules.resource(target).judge(&rules.asking(facts));
    let outcome = judgement.outcome.map_or_else(|reasons| reasons.join("; "), |()| "ok".into());
    format!("{outcome} | {}", judgement.policies.join(" "))
}

fn check(facts: &Facts, target: &Target, expected: &str) {
    assert_eq!(judged(&Rules::default(), facts, target), expected);
}

fn device() -> Target {
    target("device/small", Tier::Device)
}

fn cloud(up_to: Option<Sensitivity>) -> Target {
    Target { permitted_up_to: up_to, ..target("openai/big", Tier::Cloud) }
}

fn text(sensitivity: Sensitivity) -> Facts {
    Facts { sensitivity, ..facts("auto") }
}

#[test]
fn the_device_is_always_permitted() {
    for sensitivity in Sensitivity::ALL {
        check(&text(sensitivity), &device(), "ok | device");
    }
    let everything = Facts { egress: false, regions: Some(Vec::new()), ..text(Sensitivity::Restricted) };
    check(&everything, &device(), "ok | device");
    let embedding = Facts { needs: Capabilities::NONE.with(Capability::Embeddings), ..facts("auto") };
    check(&embedding, &device(), "ok | device");
}

#[test]
fn other_destinations_need_consent_that_covers_the_text() {
    use Sensitivity::{Confidential, Internal, Public};
    let edge = |up_to| Target { tier: Tier::Edge, ..cloud(up_to) };
    for make in [&cloud as &dyn Fn(_) -> _, &edge] {
        check(&text(Public), &make(Some(Public)), "ok | consent");
        check(&text(Internal), &make(Some(Internal)), "ok | consent");
        check(&text(Internal), &make(Some(Public)), " | ");
        check(&text(Public), &make(None), " | ");
        check(&text(Confidential), &make(Some(Confidential)), "ok | consent");
    }
}

#[test]
fn confidential_text_goes_only_where_it_is_declared() {
    let reason = "confidential text only goes to destinations that are declared for it (`confidential`)";
    let expected = format!("{reason} | confidential");
    check(&text(Sensitivity::Confidential), &cloud(Some(Sensitivity::Internal)), &expected);
    check(&text(Sensitivity::Confidential), &cloud(None), &expected);
    // Also when somebody's own policy would let it through.
    let rules = read("permit (principal, action, resource);");
    let found = judged(&rules, &text(Sensitivity::Confidential), &cloud(Some(Sensitivity::Internal)));
    assert_eq!(found, expected);
}

#[test]
fn restricted_text_stays_here() {
    let found =
        judged(&Rules::default(), &text(Sensitivity::Restricted), &cloud(Some(Sensitivity::Restricted)));
    assert_eq!(found, "restricted text never leaves the device (`restricted`) | restricted");
}

#[test]
fn work_is_done_in_the_regions_that_were_named() {
    let regions = |regions: &[&str]| Facts {
        regions: Some(regions.iter().map(|region| (*region).to_owned()).collect()),
        ..facts("auto")
    };
    let there = |region: Option<&str>| Target {
        region: region.map(str::to_owned),
        ..cloud(Some(Sensitivity::Internal))
    };
    let out =
        "this target is not known to be in a region where the work may be done (`residency`) | residency";
    check(&regions(&["eu", "ch"]), &there(Some("eu")), "ok | consent");
    check(&regions(&["eu", "ch"]), &there(Some("us")), out);
    check(&regions(&["eu", "ch"]), &there(None), out);
    check(&regions(&[]), &there(Some("eu")), out);
    check(&facts("auto"), &there(None), "ok | consent");
}

#[test]
fn a_feature_can_be_switched_to_the_device_alone() {
    let found = Facts { egress: false, ..facts("auto") };
    let out = "this feature is switched to the device alone (`egress`) | egress";
    check(&found, &cloud(Some(Sensitivity::Confidential)), out);
}

#[test]
fn the_examples_beside_the_shipped_policies_do_what_they_say() {
    let examples: Vec<&str> = SHIPPED
        .lines()
        .skip_while(|line| !line.starts_with("// Examples"))
        .skip(1)
        .map(|line| line.trim_start_matches("//"))
        .collect();
    let rules = read(&examples.join("\n"));
    assert_eq!(rules.policies().skip(6).collect::<Vec<_>>(), ["metered", "battery", "premium"]);
    let there = cloud(Some(Sensitivity::Internal));

    let mut found = facts("auto");
    found.prompt_tokens = 4001;
    assert_eq!(judged(&rules, &found, &there), "ok | consent");
    found.device.metered = Some(true);
    assert!(judged(&rules, &found, &there).ends_with("| metered"));

    let mut found = facts("auto");
    found.device.battery_percent = Some(14);
    assert_eq!(judged(&rules, &found, &device()), "ok | device");
    found.device.on_battery = Some(true);
    assert!(judged(&rules, &found, &device()).ends_with("| battery"));
    assert_eq!(judged(&rules, &found, &there), "ok | consent");

    let rules = rules.with_tags([(there.id.clone(), vec!["premium".to_owned()])]);
    assert!(judged(&rules, &facts("auto"), &there).ends_with("| premium"));
    let premium = Facts { groups: vec!["premium".into()], ..facts("auto") };
    assert_eq!(judged(&rules, &premium, &there), "ok | consent");
}

#[test]
fn people_apps_and_organisations_are_told_apart() {
    let rules = Rules::parse(
        r#"
        @id("user") permit (principal == User::"anna", action, resource);
        @id("app") permit (principal in App::"mail", action, resource);
        @id("organisation") permit (principal in Organisation::"acme", action, resource);
        @id("nobody") permit (principal, action == Action::"infer", resource) when { !(principal has name) };
        @id("embed") permit (principal is User, action == Action::"embed", resource is Target in Tier::"cloud");
        "#,
        Settings { without_shipped: true, ..Settings::default() },
    )
    .expect("valid");
    let who = |app: &str, user: Option<&str>, organisation: Option<&str>| Facts {
        principal: Principal {
            app: app.into(),
            user: user.map(str::to_owned),
            organisation: organisation.map(str::to_owned),
        },
        ..facts("auto")
    };
    let there = cloud(None);
    assert_eq!(
        judged(&rules, &who("mail", Some("anna"), Some("acme")), &there),
        "ok | user app organisation"
    );
    assert_eq!(judged(&rules, &who("acme", Some("mail"), Some("anna")), &there), " | ");
    assert_eq!(judged(&rules, &who("x", None, None), &there), "ok | nobody");
    let embedding = Facts { needs: Capabilities::NONE.with(Capability::Embeddings), ..who("x", None, None) };
    assert_eq!(judged(&rules, &embedding, &there), "ok | embed");
    assert_eq!(judged(&rules, &embedding, &device()), " | ");
}

#[test]
fn a_policy_that_fails_permits_nothing_and_is_named() {
    let overflow = "context.answers * 9223372036854775807 > 2";
    let alone = |text: &str| {
        Rules::parse(text, Settings { without_shipped: true, ..Settings::default() }).expect("valid")
    };
    let found = Facts { answers: 2, ..facts("auto") };
    let failed = "could not be evaluated: integer overflow";

    let forbid = format!("@id(\"f\") forbid (principal, action, resource) when {{ {overflow} }};");
    let judgement = judged(&read(&forbid), &found, &device());
    assert!(judgement.starts_with(&format!("`f` {failed}")) && judgement.ends_with("| f"), "{judgement}");

    let permit = format!("@id(\"p\") permit (principal, action, resource) when {{ {overflow} }};");
    let judgement = judged(&alone(&permit), &found, &device());
    assert!(judgement.starts_with(&format!("`p` {failed}")) && judgement.ends_with("| p"), "{judgement}");
    // Another permit is enough.
    assert_eq!(judged(&read(&permit), &found, &device()), "ok | device");
    // Without the overflow they apply as written.
    assert_eq!(judged(&alone(&permit), &facts("auto"), &device()), "ok | p");
}

#[test]
fn every_policy_has_a_stable_name() {
    let rules = read(
        "permit (principal, action, resource);\n\n  @id(\"mine\")\npermit (principal, action, resource);\n// x\nforbid (principal, action, resource);",
    );
    let names: Vec<&str> = rules.policies().collect();
    let shipped = ["device", "consent", "restricted", "confidential", "residency", "egress"];
    assert_eq!(names[..6], shipped);
    assert_eq!(names[6..], ["policy-1-line-1", "mine", "policy-3-line-6"]);
    assert_eq!(Rules::default().policies().collect::<Vec<_>>(), shipped);
}

#[test]
fn facts_are_completed_with_groups_feature_and_preference() {
    let settings = Settings {
        groups: BTreeMap::from([("anna".to_owned(), vec!["premium".to_owned()])]),
        ..Settings::default()
    };
    let rules = Rules::shipped(settings);
    let mut found = Facts { feature: Some("bulk-classify".into()), ..facts("auto") };
    found.principal.user = Some("anna".into());
    rules.complete(&mut found);
    assert_eq!(found.groups, ["premium"]);
    assert_eq!((found.max_output_tokens, found.prefer), (Some(64), Some(inshore_domain::Prefer::Cost)));
    let mut found = Facts { feature: Some("unheard-of".into()), ..facts("auto") };
    rules.complete(&mut found);
    assert_eq!(
        found,
        Facts {
            feature: found.feature.clone(),
            prefer: Some(inshore_domain::Prefer::Local),
            ..facts("auto")
        }
    );
}

#[test]
fn a_policy_that_names_a_target_speaks_of_all_its_endpoints_and_one_that_names_an_endpoint_of_that() {
    let at = |region: &str| Target {
        id: TargetId(format!("openai/big@{region}")),
        endpoint_of: Some(TargetId("openai/big".into())),
        region: Some(region.into()),
        ..cloud(Some(Sensitivity::Internal))
    };
    let named = |head: &str, condition: &str| {
        let rules = read(&format!("@id(\"no\") forbid (principal, action, {head}) when {{ {condition} }};"));
        let out = |place: &Target| judged(&rules, &facts("auto"), place) == "`no` | no";
        (out(&at("eu")), out(&at("us")))
    };
    let (all, eu, none) = ((true, true), (true, false), (false, false));
    for (head, condition, expected) in [
        ("resource == Target::\"openai/big\"", "true", all),
        ("resource in Target::\"openai/big\"", "true", all),
        ("resource", "resource == Target::\"openai/big\"", all),
        ("resource", "[Target::\"openai/big\"].contains(resource)", all),
        ("resource", "resource.id == \"openai/big\"", all),
        ("resource", "resource != Target::\"openai/small\"", all),
        ("resource == Target::\"openai/big@eu\"", "true", eu),
        ("resource in Target::\"openai/big@eu\"", "true", eu),
        ("resource", "resource in Target::\"openai/big@eu\"", eu),
        ("resource", "resource has region && resource.region == \"eu\"", eu),
        ("resource == Target::\"openai/bi\"", "true", none),
        ("resource == Target::\"openai/big@in\"", "true", none),
    ] {
        assert_eq!(named(head, condition), expected, "{head} {condition}");
    }
    let allowed = read("permit (principal, action, resource == Target::\"openai/big\");");
    assert_eq!(judged(&allowed, &text(Sensitivity::Internal), &at("us")), "ok | consent policy-1-line-1");
}
