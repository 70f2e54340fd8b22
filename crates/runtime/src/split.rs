//! Strategy `split`: of a long document only what is needed leaves the device.
//!
//! What leaves is chosen before the decision, for what a call costs and how long its prompt is depends on it; from then on it stands in
//! the place of the request wherever that would leave ([`crate::masked`]). So no road leads around it: neither another try, nor the
//! next step, nor a count of tokens.

use std::sync::Arc;

use inshore_domain::{Facts, Money, Request, Split, Strategy, Target, Usage};
use inshore_policy::split::{self, Chosen, Parted, Reading};
use inshore_policy::{cost, inspect};

/// What stands in the place of a document.
#[derive(Debug)]
pub(crate) struct Sent {
    /// What is told of it before a call.
    told: Option<String>,
    /// What the device reads, where nothing leaves but what it finds.
    pub(crate) reading: Option<Arc<Reading>>,
    /// A low estimate of the whole prompt.
    whole_tokens: u32,
}

/// What leaves of a request.
#[derive(Debug)]
pub(crate) enum Leaves {
    /// All of it.
    Whole,
    /// This.
    Part(Sent, Box<Request>),
    /// Nothing but other requests that are made of it.
    Answers(Sent),
}

/// A document of which it cannot be told what matters.
#[derive(Debug)]
pub(crate) struct Unclear;

/// What leaves of the request. One that is too short to be split runs as if nobody had asked for it.
///
/// # Errors
/// When nothing of it may leave.
pub(crate) fn leaves(request: &Request, split: Split, facts: &mut Facts) -> Result<Leaves, Unclear> {
    if facts.strategy != Some(Strategy::Split) {
        return Ok(Leaves::Whole);
    }
    let whole_tokens = inspect::estimate_prompt_tokens(&request.task);
    let sent = |told, reading| Sent { told, reading, whole_tokens };
    let parted = match split {
        Split::Passages => split::passages(request),
        Split::Chunks => match split::reading(request) {
            Ok(reading) => return Ok(Leaves::Answers(sent(None, Some(Arc::new(reading))))),
            Err(parted) => parted,
        },
    };
    match parted {
        Parted::Short => {
            facts.strategy = None;
            Ok(Leaves::Whole)
        }
        Parted::Unclear => Err(Unclear),
        Parted::Chosen(chosen) => {
            let Chosen { request: part, passages, of_passages, bytes, of_bytes } = *chosen;
            let told = format!(
                "of the document {passages} of {of_passages} passages were sent, {bytes} of {of_bytes} bytes"
            );
            Ok(Leaves::Part(sent(Some(told), None), Box::new(part)))
        }
    }
}

impl Sent {
    /// What was sent.
    pub(crate) fn told(&self) -> Option<String> {
        self.told.clone()
    }

    /// What sending the whole would have cost, for the same answer. The prompt is estimated low.
    pub(crate) fn spared(&self, target: &Target, usage: &Usage, taken: Money) -> Option<String> {
        let price = target.price?;
        let prompt_tokens = self.whole_tokens.max(usage.prompt_tokens);
        let output_tokens = usage.output_tokens;
        let whole = cost(&price, &Usage { prompt_tokens, output_tokens, ..Usage::default() });
        Some(format!("sending the whole document would have cost about {whole}, and this cost {taken}"))
    }
}
