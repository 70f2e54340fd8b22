//! Connections that lie ready.

use std::sync::Arc;
use std::time::Duration;

use inshore_domain::{DeviceState, Sensitivity, TargetId};
use inshore_providers::{Gate, GateOptions, KeepWarm, Provider, ProviderKind, Warmer};
use inshore_sim::{Turn, openai};

use crate::rig::*;

const HERE: DeviceState = DeviceState {
    offline: false,
    metered: None,
    on_battery: None,
    battery_percent: None,
    hot: None,
    memory_available_percent: None,
    queue_depth: 0,
};

async fn server(port: u16) -> openai::Server {
    openai::Server::start(openai::Options { port, ..openai::Options::default() }, Turn::text("hi"))
        .await
        .unwrap()
}

struct Rig {
    clock: Arc<Steered>,
    warmer: Warmer,
    providers: Vec<Arc<Provider>>,
}

/// Targets at these servers, each permitted or not, behind gates that would let all of them out.
fn rig(places: &[(&openai::Server, bool)]) -> Rig {
    let clock = Steered::new();
    let gate = Arc::new(Gate::new(GateOptions::default()));
    let provider = |(place, (server, permitted)): (usize, &(&openai::Server, bool))| {
        let mut target = target("sim-large", &[]);
        target.id = TargetId(format!("t/{place}"));
        target.permitted_up_to = permitted.then_some(Sensitivity::Internal);
        let options = options(ProviderKind::OpenAiCompatible, &server.base_url(), target);
        let provider = Provider::new(gate.clone(), clock.clone(), options).unwrap();
        gate.declare(provider.destination().clone());
        Arc::new(provider)
    };
    let providers = places.iter().enumerate().map(provider).collect();
    Rig { warmer: Warmer::new(clock.clone()), clock, providers }
}

impl Rig {
    /// One round: each target that was looked at, and whether a connection was made (`+`), lay ready (`=`), or could not be
    /// made (`!`).
    async fn round(&self, keep: KeepWarm, machine: DeviceState, down: &[TargetId]) -> String {
        let warmed = self.warmer.round(&self.providers, keep, machine, down).await;
        let shown = warmed.iter().map(|warmed| {
            let sign = match warmed.outcome {
                Ok(true) => "+",
                Ok(false) => "=",
                Err(_) => "!",
            };
            format!("{}{sign}", warmed.target)
        });
        shown.collect::<Vec<_>>().join(" ")
    }

    async fn call(&self, place: usize) {
        let provider = &self.providers[place];
        hear(provider, call(provider, Spoken::Chat.ask(false))).await.unwrap();
    }
}

#[tokio::test]
async fn a_connection_lies_ready_where_calls_were_made_lately_and_the_next_call_uses_it() {
    let first = server(0).await;
    let rig = rig(&[(&first, true)]);
    rig.clock.pass(Duration::from_secs(1));
    assert_eq!(rig.round(KeepWarm::Used, HERE, &[]).await, "", "nobody has called it");
    assert_eq!(first.stats().accepted, 0);
    rig.call(0).await;
    assert_eq!(rig.round(KeepWarm::Used, HERE, &[]).await, "t/0=");

    // The other side closes the connection, as all do after some time.
    let port = first.http().address().port();
    first.http().shutdown().await;
    drop(first);
    let second = server(port).await;
    assert_eq!(rig.round(KeepWarm::Used, HERE, &[]).await, "t/0+");
    assert_eq!(rig.round(KeepWarm::Used, HERE, &[]).await, "t/0=");
    second.http().wait(|stats| stats.accepted == 1).await;
    assert_eq!(second.stats().requests, 0, "a connection that lies ready carries nothing");
    rig.call(0).await;
    assert_eq!((second.stats().accepted, second.stats().requests), (1, 1));

    rig.clock.pass(Duration::from_secs(601));
    assert_eq!(rig.round(KeepWarm::Used, HERE, &[]).await, "", "nobody has called it lately");
}

