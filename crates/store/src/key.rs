//! The key of the database, which cannot be printed.

use std::fmt::{self, Write};

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// 256 random bits that encrypt the database. Must come from a good random source: it is used as it is, without a
/// key derivation that would make up for a guessable one. Cleared from memory when dropped; SQLCipher holds copies of
/// its own while the database is open.
pub struct Key(Zeroizing<[u8; Key::LEN]>);

impl Key {
    /// Bytes in a key (AES-256).
    pub const LEN: usize = 32;
    /// Bytes in SQLCipher's salt, the first bytes of the file.
    pub(crate) const SALT_LEN: usize = 16;

    /// Takes the bytes as the key.
    pub fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes themselves, to make other keys of.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.0.as_slice()
    }

    /// The salt of a database with this key. SQLCipher would draw one at random; ours is a fingerprint of the key, so
    /// that a wrong key and a damaged file can be told apart by the first bytes of the file. With a raw key the salt
    /// enters only the key of the page checksums, and a hash of 256 random bits tells nothing about them.
    pub(crate) fn salt(&self) -> [u8; Self::SALT_LEN] {
        let digest =
            Sha256::new().chain_update(b"inshore store salt 1").chain_update(self.0.as_slice()).finalize();
        let mut salt = [0; Self::SALT_LEN];
        salt.iter_mut().zip(digest.iter()).for_each(|(to, from)| *to = *from);
        salt
    }

    /// The statement that hands key and salt to SQLCipher in its raw form, `x'<key><salt>'`, without key derivation.
    pub(crate) fn pragma(&self) -> Zeroizing<String> {
        // The whole length at once: a string that grows would leave copies behind.
        let mut sql = Zeroizing::new(String::with_capacity(32 + 2 * (Self::LEN + Self::SALT_LEN)));
        sql.push_str("PRAGMA key = \"x'");
        for byte in self.0.iter().chain(&self.salt()) {
            // Writing to a string cannot fail.
            let _ = write!(*sql, "{byte:02x}");
        }
        sql.push_str("'\";");
        sql
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_prints_nothing_of_itself() {
        let key = Key::from_bytes([0xab; 32]);
        assert_eq!(format!("{key:?}"), "Key(..)");
        assert_eq!(format!("{key:#?}"), "Key(..)");
    }

    #[test]
    fn the_salt_is_the_keys_own_and_not_a_part_of_it() {
        let (a, b) = (Key::from_bytes([1; 32]), Key::from_bytes([2; 32]));
        assert_ne!(a.salt(), b.salt());
        assert_eq!(a.salt(), Key::from_bytes([1; 32]).salt());
        assert_ne!(a.salt(), [1; 16]);
    }

    #[test]
    fn the_statement_holds_key_and_salt_as_hex_and_never_grew() {
        let sql = Key::from_bytes([0x0f; 32]).pragma();
        assert!(sql.starts_with(&format!("PRAGMA key = \"x'{}", "0f".repeat(32))), "{}", sql.len());
        assert_eq!(sql.len(), 16 + 96 + 3);
        assert!(sql.capacity() <= 128, "it was moved while it grew");
    }
}
