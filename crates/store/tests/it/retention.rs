//! The oldest receipts leave.

use inshore_domain::ReceiptId;
use inshore_store::{Store, StoreOptions};

use crate::sample::{key, receipt};

fn open(folder: &std::path::Path, retained: u32) -> Store {
    Store::open(StoreOptions { retained, ..StoreOptions::new(folder.join("inshore.db"), key()) }).unwrap()
}

#[tokio::test]
async fn the_number_of_receipts_is_limited() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), 500);
    for number in 0..3000 {
        store.settle(receipt(number), Vec::new()).await.unwrap();
    }
    let kept = store.receipts(10_000).await.unwrap();
    assert!((500..500 + 128).contains(&kept.len()), "{} kept", kept.len());
    assert_eq!(kept.first(), Some(&receipt(2999)));
    assert_eq!(kept.last(), Some(&receipt(3000 - kept.len() as u128)), "no gap");
    assert_eq!(store.receipt(ReceiptId::from_bits(0)).await.unwrap(), None);
    store.close().await.unwrap();

    // A lower limit is reached in small pieces, also after a restart.
    let store = open(folder.path(), 10);
    for number in 3000..3020 {
        store.settle(receipt(number), Vec::new()).await.unwrap();
    }
    let kept = store.receipts(10_000).await.unwrap();
    assert!((10..10 + 128).contains(&kept.len()), "{} kept", kept.len());
    store.verify().await.unwrap();
}
