//! Where Inshore keeps its files.
//!
//! On Linux by the XDG base directory specification 0.8, on macOS under `~/Library`, on Windows under `%APPDATA%` and
//! `%LOCALAPPDATA%`. `INSHORE_HOME` puts everything below one folder instead, which is how two installations live side
//! by side, and how tests run.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};

use crate::environment::Environment;

/// `sun_path` of Linux holds 108 bytes with the final zero, that of macOS 104; see unix(7).
const MAX_SOCKET_PATH: usize = 103;

/// Every folder and file that Inshore uses on its own accord.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Paths {
    /// The administrator's config file.
    pub(crate) system_config: PathBuf,
    /// The user's config file.
    pub(crate) user_config: PathBuf,
    /// What must not be lost: the database, tokens, models.
    pub(crate) data: PathBuf,
    /// What can be made again: logs, saved prompt states, the daemon's address.
    pub(crate) state: PathBuf,
    /// The folder of the Unix socket.
    pub(crate) runtime: PathBuf,
}

impl Paths {
    /// Finds the folders; an error when the environment names no home.
    pub(crate) fn find(environment: &Environment) -> Result<Self> {
        match environment.path("INSHORE_HOME") {
            Some(home) => Self::below(&absolute(&home)?, environment),
            None => Self::of_platform(environment),
        }
    }

    fn below(home: &Path, environment: &Environment) -> Result<Self> {
        Ok(Self {
            system_config: home.join("system.toml"),
            user_config: user_config(environment, home.join("config.toml"))?,
            data: home.join("data"),
            state: home.join("state"),
            runtime: home.join("run"),
        })
    }

    #[cfg(not(any(windows, target_os = "macos")))]
    fn of_platform(environment: &Environment) -> Result<Self> {
        let home = environment.path("HOME");
        let folder = |variable: &str, below_home: &str| -> Result<PathBuf> {
            // The specification: relative paths in these variables are to be ignored.
            environment
                .path(variable)
                .filter(|path| path.is_absolute())
                .or_else(|| home.as_ref().map(|home| home.join(below_home)))
                .map(|path| path.join("inshore"))
                .ok_or_else(|| anyhow!("neither `{variable}` nor `HOME` is set"))
        };
        let state = folder("XDG_STATE_HOME", ".local/state")?;
        Ok(Self {
            system_config: PathBuf::from("/etc/inshore/config.toml"),
            user_config: user_config(environment, folder("XDG_CONFIG_HOME", ".config")?.join("config.toml"))?,
            data: folder("XDG_DATA_HOME", ".local/share")?,
            runtime: environment
                .path("XDG_RUNTIME_DIR")
                .filter(|path| path.is_absolute())
                .map_or_else(|| state.join("run"), |path| path.join("inshore")),
            state,
        })
    }

    #[cfg(target_os = "macos")]
    fn of_platform(environment: &Environment) -> Result<Self> {
        let home = environment.path("HOME").ok_or_else(|| anyhow!("`HOME` is not set"))?;
        let support = home.join("Library/Application Support/Inshore");
        Ok(Self {
            system_config: PathBuf::from("/Library/Application Support/Inshore/config.toml"),
            user_config: user_config(environment, support.join("config.toml"))?,
            data: support.join("data"),
            state: support.join("state"),
            runtime: support.join("run"),
        })
    }

    #[cfg(windows)]
    fn of_platform(environment: &Environment) -> Result<Self> {
        let need =
            |variable: &str| environment.path(variable).ok_or_else(|| anyhow!("`{variable}` is not set"));
        let local = need("LOCALAPPDATA")?.join("Inshore");
        Ok(Self {
            system_config: need("PROGRAMDATA")?.join("Inshore").join("config.toml"),
            user_config: user_config(environment, need("APPDATA")?.join("Inshore").join("config.toml"))?,
            data: local.join("data"),
            state: local.join("state"),
            runtime: local.join("run"),
        })
    }

    /// The encrypted database.
    pub(crate) fn database(&self) -> PathBuf {
        self.data.join("inshore.db")
    }

    /// The database's key, where no keyring holds it.
    pub(crate) fn store_key(&self) -> PathBuf {
        self.data.join("store.key")
    }

    /// Says that the database's key is in the operating system's keyring.
    pub(crate) fn store_key_in_keyring(&self) -> PathBuf {
        self.data.join("store.key.in-keyring")
    }

