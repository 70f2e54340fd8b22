//! `inshore decide`

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Context, block_on};
use crate::client::{Cost, find_or_start};
use crate::failure::Outcome;

/// Show where a request would run now, and why, without running it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  inshore decide \"Summarise the attached contract\" --sensitivity confidential
  inshore decide \"Hello\" --model cloud --feature chat --max-tokens 500
  inshore decide \"Hello\" --user ada --json")]
pub(crate) struct Args {
    /// The prompt; only its length and what is found in it count
    #[arg(default_value = "Hello")]
    text: String,
    /// The model, or `auto`, `device`, `edge`, `cloud`
    #[arg(long, short, default_value = "auto")]
    model: String,
    /// The app's name for what the request is for
    #[arg(long)]
    feature: Option<String>,
    /// How sensitive the text is: public, internal, confidential or restricted
    #[arg(long)]
    sensitivity: Option<String>,
    /// On whose behalf
    #[arg(long)]
    user: Option<String>,
    /// realtime, async or batch
    #[arg(long)]
    profile: Option<String>,
    /// The time to first token that would do, in milliseconds
    #[arg(long)]
    latency_ms: Option<u64>,
    /// Most tokens in the answer
    #[arg(long)]
    max_tokens: Option<u32>,
    /// Say of each target what policies and predictions had to say; this is what is shown anyway
    #[arg(long, hide = true)]
    explain: bool,
}

/// The answer of the daemon.
#[derive(Debug, Deserialize)]
struct Decided {
    strategy: String,
    steps: Vec<String>,
    facts: Facts,
    targets: Vec<Target>,
}

#[derive(Debug, Deserialize)]
struct Facts {
    feature: Option<String>,
    sensitivity: String,
    prompt_tokens_at_least: u32,
    prompt_tokens_at_most: u32,
    latency_budget_ms: Option<u64>,
    quality_floor: Option<u8>,
    offline: bool,
    metered: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct Target {
    target: String,
    step: Option<usize>,
    reason: Option<String>,
    #[serde(default)]
    policies: Vec<String>,
    estimate: Option<Estimate>,
}

#[derive(Debug, Deserialize)]
struct Estimate {
    cost: Cost,
    cost_at_most: Cost,
    first_token_us: Option<u64>,
    quality: Option<u8>,
}

pub(crate) fn run(context: &Context, args: &Args) -> Outcome {
    let body = json!({
        "model": args.model, "messages": [{"role": "user", "content": args.text}], "max_tokens": args.max_tokens,
    });
    let latency = args.latency_ms.map(|millis| millis.to_string());
    let hints: Vec<(&'static str, &str)> = [
        ("x-inshore-feature", &args.feature),
        ("x-inshore-sensitivity", &args.sensitivity),
        ("x-inshore-user", &args.user),
        ("x-inshore-profile", &args.profile),
        ("x-inshore-latency-ms", &latency),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value.as_deref()?)))
    .collect();
    block_on(async {
        let daemon = find_or_start(&context.starter()).await?;
        let decided = daemon.post_hinted("/inshore/v1/decide?api=chat", &body, &hints).await?;
        show(context, decided)
    })
}

fn show(context: &Context, decided: Value) -> Outcome {
    if context.output.json {
        return Ok(context.output.json(&decided)?);
    }
    let decided: Decided = serde_json::from_value(decided).map_err(anyhow::Error::from)?;
    let facts = &decided.facts;
    let would_run = match decided.steps.as_slice() {
        [] => "nowhere: the request would be refused".to_owned(),
        [only] => only.clone(),
        [first, rest @ ..] => format!("{first}, else {}", rest.join(", else ")),
    };
    let mut shown = vec![("would run on", would_run), ("strategy", decided.strategy.clone())];
    shown.extend(facts.feature.iter().map(|feature| ("feature", feature.clone())));
    shown.push(("sensitivity", facts.sensitivity.clone()));
    shown.push((
        "prompt",
        format!("{} to {} tokens", facts.prompt_tokens_at_least, facts.prompt_tokens_at_most),
    ));
    shown.extend(facts.latency_budget_ms.map(|millis| ("latency budget", format!("{millis} ms"))));
    shown.extend(facts.quality_floor.map(|floor| ("quality floor", floor.to_string())));
    match (facts.offline, facts.metered) {
        (true, _) => shown.push(("network", "offline".to_owned())),
        (false, Some(true)) => shown.push(("network", "metered".to_owned())),
        _ => {}
    }
    context.output.facts(&shown)?;
    context.output.line("")?;
    let mut targets: Vec<&Target> = decided.targets.iter().collect();
    // As they would be tried; what is left out comes last.
    targets.sort_by_key(|target| target.step.unwrap_or(usize::MAX));
    let rows: Vec<Vec<String>> = targets.into_iter().map(row).collect();
    Ok(context
        .output
        .table(&["TARGET", "PLACE", "COST", "AT MOST", "FIRST TOKEN", "QUALITY", "WHY"], &rows)?)
}

fn row(target: &Target) -> Vec<String> {
    let none = || "-".to_owned();
    let estimate = target.estimate.as_ref();
    let why = match &target.reason {
        Some(reason) => reason.clone(),
        None if target.policies.is_empty() => "permitted".to_owned(),
        None => format!("permitted by {}", target.policies.join(", ")),
    };
    vec![
        target.target.clone(),
        target.step.map_or_else(none, |step| (step + 1).to_string()),
        estimate.map_or_else(none, |estimate| estimate.cost.to_string()),
        estimate.map_or_else(none, |estimate| estimate.cost_at_most.to_string()),
        estimate
            .and_then(|estimate| estimate.first_token_us)
            .map_or_else(none, |micros| format!("{} ms", micros.div_ceil(1000))),
        estimate.and_then(|estimate| estimate.quality).map_or_else(none, |quality| quality.to_string()),
        why,
    ]
}
