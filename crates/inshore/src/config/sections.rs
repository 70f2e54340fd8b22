//! What is added to a config file: `[features.NAME]` sections, with every other byte of the file left as it is.

use std::fmt::Write as _;
use std::ops::Range;
use std::path::Path;

use inshore_policy::Feature;
use toml::de::{DeTable, DeValue};
use toml::{Spanned, Value};

use super::layers::{Lines, first_line};
use super::problem::Problems;
use super::values;

/// How the comment of every section begins that is written here; one section has one.
const ADVISED: &str = "# `inshore advise`:";

/// A section to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Section {
    /// The feature's name.
    pub(crate) name: String,
    /// Header and keys, each line with its end.
    pub(crate) text: String,
    /// The keys that it says.
    keys: Vec<&'static str>,
}

impl Section {
    /// The section that says these settings, with a comment that says why above its keys.
    pub(crate) fn of(name: &str, feature: &Feature, why: &str) -> Self {
        let mut text = format!("[features.{}]\n", key(name));
        // One line, whatever is in it: a comment ends with its line.
        let why: String = why.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let _ = writeln!(text, "{ADVISED} {why}");
        let entries = entries(feature);
        for (key, value) in &entries {
            let _ = writeln!(text, "{key} = {value}");
        }
        Self { name: name.to_owned(), text, keys: entries.into_iter().map(|(key, _)| key).collect() }
    }
}

fn entries(feature: &Feature) -> Vec<(&'static str, Value)> {
    let text = |text: &str| Value::String(text.to_owned());
    let (regions, checks) = (feature.regions.as_ref(), feature.checks.as_ref());
    let all = [
        ("latency", feature.latency_budget.map(|budget| Value::String(values::written(budget)))),
        ("sensitivity", feature.sensitivity.map(|level| text(level.as_str()))),
        ("quality", feature.quality_floor.map(|floor| Value::Integer(floor.into()))),
        ("profile", Some(text(feature.profile.as_str()))),
        ("strategy", feature.strategy.map(|strategy| text(strategy.as_str()))),
        (
            "checks",
            checks.map(|checks| Value::Array(checks.iter().map(|check| text(&check.to_string())).collect())),
        ),
        ("risk", feature.risk.map(|risk| Value::String(risk.to_string()))),
        ("patience", feature.patience.map(|patience| Value::String(values::written(patience)))),
        ("plain", feature.plain.map(|plain| text(plain.as_str()))),
        ("split", feature.split.map(|split| text(split.as_str()))),
        ("prefer", feature.prefer.map(|prefer| text(prefer.as_str()))),
        ("stays_here", Some(Value::Boolean(feature.stays_here))),
        ("mask", feature.mask.then_some(Value::Boolean(true))),
        ("regions", regions.map(|regions| Value::Array(regions.iter().map(|region| text(region)).collect()))),
        ("max_output", feature.max_output_tokens.map(|most| Value::Integer(most.into()))),
    ];
    all.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
}

/// A name as a TOML key.
fn key(name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !name.is_empty() && name.chars().all(bare) {
        return name.to_owned();
    }
    // A basic string on one line: a value may also have three quotes, a key may not.
    format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
}

/// The file's text with the sections. A section that is there is changed only when asked for, and then its header and the keys that
/// the new one says are replaced: other keys stay, as each of them may be a guard, and so do whole lines of comments. Everything else
/// stays byte for byte.
///
/// # Errors
/// When the text is no TOML, has one of the sections and may not lose it, or has it in another form than under a header.
pub(crate) fn merged(
    path: &Path,
    text: &str,
    sections: &[Section],
    replace: bool,
) -> Result<String, Problems> {
    let mut problems = Problems::default();
    let lines = Lines { path, text };
    let document = match DeTable::parse(text) {
        Ok(document) => document,
        Err(error) => {
            let at = error.span().map_or(0, |span| span.start);
            problems.add(lines.origin(at), format!("not valid TOML: {}", first_line(error.message())), None);
            return Err(problems);
        }
    };
    let mut changes: Vec<(Range<usize>, String)> = Vec::new();
    for section in sections {
        let Some((at, table)) = find(document.get_ref(), &section.name) else {
            changes.push((text.len()..text.len(), in_style(text, &format!("\n{}", section.text))));
            continue;
        };
        if !replace {
            let hint = "`--replace` puts the new one in its place".to_owned();
            let message = format!("there is a section `[features.{}]` already", key(&section.name));
            problems.add(lines.origin(at), message, Some(hint));
            continue;
        }
        match extent(text, at, table) {
            Some(range) => {
                let kept = kept(text, &range, table, section);
                changes.push((range, format!("{}{kept}", in_style(text, &section.text))));
            }
            None => {
                let hint = "write it as a section of its own, or change it by hand".to_owned();
                let message = format!("`features.{}` is not a section under a header", key(&section.name));
                problems.add(lines.origin(at), message, Some(hint));
            }
        }
    }
    if problems.is_empty() { Ok(applied(text, changes)) } else { Err(problems) }
}