    /// The token of this user's own tools, made on first start.
    pub(crate) fn token(&self) -> PathBuf {
        self.data.join("token")
    }

    /// One file for each further app's token.
    pub(crate) fn app_tokens(&self) -> PathBuf {
        self.data.join("tokens")
    }

    /// Where models are kept unless the config says otherwise.
    pub(crate) fn models(&self) -> PathBuf {
        self.data.join("models")
    }

    /// Names of secrets that were put into the keyring (the secrets themselves are only there).
    pub(crate) fn secret_names(&self) -> PathBuf {
        self.data.join("secrets.json")
    }

    /// Where a running daemon can be reached.
    pub(crate) fn daemon_state(&self) -> PathBuf {
        self.state.join("daemon.json")
    }

    /// Held locked by the one daemon that runs.
    pub(crate) fn daemon_lock(&self) -> PathBuf {
        self.state.join("daemon.lock")
    }

    /// What a daemon writes that was started by `chat`, `ask` or `complete`.
    pub(crate) fn daemon_log(&self) -> PathBuf {
        self.state.join("daemon.log")
    }

    /// Saved states of pinned prompts.
    pub(crate) fn prefixes(&self) -> PathBuf {
        self.state.join("prefixes")
    }

    /// Where the Unix socket is bound unless the config says otherwise; `None` where the path would be too long.
    pub(crate) fn unix_socket(&self) -> Option<PathBuf> {
        let path = self.runtime.join("inshore.sock");
        socket_path_fits(&path).then_some(path)
    }
}

/// Whether the system can bind a Unix socket at this path.
pub(crate) fn socket_path_fits(path: &Path) -> bool {
    path.as_os_str().len() <= MAX_SOCKET_PATH
}

fn user_config(environment: &Environment, usual: PathBuf) -> Result<PathBuf> {
    environment.path("INSHORE_CONFIG").map_or(Ok(usual), |path| absolute(&path))
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|error| anyhow!("`{}` is not a usable path: {error}", path.display()))
}

/// Makes a folder that only this user can enter.
pub(crate) fn private_folder(path: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Writes a file that only this user can read, in one step: readers see the old content or the new, never a part.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> std::io::Result<()> {
    write_whole(path, content, None)
}

/// The same for a file of the user's own: who could read it before still can.
pub(crate) fn write_over(path: &Path, content: &[u8]) -> std::io::Result<()> {
    write_whole(path, content, std::fs::metadata(path).ok().map(|metadata| metadata.permissions()))
}

fn write_whole(
    path: &Path,
    content: &[u8],
    permissions: Option<std::fs::Permissions>,
) -> std::io::Result<()> {
    use std::io::Write;
    let folder = path.parent().unwrap_or(Path::new("."));
    private_folder(folder)?;
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let temporary = folder.join(format!(".{name}.{}", std::process::id()));
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(&temporary).and_then(|mut file| {
        file.write_all(content)?;
        if let Some(permissions) = permissions {
            file.set_permissions(permissions)?;
        }
        file.sync_all()
    });
    written.and_then(|()| std::fs::rename(&temporary, path)).inspect_err(|_| {
        // The half-written file is of no use to anyone.
        let _ = std::fs::remove_file(&temporary);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_variable_moves_everything() {
        let environment = Environment::of([("INSHORE_HOME", "/tmp/elsewhere"), ("HOME", "/home/me")]);
        let paths = Paths::find(&environment).unwrap();
        assert!(paths.user_config.starts_with("/tmp/elsewhere"));
        assert!(
            paths.database().starts_with("/tmp/elsewhere")
                && paths.daemon_lock().starts_with("/tmp/elsewhere")
        );
        assert!(paths.system_config.starts_with("/tmp/elsewhere"));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn xdg_variables_count_when_absolute() {
        let environment = Environment::of([
            ("HOME", "/home/me"),
            ("XDG_DATA_HOME", "/data"),
            ("XDG_STATE_HOME", "relative"),
        ]);
        let paths = Paths::find(&environment).unwrap();
        assert_eq!(paths.data, Path::new("/data/inshore"));
        assert_eq!(paths.state, Path::new("/home/me/.local/state/inshore"));
        assert_eq!(paths.user_config, Path::new("/home/me/.config/inshore/config.toml"));
        assert!(Paths::find(&Environment::of([])).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn private_files_are_private_and_whole() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/token");
        write_private(&path, b"one").unwrap();
        write_private(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);

        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        write_over(&path, b"three").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"three");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
    }
}
