//! Nothing readable on the disk, and nobody else may read it.

use std::fs;

use crate::sample::{close, open, receipt};

#[tokio::test]
async fn no_file_holds_a_receipt_in_the_clear() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    for number in 0..2000 {
        drop(store.settle(receipt(number), Vec::new()));
    }
    store.settle(receipt(5000), Vec::new()).await.unwrap();
    let search = || {
        let files: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        for file in &files {
            let bytes = fs::read(file).unwrap();
            for clear in ["inline-completion", "device/inshore-default", "CREATE TABLE", "SQLite format"] {
                let found = bytes.windows(clear.len()).any(|window| window == clear.as_bytes());
                assert!(!found, "`{clear}` is readable in {}", file.display());
            }
        }
        files.len()
    };
    assert!(search() >= 3, "database, log and lock");
    close(&store).await;
    search();
}

#[cfg(unix)]
#[tokio::test]
async fn only_the_owner_may_read_the_files() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    store.settle(receipt(1), Vec::new()).await.unwrap();
    for entry in fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(
            entry.metadata().unwrap().permissions().mode() & 0o777,
            0o600,
            "{}",
            entry.path().display()
        );
    }
}
