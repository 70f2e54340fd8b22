use super::*;
use inshore_domain::{Capabilities, Currency, DeviceState, Price, Principal, Profile};
use proptest::prelude::*;

fn chat() -> Capabilities {
    Capabilities::NONE.with(Capability::Chat)
}

fn target(id: &str, tier: Tier) -> Target {
    let remote = tier != Tier::Device;
    Target {
        id: TargetId(id.into()),
        tier,
        model: id.rsplit('/').next().unwrap().into(),
        aliases: Vec::new(),
        destination: remote.then(|| "api.example.test:443".into()),
        context_window: 8192,
        max_output: None,
        capabilities: chat(),
        price: remote.then_some(Price::flat(Currency::USD, 1_000_000, 2_000_000)),
        permitted_up_to: remote.then_some(Sensitivity::Internal),
        region: None,
        quality: None,
    }
}

fn facts(model: &str) -> Facts {
    Facts {
        model: model.into(),
        feature: None,
        principal: Principal::default(),
        groups: Vec::new(),
        profile: Profile::Realtime,
        sensitivity: Sensitivity::Internal,
        findings: Vec::new(),
        prompt_tokens: 100,
        prompt_tokens_at_most: 500,
        max_output_tokens: None,
        answers: 1,
        needs: chat(),
        latency_budget: None,
        quality_floor: None,
        down: Vec::new(),
        first_token: Vec::new(),
        headroom: Vec::new(),
        device: DeviceState::default(),
    }
}

/// The steps, and the code of each exclusion, as one line.
fn check(facts: &Facts, targets: &[Target], expected: &str) {
    let targets: Vec<Arc<Target>> = targets.iter().cloned().map(Arc::new).collect();
    let decision = decide(facts, &Rules::default(), &targets);
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
    let rules = Rules { default_device: Some(TargetId("device/b".into())) };
    assert_eq!(decide(&facts("auto"), &rules, &devices).steps[0].target.0, "device/b");
    let fast =
        Facts { first_token: vec![(TargetId("device/b".into()), Duration::from_millis(5))], ..facts("auto") };
    assert_eq!(decide(&fast, &Rules::default(), &devices).steps[0].target.0, "device/b");
}

fn any_target() -> impl Strategy2<Value = Target> {
    let tier = prop_oneof![Just(Tier::Device), Just(Tier::Edge), Just(Tier::Cloud)];
    let permitted =
        prop_oneof![Just(None), proptest::sample::select(Sensitivity::ALL.to_vec()).prop_map(Some)];
    (tier, permitted, any::<bool>(), any::<bool>(), 1u32..20_000, 0u64..10_000_000).prop_map(
        |(tier, permitted, can, priced, window, amount)| {
            let mut target = target("x/y", tier);
            target.permitted_up_to = permitted;
            target.capabilities = if can { chat() } else { Capabilities::NONE };
            target.price = priced.then_some(Price::flat(Currency::USD, amount, amount));
            target.context_window = window;
            target
        },
    )
}

use proptest::strategy::Strategy as Strategy2;

fn any_case() -> impl Strategy2<Value = (Facts, Vec<Arc<Target>>)> {
    let targets = proptest::collection::vec(any_target(), 0..7);
    let sensitivity = proptest::sample::select(Sensitivity::ALL.to_vec());
    let model = proptest::sample::select(vec!["auto", "device", "cloud", "edge", "t/0", "t/1", "none"]);
    (targets, sensitivity, model, 0u32..20_000, any::<u8>()).prop_map(
        |(targets, sensitivity, model, tokens, down)| {
            let targets: Vec<Arc<Target>> = targets
                .into_iter()
                .enumerate()
                .map(|(i, target)| Arc::new(Target { id: TargetId(format!("t/{i}")), ..target }))
                .collect();
            let down = (0..7).filter(|i| down >> i & 1 == 1).map(|i| TargetId(format!("t/{i}"))).collect();
            (Facts { sensitivity, prompt_tokens: tokens, down, ..facts(model) }, targets)
        },
    )
}

proptest! {
    #[test]
    fn restricted_text_never_leaves_the_device((facts, targets) in any_case()) {
        let facts = Facts { sensitivity: Sensitivity::Restricted, ..facts };
        for step in decide(&facts, &Rules::default(), &targets).steps {
            let target = targets.iter().find(|target| target.id == step.target).unwrap();
            prop_assert_eq!(target.tier, Tier::Device);
        }
    }

    #[test]
    fn nothing_leaves_without_a_permission_that_covers_it((facts, targets) in any_case()) {
        for step in decide(&facts, &Rules::default(), &targets).steps {
            let target = targets.iter().find(|target| target.id == step.target).unwrap();
            prop_assert!(target.tier == Tier::Device || target.permitted_up_to.is_some_and(|up_to| facts.sensitivity <= up_to));
        }
    }

    #[test]
    fn the_decision_is_deterministic_and_complete((facts, targets) in any_case()) {
        let decision = decide(&facts, &Rules::default(), &targets);
        prop_assert_eq!(&decision, &decide(&facts, &Rules::default(), &targets));
        prop_assert_eq!(decision.verdicts.len(), targets.len());
        let mut places: Vec<usize> = decision.verdicts.iter().filter_map(|verdict| verdict.outcome.clone().ok()).collect();
        places.sort_unstable();
        prop_assert_eq!(places, (0..decision.steps.len()).collect::<Vec<_>>());
    }

    #[test]
    fn one_exclusion_more_never_lets_another_in((facts, targets) in any_case(), which in 0usize..7) {
        let before = decide(&facts, &Rules::default(), &targets);
        let mut stricter = facts;
        stricter.down.push(TargetId(format!("t/{which}")));
        for step in decide(&stricter, &Rules::default(), &targets).steps {
            prop_assert!(before.steps.contains(&step));
        }
    }
}
