//! Tables of one's own: CSV with requests, answers and outcomes. evals/README.md says what the columns are.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use csv::StringRecord;
use flate2::read::MultiGzDecoder;
use inshore_domain::{Currency, FinishReason, Money};
use inshore_policy::router::{Family, Prompt};

use crate::set::{Row, Set};

/// What the command line says of the columns.
#[derive(Debug, Default)]
pub(crate) struct Columns {
    /// The device's model, where columns are called by models.
    pub(crate) device: Option<String>,
    /// The cloud's.
    pub(crate) cloud: Option<String>,
    /// Models that are asked as well.
    pub(crate) others: Vec<String>,
    /// The family of all rows.
    pub(crate) family: Option<Family>,
}

/// Bytes of a table, unpacked: answers to a hundred thousand requests.
const MOST_BYTES: u64 = 512 << 20;
/// Rows of a table: each is kept in memory and judged in five folds.
const MOST_ROWS: usize = 100_000;
/// Rows below which five folds mean nothing.
const FEWEST_ROWS: usize = 20;

/// A file, unpacked if its name ends in `.gz`.
pub(crate) fn open(file: &Path) -> Result<Box<dyn Read>> {
    let opened = File::open(file).with_context(|| format!("`{}` cannot be opened", file.display()))?;
    let packed = file.extension().is_some_and(|extension| extension == "gz");
    Ok(if packed {
        Box::new(MultiGzDecoder::new(opened).take(MOST_BYTES))
    } else {
        Box::new(opened.take(MOST_BYTES))
    })
}

/// Whether a field says yes or no.
pub(crate) fn truth(field: &str) -> Result<bool> {
    match field.trim().to_ascii_lowercase().as_str() {
        "1" | "1.0" | "true" | "yes" | "pass" | "right" | "correct" => Ok(true),
        "0" | "0.0" | "false" | "no" | "fail" | "wrong" | "incorrect" => Ok(false),
        _ => bail!("`{field}` is neither 1 nor 0"),
    }
}

pub(crate) fn read(file: &Path, columns: &Columns) -> Result<Set> {
    let name = file.display();
    let mut reader = csv::Reader::from_reader(open(file)?);
    let header = reader.headers().with_context(|| format!("`{name}` has no header"))?.clone();
    let layout =
        Layout::find(&header, columns).with_context(|| format!("`{name}` is not a table of outcomes"))?;
    let mut rows = Vec::new();
    for record in reader.records() {
        // The error of the reader says the line.
        let record = record.with_context(|| format!("`{name}` is not CSV"))?;
        let line = record.position().map_or(0, csv::Position::line);
        ensure!(rows.len() < MOST_ROWS, "`{name}` has more than {MOST_ROWS} rows");
        rows.push(layout.row(&record).with_context(|| format!("line {line} of `{name}`"))?);
    }
    ensure!(rows.len() >= FEWEST_ROWS, "`{name}` has {} rows, and five folds need {FEWEST_ROWS}", rows.len());
    let named = |model: &Option<String>, usual: &str| model.clone().unwrap_or_else(|| usual.to_owned());
    let stem = file.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
    Ok(Set {
        name: stem,
        device: named(&columns.device, "device"),
        cloud: named(&columns.cloud, "cloud"),
        rows,
    })
}

/// Where the columns are.
#[derive(Debug)]
struct Layout {
    prompt: usize,
    device_right: usize,
    cloud_right: usize,
    answer: Option<usize>,
    others: Vec<usize>,
    family: Option<usize>,
    tools: Option<usize>,
    finish: Option<usize>,
    logprobs: Option<usize>,
    check: Option<usize>,
    device_cost: Option<usize>,
    cloud_cost: Option<usize>,
    currency: Option<usize>,
    all: Option<Family>,
}