#[tokio::test]
async fn a_connection_that_broke_while_it_lay_ready_is_not_used() {
    let first = server(0).await;
    let rig = rig(&[(&first, true)]);
    assert_eq!(rig.round(KeepWarm::All, HERE, &[]).await, "t/0+");
    let port = first.http().address().port();
    first.http().wait(|stats| stats.accepted == 1).await;
    first.http().shutdown().await;
    drop(first);
    let second = server(port).await;
    rig.call(0).await;
    assert_eq!((second.stats().accepted, second.stats().requests), (1, 1));
}

#[tokio::test]
async fn nothing_is_connected_to_that_is_not_permitted_or_down_or_while_the_network_costs() {
    let (open, closed) = (server(0).await, server(0).await);
    let rig = rig(&[(&closed, false), (&open, true), (&open, true)]);
    for machine in [DeviceState { offline: true, ..HERE }, DeviceState { metered: Some(true), ..HERE }] {
        assert_eq!(rig.round(KeepWarm::All, machine, &[]).await, "");
    }
    assert_eq!(rig.round(KeepWarm::Off, HERE, &[]).await, "");
    let down = [TargetId("t/1".into()), TargetId("t/2".into())];
    assert_eq!(rig.round(KeepWarm::All, HERE, &down).await, "");
    assert_eq!(open.stats().accepted, 0);
    // Two targets at one place share a connection.
    let unmetered = DeviceState { metered: Some(false), ..HERE };
    assert_eq!(rig.round(KeepWarm::All, unmetered, &[]).await, "t/1+");
    open.http().wait(|stats| stats.accepted == 1).await;
    assert_eq!((open.stats().requests, closed.stats().accepted), (0, 0));
}

#[tokio::test]
async fn what_was_called_before_the_start_counts_for_the_rest_of_its_time_and_the_latest_come_first() {
    let servers = [server(0).await, server(0).await];
    let rig = rig(&[(&servers[0], true), (&servers[1], true)]);
    rig.warmer.called_before(TargetId("t/0".into()), Duration::from_secs(500));
    rig.warmer.called_before(TargetId("t/1".into()), Duration::from_secs(100));
    rig.warmer.called_before(TargetId("t/1".into()), Duration::from_secs(400));
    rig.warmer.called_before(TargetId("gone".into()), Duration::from_secs(1));
    assert_eq!(rig.round(KeepWarm::Used, HERE, &[]).await, "t/1+ t/0+");
    rig.clock.pass(Duration::from_secs(101));
    assert_eq!(rig.round(KeepWarm::Used, HERE, &[]).await, "t/1=");
    rig.call(0).await;
    assert_eq!(rig.round(KeepWarm::Used, HERE, &[]).await, "t/0= t/1=");
    rig.warmer.called_before(TargetId("t/1".into()), Duration::from_secs(601));
    rig.clock.pass(Duration::from_secs(400));
    assert_eq!(rig.round(KeepWarm::Used, HERE, &[]).await, "t/0=");
}

#[tokio::test]
async fn a_place_that_cannot_be_reached_is_left_alone_for_longer_and_longer() {
    let server = server(0).await;
    let rig = rig(&[(&server, true)]);
    server.http().shutdown().await;
    drop(server);
    let mut tried = Vec::new();
    for seconds in 0..300 {
        if rig.round(KeepWarm::All, HERE, &[]).await == "t/0!" {
            tried.push(seconds);
        }
        rig.clock.pass(Duration::from_secs(1));
    }
    assert_eq!(tried, [0, 30, 90, 210]);
}

#[tokio::test]
async fn a_connection_that_has_lain_for_long_is_no_longer_counted_on() {
    let server = server(0).await;
    let rig = rig(&[(&server, true)]);
    assert_eq!(rig.round(KeepWarm::All, HERE, &[]).await, "t/0+");
    assert_eq!(rig.round(KeepWarm::All, HERE, &[]).await, "t/0=");
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(61)).await;
    tokio::time::resume();
    assert_eq!(rig.round(KeepWarm::All, HERE, &[]).await, "t/0+");
}
