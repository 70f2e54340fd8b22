//! The events of `POST /inshore/v1/generate`. Each has the number of its entry as its `id`, by which a client that lost its
//! connection goes on (`Last-Event-ID`, as in the HTML standard's server-sent events).
//!
//! | event | data |
//! |---|---|
//! | `accepted` | `receipt`, `strategy`, `resume` (the path to read on at); always the first, without an id |
//! | `begun` | `target`, `tier`, `model`, `part` (`draft` or `final`): who speaks from here on |
//! | `opened` | `block`, `kind` (`text`, `reasoning`, `tool_call` with `id` and `name`) |
//! | `appended` | `block`, `text` |
//! | `replaced` | `block`, `start`, `end` (Unicode characters of the block as it is now), `text` |
//! | `finalised` | `reason`, `kept_draft` (why, or null), `usage` (or null) |
//! | `ended` | `receipt`: it is written; always the last of a good answer |
//! | `error` | a problem as in RFC 9457; always the last of any other |

use inshore_domain::{BlockKind, ReceiptId, Revision, Usage};
use inshore_runtime::Entry;
use serde::Serialize;

use super::Project;
use crate::answer::named;
use crate::fault::Fault;
use crate::openai::shapes::finish_word;

#[derive(Serialize)]
struct Accepted {
    receipt: String,
    strategy: &'static str,
    resume: String,
}

/// The event that comes before the log's own.
pub(crate) fn accepted(receipt: ReceiptId, strategy: &'static str) -> Vec<u8> {
    let mut out = Vec::new();
    let resume = format!("/inshore/v1/generate/{receipt}");
    named(&mut out, "accepted", &Accepted { receipt: receipt.to_string(), strategy, resume });
    out
}

#[derive(Serialize)]
struct Begun<'a> {
    target: &'a str,
    tier: &'static str,
    model: &'a str,
    part: &'static str,
}

#[derive(Serialize)]
struct Opened<'a> {
    block: u32,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
}

#[derive(Serialize)]
struct Appended<'a> {
    block: u32,
    text: &'a str,
}

#[derive(Serialize)]
struct Replaced<'a> {
    block: u32,
    start: usize,
    end: usize,
    text: &'a str,
}

#[derive(Serialize)]
struct Finalised<'a> {
    reason: &'static str,
    kept_draft: Option<&'a str>,
    usage: Option<WireUsage>,
}

#[derive(Serialize)]
struct WireUsage {
    prompt_tokens: u32,
    cached_tokens: u32,
    output_tokens: u32,
    reasoning_tokens: u32,
}

impl From<Usage> for WireUsage {
    fn from(usage: Usage) -> Self {
        Self {
            prompt_tokens: usage.prompt_tokens,
            cached_tokens: usage.cached_tokens,
            output_tokens: usage.output_tokens,
            reasoning_tokens: usage.reasoning_tokens,
        }
    }
}

#[derive(Serialize)]
struct Ended {
    receipt: String,
}

/// Writes our own events.
pub(crate) struct Native {
    pub(crate) receipt: ReceiptId,
    /// The request's id, for problems.
    pub(crate) request: String,
}

impl Project for Native {
    fn entry(&mut self, number: usize, entry: Entry, out: &mut Vec<u8>) {
        out.extend_from_slice(format!("id: {number}\n").as_bytes());
        match entry {
            Entry::Revision(revision) => write(&revision, out),
            Entry::Ended(None) => named(out, "ended", &Ended { receipt: self.receipt.to_string() }),
            Entry::Ended(Some(error)) => {
                out.extend_from_slice(b"event: error\ndata: ");
                out.extend_from_slice(&Fault::from(error).native_json(&self.request));
                out.extend_from_slice(b"\n\n");
            }
        }
    }
}

fn write(revision: &Revision, out: &mut Vec<u8>) {
    match revision {
        Revision::Begun { target, tier, model, part } => {
            let (target, tier, part) = (target.0.as_str(), tier.as_str(), part.as_str());
            named(out, "begun", &Begun { target, tier, model, part });
        }
        Revision::Opened { block, kind } => {
            let (kind, id, name) = match kind {
                BlockKind::Text => ("text", None, None),
                BlockKind::Reasoning => ("reasoning", None, None),
                BlockKind::ToolCall { id, name } => ("tool_call", Some(id.as_str()), Some(name.as_str())),
            };
            named(out, "opened", &Opened { block: *block, kind, id, name });
        }
        Revision::Appended { block, text } => named(out, "appended", &Appended { block: *block, text }),
        Revision::Replaced { block, span, text } => {
            let replaced = Replaced { block: *block, start: span.start, end: span.end, text };
            named(out, "replaced", &replaced);
        }
        Revision::Finalised { reason, kept_draft, usage } => {
            let (reason, kept_draft) = (finish_word(*reason), kept_draft.as_deref());
            named(out, "finalised", &Finalised { reason, kept_draft, usage: usage.map(WireUsage::from) });
        }
    }
}
