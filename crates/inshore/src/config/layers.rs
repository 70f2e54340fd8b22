//! Reads the layers and merges them.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::Value;
use toml::de::{DeArray, DeTable, DeValue};

use super::Sources;
use super::keys::{self, nearest};
use super::problem::Problems;

/// A config file longer than this is not one: the sample with every key has under 10 KB.
pub(super) const MAX_FILE: u64 = 1 << 20;
/// The deepest value there is: a price table in a target.
const MAX_DEPTH: usize = 8;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The program.
    BuiltIn,
    /// A file and the line in it, counted from 1.
    File(PathBuf, usize),
    /// An environment variable.
    Environment(String),
    /// A flag of the command line.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn => f.write_str("built-in"),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Flag(text) => f.write_str(text),
        }
    }
}

/// A value and where it came from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Setting {
    pub(crate) value: Value,
    pub(crate) origin: Origin,
}

/// Keys and their values.
pub(crate) type Entries = BTreeMap<String, Setting>;

/// The merged layers, not yet checked for the form of the values.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    /// By path: `server.listen`.
    pub(crate) plain: Entries,
    /// `[models.ID]`, `[groups.NAME]`: by section, then by name.
    pub(crate) named: BTreeMap<&'static str, BTreeMap<String, Entries>>,
    /// `[[targets]]`, `[[caps]]`: by section, in the order they first appeared.
    pub(crate) listed: BTreeMap<&'static str, Vec<ListEntry>>,
}

/// One `[[targets]]` or `[[caps]]`.
#[derive(Debug, Clone)]
pub(crate) struct ListEntry {
    /// Where the entry begins.
    pub(crate) origin: Origin,
    pub(crate) entries: Entries,
}

impl ListEntry {
    fn id(&self) -> Option<&str> {
        self.entries.get("id").and_then(|setting| setting.value.as_str())
    }
}

impl Settings {
    /// The built-in values alone.
    pub(crate) fn built_in() -> Self {
        let mut settings = Self::default();
        for (path, text) in keys::PLAIN {
            let value = literal(text).unwrap_or_else(|| Value::String(text.to_owned()));
            settings.plain.insert(path.to_owned(), Setting { value, origin: Origin::BuiltIn });
        }
        settings
    }

    /// The entries of a `[[section]]`.
    pub(crate) fn list(&self, section: &str) -> &[ListEntry] {
        self.listed.get(section).map_or(&[], Vec::as_slice)
    }

    /// The entries of `[section.NAME]`.
    pub(crate) fn names(&self, section: &str) -> impl Iterator<Item = (&str, &Entries)> {
        self.named.get(section).into_iter().flatten().map(|(name, entries)| (name.as_str(), entries))
    }

    fn add(&mut self, section: &'static str, entry: ListEntry) {
        let list = self.listed.entry(section).or_default();
        match list.iter_mut().find(|other| other.id().is_some() && other.id() == entry.id()) {
            Some(other) if !same_file(&other.origin, &entry.origin) => *other = entry,
            // Two entries with one id in one file are for the reader to refuse.
            _ => list.push(entry),
        }
    }
}

fn same_file(a: &Origin, b: &Origin) -> bool {
    matches!((a, b), (Origin::File(a, _), Origin::File(b, _)) if a == b)
}

/// Reads every layer there is.
///
/// `users` is read in place of the user's file, where it is given.
pub(super) fn read(
    sources: &Sources<'_>,
    users: Option<&str>,
    problems: &mut Problems,
) -> (Settings, Vec<PathBuf>) {
    let mut settings = Settings::built_in();
    let mut files = Vec::new();
    for path in [&sources.paths.system_config, &sources.paths.user_config] {
        let instead = users.filter(|_| path == &sources.paths.user_config);
        let text = match instead {
            Some(text) => Ok(Some(text.to_owned())),
            None => read_file(path),
        };
        match text {
            Ok(Some(text)) => {
                merge_text(&mut settings, path, &text, problems);
                files.push(path.clone());
            }
            Ok(None) => {}
            Err(message) => problems.add(path.display(), message, None),
        }
    }
    for (name, value) in sources.environment.beginning_with("INSHORE_") {
        merge_variable(&mut settings, name, &value, problems);
    }
    for text in sources.sets {
        merge_flag(&mut settings, text, problems);
    }
    (settings, files)
}

