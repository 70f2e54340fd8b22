//! What holds for every request, every set of targets, and policies of every kind.

use super::*;
use crate::samples::chat;
use inshore_domain::Principal;
use inshore_domain::Strategy;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
// The domain has a Strategy too.
use proptest::strategy::Strategy as Gen;

/// Policies that would give everything away, take everything, or cannot be evaluated.
const HOSTILE: [&str; 8] = [
    "",
    "permit (principal, action, resource);",
    r#"permit (principal, action, resource) unless { resource in Tier::"device" };"#,
    "permit (principal, action, resource) when { context.sensitivity >= 0 };",
    r#"permit (principal == User::"anna", action, resource); permit (principal in Group::"premium", action, resource);"#,
    r#"permit (principal, action, resource); forbid (principal, action, resource in Tier::"device");"#,
    "permit (principal, action, resource); forbid (principal, action, resource) when { context.answers * 9223372036854775807 > 2 };",
    "permit (principal, action, resource) when { context.answers * 9223372036854775807 > 2 };",
];

/// Forbids of every form.
const FORBIDS: [&str; 8] = [
    "forbid (principal, action, resource);",
    r#"forbid (principal, action, resource in Tier::"cloud");"#,
    r#"forbid (principal, action, resource == Target::"t/1");"#,
    r#"forbid (principal in Group::"premium", action, resource) unless { resource.free };"#,
    r#"forbid (principal, action == Action::"embed", resource);"#,
    "forbid (principal, action, resource) when { resource has quality && resource.quality < 50 };",
    "forbid (principal, action, resource) when { context.offline || context.prompt_tokens > 5000 };",
    "forbid (principal, action, resource) when { context.answers * 9223372036854775807 > 2 };",
];

fn any_rules() -> impl Gen<Value = Rules> {
    let prefer = select(Prefer::ALL.to_vec());
    let misses = select(vec![Misses::Out, Misses::Last]);
    (select(HOSTILE.to_vec()), any::<bool>(), prefer, misses, 0..4_usize).prop_map(
        |(text, without_shipped, prefer, misses, default)| {
            let settings = Settings {
                default_device: Some(id(&format!("t/{default}"))),
                objective: Objective { prefer, misses },
                without_shipped,
                ..Settings::default()
            };
            Rules::parse(text, settings).expect("valid")
        },
    )
}

fn with(rules: &Rules, text: &str, forbid: &str) -> Rules {
    Rules::parse(&format!("{text}\n{forbid}"), rules.settings().clone()).expect("valid")
}

fn any_target() -> impl Gen<Value = Target> {
    let tier = prop_oneof![Just(Tier::Device), Just(Tier::Edge), Just(Tier::Cloud)];
    let permitted = option::weighted(0.8, select(Sensitivity::ALL.to_vec()));
    let region = option::of(select(vec!["eu".to_owned(), "us".to_owned()]));
    let quality = option::of(0..=100_u8);
    let amount = prop_oneof![Just(0), 0..10_000_000_u64];
    (tier, permitted, any::<u8>(), 1..20_000_u32, amount, region, quality, any::<bool>()).prop_map(
        |(tier, permitted, odd, window, amount, region, quality, loopback)| {
            let mut target = target("x/y", tier);
            target.permitted_up_to = permitted;
            target.capabilities = if odd % 16 == 0 { Capabilities::NONE } else { chat() };
            target.price = (odd % 16 != 1).then_some(Price::flat(Currency::USD, amount, amount));
            target.context_window = window;
            target.region = region;
            target.quality = quality;
            if loopback && tier == Tier::Edge {
                target.destination = Some("localhost:8080".into());
            }
            target
        },
    )
}

fn any_targets() -> impl Gen<Value = Vec<Arc<Target>>> {
    proptest::collection::vec(any_target(), 0..7).prop_map(|targets| {
        let named = |(i, target)| Arc::new(Target { id: id(&format!("t/{i}")), ..target });
        targets.into_iter().enumerate().map(named).collect()
    })
}

