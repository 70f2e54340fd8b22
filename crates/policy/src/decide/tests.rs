mod properties;

use std::time::Duration;

use super::*;
use crate::rules::Settings;
use crate::samples::{facts, target};
use inshore_domain::{
    Capabilities, Claim, Currency, DeviceState, Headroom, Measure, Prefer, Price, Sensitivity, TargetId,
    Tier, Timestamp, Window,
};

/// The steps, and the code of each exclusion, as one line.
fn check(facts: &Facts, targets: &[Target], expected: &str) {
    check_with(&Rules::default(), facts, targets, expected);
}

fn check_with(rules: &Rules, facts: &Facts, targets: &[Target], expected: &str) {
    let targets: Vec<Arc<Target>> = targets.iter().cloned().map(Arc::new).collect();
    let decision = decide(facts, rules, &targets);
    let steps: Vec<&str> = decision.steps.iter().map(|step| step.target.0.as_str()).collect();
    let out: Vec<String> = decision
        .verdicts
        .iter()
        .filter_map(|verdict| Some(format!("{}:{}", verdict.target, verdict.outcome.as_ref().err()?.code())))
        .collect();
    assert_eq!(format!("{} | {}", steps.join(" > "), out.join(" ")).trim(), expected);
}

fn three() -> Vec<Target> {
    vec![
        target("openai/big", Tier::Cloud),
        target("box/mid", Tier::Edge),
        target("device/small", Tier::Device),
    ]
}

#[test]
fn auto_prefers_the_nearer_tier_and_falls_back_outwards() {
    check(&facts("auto"), &three(), "device/small > box/mid > openai/big |");
}

#[test]
fn a_name_asks_for_one_target_and_a_tier_for_its_tier() {
    check(&facts("big"), &three(), "openai/big | box/mid:not_asked device/small:not_asked");
    check(&facts("box/mid"), &three(), "box/mid | openai/big:not_asked device/small:not_asked");
    check(&facts("device"), &three(), "device/small | openai/big:not_asked box/mid:not_asked");
    check(&facts("gpt-9"), &three(), "| openai/big:not_asked box/mid:not_asked device/small:not_asked");
}

#[test]
fn sensitive_text_stays_here_even_when_the_cloud_is_asked_for() {
    let confidential = Facts { sensitivity: Sensitivity::Confidential, ..facts("auto") };
    check(&confidential, &three(), "device/small | openai/big:too_sensitive box/mid:too_sensitive");
    let asked = Facts { model: "big".into(), ..confidential };
    check(&asked, &three(), "| openai/big:too_sensitive box/mid:not_asked device/small:not_asked");
}

#[test]
fn what_the_config_does_not_permit_is_out() {
    let mut targets = three();
    targets[0].permitted_up_to = None;
    targets[1].price = None;
    check(&facts("auto"), &targets, "device/small | openai/big:not_permitted box/mid:no_price");
}

#[test]
fn down_incapable_and_too_small_targets_are_out() {
    let mut targets = three();
    targets[1].context_window = 64;
    targets[2].capabilities = Capabilities::NONE;
    let facts = Facts { down: vec![TargetId("openai/big".into())], ..facts("auto") };
    check(&facts, &targets, "| openai/big:down box/mid:context_too_small device/small:incapable");
}

#[test]
fn a_missed_latency_budget_moves_a_target_back_but_not_out() {
    let slow = (TargetId("device/small".into()), Duration::from_millis(900));
    let facts =
        Facts { latency_budget: Some(Duration::from_millis(300)), first_token: vec![slow], ..facts("auto") };
    check(&facts, &three(), "box/mid > openai/big > device/small |");
}

