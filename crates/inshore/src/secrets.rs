//! The operating system's keyring: Secret Service on Linux, Keychain on macOS, Credential Manager on Windows.
//!
//! Each call has a time limit: a keyring that is locked may ask the user, on a desktop that nobody looks at, for ever.
//! Built without the feature `keyring`, there is none.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use zeroize::Zeroizing;

use crate::paths::{Paths, write_private};

/// Under this name everything of ours is kept.
const SERVICE: &str = "inshore";
/// Long enough for a person to unlock a keyring that asks.
const ASKED_FOR: Duration = Duration::from_secs(60);
/// Long enough for a keyring that is open, short enough for a start.
const UNASKED: Duration = Duration::from_secs(2);

/// Who waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// A person who gave a command.
    Person,
    /// A daemon that is starting.
    Start,
}

impl Patience {
    fn limit(self) -> Duration {
        match self {
            Self::Person => ASKED_FOR,
            Self::Start => UNASKED,
        }
    }
}

/// Keeps a provider's key, and its name in a list of names.
pub(crate) fn set(paths: &Paths, name: &str, secret: &str) -> Result<()> {
    check_name(name)?;
    write(&entry_of_target(name), secret.as_bytes(), Patience::Person)?;
    let mut names = names_set(paths);
    names.insert(name.to_owned());
    keep_names(paths, &names)
}

/// Forgets a provider's key.
pub(crate) fn remove(paths: &Paths, name: &str) -> Result<()> {
    check_name(name)?;
    let mut names = names_set(paths);
    let known = names.remove(name);
    let was_there = delete(&entry_of_target(name), Patience::Person)?;
    keep_names(paths, &names)?;
    if !known && !was_there {
        bail!("there is no secret `{name}`");
    }
    Ok(())
}

/// A provider's key; `None` when there is none of that name.
pub(crate) fn get(name: &str, patience: Patience) -> Result<Option<Zeroizing<String>>> {
    check_name(name)?;
    let Some(bytes) = read(&entry_of_target(name), patience)? else { return Ok(None) };
    let text = std::str::from_utf8(&bytes).context("the secret is not text")?;
    Ok(Some(Zeroizing::new(text.to_owned())))
}

/// Names of the keys that are kept, as far as this program kept them.
pub(crate) fn names(paths: &Paths) -> Vec<String> {
    names_set(paths).into_iter().collect()
}

fn names_set(paths: &Paths) -> BTreeSet<String> {
    let bytes = std::fs::read(paths.secret_names()).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

fn keep_names(paths: &Paths, names: &BTreeSet<String>) -> Result<()> {
    write_private(&paths.secret_names(), &serde_json::to_vec(names)?)
        .context("cannot write the list of names")
}

fn check_name(name: &str) -> Result<()> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if name.is_empty() || name.len() > 64 || !name.bytes().all(good) {
        bail!("a secret's name has letters, digits, `.`, `_` and `-`, 64 at most");
    }
    Ok(())
}

fn entry_of_target(name: &str) -> String {
    // Apart from entries of our own, such as the database's key.
    format!("target/{name}")
}

/// Keeps bytes under a name.
pub(crate) fn write(name: &str, secret: &[u8], patience: Patience) -> Result<()> {
    let (name, secret) = (name.to_owned(), Zeroizing::new(secret.to_vec()));
    in_time(patience, move || backend::write(SERVICE, &name, &secret))
}

/// Bytes kept under a name.
pub(crate) fn read(name: &str, patience: Patience) -> Result<Option<Zeroizing<Vec<u8>>>> {
    let name = name.to_owned();
    in_time(patience, move || backend::read(SERVICE, &name))
}

fn delete(name: &str, patience: Patience) -> Result<bool> {
    let name = name.to_owned();
    in_time(patience, move || backend::delete(SERVICE, &name))
}

/// Runs a blocking call for as long as there is patience. A call that takes longer is left to end by itself.
fn in_time<T: Send + 'static>(
    patience: Patience,
    call: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::Builder::new().name("keyring".to_owned()).spawn(move || {
        // Nobody listens any more when it took too long.
        let _ = sender.send(call());
    })?;
    match receiver.recv_timeout(patience.limit()) {
        Ok(outcome) => outcome,
        Err(_) => bail!("the keyring did not answer within {} s", patience.limit().as_secs()),
    }
}

/// Any Secret Service: GNOME Keyring, KWallet, KeePassXC. The specification is that of freedesktop.org, version 0.2.
#[cfg(all(feature = "keyring", target_os = "linux"))]
mod backend {
    use std::collections::HashMap;

