//! What leaves in place of a request: the request without the values that are masked, with passages in the place of a long document, or
//! both; and the answers into which the values are put back.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use inshore_domain::request::OutputFormat;
use inshore_domain::{
    BackendError, BackendErrorKind, Event, EventStream, Facts, Request, Sensitivity, Strategy, Task,
};
use inshore_policy::masking::{Mask, Masked, Restorer};
use inshore_policy::sensitivity::Detector;
use inshore_policy::{Rules, inspect};

use crate::account::Account;
use crate::split::{self, Leaves, Sent};

/// What leaves in place of a request.
#[derive(Debug)]
pub(crate) struct Stand {
    /// `None`: nothing may.
    request: Option<Arc<Request>>,
    /// Where values are masked.
    hidden: Option<Hidden>,
    /// Where something stands in the place of a document.
    pub(crate) sent: Option<Sent>,
}

#[derive(Debug)]
struct Hidden {
    /// What stands for what; wiped when the request is over.
    mask: Arc<Mask>,
    masked: Masked,
    /// How sensitive the whole request is without the values: never less than the part of it that leaves.
    level: Sensitivity,
}

impl Stand {
    /// Nothing leaves.
    const NOTHING: Self = Self { request: None, hidden: None, sent: None };

    /// For another request that is made of the whole, which is the one that this was made for.
    pub(crate) fn beside(&self, whole: &Request, request: &Request) -> Option<Self> {
        match &self.hidden {
            Some(_) => Self::masked(whole.clone(), Some(request.clone())),
            None => Some(Self::open(request.clone())),
        }
    }

    /// Whether what leaves is no more than was told before the decision: what was set aside and permitted is for that.
    pub(crate) fn within(&self, facts: &Facts) -> bool {
        let Some(request) = &self.request else { return false };
        let leaving = inspect::inspect(request);
        leaving.prompt_tokens_at_most <= facts.prompt_tokens_at_most
            && leaving.bytes_at_most <= facts.bytes_at_most
            && leaving.sensitivity <= facts.leaving()
    }

    /// This request leaves as it is.
    fn open(request: Request) -> Self {
        Self { request: Some(Arc::new(request)), ..Self::NOTHING }
    }

    /// The whole, or this part of it, leaves without the values that the whole has: what is a name there is one in the part too. `None`
    /// where it cannot leave at all: what cannot be looked at cannot be masked, and neither can an export of thousands of values.
    fn masked(mut whole: Request, part: Option<Request>) -> Option<Self> {
        let (mut mask, detector) = (Mask::new(), Detector::default());
        let mut apply =
            |request: &mut Request| mask.apply(&detector, request).ok().filter(|masked| masked.opaque == 0);
        let mut masked = apply(&mut whole)?;
        let level = inspect::inspect(&whole).sensitivity;
        let mut leaving = whole;
        if let Some(part) = part {
            leaving = part;
            masked = apply(&mut leaving)?;
        }
        let hidden = Hidden { mask: Arc::new(mask), masked, level };
        Some(Self { hidden: Some(hidden), ..Self::open(leaving) })
    }

    /// Says that nothing leaves, where that is so.
    pub(crate) fn stays(&self) -> Option<String> {
        (self.request.is_none() && self.sent.is_none())
            .then(|| "what of the request may leave could not be told, so none of it does".into())
    }

    /// What leaves.
    ///
    /// # Errors
    /// When nothing may.
    pub(crate) fn request(&self) -> Result<Arc<Request>, BackendError> {
        self.request.clone().ok_or_else(|| {
            let message = "what of the request may leave cannot be told, so nothing of it does";
            BackendError::new(BackendErrorKind::Unsupported, message)
        })
    }

    /// What is set aside for a call must do for the request that really leaves: placeholders may be longer than what they stand for,
    /// and passages are shorter than their document.
    fn complete(&self, facts: &mut Facts) {
        let Some(request) = &self.request else {
            // Each of the requests that are made of it must keep within this.
            if let Some(reading) = self.sent.as_ref().and_then(|sent| sent.reading.as_ref()) {
                reading.bound(facts);
            }
            return;
        };
        let leaving = inspect::inspect(request);
        if self.sent.is_some() {
            facts.prompt_tokens = leaving.prompt_tokens;
            facts.prompt_tokens_at_most = leaving.prompt_tokens_at_most;
            facts.bytes_at_most = leaving.bytes_at_most;
        }
        facts.prompt_tokens = facts.prompt_tokens.max(leaving.prompt_tokens);
        facts.prompt_tokens_at_most = facts.prompt_tokens_at_most.max(leaving.prompt_tokens_at_most);
        facts.bytes_at_most = facts.bytes_at_most.max(leaving.bytes_at_most);
    }

