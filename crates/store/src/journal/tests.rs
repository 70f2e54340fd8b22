//! What a reader makes of files that were cut off, altered, mixed up or badly written.

use super::*;
use std::fs;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;

const ID: Id = [1; 16];
const BEFORE: Id = [2; 16];
const SALT: Id = [3; 16];

fn key() -> Key {
    Key::from_bytes([7; Key::LEN])
}

fn rows(number: u64) -> Vec<u8> {
    format!("what was done {number}").into_bytes().repeat(1 + number as usize % 5)
}

/// A journal of these records, and its first file.
fn some(folder: &Path, records: std::ops::RangeInclusive<u64>) -> (Journal, PathBuf) {
    let database = folder.join("db");
    let mut journal = Journal::begin(&database, key(), ID, SALT, records.start() - 1).unwrap();
    for number in records {
        journal.append(&rows(number)).unwrap();
    }
    let [first, _] = paths(&database);
    (journal, first)
}

fn read_again(folder: &Path, folded: u64) -> Result<Replay, StoreError> {
    read(&folder.join("db"), &key(), &ID, &BEFORE, folded)
}

fn numbers(replay: &Replay) -> (usize, u64) {
    let first = replay.last + 1 - replay.records.len() as u64;
    for (number, found) in (first..).zip(&replay.records) {
        assert_eq!(*found, rows(number));
    }
    (replay.records.len(), replay.last)
}

#[test]
fn what_was_written_is_read_after_what_is_folded() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(numbers(&read_again(folder.path(), 4).unwrap()), (0, 4), "no files");
    let (_, first) = some(folder.path(), 5..=14);
    assert_eq!(numbers(&read_again(folder.path(), 4).unwrap()), (10, 14));
    assert_eq!(numbers(&read_again(folder.path(), 11).unwrap()), (3, 14));
    assert_eq!(numbers(&read_again(folder.path(), 14).unwrap()), (0, 14));
    // The database is of a later state: all of it is folded.
    assert_eq!(numbers(&read_again(folder.path(), 99).unwrap()), (0, 99));
    let clear = fs::read(first).unwrap();
    assert!(!clear.windows(4).any(|window| window == b"what"), "it is readable");
}

#[test]
fn an_earlier_state_of_the_database_is_told() {
    let folder = tempfile::tempdir().unwrap();
    some(folder.path(), 5..=14);
    let refused = read_again(folder.path(), 2).unwrap_err();
    assert!(refused.to_string().contains("record 3 of the journal is missing"), "{refused}");
}

#[test]
fn a_journal_of_another_database_is_refused_and_that_of_the_process_before_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let (_, first) = some(folder.path(), 1..=3);
    let database = folder.path().join("db");
    let other = read(&database, &key(), &[9; 16], &BEFORE, 0).unwrap_err();
    assert_eq!(other, StoreError::OtherJournal { path: first.clone() });
    let before = read(&database, &key(), &[9; 16], &ID, 7).unwrap();
    assert_eq!((before.owner, numbers(&before)), (ID, (0, 7)));
    let other_key = read(&database, &Key::from_bytes([8; Key::LEN]), &ID, &BEFORE, 0).unwrap_err();
    assert!(matches!(other_key, StoreError::Damaged { .. }), "{other_key}");
}

