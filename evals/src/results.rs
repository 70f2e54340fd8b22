//! What came out, beside the reference lines, as a page and as JSON.

mod goals;
mod page;

use anyhow::{Context, Result};
use inshore_policy::router::{Risk, Share};
use serde::Serialize;

use crate::draws::{self, Drawn};
use crate::metrics::Curve;
use crate::replay::{self, Kept, Line};
use crate::routellm::RouteLlm;
use crate::set::{Set, View};
use crate::zeroeval::ZeroEval;

/// Everything, as it is written.
#[derive(Debug, Serialize)]
pub(crate) struct Results {
    sets: Vec<SetResult>,
    draws: Vec<DrawResult>,
    goals: Vec<goals::Goal>,
}

/// One table of requests.
#[derive(Debug, Serialize)]
struct SetResult {
    name: String,
    device: String,
    cloud: String,
    rows: usize,
    device_right: f64,
    cloud_right: f64,
    risk: f64,
    lines: Vec<LineResult>,
    rules: Vec<RuleResult>,
}

/// One way to decide, or a reference.
#[derive(Debug, Serialize)]
struct LineResult {
    name: String,
    /// Read elsewhere, and not measured here.
    reference: bool,
    apgr: Option<f64>,
    cpt50: Option<f64>,
    cpt80: Option<f64>,
    /// The largest share on the device within one point of the cloud's quality, if the best point of the curve were known.
    kept_within_a_point: Option<f64>,
    /// The largest share on the device of which no more than the risk are errors, if the best point of the curve were known.
    kept_at_risk: Option<f64>,
    routed: Option<Routed>,
}

/// What the router does, thresholds and all.
#[derive(Debug, Serialize)]
struct Routed {
    apgr: Option<f64>,
    kept: Shown,
    errors: Shown,
    right: Shown,
}

/// Answers that others confirm are kept, without labels.
#[derive(Debug, Serialize)]
struct RuleResult {
    name: String,
    kept: Shown,
    errors: Shown,
    right: Shown,
}

/// A share with its interval at 95 %.
#[derive(Debug, Clone, Copy, Serialize)]
struct Shown {
    value: f64,
    low: f64,
    high: f64,
}

/// One experiment with random labels.
#[derive(Debug, Serialize)]
struct DrawResult {
    set: String,
    view: String,
    labels: usize,
    risk: f64,
    draws: u32,
    broken: f64,
    naive_broken: f64,
    kept: f64,
    nothing_kept: f64,
}

/// All benchmarks with their goals.
pub(crate) fn of_benchmarks(routellm: &RouteLlm, zeroeval: &ZeroEval, count: u32) -> Result<Results> {
    let risk = Risk::USUAL;
    let mut sets = vec![set(&routellm.mmlu, risk, &goals::MMLU), set(&routellm.gsm8k, risk, &goals::GSM8K)];
    let zero = zeroeval.gsm8k.iter().chain(&zeroeval.math);
    sets.extend(zero.map(|table| set(table, risk, goals::references(&table.name))));
    let mut draws = Vec::new();
    let mut experiment = |table: &Set, labels: &[usize], errors: &[f64]| -> Result<()> {
        if count == 0 {
            return Ok(());
        }
        let view = *table.views().last().context("a set has no view")?;
        for &error in errors {
            let risk = Risk::new(error, 0.95).context("a risk is none")?;
            let drawn = labels.iter().map(|&labels| draws::run(table, view, labels, risk, count));
            draws.extend(drawn.map(|drawn| DrawResult::of(&table.name, &drawn)));
        }
        Ok(())
    };
    experiment(&routellm.mmlu, &[2_000], &[0.1])?;
    experiment(&routellm.gsm8k, &[200, 600], &[0.05, 0.1])?;
    for table in &zeroeval.gsm8k {
        experiment(table, &[200, 600], &[0.02, 0.05])?;
    }
    let goals = goals::of(&sets, &draws);
    Ok(Results { sets, draws, goals })
}

/// A table of somebody.
pub(crate) fn of_table(table: &Set, risk: Option<f64>) -> Result<Results> {
    let risk = match risk {
        None => Risk::USUAL,
        Some(share) => {
            Risk::new(share, 0.95).with_context(|| format!("`{share}` is no risk between 0 and 1"))?
        }
    };
    Ok(Results { sets: vec![set(table, risk, &[])], draws: Vec::new(), goals: Vec::new() })
}

fn set(table: &Set, risk: Risk, references: &[goals::Reference]) -> SetResult {
    let (chance, oracle) = replay::chance_and_oracle(table);
    let mut lines =
        vec![LineResult::of_curve("chance", &chance, risk), LineResult::of_curve("oracle", &oracle, risk)];
    lines.extend(references.iter().map(LineResult::of_reference));
    lines
        .extend(table.views().into_iter().map(|view| LineResult::of(&replay::line(table, view, risk), risk)));
    let others = table.rows.iter().map(|row| row.others.len()).max().unwrap_or(0);
    let rules = (1..=others.min(3) as u32).filter_map(|at_least| {
        let kept = replay::confirmed(table, at_least)?;
        Some(RuleResult::of(&format!("{at_least} of {others} others confirm"), &kept))
    });
    SetResult {
        name: table.name.clone(),
        device: table.device.clone(),
        cloud: table.cloud.clone(),
        rows: table.rows.len(),
        device_right: oracle.device(),
        cloud_right: oracle.cloud(),
        risk: risk.error(),
        lines,
        rules: rules.collect(),
    }
}

impl LineResult {
    fn of_curve(name: &str, curve: &Curve, risk: Risk) -> Self {
        Self {
            name: name.into(),
            reference: false,
            apgr: curve.apgr(),
            cpt50: curve.cpt(0.5),
            cpt80: curve.cpt(0.8),
            kept_within_a_point: Some(curve.kept_within(0.01)),
            kept_at_risk: Some(curve.kept_at(risk.error())),
            routed: None,
        }
    }

    fn of(line: &Line, risk: Risk) -> Self {
        let routed = Routed {
            apgr: line.routed.apgr(),
            kept: line.kept.share.into(),
            errors: line.kept.errors.into(),
            right: line.kept.right.into(),
        };
        Self { routed: Some(routed), ..Self::of_curve(&line.view.name(), &line.curve, risk) }
    }

    fn of_reference(reference: &goals::Reference) -> Self {
        let &(name, apgr, cpt50, cpt80) = reference;
        Self {
            name: name.into(),
            reference: true,
            apgr: Some(apgr),
            cpt50,
            cpt80,
            kept_within_a_point: None,
            kept_at_risk: None,
            routed: None,
        }
    }
}

impl RuleResult {
    fn of(name: &str, kept: &Kept) -> Self {
        Self {
            name: name.into(),
            kept: kept.share.into(),
            errors: kept.errors.into(),
            right: kept.right.into(),
        }
    }
}

impl From<Share> for Shown {
    fn from(share: Share) -> Self {
        Self { value: share.value(), low: share.low, high: share.high }
    }
}

impl DrawResult {
    fn of(set: &str, drawn: &Drawn) -> Self {
        let share = |count: u32| f64::from(count) / f64::from(drawn.draws);
        Self {
            set: set.into(),
            view: View::name(drawn.view),
            labels: drawn.labels,
            risk: drawn.risk.error(),
            draws: drawn.draws,
            broken: share(drawn.broken),
            naive_broken: share(drawn.naive),
            kept: drawn.kept,
            nothing_kept: share(drawn.nothing),
        }
    }
}
