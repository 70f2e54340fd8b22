//! `inshore complete`

use std::io::Read;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::json;

use super::{Context, answer, block_on, until_interrupted};
use crate::client::{Answering, Piece, find_or_start};
use crate::failure::{Exit, Failure, Outcome};
use crate::output;

/// Enough to finish a sentence; more than that, a small model wanders.
const MAX_TOKENS: u32 = 40;
/// Low: of all the ways to go on, one of the likely ones.
const TEMPERATURE: f32 = 0.4;
/// Keeps a small model from turning in circles.
const REPETITION_PENALTY: f32 = 1.1;
/// How long to wait for the rest of an answer whose sentence has ended.
const PATIENCE: Duration = Duration::from_secs(2);
/// The longest text read from stdin: a long document is 100 KB.
const MAX_STDIN: u64 = 1 << 20;

/// Finish a sentence. The text is printed with its continuation.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  inshore complete \"Thank you for your letter of\"
  inshore complete --max-tokens 120 --whole \"Dear Mr. Smith,\"
  echo -n \"We regret to inform you that\" | inshore complete")]
pub(crate) struct Args {
    /// The beginning of the text; read from stdin when left out
    text: Option<String>,
    /// The model, or `auto`, `device`, `edge`, `cloud`
    #[arg(long, short, default_value = "auto")]
    model: String,
    /// Most tokens to add
    #[arg(long, default_value_t = MAX_TOKENS)]
    max_tokens: u32,
    /// 0 always takes the likeliest word
    #[arg(long, default_value_t = TEMPERATURE)]
    temperature: f32,
    /// The same seed gives the same text
    #[arg(long)]
    seed: Option<u64>,
    /// Go on after the end of the sentence
    #[arg(long)]
    whole: bool,
    /// Print only what was added
    #[arg(long)]
    no_echo: bool,
}

pub(crate) fn run(context: &Context, args: &Args) -> Outcome {
    let text = match &args.text {
        Some(text) => text.clone(),
        None => from_stdin()?,
    };
    if text.trim().is_empty() {
        return Err(Failure::new(Exit::Usage, "there is no text to continue"));
    }
    block_on(until_interrupted(complete(context, args, &text)))
}

fn from_stdin() -> Outcome<String> {
    if output::stdin_is_terminal() {
        return Err(Failure::new(Exit::Usage, "there is no text to continue")
            .with_hint("inshore complete \"Thank you for\""));
    }
    let mut text = String::new();
    std::io::stdin().lock().take(MAX_STDIN).read_to_string(&mut text).context("stdin is not text")?;
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}

async fn complete(context: &Context, args: &Args, text: &str) -> Outcome {
    let daemon = find_or_start(&context.starter()).await?;
    // A seed that is null is one that was not given.
    let body = json!({
        "model": args.model, "prompt": text, "max_tokens": args.max_tokens, "temperature": args.temperature,
        "repetition_penalty": REPETITION_PENALTY, "seed": args.seed, "stream": true,
    });
    let mut answering = daemon.stream("/v1/completions", &body, &[("x-inshore-feature", "complete")]).await?;
    let output = context.output;
    if !output.json && !args.no_echo {
        output.piece(text)?;
    }
    let mut sentence = Sentence::new(text, args.whole);
    let receipt = answering.receipt.clone();
    let mut added = String::new();
    while let Some(piece) = answering.next().await? {
        let Piece::Text(piece) = piece else { continue };
        let taken = sentence.take(&piece);
        added.push_str(taken);
        if !output.json {
            output.piece(taken)?;
        }
        if sentence.ended {
            break;
        }
    }
    end(answering).await;
    if output.json {
        return Ok(output.json(&json!({"text": added, "receipt": receipt}))?);
    }
    output.line("")?;
    if let Some(id) = receipt {
        output::aside(&answer::receipt_line(&daemon, &id).await?);
    }
    Ok(())
}

/// Lets the answer end, so that its receipt counts every token. A slow model is stopped: closing the connection does that.
async fn end(mut answering: Answering) {
    let rest = async { while let Ok(Some(_)) = answering.next().await {} };
    let _ = tokio::time::timeout(PATIENCE, rest).await;
}

/// Finds the end of the sentence that the text began.
#[derive(Debug)]
struct Sentence {
    /// The last characters seen, for words such as `Mr.` that end in a full stop without ending the sentence.
    last: String,
    whole: bool,
    ended: bool,
}

/// Abbreviations of business prose.
const ABBREVIATIONS: [&str; 16] = [
    "mr", "mrs", "ms", "messrs", "dr", "st", "no", "co", "inst", "ult", "prox", "esq", "hon", "jr", "etc",
    "vs",
];

impl Sentence {
    fn new(text: &str, whole: bool) -> Self {
        let last: String = text.chars().rev().take(16).collect::<Vec<_>>().into_iter().rev().collect();
        Self { last, whole, ended: false }
    }

    /// The part of `piece` that belongs to the sentence.
    fn take<'a>(&mut self, piece: &'a str) -> &'a str {
        if self.whole {
            return piece;
        }
        for (at, c) in piece.char_indices() {
            // A new line before any text only sets it off.
            let ends = match c {
                '\n' => at > 0 || !self.last.ends_with('\n'),
                '.' => !self.is_abbreviation(),
                '!' | '?' => true,
                _ => false,
            };
            self.last.push(c);
            if ends {
                self.ended = true;
                let end = if c == '\n' { at } else { at + c.len_utf8() };
                return piece.get(..end).unwrap_or(piece);
            }
        }
        piece
    }

    fn is_abbreviation(&self) -> bool {
        let word = self.last.rsplit(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
        let initial = word.chars().count() == 1 && word.chars().all(char::is_alphabetic);
        let number = !word.is_empty() && word.chars().all(|c| c.is_ascii_digit());
        initial || number || ABBREVIATIONS.contains(&word.to_ascii_lowercase().as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(text: &str, pieces: &[&str]) -> String {
        let mut sentence = Sentence::new(text, false);
        let mut all = String::new();
        for piece in pieces {
            all.push_str(sentence.take(piece));
            if sentence.ended {
                break;
            }
        }
        all
    }

    #[test]
    fn it_stops_where_the_sentence_does() {
        assert_eq!(taken("We thank", &[" you", " for it", ". We are"]), " you for it.");
        assert_eq!(taken("We thank Mr", &[". Smith", " again!"]), ". Smith again!");
        assert_eq!(taken("Received the 3", &[". inst", ". of May.", " More"]), ". inst. of May.");
        assert_eq!(taken("Dear Sir,", &[" it is\n", "next"]), " it is");
    }
}
