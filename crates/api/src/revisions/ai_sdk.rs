//! The stream that the AI SDK's `useChat` reads, where the draft is a data part of its own.
//!
//! The part `data-answer` has always the id `answer`, so that each one takes the place of the one before: `text`, and `state` (`draft`
//! or `final`). The message's text part comes when the answer is final, and holds nothing else: whoever knows nothing of drafts shows
//! only that. Source: AI SDK documentation, "Stream Protocols", data stream protocol (`x-vercel-ai-ui-message-stream: v1`).

use inshore_domain::revision::Part;
use inshore_domain::{BlockKind, ReceiptId, Revision};
use inshore_runtime::Entry;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{Page, Project};
use crate::answer::data;
use crate::fault::Fault;

/// A data part holds the whole text, so it is not sent again until the text has grown by a part of itself: a long answer would else
/// take the square of its length.
const GROWTH: usize = 32;

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
enum Piece<'a> {
    #[serde(rename_all = "camelCase")]
    Start {
        message_id: &'a str,
    },
    DataAnswer {
        id: &'static str,
        data: Shown<'a>,
    },
    TextStart {
        id: &'static str,
    },
    TextDelta {
        id: &'static str,
        delta: &'a str,
    },
    TextEnd {
        id: &'static str,
    },
    ReasoningStart {
        id: &'static str,
    },
    ReasoningDelta {
        id: &'static str,
        delta: &'a str,
    },
    ReasoningEnd {
        id: &'static str,
    },
    #[serde(rename_all = "camelCase")]
    ToolInputStart {
        tool_call_id: &'a str,
        tool_name: &'a str,
    },
    #[serde(rename_all = "camelCase")]
    ToolInputDelta {
        tool_call_id: &'a str,
        input_text_delta: &'a str,
    },
    #[serde(rename_all = "camelCase")]
    ToolInputAvailable {
        tool_call_id: &'a str,
        tool_name: &'a str,
        input: &'a RawValue,
    },
    #[serde(rename_all = "camelCase")]
    Error {
        error_text: &'a str,
    },
    Finish,
}

#[derive(Serialize)]
struct Shown<'a> {
    text: &'a str,
    state: &'static str,
    target: &'a str,
}

/// Writes the parts.
pub(crate) struct AiSdk {
    page: Page,
    target: String,
    state: Part,
    /// The data part is not what the page holds.
    stale: bool,
    /// The length of the text when it was sent last.
    sent: usize,
}

impl AiSdk {
    pub(crate) fn new() -> Self {
        Self { page: Page::default(), target: String::new(), state: Part::Draft, stale: false, sent: 0 }
    }

    /// What comes before the log's own.
    pub(crate) fn start(receipt: ReceiptId) -> Vec<u8> {
        let mut out = Vec::new();
        data(&mut out, &Piece::Start { message_id: &receipt.to_string() });
        out
    }

    fn revise(&mut self, revision: &Revision, out: &mut Vec<u8>) {
        self.page.take(revision);
        match revision {
            Revision::Begun { target, part, .. } => {
                self.target.clone_from(&target.0);
                self.state = *part;
            }
            Revision::Appended { .. } => {
                let length = self.page.text().len();
                self.stale |= length > self.sent && (length - self.sent) * GROWTH >= length;
            }
            Revision::Replaced { .. } => self.stale = true,
            Revision::Opened { .. } => {}
            Revision::Finalised { .. } => {
                self.state = Part::Final;
                self.stale = self.sent > 0 || !self.page.text().is_empty();
                self.flush(out);
                self.whole(out);
            }
        }
    }

    /// The message itself, now that nothing of it changes any more.
    fn whole(&self, out: &mut Vec<u8>) {
        for (kind, text) in &self.page.blocks {
            let text = text.as_str();
            match kind {
                BlockKind::Text if text.is_empty() => {}
                BlockKind::Text => {
                    data(out, &Piece::TextStart { id: "text" });
                    data(out, &Piece::TextDelta { id: "text", delta: text });
                    data(out, &Piece::TextEnd { id: "text" });
                }
                BlockKind::Reasoning => {
                    data(out, &Piece::ReasoningStart { id: "reasoning" });
                    data(out, &Piece::ReasoningDelta { id: "reasoning", delta: text });
                    data(out, &Piece::ReasoningEnd { id: "reasoning" });
                }
                BlockKind::ToolCall { id, name } => {
                    let (tool_call_id, tool_name) = (id.as_str(), name.as_str());
                    data(out, &Piece::ToolInputStart { tool_call_id, tool_name });
                    data(out, &Piece::ToolInputDelta { tool_call_id, input_text_delta: text });
                    // Arguments that are no JSON are not available: the delta above shows what they are.
                    if let Ok(input) = serde_json::from_str::<&RawValue>(text) {
                        data(out, &Piece::ToolInputAvailable { tool_call_id, tool_name, input });
                    }
                }
            }
        }
    }
}

impl Project for AiSdk {
    fn entry(&mut self, _number: usize, entry: Entry, out: &mut Vec<u8>) {
        match entry {
            Entry::Revision(revision) => self.revise(&revision, out),
            Entry::Ended(error) => {
                if let Some(error) = error {
                    data(out, &Piece::Error { error_text: &Fault::from(error).message });
                }
                data(out, &Piece::Finish);
                out.extend_from_slice(b"data: [DONE]\n\n");
            }
        }
    }

    fn flush(&mut self, out: &mut Vec<u8>) {
        if std::mem::take(&mut self.stale) {
            let (text, state) = (self.page.text(), self.state.as_str());
            data(out, &Piece::DataAnswer { id: "answer", data: Shown { text, state, target: &self.target } });
            self.sent = text.len();
        }
    }
}
