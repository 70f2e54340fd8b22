//! What a decision costs: five targets and twenty policies (the shipped six and fourteen of an organisation), beside what Cedar's own
//! authorizer takes for the same question, and what inspection takes for a prompt of 2 KiB.

#![expect(clippy::expect_used, reason = "a bench that cannot begin has nothing to measure")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cedar_policy_core::ast::{
    Context, EntityUID, PolicyID, PolicySet, Request, RequestSchemaAllPass, RestrictedExpr,
};
use cedar_policy_core::authorizer::{Authorizer, Decision as Answer};
use cedar_policy_core::entities::{Entities, EntityJsonParser, NoEntitiesSchema, TCComputation};
use cedar_policy_core::extensions::Extensions;
use cedar_policy_core::parser::parse_policyset;
use criterion::{Criterion, criterion_group, criterion_main};
use inshore_domain::request::{Chat, Hints, Message, Role};
use inshore_domain::{
    Capabilities, Capability, Currency, DeviceState, Facts, Finding, Price, Principal, Profile,
    Request as Asked, RequestId, Sensitivity, Target, TargetId, Task, Tier, Timestamp, TraceId,
};
use inshore_policy::rules::SHIPPED;
use inshore_policy::{Rules, Settings, inspect};

/// What an organisation might write: conditions on who asks, for what, where and in which state the machine is.
const OWN: &str = r#"
forbid (principal, action, resource) when { resource.tags.contains("premium") } unless { principal in Group::"premium" };
forbid (principal, action, resource in Tier::"cloud") when { context has metered && context.metered && context.prompt_tokens > 4000 };
forbid (principal, action, resource in Tier::"device") when { context has battery_percent && context.battery_percent < 15 };
forbid (principal, action, resource) when { context.findings.contains("iban") } unless { resource in Tier::"device" };
forbid (principal, action, resource) when { context.findings.containsAny(["api-key", "password"]) } unless { resource.tier == Tier::"device" };
forbid (principal in App::"untrusted", action, resource) unless { resource in Tier::"device" };
forbid (principal in Organisation::"guests", action, resource) when { resource in [Tier::"edge", Tier::"cloud"] };
forbid (principal, action, resource) when { context has feature && context.feature == "payroll" } unless { resource in Tier::"device" };
forbid (principal, action, resource) when { resource has region && resource.region == "us" && context.level == Sensitivity::"confidential" };
forbid (principal, action, resource) when { context.profile == Profile::"batch" && resource has output_price && resource.output_price > 20000000 };
forbid (principal, action == Action::"embed", resource in Tier::"cloud") when { context.prompt_tokens > 100000 };
forbid (principal, action, resource == Target::"openai/retired");
forbid (principal, action, resource) when { resource has quality && context has quality_floor && resource.quality + 30 < context.quality_floor };
permit (principal in Group::"staff", action, resource in Tier::"edge") when { context.sensitivity <= 2 && resource.free };
"#;

fn target(id: &str, tier: Tier, price: u64) -> Target {
    let remote = tier != Tier::Device;
    let usual = [Capability::Chat, Capability::Tools, Capability::JsonSchema, Capability::Logprobs];
    Target {
        id: TargetId(id.into()),
        endpoint_of: None,
        tier,
        model: id.into(),
        aliases: Vec::new(),
        destination: remote.then(|| "api.example.test:443".into()),
        region: remote.then(|| "eu".into()),
        context_window: 128_000,
        max_output: Some(8_192),
        capabilities: usual.into_iter().collect(),
        price: remote.then_some(Price::flat(Currency::USD, price, 4 * price)),
        permitted_up_to: remote.then_some(Sensitivity::Confidential),
        quality: Some(50),
    }
}

fn targets() -> Vec<Arc<Target>> {
    [
        target("device/inshore-default", Tier::Device, 0),
        target("box/mid", Tier::Edge, 0),
        target("openai/gpt-5-mini", Tier::Cloud, 250_000),
        target("openai/gpt-5", Tier::Cloud, 1_250_000),
        target("anthropic/sonnet", Tier::Cloud, 3_000_000),
    ]
    .map(Arc::new)
    .to_vec()
}

fn facts() -> Facts {
    let millis = Duration::from_millis;
    let latency = |(id, after)| (TargetId(String::from(id)), millis(after));
    Facts {
        model: "auto".into(),
        feature: Some("chat".into()),
        principal: Principal {
            app: "mail".into(),
            user: Some("anna".into()),
            organisation: Some("acme".into()),
        },
        groups: vec!["staff".into(), "premium".into()],
        profile: Profile::Realtime,
        sensitivity: Sensitivity::Internal,
        leaving: None,
        findings: vec![Finding { kind: "email", span: 0..9, confidence: 90 }],
        prompt_tokens: 400,
        prompt_tokens_at_most: 3_000,
        max_output_tokens: Some(1_000),
        answers: 1,
        bytes_at_most: 20_000,
        needs: Capabilities::NONE.with(Capability::Chat),
        latency_budget: Some(millis(2_000)),
        quality_floor: Some(40),
        regions: Some(vec!["eu".into()]),
        egress: true,
        prefer: None,
        strategy: None,
        hybrid: Default::default(),
        down: Vec::new(),
        failing: Vec::new(),
        first_token: [("device/inshore-default", 40), ("box/mid", 120), ("openai/gpt-5", 700)]
            .map(latency)
            .to_vec(),
        headroom: Vec::new(),
        device: DeviceState {
            metered: Some(false),
            on_battery: Some(true),
            battery_percent: Some(80),
            hot: Some(false),
            memory_available_percent: Some(40),
            ..DeviceState::default()
        },
    }
}

