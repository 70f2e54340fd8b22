//! `inshore receipt`

use serde_json::Value;

use super::{Context, block_on};
use crate::client::{Receipt, find_or_start};
use crate::failure::{Exit, Failure, Outcome};

/// Show what happened for an answer: where it ran, what left this machine, what it cost, and why.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  inshore receipt --last
  inshore receipt rcpt_01kaj2w8e3c4v0q2m9x7y5z1ab --json
  inshore receipt --list 20")]
pub(crate) struct Args {
    /// The receipt's id, as the header `x-inshore-receipt` gave it
    #[arg(required_unless_present_any = ["last", "list"], conflicts_with_all = ["last", "list"])]
    id: Option<String>,
    /// The newest receipt
    #[arg(long, conflicts_with = "list")]
    last: bool,
    /// The newest receipts, a line each
    #[arg(long, value_name = "COUNT", num_args = 0..=1, default_missing_value = "10", value_parser = clap::value_parser!(u32).range(1..=1000))]
    list: Option<u32>,
}

pub(crate) fn run(context: &Context, args: &Args) -> Outcome {
    let id = args.id.as_ref().map(|id| id.parse::<inshore_domain::ReceiptId>()).transpose();
    let id = id.map_err(|error| Failure::new(Exit::Usage, error))?;
    block_on(async {
        let daemon = find_or_start(&context.starter()).await?;
        if let Some(id) = id {
            return show(context, daemon.get(&format!("/inshore/v1/receipts/{id}")).await?);
        }
        let limit = args.list.unwrap_or(1);
        let mut answer = daemon.get(&format!("/inshore/v1/receipts?limit={limit}")).await?;
        let receipts = answer.get_mut("receipts").map(Value::take).unwrap_or_default();
        if args.list.is_some() {
            return list(context, receipts);
        }
        match receipts {
            Value::Array(mut receipts) if !receipts.is_empty() => show(context, receipts.swap_remove(0)),
            _ => Err(Failure::new(Exit::Failure, "there is no receipt yet")
                .with_hint("inshore complete \"Thank you for\"")),
        }
    })
}

fn list(context: &Context, receipts: Value) -> Outcome {
    if context.output.json {
        return Ok(context.output.json(&receipts)?);
    }
    let receipts: Vec<Receipt> = serde_json::from_value(receipts).map_err(anyhow::Error::from)?;
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let rows: Vec<Vec<String>> = receipts
        .iter()
        .map(|receipt| {
            vec![
                receipt.id.clone(),
                receipt.at(),
                or_none(&receipt.tier),
                or_none(&receipt.model),
                receipt.usage.output_tokens.to_string(),
                millis(Some(receipt.timings.total_us)),
                receipt.bytes_out.to_string(),
                receipt.ending(),
            ]
        })
        .collect();
    Ok(context
        .output
        .table(&["ID", "AT", "TIER", "MODEL", "TOKENS", "TIME", "BYTES OUT", "OUTCOME"], &rows)?)
}

fn millis(micros: Option<u64>) -> String {
    match micros {
        Some(micros) => format!("{}.{} ms", micros / 1000, micros % 1000 / 100),
        None => "none".to_owned(),
    }
}

fn show(context: &Context, value: Value) -> Outcome {
    if context.output.json {
        return Ok(context.output.json(&value)?);
    }
    let receipt: Receipt = serde_json::from_value(value).map_err(anyhow::Error::from)?;
    let (usage, timings) = (&receipt.usage, &receipt.timings);
    let answered = match (&receipt.target, &receipt.model) {
        (Some(target), Some(model)) => format!("{target} ({model})"),
        _ => "nobody".to_owned(),
    };
    let mut facts = vec![
        ("receipt", receipt.id.clone()),
        ("at", receipt.at()),
        ("outcome", receipt.ending()),
        ("asked for", receipt.asked.clone()),
        ("answered by", answered),
        ("tier", receipt.tier.clone().unwrap_or_else(|| "none".to_owned())),
        ("bytes out", bytes_out(&receipt)),
        (
            "tokens",
            format!(
                "prompt {} ({} re-used), answer {}",
                usage.prompt_tokens, usage.cached_tokens, usage.output_tokens
            ),
        ),
        (
            "times",
            format!(
                "queued {}, first token {}, total {}",
                millis(Some(timings.queued_us)),
                millis(timings.first_token_us),
                millis(Some(timings.total_us))
            ),
        ),
        ("cost", receipt.cost()),
        ("sensitivity", receipt.sensitivity.clone()),
        ("app", receipt.app.clone()),
        ("profile", receipt.profile.clone()),
        ("trace", receipt.trace.clone()),
        ("strategy", receipt.strategy.clone()),
    ];
    facts.extend(receipt.user.iter().map(|user| ("user", user.clone())));
    facts.extend(receipt.feature.iter().map(|feature| ("feature", feature.clone())));
    facts.extend(receipt.notes.iter().map(|note| ("note", note.clone())));
    context.output.facts(&facts)?;
    for reason in reasons(&receipt) {
        context.output.line(&reason)?;
    }
    Ok(())
}

fn bytes_out(receipt: &Receipt) -> String {
    if receipt.egress.is_empty() {
        return format!("{} (nothing left this device)", receipt.bytes_out);
    }
    let calls: Vec<String> =
        receipt.egress.iter().map(|call| format!("{} to {}", call.bytes_out, call.destination)).collect();
    format!("{} ({})", receipt.bytes_out, calls.join(", "))
}

fn reasons(receipt: &Receipt) -> Vec<String> {
    let verdicts = receipt.verdicts.iter().map(|verdict| match (verdict.step, &verdict.reason) {
        (Some(step), _) => format!("  {}: taken, place {}", verdict.target, step + 1),
        (None, Some(reason)) => format!("  {}: left out, {reason}", verdict.target),
        (None, None) => format!("  {}: left out", verdict.target),
    });
    let failed = receipt.failed_steps.iter().map(|step| format!("  {}: failed, {}", step.target, step.error));
    verdicts.chain(failed).collect()
}