#[test]
fn a_file_that_is_cut_off_anywhere_holds_the_records_before() {
    let folder = tempfile::tempdir().unwrap();
    let (_, first) = some(folder.path(), 1..=6);
    let whole = fs::read(&first).unwrap();
    let mut held = Vec::new();
    for length in 0..=whole.len() {
        fs::write(&first, &whole[..length]).unwrap();
        let (count, last) = numbers(&read_again(folder.path(), 0).unwrap());
        assert_eq!(count as u64, last);
        held.push(count);
        // Zeros behind it, as after a power cut.
        let mut zeros = whole[..length].to_vec();
        zeros.resize(length + 300, 0);
        fs::write(&first, &zeros).unwrap();
        match read_again(folder.path(), 0) {
            Ok(replay) => assert_eq!(numbers(&replay).0, count, "{length}"),
            // Cut off within a record or the head, the zeros make it look whole: it is said.
            Err(StoreError::Damaged { .. } | StoreError::OtherJournal { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }
    assert!(held.is_sorted());
    assert_eq!((held.first(), held.last()), (Some(&0), Some(&6)));
}

#[test]
fn a_changed_byte_anywhere_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let (_, first) = some(folder.path(), 1..=6);
    let whole = fs::read(&first).unwrap();
    let last = whole.len() - rows(6).len() - 32;
    for at in 0..whole.len() {
        for bit in [0x01, 0x80] {
            let mut altered = whole.clone();
            altered[at] ^= bit;
            fs::write(&first, &altered).unwrap();
            match read_again(folder.path(), 0) {
                Err(StoreError::Damaged { .. } | StoreError::OtherJournal { .. }) => {}
                // A length that is altered makes the last record look as if it had been cut off: nobody can tell.
                Ok(replay) => assert_eq!((at - last < 4, numbers(&replay)), (true, (5, 5)), "byte {at}"),
                Err(other) => panic!("byte {at}: {other}"),
            }
        }
    }
}

#[test]
fn records_that_are_missing_repeated_or_exchanged_are_said() {
    let folder = tempfile::tempdir().unwrap();
    let (_, first) = some(folder.path(), 1..=6);
    let whole = fs::read(&first).unwrap();
    let ends: Vec<usize> = (0..=6)
        .scan(64, |end, number| {
            *end += if number == 0 { 0 } else { rows(number).len() + 32 };
            Some(*end)
        })
        .collect();
    let record = |number: usize| &whole[ends[number - 1]..ends[number]];
    for order in [&[1, 3, 4][..], &[1, 2, 2, 3], &[2, 1, 3], &[1, 2, 4, 3, 5, 6]] {
        let mut bytes = whole[..64].to_vec();
        order.iter().for_each(|number| bytes.extend_from_slice(record(*number)));
        fs::write(&first, bytes).unwrap();
        assert!(matches!(read_again(folder.path(), 0), Err(StoreError::Damaged { .. })), "{order:?}");
    }
}

#[test]
fn records_go_on_in_the_other_file_once_the_database_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let (mut journal, first) = some(folder.path(), 1..=3);
    let [_, second] = paths(&folder.path().join("db"));
    let append = |journal: &mut Journal, records: std::ops::RangeInclusive<u64>| {
        records.for_each(|number| journal.append(&rows(number)).unwrap());
    };
    journal.turn_over(&[4; 16]).unwrap();
    append(&mut journal, 4..=6);
    assert_eq!(numbers(&read_again(folder.path(), 0).unwrap()), (6, 6));
    // The first still has what the database may not.
    journal.forced(2);
    journal.turn_over(&[5; 16]).unwrap();
    append(&mut journal, 7..=7);
    assert_eq!(numbers(&read_again(folder.path(), 2).unwrap()), (5, 7));
    journal.forced(3);
    journal.turn_over(&[6; 16]).unwrap();
    append(&mut journal, 8..=9);
    assert_eq!(numbers(&read_again(folder.path(), 3).unwrap()), (6, 9));
    assert!(matches!(read_again(folder.path(), 2), Err(StoreError::Damaged { .. })), "the first is gone");

    // The older of two files has lost its end.
    let bytes = fs::read(&second).unwrap();
    fs::write(&second, &bytes[..bytes.len() - 1]).unwrap();
    let refused = read_again(folder.path(), 3).unwrap_err();
    assert!(refused.to_string().contains("record 7 of the journal is missing"), "{refused}");
    fs::write(&second, &bytes).unwrap();
    // The process died as it began the newer one.
    for length in [0, 10, 63, 64] {
        let newer = fs::read(&first).unwrap();
        fs::write(&first, &newer[..length]).unwrap();
        assert_eq!(numbers(&read_again(folder.path(), 3).unwrap()), (4, 7));
        fs::write(&first, &newer).unwrap();
    }
}

#[test]
fn a_journal_in_whose_place_is_something_else_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let [first, _] = paths(&folder.path().join("db"));
    fs::write(&first, b"a long letter. ".repeat(100)).unwrap();
    assert!(matches!(read_again(folder.path(), 0), Err(StoreError::Damaged { .. })));
    fs::remove_file(&first).unwrap();
    fs::create_dir(&first).unwrap();
    assert!(matches!(read_again(folder.path(), 0), Err(StoreError::Unavailable { .. })));
}

