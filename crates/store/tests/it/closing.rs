//! What happens to work that is under way when nobody waits for it any more.

use inshore_domain::ReceiptId;
use inshore_store::StoreError;

use crate::sample::{close, open, receipt};

#[tokio::test]
async fn a_receipt_is_written_even_if_nobody_waits() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    drop(store.settle(receipt(1), Vec::new()));
    // Orders are carried out in turn: when this one is done, so is the one before.
    store.settle(receipt(2), Vec::new()).await.unwrap();
    assert_eq!(store.receipt(ReceiptId::from_bits(1)).await.unwrap(), Some(receipt(1)));
}

#[tokio::test]
async fn closing_carries_out_what_is_queued_and_frees_the_files() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    for number in 0..1000 {
        drop(store.settle(receipt(number), Vec::new()));
    }
    let other_handle = store.clone();
    close(&store).await;
    assert_eq!(other_handle.settle(receipt(5000), Vec::new()).await, Err(StoreError::Closed));
    assert_eq!(other_handle.receipts(1).await, Err(StoreError::Closed));
    close(&store).await;
    assert!(!folder.path().join("inshore.db-wal").exists(), "the log is copied back and gone");

    let store = open(folder.path()).unwrap();
    assert_eq!(store.receipts(10_000).await.unwrap().len(), 1000);
    store.verify().await.unwrap();
}

#[tokio::test]
async fn one_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    let refused = open(folder.path()).unwrap_err();
    assert_eq!(refused, StoreError::InUse { path: folder.path().join("inshore.db") });
    assert!(refused.hint().is_some());
    store.settle(receipt(1), Vec::new()).await.unwrap();
    close(&store).await;
    open(folder.path()).unwrap();
}