    /// What was left out and replaced, for the receipt.
    pub(crate) fn told(&self) -> Vec<String> {
        let masked = self.hidden.as_ref().map(|hidden| &hidden.masked.replaced);
        let replaced: Vec<String> =
            masked.into_iter().flatten().map(|(word, count)| format!("{word} {count}")).collect();
        let masked =
            (!replaced.is_empty()).then(|| format!("masked before the call: {}", replaced.join(", ")));
        self.sent.as_ref().and_then(Sent::told).into_iter().chain(masked).collect()
    }

    /// The answer with the values in it.
    pub(crate) fn restored(&self, account: Arc<Account>, answer: EventStream) -> EventStream {
        let (Some(request), Some(hidden)) = (&self.request, &self.hidden) else { return answer };
        let output = match &request.task {
            Task::Chat(chat) => chat.output.clone(),
            Task::Completion(completion) => completion.output.clone(),
            Task::Embedding(_) => OutputFormat::Text,
        };
        let restorer = Restorer::new(hidden.mask.clone(), &output);
        Box::pin(Restored {
            answer,
            restorer,
            ready: VecDeque::new(),
            told: 0,
            ended: false,
            error: None,
            account,
        })
    }
}

/// What leaves in place of the request, where its feature has values masked or only passages of a document leave. What cannot be
/// masked, and a long document of which no passage can be chosen, stays on the device.
pub(crate) fn stand(request: &Request, rules: &Rules, facts: &mut Facts) -> Option<Stand> {
    if facts.sensitivity == Sensitivity::Restricted {
        return None;
    }
    let feature = facts.feature.as_deref().and_then(|name| rules.settings().features.get(name));
    let mask = feature.is_some_and(|feature| feature.mask);
    if !mask && facts.strategy != Some(Strategy::Split) {
        return None;
    }
    let mut limited = request.clone();
    if let Some(sampling) = limited.task.sampling_mut() {
        sampling.max_tokens = facts.max_output_tokens;
    }
    let split = feature.and_then(|feature| feature.split).unwrap_or_default();
    let Ok(leaves) = split::leaves(&limited, split, facts) else { return Some(nothing_leaves(facts)) };
    let (sent, stand) = match leaves {
        Leaves::Whole if !mask => return None,
        Leaves::Whole => (None, Stand::masked(limited, None)),
        Leaves::Part(sent, part) if mask => (Some(sent), Stand::masked(limited, Some(*part))),
        Leaves::Part(sent, part) => (Some(sent), Some(Stand::open(*part))),
        Leaves::Answers(sent) if mask => {
            (Some(sent), Stand::masked(limited, None).map(|stand| Stand { request: None, ..stand }))
        }
        Leaves::Answers(sent) => (Some(sent), Some(Stand::NOTHING)),
    };
    let Some(stand) = stand else { return Some(nothing_leaves(facts)) };
    if let Some(hidden) = &stand.hidden {
        let declared = feature.and_then(|feature| feature.sensitivity).unwrap_or_default();
        facts.leaving = Some(hidden.level.max(declared));
    }
    let stand = Stand { sent, ..stand };
    stand.complete(facts);
    Some(stand)
}

/// Policies are told, and whatever they say, no call is made.
fn nothing_leaves(facts: &mut Facts) -> Stand {
    facts.egress = false;
    Stand::NOTHING
}

/// An answer into which values are put back while it comes.
struct Restored {
    answer: EventStream,
    restorer: Restorer,
    ready: VecDeque<Event>,
    /// Remarks that are on the receipt already.
    told: usize,
    ended: bool,
    /// How it ended, once what was held back has been passed on.
    error: Option<BackendError>,
    account: Arc<Account>,
}

impl Restored {
    /// What is not certain is said and not guessed.
    fn tell(&mut self) {
        let notes = self.restorer.notes();
        for note in notes.get(self.told..).unwrap_or_default() {
            self.account.note(note.to_string());
        }
        self.told = notes.len();
    }
}

impl Stream for Restored {
    type Item = Result<Event, BackendError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if let Some(event) = this.ready.pop_front() {
                return Poll::Ready(Some(Ok(event)));
            }
            if this.ended {
                return Poll::Ready(this.error.take().map(Err));
            }
            let mut out = Vec::new();
            match ready!(this.answer.as_mut().poll_next(context)) {
                Some(Ok(event)) => this.restorer.restore(event, &mut out),
                end => {
                    this.ended = true;
                    this.restorer.end(&mut out);
                    this.error = end.and_then(Result::err);
                }
            }
            this.tell();
            this.ready.extend(out);
        }
    }
}
