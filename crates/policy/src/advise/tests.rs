use super::*;
use crate::Settings;
use crate::samples::target;
use inshore_domain::{Exclusion, Prefer, Price, Profile, Sensitivity, Tier};
use proptest::prelude::*;

fn device(parameters: u64) -> Candidate {
    let mut here = target("device/small", Tier::Device);
    here.capabilities = here.capabilities.with(Capability::Completion);
    here.context_window = 40_000;
    let here_is = Some(Here { parameters, bytes: parameters / 10 * 6, cores: 8 });
    Candidate { here: here_is, ..Candidate::of(Arc::new(here)) }
}

fn cloud() -> Candidate {
    let mut there = target("openai/big", Tier::Cloud);
    there.context_window = 200_000;
    there.price =
        Some(Price { batch: Some((500_000, 1_000_000)), ..Price::flat(Currency::USD, 1_000_000, 2_000_000) });
    Candidate::of(Arc::new(there))
}

fn edge() -> Candidate {
    let mut there = target("edge/mid", Tier::Edge);
    there.context_window = 32_000;
    there.price = Some(Price::FREE);
    Candidate::of(Arc::new(there))
}

fn ask(plan: &Planned, candidates: &[Candidate]) -> Advice {
    let rules = Rules::default();
    advise(plan, &Ground { rules: &rules, candidates, currency: Currency::USD })
}

fn plan(name: &str, change: impl FnOnce(&mut Planned)) -> Planned {
    let mut plan = Planned::usual(name);
    change(&mut plan);
    plan
}

fn of(advice: &Advice, placement: Placement) -> &Outlook {
    advice.outlooks.iter().find(|outlook| outlook.placement == placement).unwrap()
}

#[test]
fn money_and_bytes_are_those_of_every_request() {
    let plan = plan("nightly-report", |plan| {
        (plan.requests, plan.prompt_tokens, plan.answer_tokens, plan.escalated) = (1_000, 1_000, 100, 25);
        plan.feature.profile = Profile::Realtime;
    });
    let advice = ask(&plan, &[device(4_000_000_000), cloud()]);
    let cost = |placement| of(&advice, placement).cost.map(|cost| cost.micros);
    // A thousand tokens at one dollar a million and a hundred at two: 1,200 micro-units a request.
    assert_eq!(cost(Placement::Cloud), Some(1_200 * 1_000));
    assert_eq!(cost(Placement::Hybrid), Some(1_200 * 250));
    assert_eq!((cost(Placement::Device), cost(Placement::Edge)), (Some(0), None));
    let bytes = |placement| of(&advice, placement).bytes_out;
    assert_eq!((bytes(Placement::Device), bytes(Placement::Cloud)), (Some(0), Some(6_000 * 1_000)));
    assert_eq!(bytes(Placement::Hybrid), Some(6_000 * 250));
    assert_eq!(of(&advice, Placement::Edge).fit.reasons()[0].text, "there is no edge target");
}

#[test]
fn a_batch_is_paid_at_its_price_only_by_those_who_can_wait_a_day() {
    let batch = |change: fn(&mut Planned)| {
        let plan = plan("nightly-report", change);
        let outlook = of(&ask(&plan, &[cloud()]), Placement::Cloud).clone();
        (outlook.batch, outlook.cost.unwrap().micros)
    };
    let (waits, half) = batch(|_| ());
    let (hurries, whole) = batch(|plan| plan.feature.latency_budget = Some(Duration::from_secs(60)));
    assert!(waits && !hurries);
    assert_eq!(half * 2, whole);
    assert!(!batch(|plan| plan.feature.profile = Profile::Async).0);
}

#[test]
fn what_meets_every_need_here_stays_here() {
    let advice = ask(
        &plan("subject-line", |plan| plan.prompt_tokens = 100),
        &[device(4_000_000_000), edge(), cloud()],
    );
    assert_eq!(advice.recommended, Some(Placement::Device));
    let settings = advice.settings.clone().unwrap();
    assert!(settings.stays_here && settings.quality_floor == Some(20));
    assert_eq!(advice.runs_on, [TargetId("device/small".into())]);
    assert!(advice.notes.is_empty(), "{:?}", advice.notes);
}

