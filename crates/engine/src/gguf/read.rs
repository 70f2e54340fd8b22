//! Primitives of the format: little-endian numbers, and strings with a 64-bit length in front.

use std::io::{BufReader, Read, Seek, SeekFrom};

use super::error::GgufError;

/// Reads forward and knows where it is, so that no length in the file is believed before it is compared with what is
/// left of the file. Memory use is one buffer and what the caller keeps.
pub(super) struct Reader<R> {
    inner: BufReader<R>,
    position: u64,
    len: u64,
}

/// Tokens have about ten bytes and keys about thirty, so this many bytes hold thousands of them.
const BUFFER: usize = 64 << 10;

impl<R: Read + Seek> Reader<R> {
    /// Starts at the beginning of the source, whatever its position is.
    pub(super) fn new(mut source: R) -> Result<Self, GgufError> {
        let len = source.seek(SeekFrom::End(0))?;
        source.seek(SeekFrom::Start(0))?;
        Ok(Self { inner: BufReader::with_capacity(BUFFER, source), position: 0, len })
    }

    /// Bytes from the beginning.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Bytes of the whole source.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Goes back to a place already passed.
    pub(super) fn rewind_to(&mut self, position: u64) -> Result<(), GgufError> {
        self.inner.seek(SeekFrom::Start(position))?;
        self.position = position;
        Ok(())
    }

    fn claim(&mut self, bytes: u64, what: &'static str) -> Result<(), GgufError> {
        let end = self.position.checked_add(bytes).filter(|end| *end <= self.len);
        self.position = end.ok_or(GgufError::Truncated { what })?;
        Ok(())
    }

    pub(super) fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], GgufError> {
        self.claim(N as u64, what)?;
        let mut bytes = [0; N];
        self.inner.read_exact(&mut bytes).map_err(|error| truncated(error, what))?;
        Ok(bytes)
    }

    pub(super) fn u32(&mut self, what: &'static str) -> Result<u32, GgufError> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    pub(super) fn u64(&mut self, what: &'static str) -> Result<u64, GgufError> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    /// Passes over bytes.
    pub(super) fn skip(&mut self, bytes: u64, what: &'static str) -> Result<(), GgufError> {
        self.claim(bytes, what)?;
        let offset = i64::try_from(bytes).map_err(|_| GgufError::Truncated { what })?;
        self.inner.seek_relative(offset)?;
        Ok(())
    }

    /// Reads so many bytes; the caller has compared `bytes` with a limit.
    pub(super) fn bytes(&mut self, bytes: u64, what: &'static str) -> Result<Vec<u8>, GgufError> {
        self.claim(bytes, what)?;
        let len = usize::try_from(bytes).map_err(|_| GgufError::Truncated { what })?;
        let mut buffer = vec![0; len];
        self.inner.read_exact(&mut buffer).map_err(|error| truncated(error, what))?;
        Ok(buffer)
    }

    /// Reads a string of at most `limit` bytes.
    pub(super) fn string(&mut self, limit: u64, what: &'static str) -> Result<Vec<u8>, GgufError> {
        let len = self.u64(what)?;
        if len > limit {
            return Err(GgufError::Limit { what, found: len, limit });
        }
        self.bytes(len, what)
    }

    /// Reads a string when it has at most `limit` bytes and passes over it otherwise.
    pub(super) fn string_or_skip(
        &mut self,
        limit: u64,
        what: &'static str,
    ) -> Result<Option<Vec<u8>>, GgufError> {
        let len = self.u64(what)?;
        if len > limit {
            self.skip(len, what)?;
            return Ok(None);
        }
        self.bytes(len, what).map(Some)
    }
}

/// A file that shrinks while it is read looks like one that was always short.
fn truncated(error: std::io::Error, what: &'static str) -> GgufError {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => GgufError::Truncated { what },
        _ => GgufError::Io(error),
    }
}
