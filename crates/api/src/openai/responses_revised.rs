//! `POST /v1/responses` for callers that take revisions (`x-inshore-revisions: true`): the Responses API's own events, in which a
//! draft's text grows as any text does, and between them ours, which say who speaks, what is replaced and what is final. The text that
//! ends an item (`response.output_text.done`) is the final one.

use inshore_domain::{BlockKind, Delta, Event, Revision};
use inshore_runtime::Entry;
use serde::Serialize;

use super::responses_events::Events;
use crate::answer::Encode;
use crate::fault::Fault;
use crate::revisions::{Page, Project};

#[derive(Serialize)]
struct Begun<'a> {
    target: &'a str,
    tier: &'static str,
    model: &'a str,
    part: &'static str,
}

#[derive(Serialize)]
struct Finalised<'a> {
    kept_draft: Option<&'a str>,
}

/// Writes the events.
pub(super) struct Revised {
    events: Events,
    page: Page,
    /// Tool calls so far.
    calls: u32,
}

impl Revised {
    pub(super) fn new(events: Events) -> Self {
        Self { events, page: Page::default(), calls: 0 }
    }

    fn revise(&mut self, revision: Revision, out: &mut Vec<u8>) {
        self.page.take(&revision);
        match revision {
            Revision::Begun { target, tier, model, part } => {
                self.events.speaks(&model);
                let (target, tier, part) = (target.0.as_str(), tier.as_str(), part.as_str());
                let begun = Begun { target, tier, model: &model, part };
                self.events.extension("response.inshore.begun", begun, out);
            }
            Revision::Opened { kind: BlockKind::ToolCall { id, name }, .. } => {
                let call = self.calls;
                self.calls += 1;
                self.piece(Delta::ToolCall { call, id, name }, out);
            }
            Revision::Opened { .. } => {}
            Revision::Appended { block, text } => self.append(block, text, out),
            Revision::Replaced { span, text, .. } => self.events.replace(&span, &text, out),
            Revision::Finalised { reason, kept_draft, usage } => {
                let finalised = Finalised { kept_draft: kept_draft.as_deref() };
                self.events.extension("response.inshore.finalised", finalised, out);
                self.events.event(Event::Finished { index: 0, reason }, out);
                if let Some(usage) = usage {
                    self.events.event(Event::Usage(usage), out);
                }
            }
        }
    }

    fn append(&mut self, block: u32, text: String, out: &mut Vec<u8>) {
        match self.page.blocks.get(block as usize).map(|(kind, _)| kind) {
            Some(BlockKind::Text) => self.piece(Delta::Text { text, logprobs: Vec::new() }, out),
            // Thinking would close the item of the text, which may still be replaced.
            Some(BlockKind::Reasoning) if !self.page.text().is_empty() => {}
            Some(BlockKind::Reasoning) => self.piece(Delta::Reasoning(text), out),
            Some(BlockKind::ToolCall { .. }) => {
                let call = self.calls.saturating_sub(1);
                self.piece(Delta::ToolArguments { call, fragment: text }, out);
            }
            None => {}
        }
    }

    fn piece(&mut self, delta: Delta, out: &mut Vec<u8>) {
        self.events.event(Event::Delta { index: 0, delta }, out);
    }
}

impl Project for Revised {
    fn entry(&mut self, _number: usize, entry: Entry, out: &mut Vec<u8>) {
        match entry {
            Entry::Revision(revision) => self.revise(revision, out),
            Entry::Ended(None) => self.events.finish(out),
            Entry::Ended(Some(error)) => self.events.fail(&Fault::from(error), out),
        }
    }
}
