//! Takes typed values out of the merged settings, and says what is wrong with them.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use toml::Value;

use super::layers::{Entries, Origin, Setting, Settings};
use super::problem::Problems;
use super::{UnixSocket, values};
use crate::paths::socket_path_fits;

/// Reads settings. A value that is wrong is reported, and stands in as its type's own default until the caller finds
/// that there are problems.
pub(super) struct Reader<'a> {
    pub(super) settings: &'a Settings,
    /// What `~/` stands for.
    home: Option<PathBuf>,
    problems: &'a mut Problems,
    /// The entry whose keys are read now; `None` for the plain keys.
    entry: Option<(String, &'a Entries, Origin)>,
    /// Paths that were asked for, so that a test can find keys that nobody reads.
    pub(super) asked: BTreeSet<String>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(settings: &'a Settings, home: Option<PathBuf>, problems: &'a mut Problems) -> Self {
        Self { settings, home, problems, entry: None, asked: BTreeSet::new() }
    }

    /// Reads the keys of one entry (`models.ID`, `targets`) with `read`.
    pub(super) fn within<T>(
        &mut self,
        name: &str,
        entries: &'a Entries,
        origin: Origin,
        read: impl FnOnce(&mut Self) -> T,
    ) -> T {
        self.entry = Some((name.to_owned(), entries, origin));
        let value = read(self);
        self.entry = None;
        value
    }

    fn setting(&mut self, path: &str) -> Option<&'a Setting> {
        let (full, entries) = match &self.entry {
            Some((name, entries, _)) => (format!("{name}.{path}"), *entries),
            None => (path.to_owned(), &self.settings.plain),
        };
        self.asked.insert(full);
        entries.get(path)
    }

    /// Whether the key has a value.
    pub(super) fn has(&mut self, path: &str) -> bool {
        self.setting(path).is_some()
    }

    /// Reports a value that is wrong.
    pub(super) fn wrong(&mut self, path: &str, message: String, hint: Option<&str>) {
        let origin = self.setting(path).map(|setting| setting.origin.clone());
        let place = origin
            .or_else(|| self.entry.as_ref().map(|(_, _, origin)| origin.clone()))
            .unwrap_or(Origin::BuiltIn);
        self.problems.add(place, message, hint.map(str::to_owned));
    }

    fn expected(&mut self, path: &str, what: &str, value: &Value) {
        let full = self.entry.as_ref().map_or_else(|| path.to_owned(), |(name, ..)| format!("{name}.{path}"));
        let shown: String = value.to_string().chars().take(80).collect();
        self.wrong(path, format!("`{full}` must be {what}, not `{}`", shown.trim_matches('"')), None);
    }

    /// A key that may be left out.
    pub(super) fn maybe<T>(&mut self, path: &str, read: impl FnOnce(&mut Self, &str) -> T) -> Option<T> {
        self.has(path).then(|| read(self, path))
    }

    /// A key whose value may be `"auto"`.
    pub(super) fn auto<T>(&mut self, path: &str, read: impl FnOnce(&mut Self, &str) -> T) -> Option<T> {
        match self.setting(path).map(|setting| &setting.value) {
            Some(Value::String(text)) if text == "auto" => None,
            Some(_) => Some(read(self, path)),
            None => None,
        }
    }

    /// The value as it was written.
    pub(super) fn value(&mut self, path: &str) -> Option<&'a Value> {
        self.setting(path).map(|setting| &setting.value)
    }

    /// The items of a list.
    pub(super) fn items(&mut self, path: &str) -> &'a [Value] {
        match self.value(path) {
            Some(Value::Array(items)) => items,
            Some(other) => {
                self.expected(path, "a list", other);
                &[]
            }
            None => &[],
        }
    }

    pub(super) fn flag(&mut self, path: &str) -> bool {
        match self.setting(path).map(|setting| &setting.value) {
            Some(Value::Boolean(flag)) => *flag,
            Some(other) => {
                self.expected(path, "true or false", other);
                false
            }
            None => false,
        }
    }

    pub(super) fn whole(&mut self, path: &str, least: u32, most: u32) -> u32 {
        match self.setting(path).map(|setting| &setting.value) {
            Some(Value::Integer(number)) if (i64::from(least)..=i64::from(most)).contains(number) => {
                u32::try_from(*number).unwrap_or(most)
            }
            Some(other) => {
                self.expected(path, &format!("a whole number from {least} to {most}"), other);
                least
            }
            None => least,
        }
    }

    pub(super) fn text(&mut self, path: &str) -> String {
        match self.setting(path) {
            Some(Setting { value: Value::String(text), .. }) => text.clone(),
            // `INSHORE_MODELS__DEFAULT=7` means the text `7`: only a file can tell the two apart.
            Some(Setting { value, origin: Origin::Environment(_) | Origin::Flag(_) }) => value.to_string(),
            Some(Setting { value, .. }) => {
                self.expected(path, "a text in quotes", value);
                String::new()
            }
            None => String::new(),
        }
    }

    pub(super) fn texts(&mut self, path: &str) -> Vec<String> {
        match self.setting(path).map(|setting| &setting.value) {
            Some(Value::Array(items)) if items.iter().all(Value::is_str) => {
                items.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect()
            }
            Some(other) => {
                self.expected(path, "a list of texts", other);
                Vec::new()
            }
            None => Vec::new(),
        }
    }

    pub(super) fn size(&mut self, path: &str) -> u64 {
        match self.setting(path).map(|setting| &setting.value) {
            Some(Value::Integer(number)) if *number >= 0 => u64::try_from(*number).unwrap_or(0),
            Some(value) => value.as_str().and_then(values::size).unwrap_or_else(|| {
                self.expected(path, "a size such as \"512 MiB\"", value);
                0
            }),
            None => 0,
        }
    }

    pub(super) fn duration(&mut self, path: &str) -> Duration {
        match self.setting(path).map(|setting| &setting.value) {
            Some(value) => value.as_str().and_then(values::duration).unwrap_or_else(|| {
                self.expected(path, "a duration such as \"250ms\", \"30s\" or \"5m\"", value);
                Duration::ZERO
            }),
            None => Duration::ZERO,
        }
    }

    /// A duration or `"forever"`, which is `None`.
    pub(super) fn keep_alive(&mut self, path: &str) -> Option<Duration> {
        match self.setting(path).map(|setting| &setting.value) {
            Some(Value::String(text)) if text == "forever" => None,
            Some(Value::Integer(0)) => Some(Duration::ZERO),
            _ => Some(self.duration(path)),
        }
    }

    pub(super) fn choice<T: Copy + Default>(&mut self, path: &str, choices: &[(&str, T)]) -> T {
        let Some(value) = self.setting(path).map(|setting| &setting.value) else { return T::default() };
        let found = choices.iter().find(|(word, _)| value.as_str() == Some(*word));
        found.map(|(_, choice)| *choice).unwrap_or_else(|| {
            let words: Vec<_> = choices.iter().map(|(word, _)| format!("\"{word}\"")).collect();
            self.expected(path, &format!("one of {}", words.join(", ")), value);
            T::default()
        })
    }

    /// An absolute path, or one below `~/`.
    pub(super) fn path(&mut self, path: &str) -> PathBuf {
        let text = self.text(path);
        let found = self.expand(&text);
        if !text.is_empty() && !found.is_absolute() {
            self.wrong(path, format!("`{text}` is not an absolute path"), Some("begin it with `/` or `~/`"));
        }
        found
    }

    /// Puts the home folder in place of `~/`.
    pub(super) fn expand(&self, text: &str) -> PathBuf {
        match (text.strip_prefix("~/"), &self.home) {
            (Some(rest), Some(home)) => home.join(rest),
            _ => PathBuf::from(text),
        }
    }

    /// An address that only this machine can reach.
    pub(super) fn loopback(&mut self, path: &str) -> SocketAddr {
        let fallback = SocketAddr::from(([127, 0, 0, 1], 0));
        let text = self.text(path);
        let parsed = text.replacen("localhost:", "127.0.0.1:", 1).parse::<SocketAddr>();
        match parsed {
            Ok(address) if address.ip().is_loopback() => address,
            Ok(address) => {
                let hint = "Inshore serves this machine only: use 127.0.0.1 or [::1]";
                self.wrong(path, format!("`{}` is not a loopback address", address.ip()), Some(hint));
                fallback
            }
            Err(_) => {
                self.wrong(path, format!("`{text}` is not an address such as `127.0.0.1:7467`"), None);
                fallback
            }
        }
    }

    pub(super) fn unix_socket(&mut self, path: &str) -> UnixSocket {
        match self.text(path).as_str() {
            "auto" => UnixSocket::Auto,
            "off" => UnixSocket::Off,
            _ => {
                let socket = self.path(path);
                if !socket_path_fits(&socket) {
                    self.wrong(
                        path,
                        format!("`{}` is longer than a socket's path may be", socket.display()),
                        None,
                    );
                }
                UnixSocket::At(socket)
            }
        }
    }

    /// An `https` address, or an `http` one of this machine or a private network's choice.
    pub(super) fn web_address(&mut self, path: &str) -> String {
        let text = self.text(path);
        self.check_web_address(path, &text);
        text
    }

    /// Says what is wrong with an address, if anything is.
    pub(super) fn check_web_address(&mut self, path: &str, text: &str) {
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        match rest {
            Some(rest) if !rest.is_empty() && !rest.starts_with('/') => {
                let authority = rest.split('/').next().unwrap_or_default();
                if authority.contains('@') {
                    self.wrong(
                        path,
                        "the address holds a user name or password".to_owned(),
                        Some("name a key with `key = { env = \"…\" }`"),
                    );
                }
            }
            _ => {
                let shown: String = text.chars().take(80).collect();
                self.wrong(
                    path,
                    format!("`{shown}` is not an address that begins with `https://` or `http://`"),
                    None,
                );
            }
        }
    }
}
