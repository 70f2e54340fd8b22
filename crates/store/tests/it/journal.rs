//! The files of the journal through the store: cut off, altered, exchanged, left behind.

use std::fs;
use std::path::{Path, PathBuf};

use inshore_domain::{Closing, Principal, ReceiptId, Window};
use inshore_store::{Store, StoreError};

use crate::sample::{claim, close, id, money, open, receipt, reservation};

/// The files of a store as they are now: what a process leaves that is killed.
fn killed(folder: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for file in ["inshore.db-redo-0", "inshore.db-redo-1", "inshore.db", "inshore.db-wal"] {
        fs::copy(folder.join(file), copy.path().join(file)).unwrap();
    }
    copy
}

fn files(folder: &Path) -> [PathBuf; 2] {
    ["inshore.db-redo-0", "inshore.db-redo-1"].map(|file| folder.join(file))
}

/// Settles receipts that no fold has brought to the tables yet: too few for one, and nobody reads.
async fn settle(store: &Store, numbers: std::ops::Range<u128>) {
    for number in numbers {
        store.settle(receipt(number), Vec::new()).await.unwrap();
    }
}

async fn receipts(folder: &Path) -> Result<Vec<u128>, StoreError> {
    let store = open(folder)?;
    store.verify().await.unwrap();
    let all = store.receipts(1_000).await.unwrap();
    close(&store).await;
    Ok(all.iter().rev().map(|receipt| receipt.id.to_bits()).collect())
}

#[tokio::test]
async fn what_is_only_in_the_journal_is_there_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    let cap = claim("monthly", Window::Month, 1_000);
    for number in 0..5 {
        let wish = reservation(number, 100, vec![cap.clone()]);
        store.reserve(wish, &Principal::default(), None).await.unwrap();
    }
    store.settle(receipt(0), vec![(id(0), Closing::Settled(money(40)))]).await.unwrap();
    store.settle(receipt(1), vec![(id(1), Closing::Released)]).await.unwrap();
    let copy = killed(folder.path());
    let again = open(copy.path()).unwrap();
    assert_eq!(again.headroom(std::slice::from_ref(&cap)), [1_000 - 40 - 300]);
    assert_eq!(again.in_doubt(10).await.unwrap().len(), 3);
    assert_eq!(again.receipt(ReceiptId::from_bits(1)).await.unwrap(), Some(receipt(1)));
    assert_eq!(
        again.settle(receipt(0), Vec::new()).await,
        Err(StoreError::AlreadySettled { id: ReceiptId::from_bits(0) })
    );
    again.verify().await.unwrap();
    // Killed again, twice, while what was left is in the tables and the new journal has little in it.
    let once_more = killed(copy.path());
    let third = open(once_more.path()).unwrap();
    let fourth = killed(once_more.path());
    assert_eq!(receipts(fourth.path()).await.unwrap(), [0, 1]);
    for store in [&store, &again, &third] {
        close(store).await;
    }
}

#[tokio::test]
async fn an_end_in_order_leaves_no_journal() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    settle(&store, 0..10).await;
    assert!(files(folder.path()).iter().all(|file| file.exists()));
    close(&store).await;
    assert!(!files(folder.path()).iter().any(|file| file.exists()));
    assert_eq!(receipts(folder.path()).await.unwrap(), (0..10).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_journal_that_was_cut_off_loses_what_was_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    settle(&store, 0..10).await;
    let whole = fs::read(&files(folder.path())[0]).unwrap();
    for cut in [1, 15, 100, 1_000, whole.len() - 70, whole.len() - 10, whole.len()] {
        let copy = killed(folder.path());
        fs::write(&files(copy.path())[0], &whole[..whole.len() - cut]).unwrap();
        let left = receipts(copy.path()).await.unwrap();
        assert_eq!(left, (0..left.len() as u128).collect::<Vec<_>>(), "{cut}");
        assert!(left.len() < 10 && (cut > 100 || left.len() == 9), "{cut}: {}", left.len());
    }
    close(&store).await;
}

#[tokio::test]
async fn a_record_that_was_altered_is_reported_and_the_files_stay() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    settle(&store, 0..10).await;
    let whole = fs::read(&files(folder.path())[0]).unwrap();
    // The middle of a record, and the lengths of the first and of one that is no longer known.
    for at in [64, 67, 70, 90, 400, whole.len() / 2, whole.len() - 5] {
        let copy = killed(folder.path());
        let mut altered = whole.clone();
        altered[at] ^= 4;
        fs::write(&files(copy.path())[0], &altered).unwrap();
        let refused = open(copy.path()).unwrap_err();
        assert!(matches!(&refused, StoreError::Damaged { path, .. } if path.ends_with("inshore.db-redo-0")));
        assert!(refused.hint().is_some());
        assert!(fs::read(&files(copy.path())[0]).unwrap() == altered, "the file was changed");
        // And nothing of it was brought to the tables.
        fs::write(&files(copy.path())[0], &whole).unwrap();
        assert_eq!(receipts(copy.path()).await.unwrap(), (0..10).collect::<Vec<_>>());
    }
    close(&store).await;
}

#[tokio::test]
async fn a_journal_that_does_not_belong_to_the_database_is_refused() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (store, stranger) = (open(folder.path()).unwrap(), open(other.path()).unwrap());
    settle(&store, 0..10).await;
    settle(&stranger, 50..60).await;
    let copy = killed(folder.path());
    fs::copy(&files(other.path())[0], &files(copy.path())[0]).unwrap();
    let refused = open(copy.path()).unwrap_err();
    assert_eq!((refused.code(), refused.hint().is_some()), ("other_journal", true));
    // Moved away, as the hint says, the database opens with what it has.
    fs::rename(&files(copy.path())[0], copy.path().join("away")).unwrap();
    assert_eq!(receipts(copy.path()).await.unwrap(), [0; 0]);
    close(&store).await;
    close(&stranger).await;
}

#[tokio::test]
async fn an_old_copy_of_the_database_is_told_from_the_one_that_the_journal_is_of() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    settle(&store, 0..10).await;
    close(&store).await;
    let backup = fs::read(folder.path().join("inshore.db")).unwrap();
    let store = open(folder.path()).unwrap();
    settle(&store, 10..20).await;
    let copy = killed(folder.path());
    close(&store).await;
    // Put back without its own files: the journal beside it is of a later opening.
    fs::write(copy.path().join("inshore.db"), backup).unwrap();
    fs::remove_file(copy.path().join("inshore.db-wal")).unwrap();
    assert_eq!(open(copy.path()).unwrap_err().code(), "other_journal");
    for file in files(copy.path()) {
        fs::remove_file(file).unwrap();
    }
    assert_eq!(receipts(copy.path()).await.unwrap(), (0..10).collect::<Vec<_>>());
}