fn any_facts() -> impl Gen<Value = Facts> {
    let model = select(vec!["auto", "auto", "device", "cloud", "edge", "t/0", "t/1", "none"]);
    let asked = (
        model,
        select(Sensitivity::ALL.to_vec()),
        option::of(select(Prefer::ALL.to_vec())),
        option::of(select(Strategy::ALL.to_vec())),
        option::of(proptest::collection::vec(select(vec!["eu".to_owned(), "us".to_owned()]), 0..2)),
        (any::<bool>(), any::<bool>(), any::<bool>()),
    );
    let numbers = (0..20_000_u32, 1..4_u32, option::of(0..=100_u8), option::of(1..1_000_u64));
    let seen = (
        any::<u8>().prop_map(|bits| bits & bits.rotate_left(3)),
        proptest::collection::vec(option::of(1..1_000_u64), 7),
        proptest::collection::vec(option::weighted(0.2, 0..40_000_u64), 7),
    );
    (asked, numbers, seen).prop_map(|(asked, numbers, (down, latencies, left))| {
        let (model, sensitivity, prefer, strategy, regions, (egress, offline, premium)) = asked;
        let (prompt_tokens, answers, quality_floor, budget) = numbers;
        let of_each = |values: Vec<Option<u64>>| {
            let values = values.into_iter().enumerate();
            values.filter_map(|(i, value)| Some((format!("t/{i}"), value?))).collect::<Vec<_>>()
        };
        Facts {
            sensitivity,
            prefer,
            strategy,
            regions,
            egress,
            groups: premium.then(|| "premium".to_owned()).into_iter().collect(),
            principal: Principal { user: premium.then(|| "anna".into()), ..Principal::default() },
            prompt_tokens,
            prompt_tokens_at_most: prompt_tokens * 5,
            answers,
            quality_floor,
            latency_budget: budget.map(Duration::from_millis),
            down: (0..7).filter(|i| down >> i & 1 == 1).map(|i| id(&format!("t/{i}"))).collect(),
            first_token: of_each(latencies).into_iter().map(|(id, millis)| after(&id, millis)).collect(),
            headroom: of_each(left)
                .into_iter()
                .map(|(id, left)| headroom(&id, Measure::Money, left))
                .collect(),
            device: DeviceState { offline, ..DeviceState::default() },
            ..facts(model)
        }
    })
}

fn found<'a>(targets: &'a [Arc<Target>], id: &TargetId) -> &'a Target {
    targets.iter().find(|target| target.id == *id).expect("a step is a target")
}

/// The objective told once more, and differently: what is smaller comes first.
fn key(facts: &Facts, rules: &Rules, target: &Target) -> Vec<u64> {
    let latency = facts.first_token.iter().find(|(id, _)| *id == target.id).map(|(_, latency)| *latency);
    let late = facts.latency_budget.zip(latency).is_some_and(|(budget, latency)| latency > budget);
    let poor = facts.quality_floor.zip(target.quality).is_some_and(|(floor, quality)| quality < floor);
    let other = rules.settings().default_device.as_ref() != Some(&target.id);
    let cost = cost::usual(facts, target).money;
    let latency = latency.map_or(u64::MAX, |latency| latency.as_millis() as u64);
    let near = [target.tier as u64, u64::from(other)];
    let rest = match facts.prefer.unwrap_or(rules.settings().objective.prefer) {
        Prefer::Local => vec![near[0], near[1], cost, latency],
        Prefer::Cost => vec![cost, latency, near[0], near[1]],
        Prefer::Speed => vec![latency, cost, near[0], near[1]],
        Prefer::Quality => {
            let poorness = target.quality.map_or(101, |quality| 100 - u64::from(quality));
            vec![poorness, cost, latency, near[0], near[1]]
        }
    };
    [vec![u64::from(poor), u64::from(late)], rest].concat()
}