#[test]
fn within_a_tier_the_default_then_the_cheaper_then_the_faster_comes_first() {
    let mut dear = target("cloud/dear", Tier::Cloud);
    dear.price = Some(Price::flat(Currency::USD, 9_000_000, 9_000_000));
    check(&facts("cloud"), &[dear, target("cloud/cheap", Tier::Cloud)], "cloud/cheap > cloud/dear |");

    let devices: Vec<Arc<Target>> =
        [target("device/a", Tier::Device), target("device/b", Tier::Device)].map(Arc::new).to_vec();
    let rules =
        Rules::shipped(Settings { default_device: Some(TargetId("device/b".into())), ..Settings::default() });
    assert_eq!(decide(&facts("auto"), &rules, &devices).steps[0].target.0, "device/b");
    let fast =
        Facts { first_token: vec![(TargetId("device/b".into()), Duration::from_millis(5))], ..facts("auto") };
    assert_eq!(decide(&fast, &Rules::default(), &devices).steps[0].target.0, "device/b");
}

fn id(id: &str) -> TargetId {
    TargetId(id.into())
}

fn after(id: &str, millis: u64) -> (TargetId, Duration) {
    (TargetId(id.into()), Duration::from_millis(millis))
}

#[test]
fn a_target_that_is_known_to_be_late_is_out_when_another_is_known_to_be_in_time() {
    let facts = Facts {
        latency_budget: Some(Duration::from_millis(300)),
        first_token: vec![after("device/small", 900), after("openai/big", 200)],
        ..facts("auto")
    };
    check(&facts, &three(), "box/mid > openai/big | device/small:too_slow");
    // Nobody is in time: the best there is, by what is preferred.
    let all_late = Facts { latency_budget: Some(Duration::from_millis(100)), ..facts.clone() };
    check(&all_late, &three()[..1], "openai/big |");
    let objective = Objective { misses: Misses::Last, ..Objective::default() };
    let rules = Rules::shipped(Settings { objective, ..Settings::default() });
    check_with(&rules, &facts, &three(), "box/mid > openai/big > device/small |");
}

#[test]
fn quality_below_the_floor_is_out_when_another_is_known_to_reach_it() {
    let mut targets = three();
    targets[2].quality = Some(20);
    let facts = Facts { quality_floor: Some(50), ..facts("auto") };
    // Unknown quality passes, and is no proof that there is a better target.
    check(&facts, &targets, "box/mid > openai/big > device/small |");
    targets[0].quality = Some(50);
    check(&facts, &targets, "box/mid > openai/big | device/small:below_quality");
    targets[0].quality = Some(49);
    targets[1].quality = Some(30);
    check(&facts, &targets, "device/small > box/mid > openai/big |");
}

#[test]
fn being_in_time_does_not_make_up_for_bad_answers() {
    let mut targets = three();
    targets[2].quality = Some(20);
    let facts = Facts {
        quality_floor: Some(50),
        latency_budget: Some(Duration::from_millis(300)),
        first_token: vec![after("device/small", 100), after("openai/big", 900), after("box/mid", 900)],
        ..facts("auto")
    };
    // The only target in time is the one that is known to be bad.
    check(&facts, &targets, "box/mid > openai/big > device/small |");
    targets[2].quality = None;
    check(&facts, &targets, "device/small | openai/big:too_slow box/mid:too_slow");
}

#[test]
fn each_preference_has_its_order() {
    let mut targets = three();
    targets[0].quality = Some(90);
    targets[1].quality = Some(60);
    targets[1].price = Some(Price::flat(Currency::USD, 10_000_000, 10_000_000));
    let facts = Facts {
        first_token: vec![after("box/mid", 100), after("openai/big", 400), after("device/small", 800)],
        ..facts("auto")
    };
    for (prefer, expected) in [
        (Prefer::Local, "device/small > box/mid > openai/big |"),
        (Prefer::Cost, "device/small > openai/big > box/mid |"),
        (Prefer::Speed, "box/mid > openai/big > device/small |"),
        (Prefer::Quality, "openai/big > box/mid > device/small |"),
    ] {
        check(&Facts { prefer: Some(prefer), ..facts.clone() }, &targets, expected);
        let objective = Objective { prefer, ..Objective::default() };
        let rules = Rules::shipped(Settings { objective, ..Settings::default() });
        check_with(&rules, &facts, &targets, expected);
    }
}