    use anyhow::{Context, Result};
    use secret_service::EncryptionType;
    use secret_service::blocking::{Item, SecretService};
    use zeroize::Zeroizing;

    fn connect() -> Result<SecretService<'static>> {
        // Encrypted on the bus too: other programs of this user may listen there.
        SecretService::connect(EncryptionType::Dh).context("there is no keyring here")
    }

    fn attributes<'a>(service: &'a str, name: &'a str) -> HashMap<&'a str, &'a str> {
        HashMap::from([("service", service), ("username", name)])
    }

    fn find<'a>(keyring: &'a SecretService<'_>, service: &str, name: &str) -> Result<Option<Item<'a>>> {
        let found = keyring.search_items(attributes(service, name)).context("the keyring refused")?;
        if let Some(item) = found.unlocked.into_iter().next() {
            return Ok(Some(item));
        }
        let Some(item) = found.locked.into_iter().next() else { return Ok(None) };
        item.unlock().context("the keyring stays locked")?;
        Ok(Some(item))
    }

    pub(super) fn write(service: &str, name: &str, secret: &[u8]) -> Result<()> {
        let keyring = connect()?;
        let collection = keyring.get_default_collection().context("the keyring has no default collection")?;
        collection.unlock().context("the keyring stays locked")?;
        let label = format!("Inshore: {name}");
        let created = collection.create_item(
            &label,
            attributes(service, name),
            secret,
            true,
            "application/octet-stream",
        );
        created.map(drop).context("the keyring refused")
    }

    pub(super) fn read(service: &str, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>> {
        let keyring = connect()?;
        let Some(item) = find(&keyring, service, name)? else { return Ok(None) };
        Ok(Some(Zeroizing::new(item.get_secret().context("the keyring refused")?)))
    }

    pub(super) fn delete(service: &str, name: &str) -> Result<bool> {
        let keyring = connect()?;
        let Some(item) = find(&keyring, service, name)? else { return Ok(false) };
        item.delete().context("the keyring refused")?;
        Ok(true)
    }
}

/// Keychain and Credential Manager.
#[cfg(all(feature = "keyring", any(target_os = "macos", windows)))]
mod backend {
    use std::sync::OnceLock;

    use anyhow::{Result, anyhow};
    use keyring_core::{Entry, Error};
    use zeroize::Zeroizing;

    fn entry(service: &str, name: &str) -> Result<Entry> {
        static STORE: OnceLock<std::result::Result<(), String>> = OnceLock::new();
        let store = STORE.get_or_init(|| open().map_err(|error| error.to_string()));
        store.as_ref().map_err(|message| anyhow!("there is no keyring here: {message}"))?;
        Entry::new(service, name).map_err(in_words)
    }

    #[cfg(target_os = "macos")]
    fn open() -> keyring_core::Result<()> {
        keyring_core::set_default_store(apple_native_keyring_store::keychain::Store::new()?);
        Ok(())
    }

    #[cfg(windows)]
    fn open() -> keyring_core::Result<()> {
        keyring_core::set_default_store(windows_native_keyring_store::Store::new()?);
        Ok(())
    }

    fn in_words(error: Error) -> anyhow::Error {
        anyhow!("the keyring refused: {error}")
    }

    pub(super) fn write(service: &str, name: &str, secret: &[u8]) -> Result<()> {
        entry(service, name)?.set_secret(secret).map_err(in_words)
    }

    pub(super) fn read(service: &str, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>> {
        match entry(service, name)?.get_secret() {
            Ok(secret) => Ok(Some(Zeroizing::new(secret))),
            Err(Error::NoEntry) => Ok(None),
            Err(error) => Err(in_words(error)),
        }
    }

    pub(super) fn delete(service: &str, name: &str) -> Result<bool> {
        match entry(service, name)?.delete_credential() {
            Ok(()) => Ok(true),
            Err(Error::NoEntry) => Ok(false),
            Err(error) => Err(in_words(error)),
        }
    }
}

#[cfg(not(all(feature = "keyring", any(target_os = "linux", target_os = "macos", windows))))]
mod backend {
    use anyhow::{Result, bail};
    use zeroize::Zeroizing;

    const NONE: &str = "this program was built without the keyring";

    pub(super) fn write(_: &str, _: &str, _: &[u8]) -> Result<()> {
        bail!(NONE)
    }

    pub(super) fn read(_: &str, _: &str) -> Result<Option<Zeroizing<Vec<u8>>>> {
        bail!(NONE)
    }

    pub(super) fn delete(_: &str, _: &str) -> Result<bool> {
        bail!(NONE)
    }
}
