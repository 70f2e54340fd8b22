//! Labels come back as they were, are bounded, and survive a kill.

use std::collections::HashSet;

use inshore_domain::{Currency, Money, ReceiptId, TargetId};
use inshore_store::{
    LABELS_OF_PAIR, Label, LabelSource, MOST_SIGNALS, REMEMBERED, REMEMBERED_MILLIS, Statistics, Verdict,
};

use crate::kill::{FIRST, FOLDER, run_and_kill};
use crate::sample::{at, close, open};

fn statistics(number: u128) -> Statistics {
    let signals = number.to_le_bytes().to_vec();
    let spared = (number.is_multiple_of(2)).then_some(Money { micros: 7, currency: Currency::USD });
    Statistics {
        family: "math".into(),
        device: TargetId("device/small".into()),
        cloud: TargetId("cloud/big".into()),
        signals,
        spared,
    }
}

fn label(number: u128, source: LabelSource, verdict: Verdict) -> Label {
    let receipt = ReceiptId::from_bits(number);
    Label { receipt, at: at(number as u64), statistics: statistics(number), verdict, source }
}

#[tokio::test]
async fn labels_come_back_in_their_order_also_when_the_store_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    let all = [
        label(1, LabelSource::Escalation, Verdict::Same),
        label(2, LabelSource::Shadow, Verdict::Different),
        label(3, LabelSource::Feedback, Verdict::Good),
        label(4, LabelSource::Feedback, Verdict::Bad),
        label(5, LabelSource::Feedback, Verdict::Retried),
    ];
    for label in all.clone() {
        assert_eq!(store.add_label(label).await, Ok(true));
    }
    assert_eq!(store.labels().await.unwrap(), all);
    close(&store).await;
    let store = open(folder.path()).unwrap();
    assert_eq!(store.labels().await.unwrap(), all);
}

#[tokio::test]
async fn a_request_has_one_label_and_what_a_person_says_stays() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    let rated = |verdict| label(1, LabelSource::Feedback, verdict);
    assert_eq!(store.add_label(label(1, LabelSource::Shadow, Verdict::Different)).await, Ok(true));
    assert_eq!(store.add_label(label(2, LabelSource::Shadow, Verdict::Same)).await, Ok(true));
    assert_eq!(store.add_label(rated(Verdict::Good)).await, Ok(true));
    assert_eq!(store.add_label(rated(Verdict::Bad)).await, Ok(true));
    assert_eq!(store.add_label(label(1, LabelSource::Shadow, Verdict::Same)).await, Ok(false));
    let left = [label(2, LabelSource::Shadow, Verdict::Same), rated(Verdict::Bad)];
    assert_eq!(store.labels().await.unwrap(), left);
}

#[tokio::test]
async fn the_oldest_of_a_pair_leave_and_those_of_others_stay() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    let mut other = label(0, LabelSource::Shadow, Verdict::Same);
    other.statistics.family = "code".into();
    store.add_label(other.clone()).await.unwrap();
    let most = u128::from(LABELS_OF_PAIR);
    let queued: Vec<_> = (1..=most + 30)
        .map(|number| store.add_label(label(number, LabelSource::Shadow, Verdict::Same)))
        .collect();
    for added in queued {
        added.await.unwrap();
    }
    let left = store.labels().await.unwrap();
    assert_eq!((left.len() as u128, &left[0]), (most + 1, &other));
    assert_eq!(left[1].receipt, ReceiptId::from_bits(31));
}

#[tokio::test]
async fn answers_are_remembered_for_a_week_and_no_more_than_there_is_room_for() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    let id = ReceiptId::from_bits;
    let long = Statistics { signals: vec![0; MOST_SIGNALS + 1], ..statistics(1) };
    assert_eq!(store.remember(id(1), at(0), long.clone()).await, Ok(false));
    let label = Label { statistics: long, ..label(1, LabelSource::Shadow, Verdict::Same) };
    assert_eq!(store.add_label(label).await, Ok(false));
    assert_eq!(store.remember(id(1), at(0), statistics(1)).await, Ok(true));
    assert_eq!(store.remember(id(1), at(9), statistics(2)).await, Ok(false));
    assert_eq!(store.remembered(id(1), at(REMEMBERED_MILLIS)).await.unwrap(), Some(statistics(1)));
    assert_eq!(store.remembered(id(1), at(REMEMBERED_MILLIS + 1)).await.unwrap(), None);
    assert_eq!(store.remembered(id(2), at(0)).await.unwrap(), None);
    let most = u128::from(REMEMBERED);
    let queued: Vec<_> =
        (2..=most + 1).map(|number| store.remember(id(number), at(1), statistics(number))).collect();
    for remembered in queued {
        remembered.await.unwrap();
    }
    assert_eq!(store.remembered(id(1), at(0)).await.unwrap(), None);
    assert_eq!(store.remembered(id(2), at(0)).await.unwrap(), Some(statistics(2)));
}

/// Not a test by itself: the process that is killed. It keeps labels until it dies, and prints each once it is committed.
#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the test's own child is told by its environment; it has no other arguments"
)]
fn child() {
    let (Some(folder), Ok(first)) = (std::env::var_os(FOLDER), std::env::var(FIRST)) else { return };
    println!("opening");
    let store = open(folder.as_ref()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        for number in first.parse::<u128>().unwrap().. {
            let remembered = store.remember(ReceiptId::from_bits(number), at(0), statistics(number));
            store.add_label(label(number, LabelSource::Shadow, Verdict::Same)).await.unwrap();
            assert!(remembered.await.unwrap());
            println!("settled {number}");
        }
    });
}

#[test]
fn no_label_is_lost_by_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut promised: HashSet<u128> = HashSet::new();
    for (round, lines) in (0u128..).zip([0, 1, 2, 40, 257, 900]) {
        promised.extend(run_and_kill("labels::child", folder.path(), round * 1_000_000, lines).settled);
        let store = open(folder.path()).unwrap();
        runtime.block_on(async {
            store.verify().await.unwrap();
            let labels = store.labels().await.unwrap();
            let found: HashSet<u128> = labels.iter().map(|label| label.receipt.to_bits()).collect();
            assert!(found.is_superset(&promised), "round {round}: a label is gone");
            for label in labels {
                let again = store.remembered(label.receipt, at(0)).await.unwrap();
                assert_eq!(again, Some(label.statistics));
            }
            close(&store).await;
        });
    }
    assert!(promised.len() > 1_000);
}
