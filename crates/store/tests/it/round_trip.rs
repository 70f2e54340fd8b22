//! What is settled is what is read back.

use std::time::Duration;

use inshore_domain::receipt::AnsweredBy;
use inshore_domain::{
    Capability, Currency, EgressRecord, Exclusion, Money, Outcome, Principal, Profile, Receipt, ReceiptId,
    RequestId, Sensitivity, Strategy as Way, TargetId, Tier, Timestamp, Timings, TraceId, Usage, Verdict,
};
use inshore_store::StoreError;
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;

use crate::sample::{open, receipt};

fn text() -> impl Strategy<Value = String> {
    // Any characters, NUL and quotes included.
    vec(any::<char>(), 0..24).prop_map(String::from_iter)
}

fn target() -> impl Strategy<Value = TargetId> {
    text().prop_map(TargetId)
}

/// Microseconds, up to what a column holds.
fn time() -> impl Strategy<Value = Duration> {
    (0..=i64::MAX as u64).prop_map(Duration::from_micros)
}

fn sensitivity() -> impl Strategy<Value = Sensitivity> {
    select(&Sensitivity::ALL[..])
}

fn exclusion() -> impl Strategy<Value = Exclusion> {
    prop_oneof![
        Just(Exclusion::NotAsked),
        Just(Exclusion::NotPermitted),
        (sensitivity(), sensitivity())
            .prop_map(|(found, permitted)| Exclusion::TooSensitive { found, permitted }),
        select(&Capability::ALL[..]).prop_map(Exclusion::Incapable),
        any::<(u32, u32)>().prop_map(|(needed, window)| Exclusion::ContextTooSmall { needed, window }),
        Just(Exclusion::Down),
        (time(), time()).prop_map(|(expected, budget)| Exclusion::TooSlow { expected, budget }),
        Just(Exclusion::NoPrice),
    ]
}

fn verdict() -> impl Strategy<Value = Verdict> {
    let outcome = prop_oneof![any::<usize>().prop_map(Ok), exclusion().prop_map(Err)];
    (target(), outcome).prop_map(|(target, outcome)| Verdict::new(target, outcome))
}

fn egress() -> impl Strategy<Value = EgressRecord> {
    (target(), text(), any::<u64>(), any::<u64>()).prop_map(|(target, destination, bytes_out, bytes_in)| {
        EgressRecord { target, destination, bytes_out, bytes_in, remote_receipt: None }
    })
}

fn answered_by() -> impl Strategy<Value = AnsweredBy> {
    (target(), select(vec![Tier::Device, Tier::Edge, Tier::Cloud]), text())
        .prop_map(|(target, tier, model)| AnsweredBy { target, tier, model })
}

fn usage() -> impl Strategy<Value = Usage> {
    any::<[u32; 5]>().prop_map(
        |[prompt_tokens, cached_tokens, cache_write_tokens, output_tokens, reasoning_tokens]| Usage {
            prompt_tokens,
            cached_tokens,
            cache_write_tokens,
            output_tokens,
            reasoning_tokens,
        },
    )
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        Just(Outcome::Answered),
        Just(Outcome::Cancelled),
        (text(), text()).prop_map(|(code, message)| Outcome::Failed { code, message }),
    ]
}

fn cost() -> impl Strategy<Value = Money> {
    (any::<i64>(), "[A-Z]{3}")
        .prop_map(|(micros, code)| Money { micros, currency: Currency::new(&code).unwrap() })
}