#[test]
fn a_device_that_falls_a_little_short_answers_first_and_the_cloud_the_rest() {
    let candidates = [device(2_000_000_000), cloud()];
    let report = plan("nightly-report", |_| ());
    let advice = ask(&report, &candidates);
    assert_eq!(advice.recommended, Some(Placement::Hybrid), "{}", advice.because);
    let settings = advice.settings.clone().unwrap();
    assert_eq!(
        (settings.strategy, settings.prefer),
        (Some(inshore_domain::Strategy::Cascade), Some(Prefer::Local))
    );
    assert_eq!(advice.runs_on.len(), 2);
    assert!(advice.because.starts_with("80 % stay on the device"), "{}", advice.because);
    assert_eq!(of(&advice, Placement::Device).fit.told(), "its quality is 40 and this feature needs 50");

    // Far too small: nearly everything would be sent on, so it is no saving.
    let advice = ask(&report, &[device(5_000_000), cloud()]);
    assert_eq!(advice.recommended, Some(Placement::Cloud), "{}", advice.because);
    // Who waits for the first token does not wait for two answers.
    let hurried = plan("nightly-report", |plan| {
        plan.feature = Feature { latency_budget: Some(Duration::from_secs(5)), ..plan.feature.clone() };
        plan.prompt_tokens = 100;
    });
    let advice = ask(&hurried, &candidates);
    assert_eq!(advice.recommended, Some(Placement::Cloud));
    assert_eq!(of(&advice, Placement::Hybrid).fit.reasons()[0].code, "too_slow");
    // As things are the device is not known to fall short.
    assert!(advice.notes[0].contains("would still go to `device/small`"), "{:?}", advice.notes);
    // With a quality that is known the settings can be such that it is reached.
    let known = |quality| {
        let mut there = cloud();
        there.target = Arc::new(Target { quality: Some(quality), ..(*there.target).clone() });
        there
    };
    let advice = ask(&hurried, &[device(2_000_000_000), known(80)]);
    assert_eq!(advice.settings.as_ref().unwrap().prefer, Some(Prefer::Quality));
    assert_eq!(advice.runs_on[0].0, "openai/big");
    assert!(advice.notes.is_empty(), "{:?}", advice.notes);
    let reference = Candidate { reference: true, ..cloud() };
    let advice = ask(&hurried, &[device(2_000_000_000), reference]);
    assert_eq!(advice.settings.unwrap().prefer, Some(Prefer::Quality));
}

#[test]
fn the_reasons_are_those_of_a_decision() {
    let code = |plan: &Planned, candidates: &[Candidate], placement| {
        of(&ask(plan, candidates), placement).fit.reasons()[0].code
    };
    let mut closed = cloud();
    let mut target = (*closed.target).clone();
    target.permitted_up_to = None;
    closed.target = Arc::new(target);
    let chat = plan("chat", |_| ());
    assert_eq!(code(&chat, &[closed], Placement::Cloud), Exclusion::NotPermitted.code());
    let secret = plan("chat", |plan| plan.feature.sensitivity = Some(Sensitivity::Restricted));
    assert_eq!(code(&secret, &[cloud()], Placement::Cloud), "too_sensitive");
    assert_eq!(code(&plan("inline-completion", |_| ()), &[cloud()], Placement::Cloud), "incapable");
    assert_eq!(
        code(&plan("file-scan", |plan| plan.feature.sensitivity = None), &[cloud()], Placement::Cloud),
        "forbidden"
    );
    assert_eq!(
        code(&plan("chat", |plan| plan.prompt_tokens = 40_000), &[edge()], Placement::Edge),
        "context_too_small"
    );
    let long = plan("chat", |plan| plan.prompt_tokens = 39_900);
    assert_eq!(code(&long, &[device(4_000_000_000)], Placement::Device), "context_too_small");
    assert_eq!(ask(&long, &[device(4_000_000_000), edge(), cloud()]).recommended, Some(Placement::Cloud));
    let much = plan("chat", |plan| plan.requests = 100_000_000);
    assert_eq!(code(&much, &[device(4_000_000_000)], Placement::Device), "too_much");
    let advice = ask(&much, &[device(4_000_000_000)]);
    assert_eq!((advice.recommended, advice.settings), (None, None));
    assert!(advice.because.contains("hours a day"), "{}", advice.because);
}

