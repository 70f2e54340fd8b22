//! Probes, and servers that send their work on.

use std::sync::Arc;
use std::time::Duration;

use inshore_domain::{Sensitivity, TargetId, Tier};
use inshore_providers::{Gate, GateOptions, Prober, Provider, ProviderKind, Subject};
use inshore_sim::{Reply, Turn, openai};

use crate::rig::*;

const INTERVAL: Duration = Duration::from_secs(60);

fn subject(clock: &Arc<Steered>, server: &openai::Server, permitted: bool) -> Subject {
    let mut target = target("sim-large", &[]);
    target.permitted_up_to = permitted.then_some(Sensitivity::Internal);
    let gate = Arc::new(Gate::new(GateOptions::default()));
    let options = options(ProviderKind::OpenAiCompatible, &server.base_url(), target);
    let provider = Provider::new(gate.clone(), clock.clone(), options).unwrap();
    gate.declare(provider.destination().clone());
    Subject { provider: Arc::new(provider), interval: INTERVAL }
}

#[tokio::test]
async fn only_what_is_idle_or_down_and_permitted_is_probed() {
    let server = openai::Server::start(openai::Options::default(), Turn::text("hi")).await.unwrap();
    let clock = Steered::new();
    let prober = Prober::new(clock.clone());
    let subjects = [subject(&clock, &server, true), subject(&clock, &server, false)];
    let (id, round) = (subjects[0].provider.target().id.clone(), |down: Vec<TargetId>| {
        let (prober, subjects) = (&prober, &subjects);
        async move { prober.round(subjects, &down).await }
    });

    // Not at once, but after the interval; the one that is not permitted never.
    assert!(round(vec![]).await.is_empty());
    clock.pass(INTERVAL - Duration::from_secs(1));
    assert!(round(vec![]).await.is_empty());
    clock.pass(Duration::from_secs(1));
    let probed = round(vec![]).await;
    assert_eq!(probed.len(), 1);
    assert_eq!(
        (&probed[0].target, probed[0].outcome.as_ref().unwrap()),
        (&id, &vec!["sim-large".to_owned()])
    );
    assert!(probed[0].egress[0].bytes_out > 0);
    assert_eq!(server.http().seen()[0].path, "/v1/models");
    assert!(server.http().seen()[0].body.is_empty());

    // A call tells as much as a probe.
    clock.pass(INTERVAL / 2);
    let provider = &subjects[0].provider;
    hear(provider, call(provider, Spoken::Chat.ask(false))).await.unwrap();
    clock.pass(INTERVAL / 2);
    assert!(round(vec![]).await.is_empty());
    // One that is down is looked at sooner, however lately it was called.
    clock.pass(Duration::from_secs(1));
    assert!(round(vec![id.clone()]).await.is_empty());
    clock.pass(INTERVAL / 2);
    assert_eq!(round(vec![id.clone()]).await.len(), 1);
    clock.pass(INTERVAL / 4);
    assert_eq!(round(vec![id]).await.len(), 1);
    assert_eq!(server.stats().requests, 4);
}

#[tokio::test]
async fn a_target_that_is_gone_is_told() {
    let server = openai::Server::start(openai::Options::default(), Turn::text("")).await.unwrap();
    let clock = Steered::new();
    let prober = Prober::new(clock.clone());
    let subjects = [subject(&clock, &server, true)];
    server.http().shutdown().await;
    drop(server);
    assert!(prober.round(&subjects, &[]).await.is_empty());
    clock.pass(INTERVAL);
    let probed = prober.round(&subjects, &[]).await;
    assert!(probed[0].outcome.is_err());
}

#[tokio::test]
async fn probes_are_spread_by_chance() {
    let server = openai::Server::start(openai::Options::default(), Turn::text("")).await.unwrap();
    for (random, comes_after) in [(0, INTERVAL / 2), (u32::MAX, INTERVAL * 3 / 2)] {
        let clock = Steered::new();
        *clock.random.lock().unwrap() = random;
        let prober = Prober::new(clock.clone());
        let subjects = [subject(&clock, &server, true)];
        assert!(prober.round(&subjects, &[]).await.is_empty());
        clock.pass(comes_after - Duration::from_secs(2));
        assert!(prober.pause() <= Duration::from_secs(2));
        // An idle target is one that was not called for an interval, so the early probe finds it too fresh.
        clock.pass(Duration::from_secs(2));
        assert_eq!(prober.round(&subjects, &[]).await.len(), usize::from(comes_after >= INTERVAL));
        assert!(prober.pause() >= Duration::from_secs(1));
    }
}

async fn near(sim: openai::Options, turn: Turn, model: &str) -> (openai::Server, Provider) {
    let model = model.to_owned();
    openai_with(sim, turn, move |options| {
        let mut target = target(&model, &[]);
        target.tier = Tier::Edge;
        options.target = target.into();
    })
    .await
}

#[tokio::test]
async fn a_server_that_sends_its_work_on_is_given_away() {
    let body = r#"{"choices":[{"message":{"content":"a"},"finish_reason":"stop"}]}"#;
    let answer = || Turn::of(Reply::Exact { status: 200, headers: Vec::new(), body: body.into() });
    let (_server, provider) = near(Default::default(), answer(), "sim-large").await;
    hear(&provider, call(&provider, Spoken::Chat.ask(false))).await.unwrap();
    assert_eq!(provider.forwards(), None);

    let gateway = answer().with_header("x-litellm-version", "1.2");
    let (_server, provider) = near(Default::default(), gateway.clone(), "sim-large").await;
    hear(&provider, call(&provider, Spoken::Chat.ask(false))).await.unwrap();
    assert_eq!(provider.forwards(), Some("its answers bear `x-litellm-version`, a header of LiteLLM"));

    let (_server, provider) = near(Default::default(), answer(), "gpt-oss:120b-cloud").await;
    assert_eq!(provider.forwards(), Some("`gpt-oss:120b-cloud` is a model that Ollama runs in its cloud"));

    // Of a cloud everybody knows.
    let (_server, provider) = openai(gateway).await;
    hear(&provider, call(&provider, Spoken::Chat.ask(false))).await.unwrap();
    assert_eq!(provider.forwards(), None);
}

#[tokio::test]
async fn a_list_of_models_gives_a_gateway_away() {
    let sim = openai::Options { owned_by: "openai".into(), ..openai::Options::default() };
    let (_server, provider) = near(sim, Turn::text(""), "sim-large").await;
    provider.probe(&Default::default()).await.unwrap();
    assert_eq!(provider.forwards(), Some("it says that `sim-large` belongs to `openai`"));
    let (_server, provider) = near(Default::default(), Turn::text(""), "sim-large").await;
    provider.probe(&Default::default()).await.unwrap();
    assert_eq!(provider.forwards(), None);
}
