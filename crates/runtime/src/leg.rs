//! One call of one target that has begun to answer.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_core::Stream;
use inshore_domain::{
    BackendError, BackendErrorKind, Delta, Event, EventStream, FinishReason, ReservationId, Target,
};

use crate::account::Account;
use crate::error::RunError;
use crate::sensor::Counted;

/// The answer of one target on its way. Its pieces are counted against what is set aside for it, and what it shows of the target's
/// health is noted. Ends with `None` when the answer is whole; an error is the last item. Dropping it cancels the call.
pub(crate) struct Leg {
    pub(crate) target: Arc<Target>,
    /// The model, as the target names it.
    pub(crate) model: String,
    /// From admission until the work began.
    pub(crate) queued: Duration,
    account: Arc<Account>,
    /// What is set aside for it.
    held: Option<ReservationId>,
    /// Events that are still to be passed on: what came with its acceptance, and what was given back.
    unread: VecDeque<Event>,
    /// How many of these have been counted.
    counted: usize,
    rest: EventStream,
    /// At least one answer has been finished.
    finished: bool,
    /// As the target has said; 0 until then.
    output_tokens: u32,
    /// It has begun to answer.
    begun: bool,
    /// It says something about the target: not an answer that was there before.
    live: bool,
    over: bool,
    /// It is in work on the device.
    _in_work: Option<Counted>,
}

/// A call that a target has accepted.
pub(crate) struct Accepted {
    pub(crate) model: String,
    /// What came with the acceptance, where the target was not silent at first.
    pub(crate) first: Option<Event>,
    pub(crate) rest: EventStream,
}

impl Leg {
    pub(crate) fn new(
        account: Arc<Account>,
        target: Arc<Target>,
        accepted: Accepted,
        held: Option<ReservationId>,
        (queued, in_work): (Duration, Option<Counted>),
    ) -> Self {
        let Accepted { model, first, rest } = accepted;
        Self {
            target,
            model,
            queued,
            account,
            held,
            unread: first.into_iter().collect(),
            counted: 0,
            rest,
            finished: false,
            output_tokens: 0,
            begun: false,
            live: true,
            over: false,
            _in_work: in_work,
        }
    }

    /// An answer that is there already.
    pub(crate) fn given(
        account: Arc<Account>,
        target: Arc<Target>,
        model: String,
        events: Vec<Event>,
    ) -> Self {
        let rest = Box::pin(futures_util::stream::iter(events.into_iter().map(Ok)));
        let accepted = Accepted { model, first: None, rest };
        let queued = account.elapsed();
        Self { live: false, ..Self::new(account, target, accepted, None, (queued, None)) }
    }

    /// The same once its first event is there.
    ///
    /// # Errors
    /// When it ends before.
    pub(crate) async fn begun(mut self) -> Result<Self, RunError> {
        match std::future::poll_fn(|context| Pin::new(&mut self).poll_next(context)).await {
            Some(Ok(event)) => {
                self.give_back(vec![event]);
                Ok(self)
            }
            Some(Err(error)) => Err(error),
            None => Err(self.broke_off().into()),
        }
    }

    /// Puts events back that were read, to be read again.
    pub(crate) fn give_back(&mut self, events: Vec<Event>) {
        self.counted += events.len();
        for event in events.into_iter().rev() {
            self.unread.push_front(event);
        }
    }

    /// Leaves log-probabilities out of what was given back: the caller did not ask for them.
    pub(crate) fn forget_logprobs(&mut self) {
        for event in &mut self.unread {
            if let Event::Delta { delta: Delta::Text { logprobs, .. }, .. } = event {
                logprobs.clear();
            }
        }
    }

    fn take(&mut self, event: &Event) -> Option<RunError> {
        match event {
            Event::Delta { .. } | Event::Wire(_) => self.begins(),
            Event::Finished { reason, .. } => {
                self.finished = true;
                if *reason != FinishReason::Length {
                    self.begins();
                }
            }
            Event::Usage(usage) => {
                self.output_tokens = usage.output_tokens;
                self.account.used_so_far(self.held, *usage);
            }
            Event::Started { .. } => {}
        }
        self.account.count_piece(self.held, event)
    }

    /// Notes the first piece of the answer, once.
    fn begins(&mut self) {
        if !std::mem::replace(&mut self.begun, true) && self.live {
            self.account.began(&self.target.id, self.queued);
        }
    }

    fn fails(&mut self, error: BackendError) -> RunError {
        if error.kind.counts_against_health() {
            self.account.shared.health.failed(&self.target.id, self.account.now(), error.retry_after);
        }
        error.into()
    }

    fn broke_off(&self) -> BackendError {
        let message = format!("the answer of `{}` broke off", self.target.id);
        BackendError::new(BackendErrorKind::Protocol, message)
            .with_hint("what was received is incomplete; send the request again")
    }

    fn end(&mut self, error: Option<RunError>) -> Poll<Option<Result<Event, RunError>>> {
        self.over = true;
        // The work ends here, and not when somebody comes to drop this.
        self.rest = Box::pin(futures_util::stream::empty());
        Poll::Ready(error.map(Err))
    }
}

impl Stream for Leg {
    type Item = Result<Event, RunError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(counted) = self.counted.checked_sub(1) {
            self.counted = counted;
            return Poll::Ready(self.unread.pop_front().map(Ok));
        }
        if self.over {
            return Poll::Ready(None);
        }
        let next = match self.unread.pop_front() {
            Some(first) => Some(Ok(first)),
            None => ready!(self.rest.as_mut().poll_next(context)),
        };
        match next {
            Some(Ok(event)) => match self.take(&event) {
                None => Poll::Ready(Some(Ok(event))),
                Some(cut) => self.end(Some(cut)),
            },
            Some(Err(error)) => {
                let error = self.fails(error);
                self.end(Some(error))
            }
            None if self.finished => {
                self.account.came_to_its_end(self.held);
                if self.live {
                    self.account.ended(&self.target.id, self.queued, self.output_tokens);
                }
                self.end(None)
            }
            None => {
                let error = self.broke_off();
                let error = self.fails(error);
                self.end(Some(error))
            }
        }
    }
}
