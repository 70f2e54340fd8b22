//! One file of the journal: a head that says whose it is, then records.
//!
//! The head: 8 bytes of magic with the version, the id of the journal, the salt of its key, the number of the first record, a
//! signature. A record: its length, how many writes failed before it, its number, the encrypted rows, a signature. Numbers are
//! big-endian.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use crate::error::StoreError;
use crate::key::Key;
use crate::lock::private;

use super::seal::{Id, Seal, TAG};

/// Says what the file is, and in which version.
const MAGIC: &[u8; 8] = b"inshjrn1";
/// Bytes of a head and of its part before the signature.
const HEAD: usize = SIGNED + TAG;
const SIGNED: usize = 8 + 16 + 16 + 8;
/// Bytes before the rows of a record.
const RECORD_HEAD: usize = 4 + 4 + 8;
/// Most bytes of a buffer that is kept for the next record: a large batch is rare.
const KEPT: usize = 64 << 10;
/// Most bytes of a file that is read. It is written over at 4 MiB unless somebody reads the database for minutes under load.
const MOST: u64 = 1 << 30;

/// What a file lies on.
pub(crate) trait Medium: Send {
    /// Writes all bytes at a place.
    fn write_at(&mut self, bytes: &[u8], at: u64) -> io::Result<()>;
    /// Makes the file this long.
    fn truncate(&mut self, length: u64) -> io::Result<()>;
}

/// A file of the operating system.
pub(crate) struct OnDisk(fs::File);

impl OnDisk {
    /// Opens it, or makes it, readable by its owner only.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true);
        private(&mut options);
        options.open(path).map(Self)
    }
}

impl Medium for OnDisk {
    #[cfg(unix)]
    fn write_at(&mut self, bytes: &[u8], at: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(&self.0, bytes, at)
    }

    #[cfg(not(unix))]
    fn write_at(&mut self, bytes: &[u8], at: u64) -> io::Result<()> {
        use std::io::{Seek, SeekFrom, Write};
        self.0.seek(SeekFrom::Start(at))?;
        self.0.write_all(bytes)
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }
}

/// A file that is written to.
pub(crate) struct File {
    medium: Box<dyn Medium>,
    seal: Seal,
    buffer: Vec<u8>,
    /// Where the next record goes.
    end: u64,
    /// The number of its last record.
    last: u64,
    /// Writes that have failed since it was begun.
    failed: u32,
    /// One of them has left something behind the last record.
    unfinished: bool,
}

impl File {
    /// Makes a file empty that has no head yet: [`Self::begin_again`] gives it one. All records up to `last` are elsewhere.
    pub(crate) fn empty(
        medium: Box<dyn Medium>,
        key: &Key,
        id: &Id,
        salt: &Id,
        last: u64,
    ) -> io::Result<Self> {
        let seal = Seal::new(key, id, salt)?;
        Ok(Self { medium, seal, buffer: Vec::new(), end: 0, last, failed: 0, unfinished: false })
    }

    /// Writes over it, beginning with record `base`.
    pub(crate) fn begin(
        medium: Box<dyn Medium>,
        key: &Key,
        id: &Id,
        salt: &Id,
        base: u64,
    ) -> io::Result<Self> {
        let mut file = Self::empty(medium, key, id, salt, base - 1)?;
        file.begin_again(key, id, salt, base)?;
        Ok(file)
    }

    /// Writes over it, beginning with record `base`.
    pub(crate) fn begin_again(&mut self, key: &Key, id: &Id, salt: &Id, base: u64) -> io::Result<()> {
        let seal = Seal::new(key, id, salt)?;
        let mut head = Vec::with_capacity(HEAD);
        head.extend_from_slice(MAGIC);
        head.extend_from_slice(id);
        head.extend_from_slice(salt);
        head.extend_from_slice(&base.to_be_bytes());
        let tag = seal.sign(&head)?;
        head.extend_from_slice(&tag);
        // Empty first: a head in front of old records would be a lie.
        self.medium.truncate(0)?;
        self.medium.write_at(&head, 0)?;
        (self.seal, self.end, self.last) = (seal, HEAD as u64, base - 1);
        (self.failed, self.unfinished) = (0, false);
        Ok(())
    }

