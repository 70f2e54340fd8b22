//! The file that is being pulled.

use std::fmt;
use std::io::SeekFrom;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use sha2::{Digest as _, Sha256};
use tokio::fs::{self, File, OpenOptions};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};

use super::DownloadError;

/// Bytes gathered before they are written: a write is a trip to another thread.
const BUFFER: usize = 256 << 10;
/// Longest state file read; ours are below 1 KiB.
const MAX_STATE: usize = 16 << 10;

/// A SHA-256 checksum; shown and read as 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Text that is not 64 hex digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a SHA-256 checksum has 64 hex digits")]
pub struct BadDigest;

impl FromStr for Digest {
    type Err = BadDigest;
    fn from_str(text: &str) -> Result<Self, BadDigest> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| BadDigest)?;
        Ok(Self(bytes))
    }
}

/// `NAME.part` and `NAME.part.state`. Locked while it is open, so that two pulls never write the same file.
pub(super) struct Part {
    place: PathBuf,
    path: PathBuf,
    state_path: PathBuf,
    file: File,
    /// What was gathered and not yet written.
    buffer: Vec<u8>,
    length: u64,
    hash: Sha256,
    source: String,
    /// What the server called the content when this part was begun.
    etag: Option<String>,
}

impl Part {
    /// Opens what an earlier pull of the same address left, or begins anew.
    pub(super) async fn open(place: &Path, source: &str) -> Result<Self, DownloadError> {
        let path = with_suffix(place, ".part");
        let state_path = with_suffix(place, ".part.state");
        let disk = |error| DownloadError::disk(&path, error);
        let file = OpenOptions::new()
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .open(&path)
            .await
            .map_err(disk)?;
        let file = file.into_std().await;
        file.try_lock().map_err(|error| match error {
            std::fs::TryLockError::WouldBlock => DownloadError::Busy(place.to_owned()),
            std::fs::TryLockError::Error(error) => disk(error),
        })?;
        let file = File::from_std(file);
        let (place, source) = (place.to_owned(), source.to_owned());
        let (hash, buffer) = (Sha256::new(), Vec::with_capacity(BUFFER));
        let mut part = Self { place, path, state_path, file, buffer, length: 0, hash, source, etag: None };
        match part.read_state().await {
            Some(etag) => {
                part.etag = etag;
                part.read_back().await?;
            }
            None => part.restart(None).await?,
        }
        Ok(part)
    }

    /// The state of an earlier pull: its address and, on the next line, the content's name. `None`: not usable.
    async fn read_state(&self) -> Option<Option<String>> {
        let file = File::open(&self.state_path).await.ok()?;
        let mut text = String::new();
        file.take(MAX_STATE as u64).read_to_string(&mut text).await.ok()?;
        let mut lines = text.lines();
        (lines.next()? == self.source)
            .then(|| lines.next().filter(|etag| !etag.is_empty()).map(str::to_owned))
    }

    /// Reads what is there, for the checksum.
    async fn read_back(&mut self) -> Result<(), DownloadError> {
        let mut chunk = vec![0; BUFFER];
        loop {
            let read =
                self.file.read(&mut chunk).await.map_err(|error| DownloadError::disk(&self.path, error))?;
            let Some(bytes) = chunk.get(..read).filter(|bytes| !bytes.is_empty()) else { return Ok(()) };
            self.hash.update(bytes);
            self.length += read as u64;
        }
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    pub(super) fn etag(&self) -> Option<&str> {
        self.etag.as_deref()
    }

    pub(super) fn digest(&self) -> Digest {
        Digest(self.hash.clone().finalize().into())
    }

    /// Throws away what is there, and notes what comes instead.
    pub(super) async fn restart(&mut self, etag: Option<String>) -> Result<(), DownloadError> {
        let disk = |error| DownloadError::disk(&self.path, error);
        self.buffer.clear();
        self.file.set_len(0).await.map_err(disk)?;
        self.file.seek(SeekFrom::Start(0)).await.map_err(disk)?;
        (self.length, self.hash, self.etag) = (0, Sha256::new(), etag);
        let state = format!("{}\n{}\n", self.source, self.etag.as_deref().unwrap_or_default());
        fs::write(&self.state_path, state).await.map_err(|error| DownloadError::disk(&self.state_path, error))
    }

    pub(super) async fn append(&mut self, bytes: &[u8]) -> Result<(), DownloadError> {
        self.hash.update(bytes);
        self.length += bytes.len() as u64;
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> Result<(), DownloadError> {
        let disk = |error| DownloadError::disk(&self.path, error);
        self.file.write_all(&self.buffer).await.map_err(disk)?;
        self.file.flush().await.map_err(disk)?;
        self.buffer.clear();
        Ok(())
    }

    /// Writes what was gathered, so that the next pull finds it.
    pub(super) async fn keep(&mut self) -> Result<(), DownloadError> {
        self.flush().await
    }

    /// Deletes it.
    pub(super) async fn discard(self) -> Result<(), DownloadError> {
        let _ = fs::remove_file(&self.state_path).await;
        fs::remove_file(&self.path).await.map_err(|error| DownloadError::disk(&self.path, error))
    }

    /// Gives it its name, once every byte is on the disk.
    pub(super) async fn finish(mut self) -> Result<(), DownloadError> {
        self.flush().await?;
        self.file.sync_all().await.map_err(|error| DownloadError::disk(&self.path, error))?;
        fs::rename(&self.path, &self.place).await.map_err(|error| DownloadError::disk(&self.place, error))?;
        let _ = fs::remove_file(&self.state_path).await;
        #[cfg(unix)]
        if let Some(folder) = self.place.parent() {
            // The new name must survive a crash too.
            let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            let synced = match File::open(folder).await {
                Ok(opened) => opened.sync_all().await,
                Err(error) => Err(error),
            };
            synced.map_err(|error| DownloadError::disk(folder, error))?;
        }
        Ok(())
    }
}

impl Drop for Part {
    /// A pull that is dropped keeps at least what was written; the last piece, less than `BUFFER`, is pulled again.
    fn drop(&mut self) {
        self.buffer.clear();
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
