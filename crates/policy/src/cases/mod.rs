//! Tests that teams write for their policies: facts, and the decision that is expected.
//!
//! ```toml
//! # Optional: targets beside the configured ones. Prices are micro-units for a million tokens; without one a target is free.
//! [[target]]
//! id = "openai/gpt-5-mini"
//! tier = "cloud"
//! max_sensitivity = "internal"   # without it, the target is not permitted
//! region = "us"
//! endpoint_of = "openai/gpt-5"   # it is one of several endpoints of this target
//! tags = ["premium"]
//!
//! [[case]]
//! name = "nothing confidential goes to the cloud"
//! facts = { sensitivity = "confidential", feature = "rewrite", groups = ["premium"] }
//! targets = ["device/inshore-default", "openai/gpt-5-mini"]   # optional: only these
//! expect = "device"          # a tier, a target, `deny`, or the whole order as a list of targets
//! because = "too_sensitive"  # optional: a policy, or the code of an exclusion, that some verdict must name
//! ```

mod wire;

use std::fmt;
use std::sync::Arc;

use inshore_domain::{Decision, Exclusion, Facts, Target, TargetId, Tier};

use crate::decide::Prepared;
use crate::explain::{Account, explain};
use crate::rules::Rules;

/// Longest text: a thousand cases have 200 KiB.
const MAX_TEXT: usize = 1 << 20;
/// Most cases. Each takes under a millisecond, and somebody waits for the report.
const MAX_CASES: usize = 1_000;

/// A text of cases that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct CasesError {
    /// Where, from 1; `None` where it is about the text as a whole.
    pub line: Option<usize>,
    /// What is wrong, in one sentence.
    pub message: String,
}

impl CasesError {
    fn new(message: String) -> Self {
        Self { line: None, message }
    }
}

impl fmt::Display for CasesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

#[derive(Debug, Default)]
struct Cases {
    targets: Vec<Arc<Target>>,
    tags: Vec<(TargetId, Vec<String>)>,
    cases: Vec<Case>,
}

#[derive(Debug)]
struct Case {
    name: String,
    line: usize,
    facts: Facts,
    targets: Option<Vec<TargetId>>,
    expect: Expected,
    because: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Expected {
    /// No target takes it.
    Deny,
    /// The first step is of this tier.
    Tier(Tier),
    /// The steps, in order: all of them, or the first ones.
    Order(Vec<TargetId>, bool),
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deny => f.write_str("deny"),
            Self::Tier(tier) => write!(f, "{tier}"),
            Self::Order(ids, _) => f.write_str(&order(ids.iter())),
        }
    }
}

fn order<'a>(ids: impl Iterator<Item = &'a TargetId>) -> String {
    ids.map(|id| id.0.as_str()).collect::<Vec<_>>().join(" > ")
}

/// What came of the cases of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// One for each case, in the order of the text.
    pub results: Vec<CaseResult>,
}

/// What came of one case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaseResult {
    /// Its name.
    pub name: String,
    /// Where it stands, from 1.
    pub line: usize,
    /// `Err`: how what was found differs from what was expected.
    pub outcome: Result<(), Difference>,
}

/// What was expected, and what was found instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// As the case says it.
    pub expected: String,
    /// In the same form.
    pub found: String,
    /// The whole Decision; `None` where the case could not be decided.
    pub account: Option<Account>,
}

impl Report {
    /// How many cases came out as expected.
    pub fn passed(&self) -> usize {
        self.results.iter().filter(|result| result.outcome.is_ok()).count()
    }