    #[cfg(test)]
    pub(crate) fn fail_after(&mut self, bytes: usize) {
        struct Full(Option<Box<dyn Medium>>, Option<usize>);
        impl Medium for Full {
            fn write_at(&mut self, bytes: &[u8], at: u64) -> io::Result<()> {
                let medium = self.0.as_mut().unwrap();
                let Some(room) = self.1.take() else { return medium.write_at(bytes, at) };
                medium.write_at(&bytes[..room.min(bytes.len())], at)?;
                Err(io::ErrorKind::StorageFull.into())
            }

            fn truncate(&mut self, length: u64) -> io::Result<()> {
                self.0.as_mut().unwrap().truncate(length)
            }
        }
        let medium = std::mem::replace(&mut self.medium, Box::new(Full(None, None)));
        self.medium = Box::new(Full(Some(medium), Some(bytes)));
    }

    /// Bytes in it.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// The number of its last record.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// Adds a record with one write. When that fails, what it left is cut off; before it is, nothing else is added.
    pub(crate) fn append(&mut self, number: u64, rows: &[u8]) -> io::Result<()> {
        if self.unfinished {
            self.medium.truncate(self.end)?;
            self.unfinished = false;
        }
        let length = u32::try_from(rows.len()).map_err(io::Error::other)?;
        let buffer = &mut self.buffer;
        buffer.clear();
        buffer.extend_from_slice(&length.to_be_bytes());
        buffer.extend_from_slice(&self.failed.to_be_bytes());
        buffer.extend_from_slice(&number.to_be_bytes());
        buffer.extend_from_slice(rows);
        let (head, body) = buffer.split_at_mut(RECORD_HEAD);
        let tag = self.seal.close(number, self.failed, head, body)?;
        buffer.extend_from_slice(&tag);
        let written = self.medium.write_at(buffer, self.end);
        let bytes = buffer.len() as u64;
        buffer.shrink_to(KEPT);
        if let Err(error) = written {
            // The number comes again, and must not come with the same nonce.
            self.failed =
                self.failed.checked_add(1).ok_or_else(|| io::Error::other("too many failed writes"))?;
            if let Err(error) = self.medium.truncate(self.end) {
                tracing::error!(%error, "an unfinished record of the journal could not be cut off");
                self.unfinished = true;
            }
            return Err(error);
        }
        self.end += bytes;
        self.last = number;
        Ok(())
    }
}

/// What was found in the place of a file.
#[derive(Debug)]
pub(crate) enum Found {
    /// It is not there, or was not begun.
    Nothing,
    /// A file of the journal before, all of which is in the tables.
    Before,
    /// What there may be to do again.
    Contents(Contents),
}

/// What is in a file.
#[derive(Debug)]
pub(crate) struct Contents {
    pub(crate) path: PathBuf,
    /// The number of the first record.
    pub(crate) base: u64,
    pub(crate) records: Vec<Vec<u8>>,
}

/// Reads a file of the journal `id`, or of the one `before`.
pub(crate) fn read(path: &Path, key: &Key, id: &Id, before: &Id) -> Result<Found, StoreError> {
    let failed = |error: io::Error| StoreError::from_io(path, &error);
    let bytes = match fs::metadata(path) {
        Ok(file) if file.len() > MOST => return Err(damaged(path, "it is longer than any journal")),
        Ok(_) => fs::read(path).map_err(failed)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(failed(error)),
    };
    // Shorter: the process died while it began the file, and had nothing in it.
    let Some((head, rest)) = bytes.split_at_checked(HEAD) else { return Ok(Found::Nothing) };
    if bytes.iter().all(|byte| *byte == 0) {
        return Ok(Found::Nothing);
    }
    let fields = Head::parse(head).ok_or_else(|| damaged(path, "it is no journal of this version"))?;
    if fields.id == *before {
        return Ok(Found::Before);
    }
    if fields.id != *id {
        return Err(StoreError::OtherJournal { path: path.to_path_buf() });
    }
    let seal = Seal::new(key, id, &fields.salt).map_err(|error| damaged(path, &error.to_string()))?;
    let (signed, tag) = head.split_at(SIGNED);
    if !seal.signed(signed, tag) {
        return Err(damaged(path, "its head is not what was written"));
    }
    let records = records(path, &seal, fields.base, rest)?;
    Ok(Found::Contents(Contents { path: path.to_path_buf(), base: fields.base, records }))
}

