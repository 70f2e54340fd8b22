//! One target at several places.

use std::sync::atomic::Ordering;

use futures_util::StreamExt;
use inshore_domain::*;
use inshore_runtime::Spending;
use inshore_store::{SpendBy, SpendKey, SpendQuery};

use crate::scripted::{Script, World, answer, request, target, world_of};

fn at(region: &str) -> Target {
    Target {
        endpoint_of: Some(TargetId("cloud/big".into())),
        region: Some(region.into()),
        model: "big".into(),
        ..target(&format!("cloud/big@{region}"), Tier::Cloud)
    }
}

fn two(eu: &[Script], us: &[Script]) -> World {
    world_of([(at("eu"), eu), (at("us"), us)])
}

/// Asks the target by its name: which of its endpoints answered after so many milliseconds, or the code of the error.
async fn ask(world: &World, wait: u64, regions: Option<&str>) -> String {
    let mut asked = request(world, "cloud/big");
    asked.hints.regions = regions.map(|region| vec![region.to_owned()]);
    match world.runtime.run(asked).await {
        Ok(mut given) => {
            world.clock.advance(wait);
            while let Some(event) = given.events.next().await {
                event.unwrap();
            }
            given.target.id.0.clone()
        }
        Err(error) => error.kind.code().to_owned(),
    }
}

fn calls(world: &World) -> Vec<usize> {
    world.backends.iter().map(|backend| backend.calls.load(Ordering::SeqCst)).collect()
}

#[tokio::test]
async fn each_endpoint_is_tried_once_and_then_the_nearest_is_used() {
    let world = two(&vec![answer(&["hi"]); 4], &vec![answer(&["hi"]); 4]);
    assert_eq!(ask(&world, 90, None).await, "cloud/big@eu");
    assert_eq!(ask(&world, 10, None).await, "cloud/big@us");
    assert_eq!(ask(&world, 10, None).await, "cloud/big@us");
    assert_eq!(ask(&world, 90, Some("eu")).await, "cloud/big@eu");
    assert_eq!(ask(&world, 10, Some("in")).await, "no_permitted_target");
    // After an hour without a call nobody knows any more.
    world.clock.advance(3_700_000);
    assert_eq!(ask(&world, 10, None).await, "cloud/big@eu");
}

#[tokio::test]
async fn the_next_endpoint_answers_when_one_fails_which_is_then_not_tried_first() {
    let refusal = || Script::Refuse(BackendErrorKind::Unreachable, 0);
    let world = two(&[refusal(), refusal()], &vec![answer(&["hi"]); 3]);
    assert_eq!(ask(&world, 10, None).await, "cloud/big@us");
    let receipt = world.store.receipts(1).await.unwrap().remove(0);
    assert_eq!(receipt.failed_steps[0].0.0, "cloud/big@eu");
    assert_eq!(receipt.egress.iter().map(|record| &*record.target.0).next_back(), Some("cloud/big@us"));
    assert_eq!(ask(&world, 10, None).await, "cloud/big@us");
    assert_eq!(calls(&world), [1, 2]);
    // It is given another chance in time.
    world.clock.advance(3_700_000);
    assert_eq!(ask(&world, 10, None).await, "cloud/big@us");
    assert_eq!(calls(&world), [2, 3]);
}

#[tokio::test]
async fn a_cap_on_the_target_holds_for_its_endpoints_together_and_each_has_a_row_of_its_own() {
    let world = two(&vec![answer(&["hi"]); 2], &vec![answer(&["hi"]); 2]);
    let cap = Cap {
        id: "three".into(),
        measure: Measure::Calls,
        window: Window::Day,
        limit: 3,
        warn_percent: None,
        app: Covers::All,
        user: Covers::All,
        organisation: Covers::All,
        feature: Covers::All,
        target: Covers::Only("cloud/big".into()),
    };
    world.runtime.set_spending(Spending { currency: Currency::USD, caps: vec![cap] });
    for (region, answered) in [("eu", true), ("us", true), ("eu", true), ("us", false), ("eu", false)] {
        assert_eq!(ask(&world, 1, Some(region)).await == format!("cloud/big@{region}"), answered, "{region}");
    }
    assert_eq!(calls(&world), [2, 1]);
    let (from, to) = (Timestamp::from_unix_millis(0), Timestamp::from_unix_millis(u64::MAX / 2));
    let rows = world.runtime.spend(SpendQuery { from, to, by: SpendBy::Target }).await.unwrap().rows;
    let requests = |id: &str| {
        let key = SpendKey::Target(Some(TargetId(id.into())));
        rows.iter().filter(|row| row.key == key).map(|row| row.requests).sum::<u64>()
    };
    assert_eq!((requests("cloud/big@eu"), requests("cloud/big@us")), (2, 1));
    let without = |id: &str| {
        let (runtime, id) = (world.runtime.clone(), TargetId(id.into()));
        async move { runtime.what_if_without(&id, from, to).await.unwrap().map(|what_if| what_if.requests) }
    };
    assert_eq!(without("cloud/big").await, Some(3));
    assert_eq!(without("cloud/big@us").await, Some(1));
    assert_eq!(without("cloud/bi").await, None);
}