#[test]
fn a_direct_strategy_takes_one_step_and_the_others_keep_their_places() {
    let facts = Facts { strategy: Some(Strategy::Direct), ..facts("auto") };
    let targets: Vec<Arc<Target>> = three().into_iter().map(Arc::new).collect();
    let decision = decide(&facts, &Rules::default(), &targets);
    assert_eq!(decision.steps, [Step { target: id("device/small") }]);
    assert_eq!(decision.strategy, Strategy::Direct);
    let places: Vec<_> = decision.verdicts.into_iter().map(|verdict| verdict.outcome).collect();
    assert_eq!(places, [Ok(2), Ok(1), Ok(0)]);
}

#[test]
fn a_draft_is_made_on_the_device_and_only_what_is_better_takes_its_place() {
    let mut targets = three();
    let draft = Facts { strategy: Some(Strategy::Draft), prefer: Some(Prefer::Quality), ..facts("auto") };
    let steps = |facts: &Facts, targets: &[Target]| {
        let targets: Vec<Arc<Target>> = targets.iter().cloned().map(Arc::new).collect();
        let decision = decide(facts, &Rules::default(), &targets);
        let names: Vec<String> = decision.steps.iter().map(|step| step.target.to_string()).collect();
        (decision.strategy, names.join(" > "))
    };
    // What is farther away is taken for larger, unless more is known.
    assert_eq!(steps(&draft, &targets), (Strategy::Draft, "device/small > box/mid > openai/big".into()));
    for (target, quality) in targets.iter_mut().zip([90, 20, 30]) {
        target.quality = Some(quality);
    }
    assert_eq!(steps(&draft, &targets), (Strategy::Draft, "device/small > openai/big".into()));
    // Neither floor nor deadline leaves one of the two out: each is there for the other's weakness.
    let strict = Facts {
        quality_floor: Some(80),
        latency_budget: Some(Duration::from_millis(50)),
        first_token: vec![(id("openai/big"), Duration::from_secs(2))],
        ..draft.clone()
    };
    assert_eq!(steps(&strict, &targets).1, "device/small > openai/big");
    // Several answers, or nothing better: as if it had not been asked for.
    assert_eq!(steps(&Facts { answers: 2, ..draft.clone() }, &targets).0, Strategy::Fallback);
    assert_eq!(steps(&Facts { model: "device".into(), ..draft }, &targets).0, Strategy::Direct);
}

#[test]
fn a_cascade_begins_with_the_smallest() {
    let facts = Facts { strategy: Some(Strategy::Cascade), prefer: Some(Prefer::Quality), ..facts("auto") };
    let targets: Vec<Arc<Target>> = three().into_iter().map(Arc::new).collect();
    let decision = decide(&facts, &Rules::default(), &targets);
    let steps: Vec<&str> = decision.steps.iter().map(|step| step.target.0.as_str()).collect();
    assert_eq!(
        (decision.strategy, steps),
        (Strategy::Cascade, vec!["device/small", "box/mid", "openai/big"])
    );
}

#[test]
fn a_split_request_is_answered_elsewhere_and_by_the_device_when_nobody_else_does() {
    let split = |facts: Facts| Facts { strategy: Some(Strategy::Split), ..facts };
    let steps = |facts: &Facts, targets: Vec<Target>| {
        let targets: Vec<Arc<Target>> = targets.into_iter().map(Arc::new).collect();
        let decision = decide(facts, &Rules::default(), &targets);
        let steps: Vec<String> = decision.steps.iter().map(|step| step.target.0.clone()).collect();
        (decision.strategy, steps.join(" "))
    };
    let asked = split(facts("auto"));
    assert_eq!(steps(&asked, three()), (Strategy::Split, "box/mid openai/big device/small".into()));
    let best = Facts { prefer: Some(Prefer::Quality), answers: 2, ..asked.clone() };
    assert_eq!(steps(&best, three()).0, Strategy::Split);
    assert_eq!(steps(&asked, vec![three().remove(2)]), (Strategy::Direct, "device/small".into()));
    let here = Facts { egress: false, ..asked };
    assert_eq!(steps(&here, three()), (Strategy::Direct, "device/small".into()));
}

