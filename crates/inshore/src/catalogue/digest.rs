//! Checksums of model files.

use std::io::Read;
use std::path::Path;

use sha2::{Digest, Sha256};

/// Read at once; larger is not faster.
const PIECE: usize = 256 << 10;

/// SHA-256 of a file as hex digits, telling how many bytes have been read so far. Blocking.
pub(crate) fn sha256_of(path: &Path, mut progress: impl FnMut(u64)) -> std::io::Result<String> {
    let mut file = std::fs::File::open(path)?;
    let mut piece = vec![0; PIECE];
    let mut hash = Sha256::new();
    let mut done = 0;
    loop {
        let count = file.read(&mut piece)?;
        if count == 0 {
            return Ok(hex::encode(hash.finalize()));
        }
        hash.update(piece.get(..count).unwrap_or_default());
        done += count as u64;
        progress(done);
    }
}

/// SHA-256 of bytes as hex digits.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}