impl Layout {
    fn find(header: &StringRecord, columns: &Columns) -> Result<Self> {
        let at = |name: &str| header.iter().position(|column| column.trim().eq_ignore_ascii_case(name));
        let any = |names: &[String]| names.iter().find_map(|name| at(name));
        let listed = || header.iter().map(|column| format!("`{column}`")).collect::<Vec<_>>().join(", ");
        let needed = |names: Vec<String>| {
            any(&names).with_context(|| {
                format!("it has no column `{}`; there are {}", names.join("` or `"), listed())
            })
        };
        let outcomes = |model: &Option<String>, usual: [&str; 4]| match model {
            Some(model) => {
                vec![format!("ok:{model}"), format!("{model}_ok"), format!("{model}_correct"), model.clone()]
            }
            None => usual.map(str::to_owned).to_vec(),
        };
        let answers = |model: &str| {
            [format!("ans:{model}"), format!("{model}_response"), format!("{model}_answer")].to_vec()
        };
        let device_answers = columns.device.as_deref().map(answers).unwrap_or_default();
        let usual = ["device_answer", "device_response", "weak_answer", "weak_response"].map(str::to_owned);
        let mut others: Vec<usize> = Vec::new();
        for model in &columns.others {
            others.push(needed(answers(model))?);
        }
        if columns.others.is_empty() {
            others.extend(at("other_answer"));
            others.extend((1..=12).filter_map(|number| at(&format!("other_answer_{number}"))));
        }
        Ok(Self {
            prompt: needed(["prompt", "question", "request", "input", "query"].map(str::to_owned).to_vec())?,
            device_right: needed(outcomes(
                &columns.device,
                ["device_ok", "device_correct", "weak_ok", "weak_correct"],
            ))?,
            cloud_right: needed(outcomes(
                &columns.cloud,
                ["cloud_ok", "cloud_correct", "strong_ok", "strong_correct"],
            ))?,
            answer: any(&device_answers).or_else(|| any(&usual)),
            others,
            family: at("family"),
            tools: at("tools"),
            finish: at("finish"),
            logprobs: at("logprobs"),
            check: at("check"),
            device_cost: at("device_cost"),
            cloud_cost: at("cloud_cost"),
            currency: at("currency"),
            all: columns.family,
        })
    }

    fn row(&self, record: &StringRecord) -> Result<Row> {
        let field = |at: usize| record.get(at).unwrap_or_default();
        let filled = |at: Option<usize>| at.map(field).map(str::trim).filter(|field| !field.is_empty());
        let prompt = field(self.prompt).to_owned();
        let tools = filled(self.tools).map(truth).transpose().context("column `tools`")?.unwrap_or(false);
        let family = match (self.all, filled(self.family)) {
            (Some(family), _) => family,
            (None, Some(name)) => name.parse().ok().with_context(|| {
                format!(
                    "`{name}` is no task family; these are: {}",
                    Family::ALL.map(Family::as_str).join(", ")
                )
            })?,
            (None, None) => Family::of(Prompt { text: &prompt, tools, json: false }),
        };
        Ok(Row {
            family,
            tools,
            answer: self.answer.map(|at| field(at).to_owned()),
            finish: filled(self.finish).map(finish).transpose()?,
            logprobs: filled(self.logprobs).map(logprobs).transpose()?.unwrap_or_default(),
            others: self.others.iter().map(|&at| field(at).to_owned()).collect(),
            check: filled(self.check).map(truth).transpose().context("column `check`")?,
            device_right: truth(field(self.device_right)).context("the outcome of the device")?,
            cloud_right: truth(field(self.cloud_right)).context("the outcome of the cloud")?,
            spared: self.spared(filled(self.device_cost), filled(self.cloud_cost), filled(self.currency))?,
            prompt,
        })
    }

    /// What the cloud's answer costs more; nothing is known without its cost, and the device costs nothing unless it says so.
    fn spared(
        &self,
        device: Option<&str>,
        cloud: Option<&str>,
        currency: Option<&str>,
    ) -> Result<Option<Money>> {
        let Some(cloud) = cloud else { return Ok(None) };
        let currency = match currency {
            None => Currency::USD,
            Some(code) => Currency::new(code).with_context(|| format!("`{code}` is no currency"))?,
        };
        let device = device.map(micros).transpose()?.unwrap_or(0);
        let micros = micros(cloud)?.checked_sub(device).context("the costs are out of range")?;
        Ok(Some(Money { micros, currency }))
    }
}

fn finish(field: &str) -> Result<FinishReason> {
    Ok(match field {
        "stop" | "end_turn" => FinishReason::Stop,
        "length" | "max_tokens" => FinishReason::Length,
        "tool_calls" | "tool_use" => FinishReason::ToolCalls,
        "content_filter" => FinishReason::ContentFilter,
        _ => bail!("`{field}` is no finish reason: `stop`, `length`, `tool_calls` or `content_filter`"),
    })
}

/// Numbers between spaces, commas or the brackets of JSON.
fn logprobs(field: &str) -> Result<Vec<f32>> {
    let numbers =
        field.split(|c: char| c.is_whitespace() || "[],;".contains(c)).filter(|number| !number.is_empty());
    numbers
        .map(|number| number.parse().with_context(|| format!("`{number}` is no log-probability")))
        .collect()
}

/// An amount in units of its currency, in millionths.
fn micros(field: &str) -> Result<i64> {
    let amount: f64 = field.parse().ok().with_context(|| format!("`{field}` is no amount"))?;
    let micros = (amount * 1e6).round();
    ensure!(micros.abs() < 1e15, "`{field}` is no amount of a single call");
    Ok(micros as i64)
}

#[cfg(test)]
#[path = "table/tests.rs"]
mod tests;
