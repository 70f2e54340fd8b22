//! The files of the workspace.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Files larger than this are data and are not looked into; the largest page or source is a tenth of it.
const MAX_TEXT: u64 = 2 << 20;

/// All files that are in version control or could be, with the text of those that are text. Paths are relative to the
/// workspace, with `/`.
#[derive(Debug, Default)]
pub(super) struct Tree {
    files: BTreeMap<String, Option<String>>,
}

impl Tree {
    pub(super) fn read(root: &Path) -> Result<Self> {
        let mut command = Command::new("git");
        command.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(root);
        let output = command.output().context("git could not be started")?;
        ensure!(
            output.status.success(),
            "git ls-files failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        let mut tree = Self::default();
        for path in String::from_utf8_lossy(&output.stdout).split_terminator('\0') {
            let on_disk = root.join(path);
            // A file that was deleted and not yet committed is listed and is not there.
            let Ok(metadata) = on_disk.metadata() else { continue };
            let bytes = if metadata.is_file() && metadata.len() <= MAX_TEXT {
                std::fs::read(&on_disk).ok()
            } else {
                None
            };
            tree.files.insert(path.to_owned(), bytes.and_then(|bytes| String::from_utf8(bytes).ok()));
        }
        ensure!(!tree.files.is_empty(), "git lists no files in `{}`", root.display());
        Ok(tree)
    }

    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    /// The text of a file; `None` when it is missing or no text.
    pub(super) fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path)?.as_deref()
    }

    /// Whether there is a file, or a folder with a file in it, at this path.
    pub(super) fn has(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        let within = |file: &String| file.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'));
        path.is_empty() || self.files.contains_key(path) || self.files.keys().any(within)
    }

    pub(super) fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// All text files with this ending.
    pub(super) fn texts(&self, ending: &str) -> impl Iterator<Item = (&str, &str)> {
        let texts = self.files.iter().filter_map(|(path, text)| Some((path.as_str(), text.as_deref()?)));
        texts.filter(move |(path, _)| path.ends_with(ending))
    }

    #[cfg(test)]
    pub(super) fn of(files: &[(&str, &str)]) -> Self {
        Self {
            files: files.iter().map(|(path, text)| ((*path).to_owned(), Some((*text).to_owned()))).collect(),
        }
    }
}

/// What the lexer of [`code_only`] is in the middle of.
enum Within {
    Code,
    LineComment,
    /// Rust's block comments nest.
    BlockComment(u32),
    Text,
    /// A raw string that ends in a quote and this many `#`.
    RawText(usize),
}

/// The same source with comments and the contents of strings and characters replaced by spaces. Lines keep their
/// numbers. Understands as much Rust as that takes; what does not parse gives something, never an error.
pub(super) fn code_only(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let mut within = Within::Code;
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let (taken, next) = step(&within, rest, first);
        let (eaten, left) = rest.split_at(taken);
        let blank = !matches!((&within, &next), (Within::Code, Within::Code))
            || eaten.starts_with('\'') && eaten.len() > 1;
        code.extend(eaten.chars().map(|character| if blank && character != '\n' { ' ' } else { character }));
        rest = left;
        within = next;
    }
    code
}

/// How many bytes to take, and what comes after them.
fn step(within: &Within, rest: &str, first: char) -> (usize, Within) {
    let one = first.len_utf8();
    match within {
        Within::Code => step_in_code(rest, one),
        Within::LineComment if first == '\n' => (0, Within::Code),
        Within::LineComment => (one, Within::LineComment),
        Within::BlockComment(depth) if rest.starts_with("*/") && *depth == 1 => (2, Within::Code),
        Within::BlockComment(depth) if rest.starts_with("*/") => (2, Within::BlockComment(depth - 1)),
        Within::BlockComment(depth) if rest.starts_with("/*") => (2, Within::BlockComment(depth + 1)),
        Within::BlockComment(depth) => (one, Within::BlockComment(*depth)),
        Within::Text if first == '\\' => {
            (rest.char_indices().nth(2).map_or(rest.len(), |(at, _)| at), Within::Text)
        }
        Within::Text if first == '"' => (1, Within::Code),
        Within::Text => (one, Within::Text),
        Within::RawText(hashes) => {
            let end = first == '"'
                && rest.bytes().skip(1).take(*hashes).filter(|byte| *byte == b'#').count() == *hashes;
            if end { (1 + hashes, Within::Code) } else { (one, Within::RawText(*hashes)) }
        }
    }
}

fn step_in_code(rest: &str, one: usize) -> (usize, Within) {
    if rest.starts_with("//") {
        return (2, Within::LineComment);
    }
    if rest.starts_with("/*") {
        return (2, Within::BlockComment(1));
    }
    if rest.starts_with('"') {
        return (1, Within::Text);
    }
    if let Some(after) = rest.strip_prefix('r') {
        let hashes = after.bytes().take_while(|byte| *byte == b'#').count();
        if after.as_bytes().get(hashes) == Some(&b'"') {
            return (2 + hashes, Within::RawText(hashes));
        }
    }
    if rest.starts_with('\'') {
        return (character_literal(rest).unwrap_or(1), Within::Code);
    }
    // A whole word at once, so that the `r` at the end of `for` begins no raw string.
    let word =
        rest.find(|character: char| !character.is_alphanumeric() && character != '_').unwrap_or(rest.len());
    (if rest.starts_with('r') && word == 1 { 1 } else { word.max(one) }, Within::Code)
}

/// The length of a character literal; `None` when the quote begins a lifetime.
fn character_literal(rest: &str) -> Option<usize> {
    let mut characters = rest.char_indices().skip(1);
    let (_, first) = characters.next()?;
    if first == '\\' {
        // `'\''`, `'\n'`, `'\u{1f600}'`: to the next quote after what is escaped.
        characters.next()?;
        return characters.take(12).find(|(_, character)| *character == '\'').map(|(at, _)| at + 1);
    }
    let (at, second) = characters.next()?;
    (second == '\'').then_some(at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(source: &str, expect: &str) {
        let words: Vec<String> = code_only(source).split_whitespace().map(str::to_owned).collect();
        assert_eq!(words.join(" "), expect, "{source}");
        assert_eq!(code_only(source).lines().count(), source.lines().count(), "lines keep their numbers");
    }

    #[test]
    fn comments_and_texts_are_blanked_out() {
        check("a // b\nc", "a c");
        check("a /* b /* c */ d */ e", "a e");
        check(r#"f("unsafe \" // {", x)"#, "f( , x)");
        check("g(r#\"a \" unsafe\"#, x)", "g( , x)");
        check("h('\"', '\\'', 'x', y)", "h( , , , y)");
        check("fn f<'a>(x: &'a str) {}", "fn f<'a>(x: &'a str) {}");
        check("for r in bar {}", "for r in bar {}");
        check("\"a\n// b\" c", "c");
    }

    #[test]
    fn what_does_not_end_is_no_error() {
        for source in ["\"abc", "/* abc", "r#\"abc\"", "'", "'\\", "\"\\", "r", "b'", "ü'ü"] {
            let _ = code_only(source);
        }
    }

    #[test]
    fn folders_are_there_when_a_file_is_in_them() {
        let tree = Tree::of(&[("docs/a.md", "")]);
        assert!(tree.has("docs/a.md") && tree.has("docs") && tree.has("docs/"));
        assert!(!tree.has("doc") && !tree.has("docs/a"));
    }
}