#[test]
fn a_target_that_is_not_configured_is_named_as_such() {
    let reference = Candidate { reference: true, ..cloud() };
    let advice = ask(&plan("code-refactor", |_| ()), &[device(5_000_000), reference]);
    assert_eq!(advice.recommended, Some(Placement::Cloud));
    assert!(advice.notes[0].contains("`openai/big` is not configured"), "{:?}", advice.notes);
    assert_eq!(advice.runs_on, [TargetId("device/small".into())]);
}

#[test]
fn what_was_measured_for_the_feature_counts_before_what_was_measured_and_that_before_what_is_assumed() {
    let samples = |first: u64| {
        let sample = Sample {
            prompt_tokens: 1_500,
            output_tokens: 101,
            first_token: Duration::from_millis(first),
            total: Duration::from_millis(first + 1_000),
        };
        Seen::of(&[sample; 5])
    };
    let chat = plan("chat", |plan| plan.answer_tokens = 301);
    let timed = |candidate: Candidate, chat: &Planned| {
        let outlook = of(&ask(chat, &[candidate]), Placement::Device).clone();
        let (first, answer) = (outlook.first_token.unwrap(), outlook.answer.unwrap());
        (first.time.as_millis(), first.basis, answer.time.as_millis(), answer.basis)
    };
    let assumed = timed(device(4_000_000_000), &chat);
    assert_eq!((assumed.1, assumed.3), (Basis::Assumed, Basis::Assumed));
    let seen = Candidate { seen: samples(400), ..device(4_000_000_000) };
    assert_eq!(timed(seen.clone(), &chat), (400, Basis::Measured, 3_400, Basis::Measured));
    let own = Candidate { seen_for: BTreeMap::from([("chat".into(), samples(90).unwrap())]), ..seen.clone() };
    assert_eq!(timed(own, &chat), (90, Basis::Measured, 3_090, Basis::Measured));
    let longer = plan("chat", |plan| (plan.prompt_tokens, plan.answer_tokens) = (15_000, 301));
    assert_eq!(timed(seen, &longer), (4_000, Basis::Assumed, 7_000, Basis::Assumed));
    assert_eq!(Seen::of(&[]), None);
}

#[test]
fn an_answer_that_came_at_once_says_nothing_of_its_speed() {
    let at_once = Sample {
        prompt_tokens: 10,
        output_tokens: 100,
        first_token: Duration::from_millis(990),
        total: Duration::from_millis(1_000),
    };
    assert_eq!(Seen::of(&[at_once; 9]).unwrap().a_token, None);
    let short = Sample { output_tokens: 2, first_token: Duration::from_millis(10), ..at_once };
    assert_eq!(Seen::of(&[short; 9]).unwrap().a_token, None);
}

#[test]
fn what_an_installation_prefers_counts_where_a_feature_says_nothing() {
    let mut settings = Settings::default();
    settings.objective.prefer = Prefer::Quality;
    let rules = Rules::shipped(settings);
    let candidates = [device(8_000_000_000), cloud()];
    let ground = Ground { rules: &rules, candidates: &candidates, currency: Currency::USD };
    let advice = advise(&plan("notes", |_| ()), &ground);
    assert_eq!(advice.recommended, Some(Placement::Cloud));
    assert_eq!(advice.because, "of all that will do, `openai/big` is the one with the best answers");
    assert_eq!(ask(&plan("notes", |_| ()), &candidates).recommended, Some(Placement::Device));
}

