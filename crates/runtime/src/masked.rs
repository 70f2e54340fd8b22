//! Requests whose values are masked before they leave, and the answers into which the values are put back.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use inshore_domain::request::OutputFormat;
use inshore_domain::{BackendError, BackendErrorKind, Event, EventStream, Facts, Request, Sensitivity, Task};
use inshore_policy::masking::{Mask, Masked, Restorer};
use inshore_policy::sensitivity::Detector;
use inshore_policy::{Rules, inspect};

use crate::account::Account;

/// What leaves in place of a request.
#[derive(Debug)]
pub(crate) struct Stand {
    /// What stands for what; wiped when the request is over.
    mask: Arc<Mask>,
    /// The request without the values.
    pub(crate) request: Arc<Request>,
    masked: Masked,
}

impl Stand {
    /// Masks the request. `None` where it cannot leave at all: what cannot be looked at cannot be masked, and neither can an export of
    /// thousands of values.
    pub(crate) fn of(request: &Request) -> Option<Self> {
        let (mut mask, mut copy) = (Mask::new(), request.clone());
        let masked = mask.apply(&Detector::default(), &mut copy).ok().filter(|masked| masked.opaque == 0)?;
        Some(Self { mask: Arc::new(mask), request: Arc::new(copy), masked })
    }

    /// What leaves in place of this request, which is the one that was masked or differs from it a little.
    ///
    /// # Errors
    /// When it cannot be masked.
    pub(crate) fn instead_of(
        &self,
        masked: &Arc<Request>,
        asked: &Arc<Request>,
    ) -> Result<Arc<Request>, BackendError> {
        if Arc::ptr_eq(masked, asked) {
            return Ok(self.request.clone());
        }
        // Only a request for the device is ever another one; whatever makes it so for others must be masked as well.
        let message = "the request differs from the one that was masked, and does not leave";
        Err(BackendError::new(BackendErrorKind::Unsupported, message))
    }

    /// What is set aside for a call must do for the request that really leaves: placeholders may be longer than what they stand for.
    pub(crate) fn complete(&self, facts: &mut Facts) {
        let leaving = inspect::inspect(&self.request);
        facts.prompt_tokens = facts.prompt_tokens.max(leaving.prompt_tokens);
        facts.prompt_tokens_at_most = facts.prompt_tokens_at_most.max(leaving.prompt_tokens_at_most);
        facts.bytes_at_most = facts.bytes_at_most.max(leaving.bytes_at_most);
    }

    /// What was replaced, for the receipt; `None` where nothing was.
    pub(crate) fn told(&self) -> Option<String> {
        let replaced: Vec<String> =
            self.masked.replaced.iter().map(|(word, count)| format!("{word} {count}")).collect();
        (!replaced.is_empty()).then(|| format!("masked before the call: {}", replaced.join(", ")))
    }

    /// The answer with the values in it.
    pub(crate) fn restored(&self, account: Arc<Account>, answer: EventStream) -> EventStream {
        let output = match &self.request.task {
            Task::Chat(chat) => chat.output.clone(),
            Task::Completion(completion) => completion.output.clone(),
            Task::Embedding(_) => OutputFormat::Text,
        };
        let restorer = Restorer::new(self.mask.clone(), &output);
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

/// What leaves in place of the request, where its feature has values masked. What cannot be masked stays on the device.
pub(crate) fn stand(request: &Request, rules: &Rules, facts: &mut Facts) -> Option<Stand> {
    let feature = rules.settings().features.get(facts.feature.as_deref()?)?;
    if !feature.mask || facts.sensitivity == Sensitivity::Restricted {
        return None;
    }
    let mut limited = request.clone();
    if let Some(sampling) = limited.task.sampling_mut() {
        sampling.max_tokens = facts.max_output_tokens;
    }
    let stand = Stand::of(&limited);
    match &stand {
        Some(stand) => {
            let leaving = inspect::inspect(&stand.request).sensitivity;
            facts.leaving = Some(leaving.max(feature.sensitivity.unwrap_or_default()));
            stand.complete(facts);
        }
        None => facts.egress = false,
    }
    stand
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