#[test]
fn offline_leaves_what_is_on_this_machine() {
    let mut targets = three();
    targets[1].destination = Some("127.0.0.1:11434".into());
    let device = DeviceState { offline: true, ..DeviceState::default() };
    check(&Facts { device, ..facts("auto") }, &targets, "device/small > box/mid | openai/big:offline");
}

fn headroom(target: &str, measure: Measure, left: u64) -> Headroom {
    let claim = Claim {
        cap: "monthly".into(),
        subject: String::new(),
        measure,
        window: Window::Month,
        since: Timestamp::default(),
        renews: None,
        limit: 1_000_000,
        warn_at: None,
    };
    Headroom { target: id(target), claim, left }
}

#[test]
fn a_target_whose_worst_case_does_not_fit_into_its_caps_is_out() {
    // 500 prompt tokens at 1 and 100 of an answer at 2 micro-units.
    let asked = Facts { max_output_tokens: Some(100), ..facts("auto") };
    let with =
        |measure, left| Facts { headroom: vec![headroom("openai/big", measure, left)], ..asked.clone() };
    let (fits, over) =
        ("device/small > box/mid > openai/big |", "device/small > box/mid | openai/big:over_cap");
    for (measure, needed) in
        [(Measure::Money, 700), (Measure::Tokens, 600), (Measure::Calls, 1), (Measure::BytesOut, 1_000)]
    {
        check(&with(measure, needed), &three(), fits);
        check(&with(measure, needed - 1), &three(), over);
    }
    let targets: Vec<Arc<Target>> = three().into_iter().map(Arc::new).collect();
    let decision = decide(&with(Measure::Money, 699), &Rules::default(), &targets);
    assert_eq!(
        decision.verdicts[0].outcome.as_ref().expect_err("over its cap").to_string(),
        "the cap `monthly` has 0.000699 left and the request may need 0.000700"
    );
}

#[test]
fn every_permitted_target_has_an_estimate_and_its_policies() {
    let mut targets = three();
    targets[0].quality = Some(80);
    let facts = Facts { first_token: vec![after("openai/big", 400)], ..facts("auto") };
    let targets: Vec<Arc<Target>> = targets.into_iter().map(Arc::new).collect();
    let decision = decide(&facts, &Rules::default(), &targets);
    let cloud = &decision.verdicts[0];
    assert_eq!(cloud.policies, ["consent"]);
    let money = |micros| Money { micros, currency: Currency::USD };
    let expected = Estimate {
        cost: money(100 + 512 * 2),
        cost_at_most: money(500 + 8192 * 2),
        first_token: Some(Duration::from_millis(400)),
        quality: Some(80),
    };
    assert_eq!(cloud.estimate, Some(expected));
    let device = &decision.verdicts[2];
    assert_eq!(device.policies, ["device"]);
    assert_eq!(
        device.estimate.map(|estimate| (estimate.cost, estimate.cost_at_most)),
        Some((Money::ZERO, Money::ZERO))
    );
    let foreign = Facts { sensitivity: Sensitivity::Restricted, ..facts };
    let decision = decide(&foreign, &Rules::default(), &targets);
    assert_eq!((decision.verdicts[0].estimate, decision.verdicts[0].policies.len()), (None, 0));
}

#[test]
fn a_policy_can_close_the_device() {
    let text = r#"@reason("not here") forbid (principal, action, resource == Target::"device/small");"#;
    let rules = Rules::parse(text, Settings::default()).expect("valid");
    check_with(&rules, &facts("auto"), &three(), "box/mid > openai/big | device/small:forbidden");
    let targets: Vec<Arc<Target>> = three().into_iter().map(Arc::new).collect();
    let decision = decide(&facts("auto"), &rules, &targets);
    assert_eq!(decision.verdicts[2].policies, ["policy-1-line-1"]);
    let reason = decision.verdicts[2].outcome.as_ref().expect_err("forbidden").to_string();
    assert_eq!(reason, "forbidden: not here (`policy-1-line-1`)");
}

