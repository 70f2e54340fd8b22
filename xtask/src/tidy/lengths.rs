//! Lengths, as a ratchet: a file that is too long is listed in `xtask/ratchet.txt` with its length, and the list may
//! only shrink. Functions are measured by clippy (`too-many-lines-threshold` in clippy.toml); what is listed here is
//! each `#[expect(clippy::too_many_lines)]`.

use std::collections::BTreeMap;

use super::Finding;
use super::source::{Tree, code_only};

/// Lines of a source file, tests beside the code not counted: what a reader must hold in mind at once.
const MAX_FILE: usize = 600;
/// Lines of code in a function.
const MAX_FUNCTION: &str = "too-many-lines-threshold = 70";
const LIST: &str = "xtask/ratchet.txt";

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut listed = match parse(tree.text(LIST).unwrap_or_default()) {
        Ok(listed) => listed,
        Err(finding) => return vec![finding],
    };
    let mut findings = Vec::new();
    for (path, text) in tree.texts(".rs") {
        for (kind, found, limit) in
            [(Kind::File, lines(text), MAX_FILE), (Kind::Functions, exceptions(text), 0)]
        {
            let allowed = listed.remove(&(kind, path.to_owned()));
            findings.extend(compare(path, kind, found, limit, allowed));
        }
    }
    findings.extend(
        listed
            .into_keys()
            .map(|(_, path)| Finding::new(LIST, format!("`{path}` is not there any more: remove its line"))),
    );
    if !tree.text("clippy.toml").is_some_and(|text| text.contains(MAX_FUNCTION)) {
        findings.push(Finding::new("clippy.toml", format!("must say `{MAX_FUNCTION}`")));
    }
    findings
}

fn compare(path: &str, kind: Kind, found: usize, limit: usize, allowed: Option<usize>) -> Option<Finding> {
    let what = kind.unit();
    match allowed {
        None if found > limit => {
            Some(Finding::new(path, format!("{found} {what}, and {limit} are the most: split it")))
        }
        Some(allowed) if found > allowed => Some(Finding::new(
            path,
            format!("{found} {what}, and {LIST} allows {allowed}: it may only shrink"),
        )),
        Some(allowed) if found < allowed => {
            let line =
                if found > limit { format!("lower it to {found}") } else { "remove its line".to_owned() };
            Some(Finding::new(
                LIST,
                format!("`{path}` has {found} {what} where {allowed} are allowed: {line}"),
            ))
        }
        _ => None,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    File,
    Functions,
}

impl Kind {
    fn unit(self) -> &'static str {
        match self {
            Self::File => "lines",
            Self::Functions => "overlong functions",
        }
    }
}

/// Lines up to the tests beside the code.
fn lines(text: &str) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    let tests = lines.windows(2).position(
        |pair| matches!(pair, ["#[cfg(test)]", next] if next.starts_with("mod ") && next.ends_with('{')),
    );
    tests.unwrap_or(lines.len())
}

fn exceptions(text: &str) -> usize {
    code_only(text).matches("clippy::too_many_lines").count()
}

/// `file PATH LINES` or `functions PATH COUNT`, one to a line; `#` begins a comment.
fn parse(list: &str) -> Result<BTreeMap<(Kind, String), usize>, Finding> {
    let mut listed = BTreeMap::new();
    for (line, number) in list.lines().zip(1u32..) {
        let words: Vec<&str> = line.split('#').next().unwrap_or_default().split_whitespace().collect();
        let (kind, path, count) = match words.as_slice() {
            [] => continue,
            ["file", path, count] => (Kind::File, path, count),
            ["functions", path, count] => (Kind::Functions, path, count),
            _ => return Err(malformed(number)),
        };
        let count = count.parse().map_err(|_| malformed(number))?;
        listed.insert((kind, (*path).to_owned()), count);
    }
    Ok(listed)
}

fn malformed(number: u32) -> Finding {
    Finding::new(format!("{LIST}:{number}"), "expected `file PATH LINES` or `functions PATH COUNT`")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(list: &str, text: &str) -> Vec<String> {
        let tree = Tree::of(&[(LIST, list), ("a.rs", text), ("clippy.toml", MAX_FUNCTION)]);
        check(&tree).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_long_file_is_found() {
        assert_eq!(findings("", &"x\n".repeat(600)), Vec::<String>::new());
        assert_eq!(findings("", &"x\n".repeat(601)), ["a.rs: 601 lines, and 600 are the most: split it"]);
    }

    #[test]
    fn tests_beside_the_code_do_not_count() {
        let text = format!("{}#[cfg(test)]\nmod tests {{\n{}}}\n", "x\n".repeat(599), "y\n".repeat(500));
        assert_eq!(findings("", &text), Vec::<String>::new());
    }

    #[test]
    fn the_list_only_shrinks() {
        assert_eq!(findings("file a.rs 700 # old", &"x\n".repeat(700)), Vec::<String>::new());
        assert_eq!(
            findings("file a.rs 700", &"x\n".repeat(701)),
            ["a.rs: 701 lines, and xtask/ratchet.txt allows 700: it may only shrink"]
        );
        assert_eq!(
            findings("file a.rs 700", &"x\n".repeat(650)),
            ["xtask/ratchet.txt: `a.rs` has 650 lines where 700 are allowed: lower it to 650"]
        );
        assert_eq!(
            findings("file a.rs 700", "x\n"),
            ["xtask/ratchet.txt: `a.rs` has 1 lines where 700 are allowed: remove its line"]
        );
        assert_eq!(
            findings("file b.rs 700", "x\n"),
            ["xtask/ratchet.txt: `b.rs` is not there any more: remove its line"]
        );
    }

    #[test]
    fn overlong_functions_are_listed_too() {
        let text = "#[expect(clippy::too_many_lines, reason = \"a table\")]\nfn f() {}\n";
        assert_eq!(findings("", text), ["a.rs: 1 overlong functions, and 0 are the most: split it"]);
        assert_eq!(findings("functions a.rs 1", text), Vec::<String>::new());
    }

    #[test]
    fn a_malformed_list_and_another_threshold_are_found() {
        assert_eq!(
            findings("a.rs 3", ""),
            ["xtask/ratchet.txt:1: expected `file PATH LINES` or `functions PATH COUNT`"]
        );
        let tree = Tree::of(&[("clippy.toml", "too-many-lines-threshold = 100")]);
        assert_eq!(check(&tree).len(), 1);
    }
}
