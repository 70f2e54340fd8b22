//! The oldest receipts leave.

use inshore_domain::{Receipt, ReceiptId};
use inshore_store::{Store, StoreOptions};

use crate::sample::{close, key, receipt};

fn open(folder: &std::path::Path, retained: u32) -> Store {
    Store::open(StoreOptions { retained, ..StoreOptions::new(folder.join("inshore.db"), key()) }).unwrap()
}

/// The receipts that are left, once the writer's thread has done what callers left to it.
async fn kept(store: &Store, retained: usize) -> Vec<Receipt> {
    loop {
        let kept = store.receipts(10_000).await.unwrap();
        assert!(kept.len() >= retained, "{} kept", kept.len());
        if kept.len() < retained + 128 {
            return kept;
        }
    }
}

#[tokio::test]
async fn the_number_of_receipts_is_limited() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), 500);
    for number in 0..3000 {
        store.settle(receipt(number), Vec::new()).await.unwrap();
    }
    assert!(store.receipts(10_000).await.unwrap().len() <= 500 + 4 * 128);
    let left = kept(&store, 500).await;
    assert_eq!(left.first(), Some(&receipt(2999)));
    assert_eq!(left.last(), Some(&receipt(3000 - left.len() as u128)), "no gap");
    assert_eq!(store.receipt(ReceiptId::from_bits(0)).await.unwrap(), None);
    close(&store).await;

    // A lower limit is reached in small pieces, also after a restart.
    let store = open(folder.path(), 10);
    for number in 3000..3020 {
        store.settle(receipt(number), Vec::new()).await.unwrap();
    }
    kept(&store, 10).await;
    store.verify().await.unwrap();
}
