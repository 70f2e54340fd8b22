//! What sources may hold, and what they may be called.

use super::Finding;
use super::source::{Tree, code_only};

/// Names that say nothing of what is inside.
const EMPTY_NAMES: &[&str] = &["util", "utils", "common", "helper", "helpers", "types", "misc"];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = names(tree);
    for (path, text) in tree.texts(".rs") {
        let code = code_only(text);
        findings.extend(opening(path, text));
        findings.extend(
            lines_with(path, &code, |line| word(line, "unsafe"))
                .filter(|_| !path.starts_with("crates/engine/"))
                .map(|place| Finding::new(place, "`unsafe` is only for crates/engine")),
        );
        findings
            .extend(lines_with(path, &code, |line| line.contains("#[ignore")).map(|place| {
                Finding::new(place, "no ignored tests: one that does not run protects nothing")
            }));
        findings.extend(sleeps(path, &code));
    }
    for (path, text) in tree.texts("Cargo.toml").filter(|(path, _)| path.contains('/')) {
        if !text.contains("[lints]\nworkspace = true") {
            findings.push(Finding::new(
                path,
                "must take the workspace's lints: `[lints]` and `workspace = true`",
            ));
        }
    }
    findings
}

fn names(tree: &Tree) -> Vec<Finding> {
    let empty = |path: &str| {
        let stems = path.split('/').map(|part| part.strip_suffix(".rs").unwrap_or(part));
        let name = stems.into_iter().find(|stem| EMPTY_NAMES.contains(stem))?;
        Some(Finding::new(path, format!("`{name}` says nothing: name it for what it guarantees")))
    };
    tree.paths().filter(|path| path.ends_with(".rs")).filter_map(empty).collect()
}

/// Each crate begins with its purpose.
fn opening(path: &str, text: &str) -> Option<Finding> {
    let root = path.ends_with("/src/lib.rs") || path.ends_with("/src/main.rs");
    let purpose = text.lines().next().unwrap_or_default().strip_prefix("//! ").unwrap_or_default();
    (root && purpose.len() < 20)
        .then(|| Finding::new(path, "must begin with `//! ` and what the crate is for"))
}

/// A test that sleeps is slow when it is right and wrong when the machine is slow. Sleeping in paused time is neither.
fn sleeps(path: &str, code: &str) -> Vec<Finding> {
    let paused = code.contains("start_paused = true") || code.contains("time::pause()");
    let of_tests = path.contains("/tests/") || path.contains("/src/tests");
    let begin = if of_tests { Some(0) } else { code.lines().position(|line| line == "#[cfg(test)]") };
    let Some(begin) = begin.filter(|_| !paused) else { return Vec::new() };
    let tests = lines_with(path, code, |line| word(line, "sleep") && line.contains("sleep("))
        .skip_while(|place| number(place) <= begin);
    tests
        .map(|place| Finding::new(place, "no sleep in tests: wait for the event, or pause the clock"))
        .collect()
}

fn number(place: &str) -> usize {
    place.rsplit(':').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// `path:line` for each line that fits.
fn lines_with(path: &str, code: &str, fits: impl Fn(&str) -> bool) -> impl Iterator<Item = String> {
    code.lines()
        .zip(1u32..)
        .filter(move |(line, _)| fits(line))
        .map(move |(_, number)| format!("{path}:{number}"))
}

/// Whether a word stands in a line by itself.
fn word(line: &str, word: &str) -> bool {
    let part_of_name = |character: char| character.is_alphanumeric() || character == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line.get(..at).and_then(|before| before.chars().next_back());
        let after = line.get(at + word.len()..).and_then(|after| after.chars().next());
        !before.is_some_and(part_of_name) && !after.is_some_and(part_of_name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> Vec<String> {
        check(&Tree::of(&[(path, text)])).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn unsafe_is_for_the_engine() {
        let text = "fn f() {\n    unsafe { g() }\n}\n";
        assert_eq!(findings("crates/engine/src/a.rs", text), Vec::<String>::new());
        assert_eq!(
            findings("crates/store/src/a.rs", text),
            ["crates/store/src/a.rs:2: `unsafe` is only for crates/engine"]
        );
        assert_eq!(
            findings("crates/store/src/a.rs", "#![forbid(unsafe_code)]\n// unsafe\nlet x = \"unsafe\";"),
            Vec::<String>::new()
        );
    }

    #[test]
    fn tests_run_and_do_not_sleep() {
        assert_eq!(findings("crates/a/tests/it/b.rs", "#[test]\n#[ignore]\nfn f() {}").len(), 1);
        assert_eq!(
            findings("crates/a/tests/it/b.rs", "fn f() {\n    sleep(1);\n}"),
            ["crates/a/tests/it/b.rs:2: no sleep in tests: wait for the event, or pause the clock"]
        );
        assert_eq!(
            findings("crates/a/src/b.rs", "fn f() { sleep(1) }\n#[cfg(test)]\nmod tests {\n    sleep(1);\n}"),
            ["crates/a/src/b.rs:4: no sleep in tests: wait for the event, or pause the clock"]
        );
        assert_eq!(findings("crates/a/tests/it/b.rs", "fn does_not_sleep() {}\n"), Vec::<String>::new());
        assert_eq!(
            findings("crates/a/tests/it/b.rs", "#[tokio::test(start_paused = true)]\nfn f() { sleep(1) }"),
            Vec::<String>::new()
        );
    }

    #[test]
    fn names_say_something() {
        assert_eq!(
            findings("crates/a/src/utils.rs", ""),
            ["crates/a/src/utils.rs: `utils` says nothing: name it for what it guarantees"]
        );
        assert_eq!(findings("crates/a/src/common/b.rs", "").len(), 1);
        assert_eq!(findings("crates/a/src/commonplace.rs", ""), Vec::<String>::new());
    }

    #[test]
    fn crates_begin_with_their_purpose() {
        assert_eq!(
            findings("crates/a/src/lib.rs", "//! Keeps what must not be lost.\n"),
            Vec::<String>::new()
        );
        assert_eq!(findings("crates/a/src/lib.rs", "//! Placeholder.\n").len(), 1);
        assert_eq!(findings("crates/a/src/lib.rs", "fn f() {}\n").len(), 1);
    }

    #[test]
    fn crates_take_the_lints_of_the_workspace() {
        assert_eq!(findings("crates/a/Cargo.toml", "[package]\nname = \"a\"\n").len(), 1);
        assert_eq!(findings("crates/a/Cargo.toml", "[lints]\nworkspace = true\n"), Vec::<String>::new());
        assert_eq!(findings("Cargo.toml", "[workspace]\n"), Vec::<String>::new());
    }
}