fn damaged(path: &Path, detail: &str) -> StoreError {
    StoreError::Damaged { path: path.to_path_buf(), detail: detail.to_owned() }
}

struct Head {
    id: Id,
    salt: Id,
    base: u64,
}

impl Head {
    fn parse(head: &[u8]) -> Option<Self> {
        let (id, rest) = head.strip_prefix(MAGIC)?.split_first_chunk()?;
        let (salt, rest) = rest.split_first_chunk()?;
        let (base, _) = rest.split_first_chunk()?;
        Some(Self { id: *id, salt: *salt, base: u64::from_be_bytes(*base) })
    }
}

/// The records of a file. What comes after them must be what a write leaves that was cut off: less than a record, or nothing
/// but zeros, which some file systems leave after a power cut.
fn records(path: &Path, seal: &Seal, base: u64, mut rest: &[u8]) -> Result<Vec<Vec<u8>>, StoreError> {
    let mut records = Vec::new();
    for number in base.. {
        let Some((head, body)) = rest.split_at_checked(RECORD_HEAD) else { break };
        let Some(RecordHead { length, failed, number: stored }) = RecordHead::parse(head) else { break };
        let Some((sealed, after)) = length.checked_add(TAG).and_then(|length| body.split_at_checked(length))
        else {
            break;
        };
        let rows = if stored == number { seal.open(number, failed, head, sealed) } else { None };
        let Some(rows) = rows else {
            if rest.iter().all(|byte| *byte == 0) {
                break;
            }
            return Err(altered(path, number));
        };
        records.push(rows);
        rest = after;
    }
    if let Some(number) = later(seal, base + records.len() as u64, rest) {
        // A length that was altered makes whole records look like less than one.
        return Err(altered(path, number));
    }
    if !rest.is_empty() {
        tracing::warn!(
            bytes = rest.len(),
            "a record of the journal was not finished when the last process ended"
        );
    }
    Ok(records)
}

fn altered(path: &Path, number: u64) -> StoreError {
    damaged(path, &format!("record {number} of the journal is not what was written"))
}

/// How many records after the one at the start of `rest` are looked for in it.
const LOOKED_FOR: u64 = 1 << 16;

/// Whether a whole record lies in what looks like less than one: then the number of the one in front of it.
fn later(seal: &Seal, number: u64, rest: &[u8]) -> Option<u64> {
    (1..rest.len()).find_map(|at| {
        let (head, body) = rest.get(at..)?.split_at_checked(RECORD_HEAD)?;
        let RecordHead { length, failed, number: stored } = RecordHead::parse(head)?;
        if stored <= number || stored - number > LOOKED_FOR {
            return None;
        }
        let sealed = body.get(..length.checked_add(TAG)?)?;
        seal.open(stored, failed, head, sealed).map(|_| number)
    })
}

struct RecordHead {
    length: usize,
    failed: u32,
    number: u64,
}

impl RecordHead {
    fn parse(head: &[u8]) -> Option<Self> {
        let (length, rest) = head.split_first_chunk()?;
        let (failed, rest) = rest.split_first_chunk()?;
        Some(Self {
            length: usize::try_from(u32::from_be_bytes(*length)).ok()?,
            failed: u32::from_be_bytes(*failed),
            number: u64::from_be_bytes(*rest.first_chunk()?),
        })
    }
}
