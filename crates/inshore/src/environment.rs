//! The environment, read once, and every variable that Inshore knows.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

/// Variables that are not config keys, with what they do; `inshore --help` and the docs show this table.
pub(crate) const VARIABLES: [(&str, &str); 7] = [
    ("INSHORE_HOME", "one folder for config, data, state and socket, instead of the platform's own places"),
    ("INSHORE_CONFIG", "the user's config file"),
    ("INSHORE_SECTION__KEY", "one config key, such as INSHORE_ENGINE__THREADS=4"),
    ("OLLAMA_MODELS", "where `model import --scan` looks for models of Ollama"),
    ("HF_TOKEN", "sent by `model pull` to the configured hub, for models behind a login"),
    ("NO_COLOR", "no colours"),
    ("NOTIFY_SOCKET", "where readiness is told to systemd"),
];

/// The variables as they were when the program started.
#[derive(Debug, Clone, Default)]
pub(crate) struct Environment(BTreeMap<String, OsString>);

impl Environment {
    /// Reads the process's own; names that are not Unicode cannot be ours and are left out.
    pub(crate) fn read() -> Self {
        Self(
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value))).collect(),
        )
    }

    /// A made-up environment.
    #[cfg(test)]
    pub(crate) fn of<const N: usize>(variables: [(&str, &str); N]) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect())
    }

    /// A value, when set, not empty and valid Unicode.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.to_str().filter(|value| !value.is_empty())
    }

    /// A path, when set and not empty.
    pub(crate) fn path(&self, name: &str) -> Option<PathBuf> {
        self.0.get(name).filter(|value| !value.is_empty()).map(PathBuf::from)
    }

    /// All variables whose name begins so; values that are not Unicode are given as far as they are.
    pub(crate) fn beginning_with<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, String)> {
        self.0
            .iter()
            .filter(move |(name, _)| name.starts_with(prefix))
            .map(|(name, value)| (name.as_str(), value.to_string_lossy().into_owned()))
    }
}