/// The same question as Cedar's authorizer takes it: everything made beforehand, asked once for each target.
struct Cedar {
    authorizer: Authorizer,
    policies: PolicySet,
    entities: Entities,
    requests: Vec<Request>,
}

impl Cedar {
    fn new() -> Self {
        let extensions = Extensions::all_available();
        let mut policies = parse_policyset(SHIPPED).expect("valid");
        for policy in parse_policyset(OWN).expect("valid").policies() {
            let id = PolicyID::from_string(format!("own-{}", policy.id()));
            policies.add(policy.new_id(id)).expect("one of each");
        }
        let entity = |target: &Target| {
            format!(
                r#"{{"uid":{{"type":"Target","id":"{id}"}},"parents":[{{"type":"Tier","id":"{tier}"}}],"attrs":{{"tags":[],"free":false,
                    "tier":{{"__entity":{{"type":"Tier","id":"{tier}"}}}},"consent":2,"region":"eu","quality":50,"output_price":1}}}}"#,
                id = target.id,
                tier = target.tier,
            )
        };
        let mut json: Vec<String> = targets().iter().map(|target| entity(target)).collect();
        json.push(
            r#"{"uid":{"type":"User","id":"anna"},"attrs":{"app":"mail"},"parents":[{"type":"App","id":"mail"},
               {"type":"Group","id":"staff"},{"type":"Group","id":"premium"},{"type":"Organisation","id":"acme"}]}"#
                .into(),
        );
        let parser = EntityJsonParser::<NoEntitiesSchema>::new(None, extensions, TCComputation::ComputeNow);
        let entities = parser.from_json_str(&format!("[{}]", json.join(","))).expect("valid");
        let context: RestrictedExpr = r#"{sensitivity: 1, level: Sensitivity::"internal", findings: ["email"], feature: "chat", egress: true,
            regions: ["eu"], profile: Profile::"realtime", prompt_tokens: 400, quality_floor: 40, metered: false,
            battery_percent: 80, on_battery: true}"#
            .parse()
            .expect("valid");
        let context = Context::from_expr(context.as_borrowed(), extensions).expect("a record");
        let uid = |kind: &str, id: &str| (EntityUID::with_eid_and_type(kind, id).expect("a name"), None);
        let request = |target: &Arc<Target>| {
            let (user, action) = (uid("User", "anna"), uid("Action", "infer"));
            let resource = uid("Target", &target.id.0);
            let none = None::<&RequestSchemaAllPass>;
            Request::new(user, action, resource, context.clone(), none, extensions)
                .expect("nothing is checked")
        };
        let requests = targets().iter().map(request).collect();
        Self { authorizer: Authorizer::new(), policies, entities, requests }
    }

    /// How many of the targets are permitted.
    fn ask(&self) -> usize {
        let answers = self.requests.iter().map(|request| {
            self.authorizer.is_authorized(request.clone(), &self.policies, &self.entities).decision
        });
        answers.filter(|answer| *answer == Answer::Allow).count()
    }
}

fn prompt() -> Asked {
    let text =
        "The quarterly report of the northern region is due on Friday, and two of its tables are empty. "
            .repeat(22);
    let messages =
        vec![Message::text(Role::System, "You write e-mails."), Message::text(Role::User, &text[..2048])];
    Asked {
        id: RequestId::new(Timestamp::default(), 1),
        trace: TraceId::new(1),
        received_at: Timestamp::default(),
        admitted: Instant::now(),
        principal: Principal { app: "mail".into(), user: Some("anna".into()), organisation: None },
        hints: Hints { feature: Some("rewrite".into()), ..Hints::default() },
        model: "auto".into(),
        task: Task::Chat(Chat { messages, ..Chat::default() }),
        stream: true,
        original: None,
    }
}

fn decide(criterion: &mut Criterion) {
    let rules = Rules::parse(OWN, Settings::default()).expect("valid");
    assert_eq!(rules.policies().count(), 20);
    let prepared = rules.prepare(&targets());
    let facts = facts();
    let cedar = Cedar::new();
    let decision = prepared.decide(&facts);
    assert_eq!((decision.steps.len(), cedar.ask()), (5, 5), "{decision:#?}");

    let mut group = criterion.benchmark_group("decide");
    group.sample_size(200);
    group.bench_function("5 targets, 20 policies", |bencher| {
        bencher.iter(|| prepared.decide(black_box(&facts)))
    });
    group.bench_function("5 targets, the 6 shipped policies", |bencher| {
        let prepared = Rules::default().prepare(&targets());
        bencher.iter(|| prepared.decide(black_box(&facts)));
    });
    group.bench_function("1 target of 5 asked for, the 6 shipped policies", |bencher| {
        let prepared = Rules::default().prepare(&targets());
        let facts = Facts { model: "openai/gpt-5".into(), ..facts.clone() };
        bencher.iter(|| prepared.decide(black_box(&facts)));
    });
    group.bench_function("cedar's authorizer alone, 5 targets, 20 policies", |bencher| {
        bencher.iter(|| black_box(&cedar).ask());
    });
    group.bench_function("facts completed by a feature", |bencher| {
        bencher.iter(|| {
            let mut facts = facts.clone();
            rules.complete(&mut facts);
            facts
        });
    });
    group.bench_function("inspect, a prompt of 2 KiB", |bencher| {
        let request = prompt();
        bencher.iter(|| inspect::inspect(black_box(&request)));
    });
    group.finish();

    let mut group = criterion.benchmark_group("when rules or targets change");
    group
        .bench_function("prepare 5 targets", |bencher| bencher.iter(|| rules.prepare(black_box(&targets()))));
    group.bench_function("read 14 policies", |bencher| {
        bencher.iter(|| Rules::parse(black_box(OWN), Settings::default()).expect("valid"));
    });
    group.finish();
}

criterion_group!(benches, decide);
criterion_main!(benches);