proptest! {
    #[test]
    fn restricted_text_never_leaves_the_device_under_any_policies(
        facts in any_facts(), targets in any_targets(), rules in any_rules(),
    ) {
        let facts = Facts { sensitivity: Sensitivity::Restricted, ..facts };
        for step in decide(&facts, &rules, &targets).steps {
            prop_assert_eq!(found(&targets, &step.target).tier, Tier::Device);
        }
    }

    #[test]
    fn nothing_leaves_without_a_permission_that_covers_it(
        facts in any_facts(), targets in any_targets(), rules in any_rules(),
    ) {
        for step in decide(&facts, &rules, &targets).steps {
            let target = found(&targets, &step.target);
            let covered = target.permitted_up_to.is_some_and(|up_to| facts.sensitivity <= up_to);
            prop_assert!(target.tier == Tier::Device || covered);
            prop_assert!(target.tier == Tier::Device || target.price.is_some());
        }
    }

    #[test]
    fn the_shipped_policies_hold_whatever_is_added_to_them(
        facts in any_facts(), targets in any_targets(), text in select(HOSTILE.to_vec()),
    ) {
        let rules = Rules::parse(text, Settings::default()).expect("valid");
        for step in decide(&facts, &rules, &targets).steps {
            let target = found(&targets, &step.target);
            let there = |regions: &Vec<String>| target.region.as_ref().is_some_and(|region| regions.contains(region));
            prop_assert!(target.tier == Tier::Device || facts.egress);
            prop_assert!(target.tier == Tier::Device || facts.regions.as_ref().is_none_or(there));
        }
    }

    #[test]
    fn the_decision_is_deterministic_and_complete(
        facts in any_facts(), targets in any_targets(), rules in any_rules(),
    ) {
        let decision = decide(&facts, &rules, &targets);
        prop_assert_eq!(&decision, &decide(&facts, &rules, &targets));
        let prepared = rules.prepare(&targets);
        prepared.decide(&Facts { sensitivity: Sensitivity::Public, ..facts.clone() });
        prop_assert_eq!(&decision, &prepared.decide(&facts), "no request leaves a trace in the next");

        prop_assert_eq!(decision.verdicts.len(), targets.len());
        let mut places: Vec<(usize, TargetId)> = Vec::new();
        for verdict in &decision.verdicts {
            if let Ok(place) = verdict.outcome {
                places.push((place, verdict.target.clone()));
                prop_assert!(verdict.estimate.is_some() && !verdict.policies.is_empty());
            }
        }
        places.sort();
        for (expected, (place, target)) in places.iter().enumerate() {
            prop_assert_eq!(expected, *place);
            prop_assert!(decision.steps.get(expected).is_none_or(|step| step.target == *target));
        }
        if decision.strategy == Strategy::Draft {
            let tiers: Vec<Tier> = decision.steps.iter().map(|step| found(&targets, &step.target).tier).collect();
            prop_assert!(tiers.len() > 1 && tiers[0] == Tier::Device, "{tiers:?}");
        } else {
            let direct = facts.strategy == Some(Strategy::Direct);
            prop_assert_eq!(decision.steps.len(), if direct { places.len().min(1) } else { places.len() });
        }
    }

    #[test]
    fn no_step_is_worse_than_a_later_one(
        facts in any_facts(), targets in any_targets(), rules in any_rules(),
    ) {
        let decision = decide(&facts, &rules, &targets);
        // A draft is there to be worse, and a cascade begins with the smallest.
        let first = match decision.strategy {
            Strategy::Direct | Strategy::Fallback => 0,
            Strategy::Draft => 1,
            Strategy::Cascade => decision.steps.len(),
            // Its order is told below.
            Strategy::Split => decision.steps.len(),
        };
        if decision.strategy == Strategy::Split {
            let here = |step: &Step| found(&targets, &step.target).tier == Tier::Device;
            let (away, near): (Vec<_>, Vec<_>) = decision.steps.iter().cloned().partition(|step| !here(step));
            prop_assert!(!away.is_empty());
            prop_assert_eq!(&[away.clone(), near.clone()].concat(), &decision.steps);
            for pair in away.windows(2).chain(near.windows(2)) {
                let [before, after] = [&pair[0], &pair[1]].map(|step| key(&facts, &rules, found(&targets, &step.target)));
                prop_assert!(before <= after, "{before:?} > {after:?}");
            }
        }
        for pair in decision.steps[first..].windows(2) {
            let [before, after] = [&pair[0], &pair[1]].map(|step| key(&facts, &rules, found(&targets, &step.target)));
            prop_assert!(before <= after, "{before:?} > {after:?}");
        }
    }

    #[test]
    fn what_a_prediction_excludes_is_worse_than_a_step(
        facts in any_facts(), targets in any_targets(), rules in any_rules(),
    ) {
        let decision = decide(&facts, &rules, &targets);
        let excluded = decision.verdicts.iter().filter(|verdict| {
            matches!(verdict.outcome, Err(Exclusion::TooSlow { .. } | Exclusion::BelowQuality { .. }))
        });
        for verdict in excluded {
            let key = |id: &TargetId| key(&facts, &rules, found(&targets, id))[..2].to_vec();
            let chosen = decision.steps.iter().map(|step| key(&step.target)).min();
            prop_assert!(chosen.expect("another one is known to do better") < key(&verdict.target));
        }
    }

    #[test]
    fn a_forbid_more_never_adds_a_target(
        facts in any_facts(), targets in any_targets(), rules in any_rules(),
        text in select(HOSTILE.to_vec()), forbid in select(FORBIDS.to_vec()),
    ) {
        let facts = Facts { strategy: None, ..facts };
        let before = decide(&facts, &with(&rules, text, ""), &targets);
        let after = decide(&facts, &with(&rules, text, forbid), &targets);
        for step in after.steps {
            let verdict = before.verdicts.iter().find(|verdict| verdict.target == step.target).expect("complete");
            let predicted = matches!(verdict.outcome, Err(Exclusion::TooSlow { .. } | Exclusion::BelowQuality { .. }));
            let out = rules.settings().objective.misses == Misses::Out;
            prop_assert!(before.steps.contains(&step) || (predicted && out));
        }
    }

    #[test]
    fn a_constraint_more_never_lets_another_target_in(
        facts in any_facts(), targets in any_targets(), which in 0..7_usize,
    ) {
        let objective = Objective { misses: Misses::Last, ..Objective::default() };
        let rules = Rules::shipped(Settings { objective, ..Settings::default() });
        let facts = Facts { strategy: None, ..facts };
        let before = decide(&facts, &rules, &targets);
        let mut stricter = facts;
        stricter.down.push(id(&format!("t/{which}")));
        for step in decide(&stricter, &rules, &targets).steps {
            prop_assert!(before.steps.contains(&step));
        }
    }
}
