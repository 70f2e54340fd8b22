//! `inshore ask`

use std::io::Read;

use anyhow::Context as _;
use serde_json::json;

use super::{Context, answer, block_on, until_interrupted};
use crate::client::find_or_start;
use crate::failure::{Exit, Failure, Outcome};
use crate::output;

/// The longest text read from stdin: what a context of a million tokens holds.
const MAX_STDIN: u64 = 4 << 20;

/// Ask one question. Text piped in is read along with it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  inshore ask \"Write a polite reminder for an unpaid invoice\"
  inshore ask \"Summarise this\" < report.txt
  inshore ask --strategy draft \"When is a contract void?\"
  inshore ask --model qwen3-4b --json \"Name three colours\"")]
pub(crate) struct Args {
    /// The question; read from stdin when left out
    question: Option<String>,
    /// The model, or `auto`, `device`, `edge`, `cloud`
    #[arg(long, short, default_value = "auto")]
    model: String,
    /// Instructions for the model
    #[arg(long)]
    system: Option<String>,
    /// Most tokens in the answer
    #[arg(long)]
    max_tokens: Option<u32>,
    /// 0 always takes the likeliest word
    #[arg(long)]
    temperature: Option<f32>,
    /// How sensitive the text is: public, internal, confidential or restricted
    #[arg(long)]
    sensitivity: Option<String>,
    /// How the answer is made: draft, direct or fallback. A draft is shown on a terminal only
    #[arg(long)]
    strategy: Option<String>,
}

pub(crate) fn run(context: &Context, args: &Args) -> Outcome {
    let mut parts: Vec<String> = args.question.iter().cloned().collect();
    if !output::stdin_is_terminal() {
        let mut text = String::new();
        std::io::stdin().lock().take(MAX_STDIN).read_to_string(&mut text).context("stdin is not text")?;
        if !text.trim().is_empty() {
            parts.push(text);
        }
    }
    if parts.is_empty() {
        return Err(
            Failure::new(Exit::Usage, "there is no question").with_hint("inshore ask \"Name three colours\"")
        );
    }
    block_on(until_interrupted(ask(context, args, &parts.join("\n\n"))))
}

async fn ask(context: &Context, args: &Args, question: &str) -> Outcome {
    let daemon = find_or_start(&context.starter()).await?;
    let mut messages = Vec::new();
    messages.extend(args.system.iter().map(|text| json!({"role": "system", "content": text})));
    messages.push(json!({"role": "user", "content": question}));
    // What is null was not given.
    let body = json!({
        "model": args.model, "messages": messages, "max_tokens": args.max_tokens, "temperature": args.temperature, "stream": true,
    });
    let mut hints = vec![("x-inshore-feature", "ask")];
    hints.extend(args.sensitivity.iter().map(|level| ("x-inshore-sensitivity", level.as_str())));
    hints.extend(args.strategy.iter().map(|strategy| ("x-inshore-strategy", strategy.as_str())));
    let screen = answer::screen(args.strategy.as_deref(), context.output);
    let revised = screen.is_some();
    let shown = match screen {
        Some(screen) => answer::show_revised(screen, daemon.generate(&body, &hints).await?).await?,
        None => {
            let mut answering = daemon.stream("/v1/chat/completions", &body, &hints).await?;
            answer::warn_of_builtin(answering.target.as_deref());
            answer::show(context.output, &mut answering).await?
        }
    };
    if context.output.json {
        let value = json!({"text": shown.text, "finish_reason": shown.reason, "receipt": shown.receipt});
        return Ok(context.output.json(&value)?);
    }
    context.output.line("")?;
    if revised {
        answer::warn_of_builtin(shown.target.as_deref());
    }
    if let Some(id) = shown.receipt {
        output::aside(&answer::receipt_line(&daemon, &id).await?);
    }
    Ok(())
}
