//! How records are encrypted and signed: AES-256 in Galois/counter mode, with a key for each beginning of a file.
//!
//! The key comes from that of the database and a random salt (HKDF with SHA-256), so no two beginnings share one. The nonce of a
//! record is its number and how many writes have failed before it, so that a number that is written a second time, because the
//! first write failed, has another.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};

use crate::key::Key;

/// An id or a salt: random bytes.
pub(crate) type Id = [u8; 16];

/// Bytes of a signature.
pub(crate) const TAG: usize = 16;
/// What a header is signed under: no record has this nonce, because there are never so many failed writes.
const HEADER: [u8; 12] = [u8::MAX; 12];

/// Encrypts the records of one beginning of a file.
pub(crate) struct Seal(LessSafeKey);

/// The cipher library refused; it does not for what is passed to it here.
#[derive(Debug, thiserror::Error)]
#[error("the journal could not be encrypted")]
pub(crate) struct Refused;

impl From<Refused> for std::io::Error {
    fn from(error: Refused) -> Self {
        std::io::Error::other(error)
    }
}

fn nonce(number: u64, failed: u32) -> Nonce {
    let mut bytes = [0; 12];
    let (head, tail) = bytes.split_at_mut(4);
    head.copy_from_slice(&failed.to_be_bytes());
    tail.copy_from_slice(&number.to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}

impl Seal {
    pub(crate) fn new(key: &Key, id: &Id, salt: &Id) -> Result<Self, Refused> {
        let secret = Salt::new(HKDF_SHA256, salt).extract(key.bytes());
        let info: [&[u8]; 2] = [b"inshore journal 1", id];
        let key = secret.expand(&info, &AES_256_GCM).map_err(|_| Refused)?;
        Ok(Self(LessSafeKey::new(UnboundKey::from(key))))
    }

    /// Signs the head of a file.
    pub(crate) fn sign(&self, head: &[u8]) -> Result<[u8; TAG], Refused> {
        let nonce = Nonce::assume_unique_for_key(HEADER);
        let tag = self.0.seal_in_place_separate_tag(nonce, Aad::from(head), &mut []).map_err(|_| Refused)?;
        tag.as_ref().try_into().map_err(|_| Refused)
    }

    /// Whether this is the signature of a head.
    pub(crate) fn signed(&self, head: &[u8], tag: &[u8]) -> bool {
        let (nonce, mut tag) = (Nonce::assume_unique_for_key(HEADER), tag.to_vec());
        self.0.open_in_place(nonce, Aad::from(head), &mut tag).is_ok()
    }

    /// Encrypts a record and gives its signature, which is also over `head`.
    pub(crate) fn close(
        &self,
        number: u64,
        failed: u32,
        head: &[u8],
        rows: &mut [u8],
    ) -> Result<[u8; TAG], Refused> {
        let sealed = self.0.seal_in_place_separate_tag(nonce(number, failed), Aad::from(head), rows);
        sealed.map_err(|_| Refused)?.as_ref().try_into().map_err(|_| Refused)
    }

    /// Decrypts a record with its signature behind it; `None` when it is not what was written.
    pub(crate) fn open(&self, number: u64, failed: u32, head: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let mut sealed = sealed.to_vec();
        let length = self.0.open_in_place(nonce(number, failed), Aad::from(head), &mut sealed).ok()?.len();
        sealed.truncate(length);
        Some(sealed)
    }
}
