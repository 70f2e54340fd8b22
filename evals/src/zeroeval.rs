//! The tables of WildEval/ZeroEval: GSM8K and the fifth level of MATH, small models against gpt-4o.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use inshore_policy::router::Family;
use serde::Deserialize;

use crate::set::{Row, Set};
use crate::table::{open, truth};

const CLOUD: &str = "gpt-4o-2024-08-06";

/// Models whose whole answers are in the data, with three others of the device class that are asked as well: the most able of at most 10B
/// parameters of three other makers. Chosen by that rule, once, and not by how well they agree.
const GSM8K: [(&str, [&str; 3]); 3] = [
    ("Phi-3.5-mini-instruct", ["Meta-Llama-3.1-8B-Instruct", "gemma-2-9b-it", "Qwen2-7B-Instruct"]),
    ("Meta-Llama-3.1-8B-Instruct", ["Phi-3.5-mini-instruct", "gemma-2-9b-it", "Qwen2-7B-Instruct"]),
    ("gemma-2-2b-it", ["Phi-3.5-mini-instruct", "Meta-Llama-3.1-8B-Instruct", "Qwen2-7B-Instruct"]),
];
const MATH: [(&str, [&str; 3]); 3] = [
    ("Phi-3.5-mini-instruct", ["Meta-Llama-3.1-8B-Instruct", "gemma-2-9b-it", "Qwen2.5-7B-Instruct"]),
    ("Meta-Llama-3.1-8B-Instruct", ["Phi-3.5-mini-instruct", "gemma-2-9b-it", "Qwen2.5-7B-Instruct"]),
    ("Qwen2.5-3B-Instruct", ["Phi-3.5-mini-instruct", "Meta-Llama-3.1-8B-Instruct", "gemma-2-9b-it"]),
];

/// The sets of GSM8K and of MATH, each in the order of the models above.
pub(crate) struct ZeroEval {
    pub(crate) gsm8k: Vec<Set>,
    pub(crate) math: Vec<Set>,
}

pub(crate) fn read(data: &Path) -> Result<ZeroEval> {
    let folder = data.join("zeroeval");
    Ok(ZeroEval {
        gsm8k: sets(&folder, "gsm", "GSM8K", &GSM8K)?,
        math: sets(&folder, "math-l5", "MATH level 5", &MATH)?,
    })
}

fn sets(folder: &Path, file: &str, name: &str, pairs: &[(&str, [&str; 3])]) -> Result<Vec<Set>> {
    let outcomes = wide(&folder.join(format!("{file}.outcomes.csv.gz")))?;
    let answers = wide(&folder.join(format!("{file}.answers.csv.gz")))?;
    let set = |&(device, others): &(&str, [&str; 3])| {
        let whole = whole_answers(&folder.join(format!("raw/{file}.{device}.jsonl.gz")))?;
        let rows = outcomes.iter().map(|(id, row)| {
            let of = |table: &BTreeMap<String, String>, column: String| {
                table.get(&column).cloned().with_context(|| format!("`{file}` has no column `{column}`"))
            };
            let right = |model: &str| truth(&of(row, format!("ok:{model}"))?);
            let short = answers.get(id).with_context(|| format!("no answers to `{id}`"))?;
            let others =
                others.iter().map(|other| of(short, format!("ans:{other}"))).collect::<Result<_>>()?;
            let answer = whole.get(id).with_context(|| format!("no answer of `{device}` to `{id}`"))?;
            let outcome = Row::new(of(row, "prompt".into())?, Family::Math, right(device)?, right(CLOUD)?);
            Ok(Row { answer: Some(answer.clone()), others, ..outcome })
        });
        Ok(Set {
            name: format!("ZeroEval {name}, {device}"),
            device: device.into(),
            cloud: CLOUD.into(),
            rows: rows.collect::<Result<_>>()?,
        })
    };
    pairs.iter().map(set).collect()
}

/// Rows by their id, each with its fields by the names of their columns.
fn wide(file: &Path) -> Result<BTreeMap<String, BTreeMap<String, String>>> {
    let mut rows = BTreeMap::new();
    for row in csv::Reader::from_reader(open(file)?).deserialize() {
        let row: BTreeMap<String, String> = row.with_context(|| format!("`{}`", file.display()))?;
        let id =
            row.get("id").cloned().with_context(|| format!("`{}` has no column `id`", file.display()))?;
        rows.insert(id, row);
    }
    ensure!(!rows.is_empty(), "`{}` has no rows", file.display());
    Ok(rows)
}

#[derive(Deserialize)]
struct Raw {
    id: serde_json::Value,
    output: String,
}

fn whole_answers(file: &Path) -> Result<BTreeMap<String, String>> {
    let text = std::io::read_to_string(open(file)?).with_context(|| format!("`{}`", file.display()))?;
    let answer = |line: &str| {
        let raw: Raw = serde_json::from_str(line)?;
        let id = raw.id.as_str().map_or_else(|| raw.id.to_string(), str::to_owned);
        Ok((id, raw.output))
    };
    let answers: Result<_> = text.lines().map(answer).collect();
    answers.with_context(|| format!("`{}`", file.display()))
}
