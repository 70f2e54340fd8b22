//! Strategy `split`: of a long document only what is needed leaves the device.
//!
//! What leaves is chosen before the decision, for what a call costs and how long its prompt is depends on it; from then on it stands in
//! the place of the request wherever that would leave ([`crate::masked`]). So no road leads around it: neither another try, nor the
//! next step, nor a count of tokens.

use inshore_domain::{Facts, Money, Request, Strategy, Target, Usage};
use inshore_policy::split::{self, Chosen, Parted};
use inshore_policy::{cost, inspect};

/// What was sent of a document, for the receipt.
#[derive(Debug)]
pub(crate) struct Sent {
    passages: usize,
    of_passages: usize,
    bytes: usize,
    of_bytes: usize,
    /// A low estimate of the whole prompt.
    whole_tokens: u32,
}

/// A document of which it cannot be told what matters.
#[derive(Debug)]
pub(crate) struct Unclear;

/// What leaves in place of the request, and what of its document that is; `None` where it leaves whole. A request that is too short
/// runs as if nobody had asked for it to be split.
///
/// # Errors
/// When nothing of it may leave.
pub(crate) fn part(request: &Request, facts: &mut Facts) -> Result<Option<(Sent, Request)>, Unclear> {
    if facts.strategy != Some(Strategy::Split) {
        return Ok(None);
    }
    match split::passages(request) {
        Parted::Short => {
            facts.strategy = None;
            Ok(None)
        }
        Parted::Unclear => Err(Unclear),
        Parted::Chosen(chosen) => {
            let Chosen { request: part, passages, of_passages, bytes, of_bytes } = *chosen;
            let whole_tokens = inspect::estimate_prompt_tokens(&request.task);
            Ok(Some((Sent { passages, of_passages, bytes, of_bytes, whole_tokens }, part)))
        }
    }
}

impl Sent {
    /// What was sent.
    pub(crate) fn told(&self) -> String {
        let Self { passages, of_passages, bytes, of_bytes, .. } = self;
        format!("of the document {passages} of {of_passages} passages were sent, {bytes} of {of_bytes} bytes")
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