/// A file in memory that fails when it is told to.
#[derive(Clone, Default)]
struct Faulty(Arc<Mutex<Disk>>);

#[derive(Default)]
struct Disk {
    bytes: Vec<u8>,
    /// Of the next write so many bytes arrive, and it fails.
    fails_after: Option<usize>,
    /// Nothing can be cut off either.
    stuck: bool,
}

impl Medium for Faulty {
    fn write_at(&mut self, bytes: &[u8], at: u64) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        let failure = disk.fails_after.take();
        let bytes = &bytes[..failure.unwrap_or(bytes.len()).min(bytes.len())];
        let end = at as usize + bytes.len();
        let length = disk.bytes.len().max(end);
        disk.bytes.resize(length, 0);
        disk.bytes[at as usize..end].copy_from_slice(bytes);
        failure.map_or(Ok(()), |_| Err(io::ErrorKind::StorageFull.into()))
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        if disk.stuck {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        disk.bytes.resize(length as usize, 0);
        Ok(())
    }
}

proptest! {
    /// Whatever arrives of a write that fails, and whether or not it can be cut off: what is read is what was promised.
    #[test]
    fn a_write_that_fails_leaves_nothing(
        steps in prop::collection::vec((any::<bool>(), prop::option::of(0..200_usize), any::<bool>()), 1..40)
    ) {
        let folder = tempfile::tempdir().unwrap();
        let disk = Faulty::default();
        let media: [Box<dyn Medium>; 2] = [Box::new(disk.clone()), Box::<Faulty>::default()];
        let mut journal = Journal::on(media, key(), ID, SALT, 0).unwrap();
        let (mut promised, mut unfinished) = (0, false);
        for (long, fails_after, stuck) in steps {
            let rows = rows(promised + 1).repeat(if long { 3 } else { 1 });
            // All of it may arrive, and the system say that it did not.
            let fails_after = fails_after.map(|bytes| bytes.min(rows.len() + 31));
            (disk.0.lock().unwrap().fails_after, disk.0.lock().unwrap().stuck) = (fails_after, stuck);
            let fails = fails_after.is_some() || unfinished && stuck;
            prop_assert_eq!(journal.append(&rows).is_err(), fails);
            unfinished = fails && stuck;
            promised += u64::from(!fails);
        }
        let [first, _] = paths(&folder.path().join("db"));
        fs::write(first, &disk.0.lock().unwrap().bytes).unwrap();
        let replay = read_again(folder.path(), 0).unwrap();
        prop_assert_eq!((replay.records.len() as u64, replay.last), (promised, promised));
    }

    #[test]
    fn any_bytes_are_records_or_an_error(bytes: Vec<u8>, keep in 0..400_usize) {
        let folder = tempfile::tempdir().unwrap();
        let (_, first) = some(folder.path(), 1..=6);
        let mut whole = fs::read(&first).unwrap();
        whole.truncate(keep);
        whole.extend_from_slice(&bytes);
        fs::write(&first, whole).unwrap();
        if let Ok(replay) = read_again(folder.path(), 0) {
            numbers(&replay);
        }
    }
}