fn any_plan() -> impl Strategy<Value = Planned> {
    let names = crate::feature::presets().map(|(name, _)| name).chain(["mine"]).collect::<Vec<_>>();
    let plausible = (1..100_000_u64, 1..100_000_u32, 1..10_000_u32);
    let any_size = (any::<u64>(), any::<u32>(), any::<u32>());
    let numbers = (prop_oneof![plausible, any_size], 0..=100_u8);
    let budget = proptest::option::of(0..100_000_u64);
    (proptest::sample::select(names), numbers, 0..4_usize, 0..3_usize, budget, any::<bool>()).prop_map(
        |(name, ((requests, prompt, answer), escalated), level, profile, budget, stays)| {
            plan(name, |plan| {
                (plan.requests, plan.prompt_tokens, plan.answer_tokens) = (requests, prompt, answer);
                plan.escalated = escalated;
                plan.feature.sensitivity = Some(Sensitivity::ALL[level]);
                plan.feature.profile = Profile::ALL[profile];
                plan.feature.latency_budget = budget.map(Duration::from_millis);
                plan.feature.stays_here = stays;
            })
        },
    )
}

proptest! {
    #[test]
    fn advice_is_never_against_a_guard(plan in any_plan(), parameters in 1..100_000_000_000_u64, window in 1..200_000_u32) {
        let mut near = device(parameters);
        let [small, mut other] = [device(1_000_000_000), cloud()];
        let target = Target { id: TargetId("device/other".into()), context_window: window, ..(*near.target).clone() };
        near.target = Arc::new(target);
        let price = Some(Price::flat(Currency::USD, 1, 1));
        let target = Target { id: TargetId("openai/tiny".into()), context_window: window, price, ..(*other.target).clone() };
        other.target = Arc::new(target);
        let candidates = [near, small, edge(), other, cloud()];
        let advice = ask(&plan, &candidates);
        prop_assert_eq!(advice.outlooks.iter().map(|it| it.placement).collect::<Vec<_>>(), Placement::ALL);
        let guarded = plan.feature.stays_here || plan.feature.sensitivity > Some(Sensitivity::Internal);
        for outlook in &advice.outlooks {
            let leaves = outlook.placement != Placement::Device;
            if leaves && guarded {
                prop_assert!(matches!(outlook.fit, Fit::Impossible(_)), "{outlook:?}");
            }
            prop_assert!(outlook.cost.is_none_or(|cost| cost.micros >= 0));
        }
        let here = of(&advice, Placement::Device);
        prop_assert_eq!((here.cost.map(|cost| cost.micros), here.bytes_out), (Some(0), Some(0)));
        let money = |placement| of(&advice, placement).cost.map(|cost| cost.micros);
        // A share of the same requests at the same target is never dearer than all of them.
        if of(&advice, Placement::Hybrid).then.as_ref().is_some_and(|(id, _)| id.0 == "openai/big") {
            prop_assert!(money(Placement::Hybrid) <= money(Placement::Cloud));
        }
        if let Some(best) = advice.best() {
            prop_assert!(!matches!(best.fit, Fit::Impossible(_)), "{advice:?}");
        } else {
            prop_assert!(advice.outlooks.iter().all(|it| matches!(it.fit, Fit::Impossible(_))), "{advice:?}");
        }
        // The settings ask for nothing less than the plan does.
        if let Some(settings) = &advice.settings {
            prop_assert_eq!(settings.sensitivity, plan.feature.sensitivity);
            prop_assert!(settings.stays_here || !plan.feature.stays_here);
            if guarded {
                prop_assert!(advice.runs_on.iter().all(|id| id.0.starts_with("device/")), "{advice:?}");
            }
        }
    }
}
