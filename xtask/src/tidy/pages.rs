//! What people read: the commands in the README are those that `.ci/run` runs, and links lead somewhere.

use super::Finding;
use super::source::Tree;

const README: &str = "README.md";
const CI: &str = ".ci/run";
/// Pages that a stranger looks for.
const EXPECTED: &[&str] = &[README, "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE"];
/// The variables of `.ci/run` that hold the README's commands, one to a line and in single quotes.
const COMMANDS: &[&str] = &["readme_run", "readme_test"];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let missing =
        EXPECTED.iter().filter(|page| !tree.has(page)).map(|page| Finding::new(*page, "is missing"));
    let mut findings: Vec<Finding> = missing.collect();
    findings.extend(commands(tree));
    for (path, text) in tree.texts(".md") {
        findings.extend(links(path, text, tree));
    }
    findings
}

fn commands(tree: &Tree) -> Vec<Finding> {
    let Some(script) = tree.text(CI) else { return vec![Finding::new(CI, "is missing")] };
    let readme: Vec<&str> = code_lines(tree.text(README).unwrap_or_default()).collect();
    let mut findings = Vec::new();
    for name in COMMANDS {
        let set =
            script.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix("='")?.strip_suffix('\''));
        let used = script.contains(&format!("\"${name}\""));
        match set {
            None => {
                findings.push(Finding::new(CI, format!("must set `{name}='...'` to a command of the README")))
            }
            Some(_) if !used => findings.push(Finding::new(CI, format!("sets `{name}` and does not run it"))),
            Some(command) if !readme.contains(&command) => {
                findings.push(Finding::new(
                    README,
                    format!("has no line `{command}` in a code block, which {CI} runs"),
                ));
            }
            Some(_) => {}
        }
    }
    findings
}

/// Lines inside fenced code blocks.
fn code_lines(page: &str) -> impl Iterator<Item = &str> {
    let mut inside = false;
    page.lines().map(str::trim).filter(move |line| {
        let fence = line.starts_with("```");
        inside ^= fence;
        inside && !fence
    })
}

/// Links to files must lead to one. Links to other places are not followed: no network.
fn links(path: &str, text: &str, tree: &Tree) -> Vec<Finding> {
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut findings = Vec::new();
    let mut inside = false;
    for (line, number) in text.lines().zip(1u32..) {
        inside ^= line.trim_start().starts_with("```");
        if inside {
            continue;
        }
        for target in line.split("](").skip(1).filter_map(|after| after.split(')').next()) {
            let file = target.split('#').next().unwrap_or_default();
            if file.is_empty() || file.contains(':') {
                continue;
            }
            if !resolve(folder, file).is_some_and(|file| tree.has(&file)) {
                findings.push(Finding::new(
                    format!("{path}:{number}"),
                    format!("the link `{target}` leads nowhere"),
                ));
            }
        }
    }
    findings
}

/// Joins a folder and a relative path; `None` when it leaves the workspace.
fn resolve(folder: &str, file: &str) -> Option<String> {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in file.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRIPT: &str =
        "readme_run='./go'\nreadme_test='cargo test'\neval \"$readme_run\"\neval \"$readme_test\"\n";

    fn command_findings(readme: &str, script: &str) -> Vec<String> {
        commands(&Tree::of(&[(README, readme), (CI, script)])).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn readme_and_ci_run_the_same_commands() {
        let readme = "text\n```sh\n./go\n```\nmore\n```\ncargo test\n```\n";
        assert_eq!(command_findings(readme, SCRIPT), Vec::<String>::new());
        assert_eq!(
            command_findings("./go\ncargo test\n", SCRIPT).len(),
            2,
            "outside of code blocks they do not count"
        );
        assert_eq!(
            command_findings("```\n./go\ncargo nextest\n```", SCRIPT),
            ["README.md: has no line `cargo test` in a code block, which .ci/run runs"]
        );
    }

    #[test]
    fn a_command_that_is_not_run_is_found() {
        let readme = "```\n./go\ncargo test\n```\n";
        assert_eq!(
            command_findings(readme, &SCRIPT.replace("eval \"$readme_test\"", "")),
            [".ci/run: sets `readme_test` and does not run it"]
        );
        assert_eq!(command_findings(readme, "cargo test").len(), 2);
    }

    #[test]
    fn links_lead_to_files() {
        let tree = Tree::of(&[("docs/a.md", ""), ("README.md", "")]);
        let found = |text: &str| links("docs/b.md", text, &tree).len();
        assert_eq!(
            found("[a](a.md), [r](../README.md#top), [h](#here), [w](https://example.org/x), [d](../docs)"),
            0
        );
        assert_eq!(found("[a](c.md)"), 1);
        assert_eq!(found("[a](../../outside.md)"), 1);
        assert_eq!(found("```\n[a](c.md)\n```"), 0);
    }

    #[test]
    fn pages_that_a_stranger_looks_for_are_there() {
        let found: Vec<String> =
            check(&Tree::of(&[("LICENSE", "")])).iter().map(ToString::to_string).collect();
        assert!(found.contains(&"CHANGELOG.md: is missing".to_owned()), "{found:?}");
    }
}