    /// Whether all of them did.
    pub fn all_passed(&self) -> bool {
        self.passed() == self.results.len()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for result in &self.results {
            match &result.outcome {
                Ok(()) => writeln!(f, "ok    {}", result.name)?,
                Err(difference) => write!(f, "FAIL  {} (line {})\n{difference}", result.name, result.line)?,
            }
        }
        write!(f, "{} of {} cases passed", self.passed(), self.results.len())
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "      expected  {}", self.expected)?;
        writeln!(f, "      found     {}", self.found)?;
        for entry in self.account.iter().flat_map(|account| &account.entries) {
            let policies = entry.policies.iter().map(|id| format!(" `{id}`")).collect::<String>();
            let reason =
                entry.reason.as_deref().map_or_else(|| format!("permitted by{policies}"), str::to_owned);
            writeln!(f, "        {}: {reason}", entry.target)?;
        }
        Ok(())
    }
}

/// Runs the cases of a text against rules and the configured targets. A target of the text replaces a configured one with its id.
///
/// # Errors
/// When the text cannot be read. A case that comes out otherwise than expected is no error but a result.
pub fn run_cases(text: &str, rules: &Rules, targets: &[Arc<Target>]) -> Result<Report, CasesError> {
    let Cases { targets: own, tags, cases } = wire::read(text)?;
    let rules = rules.with_tags(tags);
    let mut all: Vec<Arc<Target>> =
        targets.iter().filter(|target| own.iter().all(|other| other.id != target.id)).cloned().collect();
    all.extend(own);
    let everything = rules.prepare(&all);
    let results = cases.into_iter().map(|case| CaseResult {
        outcome: run(&case, &rules, &all, &everything),
        name: case.name,
        line: case.line,
    });
    Ok(Report { results: results.collect() })
}

fn run(case: &Case, rules: &Rules, all: &[Arc<Target>], everything: &Prepared) -> Result<(), Difference> {
    let mut facts = case.facts.clone();
    rules.complete(&mut facts);
    let unknown = named(case).find(|id| all.iter().all(|target| target.id != **id));
    if let Some(id) = unknown {
        let found = format!("there is no target `{id}`");
        return Err(Difference { expected: expected(case), found, account: None });
    }
    let decision = match &case.targets {
        None => everything.decide(&facts),
        Some(ids) => {
            let some: Vec<Arc<Target>> =
                all.iter().filter(|target| ids.contains(&target.id)).cloned().collect();
            rules.prepare(&some).decide(&facts)
        }
    };
    if as_expected(&case.expect, all, &decision)
        && case.because.as_deref().is_none_or(|because| says(&decision, because))
    {
        return Ok(());
    }
    let steps = order(decision.steps.iter().map(|step| &step.target));
    let found = if steps.is_empty() { "deny".to_owned() } else { steps };
    Err(Difference { expected: expected(case), found, account: Some(explain(&facts, &decision)) })
}

/// The targets that a case names.
fn named(case: &Case) -> impl Iterator<Item = &TargetId> {
    let expected = match &case.expect {
        Expected::Order(ids, _) => ids.as_slice(),
        Expected::Deny | Expected::Tier(_) => &[],
    };
    case.targets.iter().flatten().chain(expected)
}

fn expected(case: &Case) -> String {
    let because = case.because.as_ref().map(|because| format!(", because `{because}`"));
    format!("{}{}", case.expect, because.unwrap_or_default())
}

fn as_expected(expected: &Expected, all: &[Arc<Target>], decision: &Decision) -> bool {
    let mut steps = decision.steps.iter().map(|step| &step.target);
    match expected {
        Expected::Deny => steps.next().is_none(),
        Expected::Tier(tier) => {
            steps.next().is_some_and(|id| all.iter().any(|target| target.id == *id && target.tier == *tier))
        }
        Expected::Order(ids, true) => steps.eq(ids),
        Expected::Order(ids, false) => steps.take(ids.len()).eq(ids),
    }
}

/// Whether some verdict names this policy, or this exclusion.
fn says(decision: &Decision, because: &str) -> bool {
    decision.verdicts.iter().any(|verdict| {
        verdict.policies.iter().any(|id| id == because)
            || verdict.outcome.as_ref().is_err_and(|exclusion: &Exclusion| exclusion.code() == because)
    })
}

#[cfg(test)]
mod tests;
