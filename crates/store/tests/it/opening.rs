//! Files that are not what they should be: a clear error, and the file stays as it is.

use std::fs;
use std::path::Path;

use inshore_store::{Key, Store, StoreError, StoreOptions};

use crate::sample::{close, key, open, receipt};

/// Opens a file with this content, and gives the error; the content must be the same afterwards.
fn refused(content: &[u8], key: Key) -> StoreError {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("inshore.db");
    fs::write(&path, content).unwrap();
    let error = Store::open(StoreOptions::new(&path, key)).unwrap_err();
    assert_eq!(fs::read(&path).unwrap(), content, "the file was changed");
    error
}

/// The bytes of a closed store with some hundred receipts.
fn store_bytes() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let store = open(folder.path()).unwrap();
        for number in 0..300 {
            drop(store.settle(receipt(number), Vec::new()));
        }
        close(&store).await;
    });
    fs::read(folder.path().join("inshore.db")).unwrap()
}

#[test]
fn a_wrong_key_is_told_from_a_damaged_file() {
    let good = store_bytes();
    assert!(matches!(refused(&good, Key::from_bytes([8; 32])), StoreError::WrongKey { .. }));
    let mut damaged = good;
    damaged[700] ^= 1;
    assert!(matches!(refused(&damaged, key()), StoreError::Damaged { .. }));
}

#[test]
fn files_of_other_kinds_are_named() {
    let found = |content: &[u8]| match refused(content, key()) {
        StoreError::NotAStore { found, .. } => found,
        other => panic!("{other}"),
    };
    assert_eq!(found(b"x"), "it is shorter than one page");
    assert_eq!(found(&b"a long letter. ".repeat(1000)), "it is a text file");
    let mut plain = b"SQLite format 3\0".to_vec();
    plain.resize(8192, 0);
    assert_eq!(found(&plain), "it is an SQLite database without encryption");
}

#[test]
fn a_cut_off_file_is_damaged() {
    let good = store_bytes();
    for keep in [1024, 8192, good.len() / 2 / 1024 * 1024, good.len() - 1024] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("inshore.db"), &good[..keep]).unwrap();
        let found = read_everything(folder.path());
        assert!(matches!(found, Err(StoreError::Damaged { .. })), "{keep} bytes: {found:?}");
    }
}

#[test]
fn a_changed_byte_anywhere_is_noticed() {
    let good = store_bytes();
    // Past the salt, a step that is no divisor of the page size.
    for at in (16..good.len()).step_by(1031) {
        let folder = tempfile::tempdir().unwrap();
        let mut bytes = good.clone();
        bytes[at] ^= 0x40;
        fs::write(folder.path().join("inshore.db"), &bytes).unwrap();
        let found = read_everything(folder.path());
        assert!(matches!(found, Err(StoreError::Damaged { .. })), "byte {at}: {found:?}");
    }
}

/// Opens the store in a folder and reads every page of it.
fn read_everything(folder: &Path) -> Result<(), StoreError> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let store = open(folder)?;
    runtime.block_on(async {
        let checked = store.verify().await;
        close(&store).await;
        checked
    })
}

#[test]
fn a_folder_that_is_not_there_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let refused = open(&folder.path().join("nowhere")).unwrap_err();
    assert_eq!(refused.code(), "unavailable");
    assert!(refused.to_string().contains("nowhere"), "{refused}");
}

#[test]
fn a_folder_in_the_place_of_the_file_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("inshore.db")).unwrap();
    assert_eq!(open(folder.path()).unwrap_err().code(), "unavailable");
}