fn any_receipt() -> impl Strategy<Value = Receipt> {
    let ids = (any::<u128>(), any::<u128>(), any::<u128>(), 0..=i64::MAX as u64);
    let asked = (
        text(),
        of(text()),
        of(text()),
        of(text()),
        text(),
        select(vec![Profile::Realtime, Profile::Async, Profile::Batch]),
    );
    let decided = (
        of(answered_by()),
        select(vec![Way::Direct, Way::Fallback]),
        sensitivity(),
        vec(verdict(), 0..9),
        vec((target(), text()), 0..4),
    );
    let happened = (usage(), time(), of(time()), time(), vec(egress(), 0..4), cost(), outcome());
    (ids, asked, decided, happened).prop_map(|(ids, asked, decided, happened)| {
        let (id, request, trace, at) = ids;
        let (app, user, organisation, feature, model, profile) = asked;
        let (answered_by, strategy, sensitivity, verdicts, failed_steps) = decided;
        let (usage, queued, first_token, total, egress, cost, outcome) = happened;
        Receipt {
            id: ReceiptId::from_bits(id),
            request: RequestId::from_bits(request),
            trace: TraceId::new(trace),
            at: Timestamp::from_unix_millis(at),
            principal: Principal { app, user, organisation },
            feature,
            profile,
            asked: model,
            answered_by,
            strategy,
            sensitivity,
            verdicts,
            failed_steps,
            usage,
            timings: Timings { queued, first_token, total },
            egress,
            cost,
            in_doubt: Money::ZERO,
            replay: None,
            notes: Vec::new(),
            outcome,
        }
    })
}

#[test]
fn any_receipt_survives_the_round_trip() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let store = open(folder.path()).unwrap();
    proptest!(|(receipt in any_receipt())| {
        let back = runtime.block_on(async {
            store.settle(receipt.clone(), Vec::new()).await?;
            store.receipt(receipt.id).await
        });
        prop_assert_eq!(back.unwrap(), Some(receipt));
    });
}

#[tokio::test]
async fn lists_are_newest_first_and_as_long_as_asked() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    assert_eq!(store.receipts(10).await.unwrap(), []);
    // Ids that do not sort by time: the order of commits counts.
    for number in [5, 9, 2] {
        store.settle(receipt(number), Vec::new()).await.unwrap();
    }
    assert_eq!(store.receipts(10).await.unwrap(), [receipt(2), receipt(9), receipt(5)]);
    assert_eq!(store.receipts(1).await.unwrap(), [receipt(2)]);
    assert_eq!(store.receipts(0).await.unwrap(), []);
    assert_eq!(store.receipt(ReceiptId::from_bits(1)).await.unwrap(), None);
}

#[tokio::test]
async fn a_receipt_is_written_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    store.settle(receipt(1), Vec::new()).await.unwrap();
    let mut other = receipt(1);
    other.asked = "something else".into();
    assert_eq!(
        store.settle(other, Vec::new()).await,
        Err(StoreError::AlreadySettled { id: ReceiptId::from_bits(1) })
    );
    assert_eq!(store.receipt(ReceiptId::from_bits(1)).await.unwrap(), Some(receipt(1)));
}

#[tokio::test]
async fn what_does_not_fit_is_cut_and_what_does_not_count_is_rounded() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    let mut long = receipt(1);
    long.asked = "ü".repeat(100_000);
    long.outcome = Outcome::Failed { code: "failed".into(), message: "x".repeat(1 << 20) };
    long.failed_steps = vec![(TargetId("t".into()), "y".repeat(1 << 20))];
    long.timings = Timings { queued: Duration::from_nanos(1_999), first_token: None, total: Duration::MAX };
    store.settle(long, Vec::new()).await.unwrap();
    let back = store.receipt(ReceiptId::from_bits(1)).await.unwrap().unwrap();
    assert_eq!(back.asked, "ü".repeat(2048));
    assert_eq!(back.outcome, Outcome::Failed { code: "failed".into(), message: "x".repeat(4096) });
    assert_eq!(back.failed_steps, [(TargetId("t".into()), "y".repeat(4096))]);
    assert_eq!(back.timings.queued, Duration::from_micros(1));
    assert_eq!(back.timings.total, Duration::from_micros(i64::MAX as u64));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_callers_at_once_are_all_answered() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    // More than the queue holds, so that some wait for room.
    let waiting: Vec<_> = (0..6000).map(|number| store.settle(receipt(number), Vec::new())).collect();
    for settled in waiting {
        settled.await.unwrap();
    }
    assert_eq!(store.receipts(10_000).await.unwrap().len(), 6000);
    store.verify().await.unwrap();
}