fn read_file(path: &Path) -> Result<Option<String>, String> {
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Ok(metadata) if metadata.len() > MAX_FILE => {
            return Err(format!("the file has {} bytes, a config file may have {MAX_FILE}", metadata.len()));
        }
        _ => {}
    }
    std::fs::read_to_string(path).map(Some).map_err(|error| format!("the file cannot be read: {error}"))
}

/// Merges one file's text.
pub(super) fn merge_text(settings: &mut Settings, path: &Path, text: &str, problems: &mut Problems) {
    let lines = Lines { path, text };
    let document = match DeTable::parse(text) {
        Ok(document) => document,
        Err(error) => {
            let place = error
                .span()
                .map_or_else(|| path.display().to_string(), |span| lines.origin(span.start).to_string());
            return problems.add(place, format!("not valid TOML: {}", first_line(error.message())), None);
        }
    };
    for (section, value) in document.get_ref() {
        let origin = lines.origin(section.span().start);
        let name = section.get_ref().as_ref();
        if let Some((list, known)) = keys::LISTED.into_iter().find(|(known, _)| *known == name) {
            match value.get_ref() {
                DeValue::Array(entries) => merge_list(settings, (list, known), entries, &lines, problems),
                _ => problems.add(
                    origin,
                    format!("`{list}` is a list of tables"),
                    Some(format!("begin each entry with `[[{list}]]`")),
                ),
            }
            continue;
        }
        match (name, value.get_ref()) {
            (name, DeValue::Table(table)) if keys::sections().any(|known| known == name) => {
                merge_section(settings, name, table, &lines, problems);
            }
            (name, _) if keys::sections().any(|known| known == name) => {
                problems.add(
                    origin,
                    format!("`{name}` is a section"),
                    Some(format!("begin it with `[{name}]`")),
                );
            }
            (name, _) => unknown(problems, origin, "section", name, keys::sections(), ""),
        }
    }
}

pub(super) fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

pub(super) struct Lines<'a> {
    pub(super) path: &'a Path,
    pub(super) text: &'a str,
}

impl Lines<'_> {
    pub(super) fn origin(&self, offset: usize) -> Origin {
        let line = self.text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1;
        Origin::File(self.path.to_owned(), line)
    }
}

fn merge_section(
    settings: &mut Settings,
    section: &str,
    table: &DeTable<'_>,
    lines: &Lines<'_>,
    problems: &mut Problems,
) {
    for (key, value) in table {
        let name = key.get_ref().as_ref();
        let path = format!("{section}.{name}");
        let origin = lines.origin(key.span().start);
        match (value.get_ref(), named(section)) {
            (DeValue::Table(table), Some((section, known))) => {
                let entries = entries_of(table, &format!("{section}.{name}."), known, lines, problems);
                let all = settings.named.entry(section).or_default();
                all.entry(name.to_owned()).or_default().extend(entries);
            }
            _ if is_plain(&path) => {
                if let Some(value) = plain_value(value, origin.clone(), problems) {
                    settings.plain.insert(path, Setting { value, origin });
                }
            }
            _ => unknown(problems, origin, "key", name, plain_keys_of(section), &format!("{section}.")),
        }
    }
}

