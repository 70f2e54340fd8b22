//! `inshore router`

use std::fmt::Write as _;

use serde::Deserialize;

use super::{Context, block_on};
use crate::client::{Cost, find_or_start};
use crate::failure::Outcome;

/// Show what was learned about which answers of smaller models are kept.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show labels, threshold, quality and savings for each kind of task and pair of targets
    #[command(after_help = "Examples:
  inshore router report
  inshore router report --json")]
    Report,
}

#[derive(Debug, Deserialize)]
struct Report {
    cells: Vec<Cell>,
}

#[derive(Debug, Deserialize)]
struct Cell {
    risk: String,
    family: String,
    device: String,
    cloud: String,
    labels: u32,
    needed: u32,
    keeps_up_to: Option<f64>,
    kept: Share,
    errors: Share,
    as_good: Share,
    calibration: Vec<Bin>,
    spared: Option<Cost>,
}

#[derive(Debug, Deserialize)]
struct Share {
    hits: u32,
    of: u32,
    low: f64,
    high: f64,
}

#[derive(Debug, Deserialize)]
struct Bin {
    expected: f64,
    observed: f64,
    errors: Share,
}

pub(crate) fn run(context: &Context, args: &Args) -> Outcome {
    let Command::Report = args.command;
    block_on(async {
        let daemon = find_or_start(&context.starter()).await?;
        let value = daemon.get("/inshore/v1/router").await?;
        if context.output.json {
            return Ok(context.output.json(&value)?);
        }
        let report: Report = serde_json::from_value(value).map_err(anyhow::Error::from)?;
        if report.cells.is_empty() {
            return Ok(context.output.line(
                "Nothing was learned yet: there are no labels. Features with `risk` make some with each answer that is compared or rated.",
            )?);
        }
        let head = [
            "FAMILY",
            "ANSWERS",
            "ELSE",
            "RISK",
            "LABELS",
            "KEEPS",
            "KEPT",
            "WORSE OF KEPT",
            "AS GOOD",
            "SPARED",
        ];
        context.output.table(&head, &report.cells.iter().map(row).collect::<Vec<_>>())?;
        for cell in report.cells.iter().filter(|cell| !cell.calibration.is_empty()) {
            context.output.line(&curve(cell))?;
        }
        Ok(())
    })
}

fn row(cell: &Cell) -> Vec<String> {
    let keeps = match cell.keeps_up_to {
        Some(most) => format!("up to {most:.3}"),
        None if cell.labels < cell.needed => {
            format!("none: {} labels are too few, {} needed", cell.labels, cell.needed)
        }
        None => "none: too many errors".to_owned(),
    };
    vec![
        cell.family.clone(),
        cell.device.clone(),
        cell.cloud.clone(),
        cell.risk.clone(),
        cell.labels.to_string(),
        keeps,
        share(&cell.kept),
        share(&cell.errors),
        share(&cell.as_good),
        cell.spared.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
    ]
}

/// A share with its interval at 95 %.
fn share(share: &Share) -> String {
    if share.of == 0 {
        return "-".to_owned();
    }
    let percent = |part: f64| part * 100.0;
    let value = f64::from(share.hits) / f64::from(share.of);
    format!("{:.1} % ({:.1}-{:.1})", percent(value), percent(share.low), percent(share.high))
}

/// The calibration curve: what keeping answers of such scores was expected to lose, and what it lost.
fn curve(cell: &Cell) -> String {
    let mut text =
        format!("\nCalibration of {} at {}, of {} labels:\n", cell.family, cell.device, cell.labels);
    text.push_str("  EXPECTED  OBSERVED  WORSE");
    for bin in &cell.calibration {
        let _ = write!(text, "\n  {:>8.3}  {:>8.3}  {}", bin.expected, bin.observed, share(&bin.errors));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_cell_is_told_in_a_row_and_its_curve_below() {
        let share = json!({"hits": 90, "of": 100, "low": 0.824, "high": 0.951});
        let none = json!({"hits": 0, "of": 0, "low": 0.0, "high": 1.0});
        let cell = |labels: u32, keeps: Option<f64>| -> Cell {
            let spared = keeps.map(|_| json!({"micros": 1_500_000, "currency": "USD"}));
            let value = json!({
                "risk": "2%", "family": "math", "device": "device/small", "cloud": "cloud/big", "labels": labels, "needed": 187,
                "keeps_up_to": keeps, "kept": share, "errors": none, "as_good": share, "spared": spared,
                "calibration": [{"expected": -0.1, "observed": 0.25, "errors": share}],
            });
            serde_json::from_value(value).unwrap()
        };
        let kept = row(&cell(400, Some(0.125))).join(" | ");
        assert_eq!(
            kept,
            "math | device/small | cloud/big | 2% | 400 | up to 0.125 | 90.0 % (82.4-95.1) | - | 90.0 % (82.4-95.1) | 1.50 USD"
        );
        assert_eq!(row(&cell(12, None))[5], "none: 12 labels are too few, 187 needed");
        assert_eq!(row(&cell(400, None))[5], "none: too many errors");
        assert_eq!(
            curve(&cell(400, None)),
            "\nCalibration of math at device/small, of 400 labels:\n  EXPECTED  OBSERVED  WORSE\n    -0.100     0.250  90.0 % (82.4-95.1)"
        );
    }
}
