//! The key of the encrypted database, and where it is kept.

use std::path::Path;

use anyhow::{Context, Result, bail};
use inshore_store::Key;
use zeroize::Zeroizing;

use crate::clock::random_bytes;
use crate::config::StoreKey;
use crate::environment::Environment;
use crate::paths::{Paths, write_private};
use crate::secrets::{self, Patience};

/// The keyring entry.
const ENTRY: &str = "store-key";
const KEY_BYTES: usize = 32;

/// Where the key is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Keyring,
    File,
}

impl Place {
    /// For people.
    pub(crate) fn in_words(self, paths: &Paths) -> String {
        match self {
            Self::Keyring => "in the operating system's keyring".to_owned(),
            Self::File => format!("in `{}`, which only this user can read", paths.store_key().display()),
        }
    }
}

/// Where the key is kept; `None` before there is one.
pub(crate) fn place(paths: &Paths) -> Option<Place> {
    if paths.store_key().exists() {
        return Some(Place::File);
    }
    paths.store_key_in_keyring().exists().then_some(Place::Keyring)
}

/// The key. Made when there is none; a key that was made and cannot be found again is an error, never a new key: the database
/// could not be opened with it.
pub(crate) fn find_or_make(paths: &Paths, wanted: StoreKey, environment: &Environment) -> Result<Key> {
    match place(paths) {
        Some(Place::File) => from_file(&paths.store_key()),
        Some(Place::Keyring) => from_keyring(),
        None if paths.database().exists() => {
            bail!(
                "the key of the database `{}` is gone: neither `{}` nor the keyring holds it",
                paths.database().display(),
                paths.store_key().display()
            )
        }
        None => make(paths, wanted, environment),
    }
}

fn from_file(path: &Path) -> Result<Key> {
    let text = Zeroizing::new(
        std::fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))?,
    );
    decode(text.trim()).with_context(|| format!("`{}` does not hold a key", path.display()))
}

fn from_keyring() -> Result<Key> {
    let secret = secrets::read(ENTRY, Patience::Person).context("cannot read the database's key")?;
    let secret = secret.context("the keyring no longer holds the database's key")?;
    decode(std::str::from_utf8(&secret)?)
        .context("the keyring holds something else in place of the database's key")
}

fn decode(text: &str) -> Result<Key> {
    let mut bytes = Zeroizing::new([0; KEY_BYTES]);
    hex::decode_to_slice(text, bytes.as_mut())?;
    Ok(Key::from_bytes(*bytes))
}

fn make(paths: &Paths, wanted: StoreKey, environment: &Environment) -> Result<Key> {
    let bytes = Zeroizing::new(random_bytes::<KEY_BYTES>());
    let text = Zeroizing::new(hex::encode(*bytes));
    let in_keyring = match wanted {
        StoreKey::File => false,
        StoreKey::Keyring => {
            keep_in_keyring(&text)
                .context("cannot keep the database's key in the keyring, as `store.key` wants it")?;
            true
        }
        // Without a session bus there is no keyring, and asking would only cost the start.
        StoreKey::Auto
            if cfg!(target_os = "linux") && environment.text("DBUS_SESSION_BUS_ADDRESS").is_none() =>
        {
            false
        }
        StoreKey::Auto => keep_in_keyring(&text).is_ok(),
    };
    if in_keyring {
        write_private(
            &paths.store_key_in_keyring(),
            b"the key of the database is in the keyring, service `inshore`\n",
        )?;
    } else {
        write_private(&paths.store_key(), format!("{}\n", text.as_str()).as_bytes())
            .with_context(|| format!("cannot write `{}`", paths.store_key().display()))?;
    }
    Ok(Key::from_bytes(*bytes))
}

/// Keeps the key and reads it back: some keyrings take anything and keep nothing.
fn keep_in_keyring(text: &str) -> Result<()> {
    secrets::write(ENTRY, text.as_bytes(), Patience::Start)?;
    let kept = secrets::read(ENTRY, Patience::Start)?;
    anyhow::ensure!(
        kept.is_some_and(|kept| kept.as_slice() == text.as_bytes()),
        "the keyring did not keep the key"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths() -> (tempfile::TempDir, Paths) {
        let home = tempfile::tempdir().unwrap();
        let paths = Paths::find(&Environment::of([("INSHORE_HOME", home.path().to_str().unwrap())])).unwrap();
        (home, paths)
    }

    #[test]
    fn a_key_is_made_once_and_never_replaced() {
        let (_home, paths) = paths();
        let environment = Environment::default();
        find_or_make(&paths, StoreKey::File, &environment).unwrap();
        let kept = std::fs::read_to_string(paths.store_key()).unwrap();
        assert_eq!(kept.trim().len(), 64);
        assert_eq!(place(&paths), Some(Place::File));
        find_or_make(&paths, StoreKey::File, &environment).unwrap();
        assert_eq!(std::fs::read_to_string(paths.store_key()).unwrap(), kept);

        std::fs::write(paths.store_key(), "not a key").unwrap();
        assert!(find_or_make(&paths, StoreKey::File, &environment).is_err());
        std::fs::remove_file(paths.store_key()).unwrap();
        std::fs::write(paths.database(), "encrypted").unwrap();
        let error = find_or_make(&paths, StoreKey::File, &environment).unwrap_err();
        assert!(error.to_string().contains("is gone"), "{error}");
    }
}