/// With the ends of lines that the file has.
fn in_style(text: &str, added: &str) -> String {
    if text.contains("\r\n") { added.replace('\n', "\r\n") } else { added.to_owned() }
}

fn applied(text: &str, mut changes: Vec<(Range<usize>, String)>) -> String {
    // A stable sort keeps what is added at the end in its order.
    changes.sort_by_key(|(range, _)| range.start);
    let mut result = String::with_capacity(text.len() + 1024);
    let mut done = 0;
    for (range, new) in changes {
        result.push_str(text.get(done..range.start).unwrap_or_default());
        if range.start == text.len() && !result.is_empty() && !result.ends_with('\n') {
            result.push_str(&in_style(text, "\n"));
        }
        // A section at the head of a file needs no empty line above it.
        result.push_str(if result.is_empty() { new.trim_start() } else { &new });
        done = range.end;
    }
    result.push_str(text.get(done..).unwrap_or_default());
    result
}

/// Where a feature is, and what it is.
fn find<'a, 't>(document: &'a DeTable<'t>, name: &str) -> Option<(usize, &'a Spanned<DeValue<'t>>)> {
    let DeValue::Table(features) = document.get("features")?.get_ref() else { return None };
    let (key, value) = features.iter().find(|(key, _)| key.get_ref().as_ref() == name)?;
    Some((key.span().start, value))
}

/// The lines of a section, from its header to its last value; `None` where there is no header.
fn extent(text: &str, at: usize, table: &Spanned<DeValue<'_>>) -> Option<Range<usize>> {
    let start = text.get(..at)?.rfind('\n').map_or(0, |end| end + 1);
    let header = text.get(start..at)?.trim_start_matches('\u{feff}').trim_start();
    let DeValue::Table(entries) = table.get_ref() else { return None };
    if !header.starts_with('[') {
        return None;
    }
    let last = entries.iter().map(|(_, value)| value.span().end).max().unwrap_or(at);
    Some(start..end_of_line(text, last.max(at)))
}

fn end_of_line(text: &str, at: usize) -> usize {
    text.get(at..).and_then(|rest| rest.find('\n')).map_or(text.len(), |end| at + end + 1)
}

/// The lines of a section that stay: comments, and keys that the new one does not say.
fn kept(text: &str, range: &Range<usize>, table: &Spanned<DeValue<'_>>, new: &Section) -> String {
    let DeValue::Table(entries) = table.get_ref() else { return String::new() };
    let mut kept = String::new();
    let mut start = range.start;
    while start < range.end {
        let end = end_of_line(text, start);
        let line = text.get(start..end).unwrap_or_default();
        // A line of a longer text or list may look like a comment, and belongs to its key.
        let of = entries.iter().find(|(key, value)| key.span().start < end && start < value.span().end);
        let stays = match of {
            Some((key, _)) => !new.keys.contains(&key.get_ref().as_ref()),
            None => line.trim_start().starts_with('#') && !line.trim_start().starts_with(ADVISED),
        };
        if stays {
            kept.push_str(line);
        }
        start = end;
    }
    // The last line of a file may have no end.
    if !kept.is_empty() && !kept.ends_with('\n') {
        kept.push_str(&in_style(text, "\n"));
    }
    kept
}

#[cfg(test)]
mod tests;