/// The section whose keys are names that the user chooses, with the keys below each.
fn named(section: &str) -> Option<(&'static str, &'static [&'static str])> {
    keys::NAMED.into_iter().find(|(known, _)| *known == section)
}

fn merge_list(
    settings: &mut Settings,
    (section, known): (&'static str, &'static [&'static str]),
    entries: &DeArray<'_>,
    lines: &Lines<'_>,
    problems: &mut Problems,
) {
    for entry in entries.iter() {
        let origin = lines.origin(entry.span().start);
        match entry.get_ref() {
            DeValue::Table(table) => {
                let entries = entries_of(table, &format!("{section}."), known, lines, problems);
                settings.add(section, ListEntry { origin, entries });
            }
            _ => problems.add(origin, format!("each entry of `{section}` is a table"), None),
        }
    }
}

pub(super) fn entries_of(
    table: &DeTable<'_>,
    prefix: &str,
    known: &[&'static str],
    lines: &Lines<'_>,
    problems: &mut Problems,
) -> Entries {
    let mut entries = Entries::new();
    for (key, value) in table {
        let name = key.get_ref().as_ref();
        let origin = lines.origin(key.span().start);
        if !known.contains(&name) {
            unknown(problems, origin, "key", name, known.iter().copied(), prefix);
        } else if let Some(value) = plain_value(value, origin.clone(), problems) {
            entries.insert(name.to_owned(), Setting { value, origin });
        }
    }
    entries
}

fn is_plain(path: &str) -> bool {
    keys::PLAIN.iter().any(|(known, _)| *known == path)
}

fn plain_keys_of(section: &str) -> impl Iterator<Item = &'static str> {
    keys::PLAIN.iter().filter_map(move |(path, _)| path.strip_prefix(section)?.strip_prefix('.'))
}

pub(super) fn unknown<'a>(
    problems: &mut Problems,
    origin: Origin,
    what: &str,
    given: &str,
    known: impl Iterator<Item = &'a str>,
    prefix: &str,
) {
    let shown: String = given.chars().take(80).collect();
    let hint = match nearest(given, known) {
        Some(word) => format!("the nearest known {what} is `{prefix}{word}`"),
        None => "`inshore config sample` lists every key".to_owned(),
    };
    problems.add(origin, format!("unknown {what} `{prefix}{shown}`"), Some(hint));
}

fn merge_variable(settings: &mut Settings, name: &str, text: &str, problems: &mut Problems) {
    // Variables without a section, such as INSHORE_HOME, are not config keys.
    let Some(path) = name.strip_prefix("INSHORE_").filter(|rest| rest.contains("__")) else { return };
    let path = path.to_ascii_lowercase().replace("__", ".");
    set(settings, &path, text, Origin::Environment(name.to_owned()), problems);
}

fn merge_flag(settings: &mut Settings, text: &str, problems: &mut Problems) {
    match text.split_once('=') {
        Some((path, value)) => {
            let path = path.trim();
            set(settings, path, value.trim(), Origin::Flag(format!("--set {path}")), problems);
        }
        None => problems.add("--set", format!("`{text}` is not of the form `section.key=value`"), None),
    }
}

fn set(settings: &mut Settings, path: &str, text: &str, origin: Origin, problems: &mut Problems) {
    let value = literal(text).unwrap_or_else(|| Value::String(text.to_owned()));
    if is_plain(path) {
        settings.plain.insert(path.to_owned(), Setting { value, origin });
        return;
    }
    // A name (a model's id) may itself hold dots, so the key is what follows the last one.
    let section = path.split_once('.').and_then(|(section, rest)| Some((named(section)?, rest)));
    let of_name = section.and_then(|(section, rest)| Some((section, rest.rsplit_once('.')?)));
    match of_name {
        Some(((section, known), (name, key))) if known.contains(&key) => {
            let all = settings.named.entry(section).or_default();
            all.entry(name.to_owned()).or_default().insert(key.to_owned(), Setting { value, origin });
        }
        _ => unknown(problems, origin, "key", path, keys::PLAIN.iter().map(|(path, _)| *path), ""),
    }
}

/// Reads text as a TOML value other than a string: `true`, `4`, `["a"]`, `"quoted"`.
pub(super) fn literal(text: &str) -> Option<Value> {
    let value = DeValue::parse(text).ok()?;
    owned(value.get_ref(), MAX_DEPTH).ok()
}

fn plain_value(value: &Spanned<DeValue<'_>>, origin: Origin, problems: &mut Problems) -> Option<Value> {
    owned(value.get_ref(), MAX_DEPTH).map_err(|message| problems.add(origin, message, None)).ok()
}

fn owned(value: &DeValue<'_>, depth: usize) -> Result<Value, String> {
    let deeper =
        depth.checked_sub(1).ok_or_else(|| format!("values are nested more than {MAX_DEPTH} deep"))?;
    Ok(match value {
        DeValue::String(text) => Value::String(text.clone().into_owned()),
        DeValue::Boolean(flag) => Value::Boolean(*flag),
        DeValue::Integer(number) => Value::Integer(
            i64::from_str_radix(number.as_str(), number.radix())
                .map_err(|_| format!("`{number}` is out of range"))?,
        ),
        DeValue::Float(number) => {
            Value::Float(number.as_str().parse().map_err(|_| format!("`{number}` is not a number"))?)
        }
        DeValue::Datetime(_) => return Err("dates are not used in this file".to_owned()),
        DeValue::Array(items) => {
            Value::Array(items.iter().map(|item| owned(item.get_ref(), deeper)).collect::<Result<_, _>>()?)
        }
        DeValue::Table(table) => Value::Table(
            table
                .iter()
                .map(|(key, value)| Ok((key.get_ref().clone().into_owned(), owned(value.get_ref(), deeper)?)))
                .collect::<Result<_, String>>()?,
        ),
    })
}