#[test]
fn without_any_policy_nothing_is_permitted() {
    let rules = Rules::parse("", Settings { without_shipped: true, ..Settings::default() }).expect("valid");
    check_with(
        &rules,
        &facts("auto"),
        &three(),
        "| openai/big:forbidden box/mid:forbidden device/small:forbidden",
    );
}

/// The ladder from the cloud down to the device is nothing but the order of the steps.
#[test]
fn as_targets_drop_out_the_next_of_the_same_order_is_left() {
    let mut targets = three();
    targets.push(target("openai/small", Tier::Cloud));
    for (target, quality) in targets.iter_mut().zip([90, 60, 20, 50]) {
        target.quality = Some(quality);
    }
    let best = Facts { prefer: Some(Prefer::Quality), ..facts("auto") };
    check(&best, &targets, "openai/big > box/mid > openai/small > device/small |");
    let down = Facts { down: vec![id("openai/big")], ..best.clone() };
    check(&down, &targets, "box/mid > openai/small > device/small | openai/big:down");
    let spent = Facts { headroom: vec![headroom("openai/small", Measure::Calls, 0)], ..down };
    check(&spent, &targets, "box/mid > device/small | openai/big:down openai/small:over_cap");
    let device = DeviceState { offline: true, ..DeviceState::default() };
    let offline = Facts { device, ..best };
    check(&offline, &targets, "device/small | openai/big:offline box/mid:offline openai/small:offline");
}

/// A target with endpoints in these regions.
fn endpoints<const N: usize>(regions: [&str; N]) -> Vec<Target> {
    let at = |region: &str| Target {
        endpoint_of: Some(TargetId("openai/big".into())),
        region: Some(region.into()),
        model: "big".into(),
        aliases: vec!["large".into()],
        ..target(&format!("openai/big@{region}"), Tier::Cloud)
    };
    regions.map(at).to_vec()
}

#[test]
fn the_name_of_a_target_asks_for_all_of_its_endpoints_and_that_of_one_for_one() {
    let targets = endpoints(["eu", "us"]);
    for name in ["openai/big", "big", "large", "auto", "cloud"] {
        check(&facts(name), &targets, "openai/big@eu > openai/big@us |");
    }
    check(&facts("openai/big@us"), &targets, "openai/big@us | openai/big@eu:not_asked");
}

#[test]
fn the_nearest_endpoint_comes_first_and_the_next_one_when_it_is_down() {
    let targets = endpoints(["eu", "us", "in"]);
    let measured = Facts {
        first_token: vec![
            after("openai/big@eu", 300),
            after("openai/big@us", 100),
            after("openai/big@in", 200),
        ],
        ..facts("openai/big")
    };
    check(&measured, &targets, "openai/big@us > openai/big@in > openai/big@eu |");
    let down = Facts { down: vec![TargetId("openai/big@us".into())], ..measured.clone() };
    check(&down, &targets, "openai/big@in > openai/big@eu | openai/big@us:down");
    let at_home = Facts { regions: Some(vec!["eu".into()]), ..measured };
    check(&at_home, &targets, "openai/big@eu | openai/big@us:forbidden openai/big@in:forbidden");
}

#[test]
fn an_endpoint_that_was_never_tried_is_given_the_chance_unless_it_failed() {
    let mut targets = endpoints(["eu", "us"]);
    targets.push(target("other/big", Tier::Cloud));
    let mut facts =
        Facts { first_token: vec![after("openai/big@eu", 300), after("other/big", 200)], ..facts("cloud") };
    // It is not expected to be sooner than what is known to be.
    check(&facts, &targets, "other/big > openai/big@us > openai/big@eu |");
    facts.failing = vec![TargetId("openai/big@us".into())];
    check(&facts, &targets, "other/big > openai/big@eu > openai/big@us |");
    // What is no endpoint keeps its place behind what was measured.
    facts.first_token = vec![after("openai/big@eu", 300)];
    facts.failing.clear();
    check(&facts, &targets, "openai/big@us > openai/big@eu > other/big |");
}
