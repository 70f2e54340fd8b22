//! The journal: what was done and is not in the tables yet, one record after the other. A record is one write at the end of a
//! file, which costs a twentieth of a commit of the database; it survives the death of this process like one.
//!
//! There are two files. When one has grown long, records go on in the other, and what is in the first may be written over once
//! the database has it and was forced to the disk: so the database is never behind the beginning of the journal, also after
//! a power cut. Files belong to one run of one database: each time it is opened, it draws a new id, which they carry.
//!
//! Records are encrypted and signed ([`seal`]) and numbered without a gap. What a reader finds after the last whole record is
//! what a process was writing when it died, and was promised to nobody. Anything else that does not fit (a record that was
//! altered, a gap, another database's file) is an error: money may be in it.

mod file;
mod seal;

use std::io;
use std::path::{Path, PathBuf};

use crate::error::StoreError;
use crate::key::Key;

use file::{Contents, File, Found, Medium, OnDisk};
pub(crate) use seal::Id;

/// Bytes after which records go on in the other file: some 6,000 requests.
const LONG: u64 = 4 << 20;

/// What there is to do again when the database is opened.
#[derive(Debug)]
pub(crate) struct Replay {
    /// The journal that the files are of: this one, or the one before.
    pub(crate) owner: Id,
    /// The rows of each record that the tables do not have.
    pub(crate) records: Vec<Vec<u8>>,
    /// The number of the last record; that of the last folded one where there are no others.
    pub(crate) last: u64,
}

/// Where the two files are.
pub(crate) fn paths(database: &Path) -> [PathBuf; 2] {
    ["-redo-0", "-redo-1"].map(|end| {
        let mut name = database.as_os_str().to_owned();
        name.push(end);
        PathBuf::from(name)
    })
}

/// Reads what the process before has left: the records after `folded` of the journal `id`. What `before` names is folded.
pub(crate) fn read(
    database: &Path,
    key: &Key,
    id: &Id,
    before: &Id,
    folded: u64,
) -> Result<Replay, StoreError> {
    let mut found: Vec<Contents> = Vec::new();
    let mut replay = Replay { owner: *id, records: Vec::new(), last: folded };
    for path in paths(database) {
        match file::read(&path, key, id, before)? {
            Found::Nothing => {}
            Found::Before => replay.owner = *before,
            Found::Contents(contents) => found.push(contents),
        }
    }
    found.sort_by_key(|contents| contents.base);
    let gap = |path: &Path, number: u64| StoreError::Damaged {
        path: path.to_path_buf(),
        detail: format!("record {number} of the journal is missing"),
    };
    for contents in found {
        for (number, rows) in (contents.base..).zip(contents.records) {
            if number <= folded {
                continue;
            }
            if number != replay.last + 1 {
                return Err(gap(&contents.path, replay.last + 1));
            }
            replay.records.push(rows);
            replay.last = number;
        }
    }
    Ok(replay)
}

/// The journal of this process.
pub(crate) struct Journal {
    key: Key,
    id: Id,
    files: [File; 2],
    /// Which of them is written to.
    active: usize,
    /// The number of the last record.
    last: u64,
    /// Up to this one the database has all, and was forced to the disk.
    durable: u64,
}

impl Journal {
    /// Begins a new journal after record `last`, over whatever was in the files: the database has it, and was forced to the
    /// disk. `salt` is random.
    pub(crate) fn begin(database: &Path, key: Key, id: Id, salt: Id, last: u64) -> Result<Self, StoreError> {
        let [first, second] = paths(database);
        let open = |path: &Path| OnDisk::open(path).map_err(|error| StoreError::from_io(path, &error));
        let media: [Box<dyn Medium>; 2] = [Box::new(open(&first)?), Box::new(open(&second)?)];
        Self::on(media, key, id, salt, last).map_err(|error| StoreError::from_io(&first, &error))
    }

    fn on(media: [Box<dyn Medium>; 2], key: Key, id: Id, salt: Id, last: u64) -> io::Result<Self> {
        let [first, mut second] = media;
        second.truncate(0)?;
        let first = File::begin(first, &key, &id, &salt, last + 1)?;
        let second = File::empty(second, &key, &id, &salt, last)?;
        Ok(Self { key, id, files: [first, second], active: 0, last, durable: last })
    }

    /// The number of the last record.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// Adds a record. It is there when this returns, or it never will be.
    pub(crate) fn append(&mut self, rows: &[u8]) -> io::Result<()> {
        let number = self.last + 1;
        let [first, second] = &mut self.files;
        let file = if self.active == 0 { first } else { second };
        file.append(number, rows)?;
        self.last = number;
        Ok(())
    }

    /// Of the next record so many bytes find room.
    #[cfg(test)]
    pub(crate) fn fail_after(&mut self, bytes: usize) {
        let file = self.files.get_mut(self.active);
        file.into_iter().for_each(|file| file.fail_after(bytes));
    }

    /// Whether the file that is written to has grown long.
    pub(crate) fn is_long(&self) -> bool {
        let [first, second] = &self.files;
        let file = if self.active == 0 { first } else { second };
        file.end() >= LONG
    }

    /// The database has all records up to this one, and was forced to the disk.
    pub(crate) fn forced(&mut self, record: u64) {
        self.durable = self.durable.max(record);
    }

    /// Goes on in the other file, if nothing in that one is needed any more. When that fails, this one grows longer.
    pub(crate) fn turn_over(&mut self, salt: &Id) -> io::Result<()> {
        let [first, second] = &mut self.files;
        let other = if self.active == 0 { second } else { first };
        if other.last() > self.durable {
            return Ok(());
        }
        other.begin_again(&self.key, &self.id, salt, self.last + 1)?;
        self.active = 1 - self.active;
        Ok(())
    }
}

/// Removes the files of a database that has all that was in them.
pub(crate) fn remove(database: &Path) {
    for path in paths(database) {
        if let Err(error) = std::fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            // It does no harm: what is in it is known to be folded.
            tracing::warn!(%error, "a file of the journal could not be removed");
        }
    }
}

#[cfg(test)]
mod tests;
