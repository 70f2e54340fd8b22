//! The tables of lm-sys/RouteLLM: MMLU and GSM8K, Mixtral-8x7B against gpt-4-1106-preview.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result};
use inshore_policy::router::Family;
use serde::Deserialize;

use crate::set::{Row, Set};
use crate::table::{open, truth};

const DEVICE: &str = "Mixtral-8x7B-Instruct";
const CLOUD: &str = "gpt-4-1106-preview";

/// The two sets, without requests that are known to be in the training data of the published routers.
pub(crate) struct RouteLlm {
    pub(crate) mmlu: Set,
    pub(crate) gsm8k: Set,
}

pub(crate) fn read(data: &Path) -> Result<RouteLlm> {
    let folder = data.join("routellm");
    Ok(RouteLlm { mmlu: mmlu(&folder)?, gsm8k: gsm8k(&folder)? })
}

#[derive(Deserialize)]
struct MmluRow {
    prompt: String,
    weak_mixtral8x7b: String,
    strong_gpt4_1106: String,
    contaminated: String,
}

fn mmlu(folder: &Path) -> Result<Set> {
    let file = folder.join("mmlu_5shot_mixtral_vs_gpt4.csv.gz");
    let mut rows = Vec::new();
    for row in csv::Reader::from_reader(open(&file)?).deserialize() {
        let row: MmluRow = row.with_context(|| format!("`{}`", file.display()))?;
        if truth(&row.contaminated)? {
            continue;
        }
        let (device, cloud) = (truth(&row.weak_mixtral8x7b)?, truth(&row.strong_gpt4_1106)?);
        rows.push(Row::new(row.prompt, Family::MultipleChoice, device, cloud));
    }
    Ok(set("MMLU", rows))
}

#[derive(Deserialize)]
struct Gsm8kRow {
    prompt: String,
    #[serde(rename = "mistralai/Mixtral-8x7B-Instruct-v0.1")]
    device: String,
    #[serde(rename = "gpt-4-1106-preview")]
    cloud: String,
    #[serde(rename = "mistralai/Mixtral-8x7B-Instruct-v0.1_response")]
    answer: String,
}

#[derive(Deserialize)]
struct Contaminated {
    eval_prompt: String,
}

fn gsm8k(folder: &Path) -> Result<Set> {
    let list = folder.join("gsm8k_contaminated_prompts.jsonl");
    let text =
        std::fs::read_to_string(&list).with_context(|| format!("`{}` cannot be read", list.display()))?;
    let contaminated: BTreeSet<String> = text
        .lines()
        .map(|line| serde_json::from_str::<Contaminated>(line).map(|row| row.eval_prompt))
        .collect::<Result<_, _>>()
        .with_context(|| format!("`{}`", list.display()))?;
    let file = folder.join("gsm8k_responses.csv");
    let mut rows = Vec::new();
    for row in csv::Reader::from_reader(open(&file)?).deserialize() {
        let row: Gsm8kRow = row.with_context(|| format!("`{}`", file.display()))?;
        if contaminated.contains(&row.prompt) {
            continue;
        }
        let outcome = Row::new(row.prompt, Family::Math, truth(&row.device)?, truth(&row.cloud)?);
        rows.push(Row { answer: Some(row.answer), ..outcome });
    }
    Ok(set("GSM8K", rows))
}

fn set(name: &str, rows: Vec<Row>) -> Set {
    Set { name: format!("RouteLLM {name}"), device: DEVICE.into(), cloud: CLOUD.into(), rows }
}
