//! The tokens that apps present: one file each, readable by this user only.

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::clock::random_bytes;
use crate::paths::{Paths, write_private};

/// The app that the first token belongs to: this user's own tools, the command line among them.
pub(crate) const OWN_APP: &str = "inshore";
/// 256 bits, so that guessing is hopeless.
const TOKEN_BYTES: usize = 32;
/// More than anyone has apps; every request is compared with each.
const MAX_APPS: usize = 256;

/// The token of this user's own tools, made when there is none.
pub(crate) fn own(paths: &Paths) -> Result<String> {
    match read(&paths.token()) {
        Some(token) => Ok(token),
        None => make(&paths.token()),
    }
}

/// The token of this user's own tools, when it has been made.
pub(crate) fn own_if_any(paths: &Paths) -> Option<String> {
    read(&paths.token())
}

/// All apps with their tokens, the own one first.
pub(crate) fn all(paths: &Paths) -> Result<Vec<(String, String)>> {
    let mut tokens = vec![(OWN_APP.to_owned(), own(paths)?)];
    for app in apps(paths)? {
        if let Some(token) = read(&paths.app_tokens().join(&app)) {
            tokens.push((app, token));
        }
    }
    Ok(tokens)
}

/// The apps that have a token of their own.
pub(crate) fn apps(paths: &Paths) -> Result<Vec<String>> {
    let files = match std::fs::read_dir(paths.app_tokens()) {
        Ok(files) => files,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).context("cannot read the tokens"),
    };
    let mut apps: Vec<String> = files
        .filter_map(|file| file.ok()?.file_name().into_string().ok())
        .filter(|name| check_app(name).is_ok())
        .take(MAX_APPS)
        .collect();
    apps.sort();
    Ok(apps)
}

/// Makes a token for an app.
pub(crate) fn create(paths: &Paths, app: &str) -> Result<String> {
    check_app(app)?;
    let path = paths.app_tokens().join(app);
    if path.exists() {
        bail!("`{app}` has a token already; revoke it first to make a new one");
    }
    if apps(paths)?.len() >= MAX_APPS {
        bail!("there are {MAX_APPS} tokens, which is the most there can be");
    }
    make(&path)
}

/// Takes an app's token away.
pub(crate) fn revoke(paths: &Paths, app: &str) -> Result<()> {
    check_app(app)?;
    match std::fs::remove_file(paths.app_tokens().join(app)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => bail!("`{app}` has no token"),
        other => other.with_context(|| format!("cannot revoke the token of `{app}`")),
    }
}

fn check_app(app: &str) -> Result<()> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let begins = app.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if app == OWN_APP || !begins || app.len() > 64 || !app.bytes().all(good) {
        bail!(
            "`{}` cannot name an app: use letters, digits, `.`, `_` and `-`, 64 at most",
            app.chars().take(64).collect::<String>()
        );
    }
    Ok(())
}

fn read(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let token = text.trim();
    // An empty or cut file must not become a token that anyone can guess.
    (token.len() >= TOKEN_BYTES).then(|| token.to_owned())
}

fn make(path: &Path) -> Result<String> {
    let token = format!("ins_{}", hex::encode(random_bytes::<TOKEN_BYTES>()));
    write_private(path, format!("{token}\n").as_bytes())
        .with_context(|| format!("cannot write `{}`", path.display()))?;
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::Environment;

    fn paths() -> (tempfile::TempDir, Paths) {
        let home = tempfile::tempdir().unwrap();
        let paths = Paths::find(&Environment::of([("INSHORE_HOME", home.path().to_str().unwrap())])).unwrap();
        (home, paths)
    }

    #[test]
    fn the_first_token_is_made_once_and_private() {
        let (_home, paths) = paths();
        let token = own(&paths).unwrap();
        assert_eq!(own(&paths).unwrap(), token);
        assert_eq!(token.len(), 68);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(std::fs::metadata(paths.token()).unwrap().permissions().mode() & 0o777, 0o600);
        }
        std::fs::write(paths.token(), "short").unwrap();
        assert_ne!(own(&paths).unwrap(), "short");
    }

    #[test]
    fn apps_come_and_go() {
        let (_home, paths) = paths();
        let mail = create(&paths, "mail").unwrap();
        assert!(create(&paths, "mail").is_err());
        assert!(all(&paths).unwrap().contains(&("mail".to_owned(), mail)));
        revoke(&paths, "mail").unwrap();
        assert!(revoke(&paths, "mail").is_err());
        assert_eq!(apps(&paths).unwrap(), Vec::<String>::new());
        for bad in ["../token", "", ".x", "inshore", "a/b"] {
            assert!(create(&paths, bad).is_err(), "{bad}");
        }
    }
}
