//! Saved prefixes: the state of pinned system prompts on disk, so that they need not be read again after a restart.
//!
//! One file for each: a magic line, a header, llama.cpp's state of the sequence as the child sent it, and a trailer with length and SHA-256 of
//! all before. Written under another name and renamed when complete; readable by the owner only. The state is as sensitive as the prompt it was made
//! from, and is not encrypted. A file that does not check is deleted. Files of other models, and the longest unused
//! when there are too many bytes, are left alone and removed respectively.

use std::collections::HashMap;
use std::fs::{self, File, FileTimes, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use inshore_domain::Clock;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use crate::frames::{STATE_PIECE, StatePiece};
use crate::gguf::Model;
use crate::host::Host;

const MAGIC: &[u8; 16] = b"INSHORE PREFIX 1";
const EXTENSION: &str = "prefix";
/// Body length and SHA-256.
const TRAILER: u64 = 8 + 32;
/// Tokens and names; four bytes a token.
const MAX_HEADER: u32 = 8 << 20;
/// Bytes at the beginning and the end of a model file that make its identity, beside its size and the time it was changed.
const SAMPLED: u64 = 1 << 20;

/// Which file a model is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity([u8; 32]);

impl Identity {
    /// From size, time of change, and the first and last megabyte.
    pub(super) fn of(mut file: &File, about: &Model) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let changed = metadata.modified()?.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let mut hash = Sha256::new();
        hash.update(metadata.len().to_le_bytes());
        hash.update(changed.as_nanos().to_le_bytes());
        hash.update(about.header_bytes.to_le_bytes());
        for start in [0, metadata.len().saturating_sub(SAMPLED)] {
            file.seek(SeekFrom::Start(start))?;
            let mut sample = Vec::new();
            Read::take(&mut file, SAMPLED).read_to_end(&mut sample)?;
            hash.update(&sample);
        }
        file.seek(SeekFrom::Start(0))?;
        Ok(Self(hash.finalize().into()))
    }

    /// The name of a prefix: it is only good for the same model, for the same app, and for the same text.
    pub(super) fn key(&self, scope: u64, prefix: &[u8]) -> String {
        let mut hash = Sha256::new();
        hash.update(self.0);
        hash.update(scope.to_le_bytes());
        hash.update(prefix);
        hex::encode(hash.finalize())
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Header {
    identity: Identity,
    key: String,
    scope: u64,
    tokens: Vec<u32>,
}

/// The files.
#[derive(Debug)]
pub(super) struct PrefixStore {
    dir: PathBuf,
    limit: u64,
    clock: Arc<dyn Clock>,
    /// Prefixes that children were asked to save, with their scopes: nothing else is taken from a child.
    expected: Mutex<HashMap<String, u64>>,
}

impl PrefixStore {
    /// Uses a directory, which is made when it is missing.
    pub(super) fn open(dir: PathBuf, limit: u64, clock: Arc<dyn Clock>) -> io::Result<Arc<Self>> {
        make_private_dir(&dir)?;
        Ok(Arc::new(Self { dir, limit, clock, expected: Mutex::default() }))
    }

    fn path(&self, key: &str) -> PathBuf {
        self.dir.join(key).with_extension(EXTENSION)
    }

    /// Whether to ask for this prefix: not when it is there or was asked for. Marks it as used and as asked for.
    pub(super) fn wants(&self, key: &str, scope: u64) -> bool {
        let path = self.path(key);
        if path.exists() {
            self.mark_used(&path);
            return false;
        }
        let mut expected = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
        // A child that never answers leaves its entries behind; this many are nothing.
        if expected.len() > 4096 {
            expected.clear();
        }
        expected.insert(key.to_owned(), scope).is_none()
    }

    /// The work that would have saved it has failed.
    pub(super) fn forget(&self, key: &str) {
        self.expected.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    fn mark_used(&self, path: &Path) {
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(self.clock.now().unix_millis());
        if let Ok(file) = OpenOptions::new().append(true).open(path) {
            let _ = file.set_times(FileTimes::new().set_modified(now));
        }
    }

    /// Writes what a child saves, until the child is gone.
    pub(super) async fn keep(self: Arc<Self>, mut pieces: mpsc::Receiver<StatePiece>, identity: Identity) {
        let mut open: HashMap<String, Writing> = HashMap::new();
        while let Some(piece) = pieces.recv().await {
            let (key, last) = (piece.key.clone(), piece.last);
            let expected = self.expected.lock().unwrap_or_else(PoisonError::into_inner).get(&key).copied();
            if expected != Some(piece.scope) {
                tracing::warn!("an engine sent a prefix that nobody asked for");
                open.remove(&key);
                continue;
            }
            let (store, writing) = (Arc::clone(&self), open.remove(&key));
            let step = tokio::task::spawn_blocking(move || store.write(writing, identity, &piece)).await;
            match step.map_err(io::Error::other).and_then(|step| step) {
                Ok(Some(writing)) => {
                    open.insert(key, writing);
                }
                Ok(None) => self.forget(&key),
                Err(error) => {
                    tracing::warn!(%error, "a prefix could not be saved");
                    // Later pieces of it begin no new file, because they are not the first.
                    if last {
                        self.forget(&key);
                    }
                }
            }
        }
    }

    /// Adds a piece; gives back what is open, or nothing when the file is complete.
    fn write(
        &self,
        writing: Option<Writing>,
        identity: Identity,
        piece: &StatePiece,
    ) -> io::Result<Option<Writing>> {
        let mut writing = match writing {
            Some(writing) => writing,
            None if piece.tokens.is_empty() => return Err(io::Error::other("its first piece is missing")),
            None => {
                let header = Header {
                    identity,
                    key: piece.key.clone(),
                    scope: piece.scope,
                    tokens: piece.tokens.clone(),
                };
                Writing::begin(&self.path(&piece.key), &header)?
            }
        };
        writing.body += piece.bytes.len() as u64;
        if writing.body > self.limit {
            return Err(io::Error::other("it is larger than all saved prefixes may be together"));
        }
        writing.put(&piece.bytes)?;
        if !piece.last {
            return Ok(Some(writing));
        }
        let path = self.path(&piece.key);
        writing.finish(&path)?;
        self.mark_used(&path);
        self.evict(&path);
        Ok(None)
    }

    /// Removes the longest unused files while there are too many bytes.
    fn evict(&self, keep: &Path) {
        let mut files = self.files();
        let mut total: u64 = files.iter().map(|file| file.bytes).sum();
        files.sort_by_key(|file| file.used);
        for file in files {
            if total <= self.limit {
                return;
            }
            if file.path != keep && fs::remove_file(&file.path).is_ok() {
                total -= file.bytes;
            }
        }
    }

    fn files(&self) -> Vec<Saved> {
        let entries = fs::read_dir(&self.dir).map(Iterator::flatten).into_iter().flatten();
        let of_ours =
            entries.filter(|entry| entry.path().extension().is_some_and(|extension| extension == EXTENSION));
        let described = of_ours.filter_map(|entry| {
            let metadata = entry.metadata().ok()?;
            Some(Saved { path: entry.path(), bytes: metadata.len(), used: metadata.modified().ok()? })
        });
        described.collect()
    }

    /// The model's files, the last used first, as many as fit in so many bytes.
    fn of_model(&self, identity: Identity, limit: u64) -> Vec<PathBuf> {
        let mut files = self.files();
        files.sort_by_key(|file| std::cmp::Reverse(file.used));
        let mut total: u64 = 0;
        let fitting = files.into_iter().filter(|file| match check(&file.path) {
            Ok(header) if header.identity == identity => {
                total = total.saturating_add(file.bytes);
                total <= limit
            }
            Ok(_) => false,
            Err(error) => {
                tracing::warn!(%error, "deleting a saved prefix that is damaged");
                let _ = fs::remove_file(&file.path);
                false
            }
        });
        fitting.map(|file| file.path).collect()
    }
}

struct Saved {
    path: PathBuf,
    bytes: u64,
    used: SystemTime,
}

/// A file that is being written.
struct Writing {
    file: File,
    partial: PathBuf,
    hash: Sha256,
    body: u64,
}

impl Writing {
    fn begin(path: &Path, header: &Header) -> io::Result<Self> {
        let partial = path.with_extension("partial");
        let _ = fs::remove_file(&partial);
        let file = private_file(&partial)?;
        let mut writing = Self { file, partial, hash: Sha256::new(), body: 0 };
        let header = postcard::to_stdvec(header).map_err(io::Error::other)?;
        let len = u32::try_from(header.len()).ok().filter(|len| *len <= MAX_HEADER);
        let len = len.ok_or_else(|| io::Error::other("its header is too long"))?;
        writing.put(MAGIC)?;
        writing.put(&len.to_le_bytes())?;
        writing.put(&header)?;
        Ok(writing)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.file.write_all(bytes)
    }

    fn finish(&mut self, path: &Path) -> io::Result<()> {
        let body = self.body;
        self.put(&body.to_le_bytes())?;
        let digest = std::mem::take(&mut self.hash).finalize();
        self.file.write_all(&digest)?;
        self.file.sync_all()?;
        fs::rename(&self.partial, path)
    }
}

impl Drop for Writing {
    /// A file that was not finished is of no use; after a rename there is nothing here to remove.
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.partial);
    }
}

/// Reads a file through, compares its digest and gives its header.
fn check(path: &Path) -> io::Result<Header> {
    let file = File::open(path)?;
    let len = file.metadata()?.len();
    let signed = len.checked_sub(32).ok_or_else(|| io::Error::other("it is too short"))?;
    let mut reader = BufReader::with_capacity(STATE_PIECE, file);
    let mut hash = Sha256::new();
    let mut left = signed;
    let mut buffer = vec![0; STATE_PIECE];
    while left > 0 {
        let step = usize::try_from(left.min(STATE_PIECE as u64)).unwrap_or(STATE_PIECE);
        let part = buffer.get_mut(..step).unwrap_or_default();
        reader.read_exact(part)?;
        hash.update(&*part);
        left -= step as u64;
    }
    let mut digest = [0; 32];
    reader.read_exact(&mut digest)?;
    if digest != <[u8; 32]>::from(hash.finalize()) {
        return Err(io::Error::other("its digest is wrong"));
    }
    read_header(&mut BufReader::new(File::open(path)?), len).map(|(header, _)| header)
}

/// The header, and the length of the body behind it.
fn read_header(reader: &mut impl Read, len: u64) -> io::Result<(Header, u64)> {
    let mut head = [0; 16];
    reader.read_exact(&mut head)?;
    let mut header_len = [0; 4];
    reader.read_exact(&mut header_len)?;
    let header_len = u32::from_le_bytes(header_len);
    if head != *MAGIC || header_len > MAX_HEADER {
        return Err(io::Error::other("it is no saved prefix"));
    }
    let mut header = Vec::new();
    reader.take(header_len.into()).read_to_end(&mut header)?;
    let header: Header = postcard::from_bytes(&header).map_err(io::Error::other)?;
    let body = len
        .checked_sub(16 + 4 + u64::from(header_len) + TRAILER)
        .ok_or_else(|| io::Error::other("it is too short"))?;
    Ok((header, body))
}

/// Sends the model's saved prefixes to a child that has just loaded it.
pub(super) async fn restore_all(store: Arc<PrefixStore>, host: Arc<Host>, identity: Identity, limit: u64) {
    let listing = Arc::clone(&store);
    let Ok(files) = tokio::task::spawn_blocking(move || listing.of_model(identity, limit)).await else {
        return;
    };
    // The last sent is the last used in the child's order.
    for path in files.into_iter().rev() {
        if let Err(error) = restore(&path, &host).await {
            tracing::warn!(%error, "a saved prefix could not be restored");
        }
        if !host.is_alive() {
            return;
        }
    }
}

async fn restore(path: &Path, host: &Host) -> io::Result<()> {
    let file = File::open(path)?;
    let len = file.metadata()?.len();
    let mut reader = BufReader::with_capacity(STATE_PIECE, file);
    let (header, mut left) = read_header(&mut reader, len)?;
    let (key, scope, mut tokens) = (header.key, header.scope, header.tokens);
    loop {
        let step = usize::try_from(left.min(STATE_PIECE as u64)).unwrap_or(STATE_PIECE);
        let (back, bytes) = tokio::task::spawn_blocking(move || {
            let mut bytes = vec![0; step];
            let read = reader.read_exact(&mut bytes);
            read.map(|()| (reader, bytes))
        })
        .await
        .map_err(io::Error::other)??;
        reader = back;
        left -= step as u64;
        let piece = StatePiece {
            key: key.clone(),
            scope,
            tokens: std::mem::take(&mut tokens),
            bytes,
            last: left == 0,
        };
        if !host.restore(piece).await || left == 0 {
            return Ok(());
        }
    }
}

#[cfg(unix)]
fn private_file(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

#[cfg(not(unix))]
fn private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

#[cfg(unix)]
fn make_private_dir(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(not(unix))]
fn make_private_dir(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)
}
