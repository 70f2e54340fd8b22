//! Who may depend on whom, as ARCHITECTURE.md says in its block `crate-graph`:
//!
//! ```text
//! inshore-api -> inshore-runtime, inshore-domain     any edge, also of tests
//! dev: inshore-api -> inshore-sim                    tests, benches and examples only
//! ```

use std::collections::{BTreeMap, BTreeSet};

use super::Finding;
use super::manifests::Metadata;

const PAGE: &str = "ARCHITECTURE.md";

/// Edges that are allowed.
#[derive(Debug, Default, PartialEq, Eq)]
struct Graph {
    always: BTreeMap<String, BTreeSet<String>>,
    in_tests: BTreeMap<String, BTreeSet<String>>,
}

pub(super) fn check(page: Option<&str>, metadata: &Metadata) -> Vec<Finding> {
    let Some(page) = page else { return vec![Finding::new(PAGE, "is missing")] };
    let graph = match parse(page) {
        Ok(graph) => graph,
        Err(finding) => return vec![finding],
    };
    let ours: BTreeSet<&str> = metadata.packages.iter().map(|package| package.name.as_str()).collect();
    let mut findings = Vec::new();
    for package in &metadata.packages {
        let Some(allowed) = graph.always.get(&package.name) else {
            findings
                .push(Finding::new(PAGE, format!("crate `{}` has no line in the crate graph", package.name)));
            continue;
        };
        let in_tests = graph.in_tests.get(&package.name);
        for dependency in
            package.dependencies.iter().filter(|dependency| ours.contains(dependency.name.as_str()))
        {
            let name = &dependency.name;
            let permitted = allowed.contains(name)
                || dependency.is_dev() && in_tests.is_some_and(|tests| tests.contains(name));
            if !permitted {
                let kind = if dependency.is_dev() { "dev-dependency" } else { "dependency" };
                let what = format!("{kind} on `{name}` is not in the crate graph of {PAGE}");
                findings.push(Finding::new(package.manifest(), what));
            }
        }
    }
    let named = graph.always.iter().chain(&graph.in_tests).flat_map(|(from, to)| to.iter().chain([from]));
    let unknown: BTreeSet<&String> = named.filter(|name| !ours.contains(name.as_str())).collect();
    findings.extend(
        unknown
            .iter()
            .map(|name| Finding::new(PAGE, format!("the crate graph names `{name}`, which does not exist"))),
    );
    findings
}

fn parse(page: &str) -> Result<Graph, Finding> {
    let mut lines =
        page.lines().zip(1u32..).skip_while(|(line, _)| line.trim() != "```crate-graph").skip(1).peekable();
    if lines.peek().is_none() {
        return Err(Finding::new(PAGE, "has no block that begins with ```crate-graph"));
    }
    let mut graph = Graph::default();
    for (line, number) in lines.take_while(|(line, _)| line.trim() != "```") {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let (edges, rest) = match line.strip_prefix("dev:") {
            Some(rest) => (&mut graph.in_tests, rest),
            None => (&mut graph.always, line),
        };
        let Some((from, to)) = rest.split_once("->") else {
            return Err(Finding::new(format!("{PAGE}:{number}"), "expected `crate -> crate, crate`"));
        };
        let to = to.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned);
        edges.entry(from.trim().to_owned()).or_default().extend(to);
    }
    Ok(graph)
}

#[cfg(test)]
mod tests {
    use super::super::manifests::tests::{dev, package, workspace};
    use super::*;

    const PAGE_TEXT: &str =
        "# Title\n\n```crate-graph\n# comment\na -> b # why\nb ->\ndev: b -> a\n```\nc -> d\n";

    fn findings(page: &str, metadata: &Metadata) -> Vec<String> {
        check(Some(page), metadata).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn edges_that_are_listed_pass() {
        let metadata = workspace(vec![package("a", &["b", "serde"]), package("b", &[])]);
        assert_eq!(findings(PAGE_TEXT, &metadata), Vec::<String>::new());
    }

    #[test]
    fn an_edge_that_is_not_listed_is_found() {
        let metadata = workspace(vec![package("a", &["b"]), package("b", &["a"])]);
        assert_eq!(
            findings(PAGE_TEXT, &metadata),
            ["b/Cargo.toml: dependency on `a` is not in the crate graph of ARCHITECTURE.md"]
        );
    }

    #[test]
    fn what_only_tests_use_has_lines_of_its_own() {
        let mut b = package("b", &[]);
        b.dependencies.push(dev("a"));
        assert_eq!(findings(PAGE_TEXT, &workspace(vec![package("a", &[]), b])), Vec::<String>::new());
        let mut a = package("a", &[]);
        a.dependencies.push(dev("a"));
        assert_eq!(findings(PAGE_TEXT, &workspace(vec![a, package("b", &[])])).len(), 1);
    }

    #[test]
    fn graph_and_workspace_name_the_same_crates() {
        let metadata = workspace(vec![package("a", &[]), package("c", &[])]);
        assert_eq!(
            findings(PAGE_TEXT, &metadata),
            [
                "ARCHITECTURE.md: crate `c` has no line in the crate graph",
                "ARCHITECTURE.md: the crate graph names `b`, which does not exist",
            ]
        );
    }

    #[test]
    fn a_page_without_a_graph_is_found() {
        let metadata = workspace(Vec::new());
        assert_eq!(check(None, &metadata).len(), 1);
        assert_eq!(
            findings("text", &metadata),
            ["ARCHITECTURE.md: has no block that begins with ```crate-graph"]
        );
        assert_eq!(
            findings("```crate-graph\na b\n```", &metadata),
            ["ARCHITECTURE.md:2: expected `crate -> crate, crate`"]
        );
    }
}
