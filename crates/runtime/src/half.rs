//! One of several answers to the same request that are made side by side.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use inshore_domain::{BoxFuture, Delta, Event, FinishReason, Step, Usage};

use crate::account::Account;
use crate::error::{RunError, RunErrorKind};
use crate::execute::first_leg;
use crate::leg::Leg;
use crate::registry::Registry;

/// Bytes of one answer that is held back: as many as a whole answer may have elsewhere. One that sends more does not end.
const MOST_BYTES: usize = 16 << 20;

/// What has come of an answer so far.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    /// All events, as they came.
    pub(crate) events: Vec<Event>,
    /// The text of the first answer.
    pub(crate) text: String,
    /// Why it ended.
    pub(crate) reason: Option<FinishReason>,
    pub(crate) usage: Option<Usage>,
    /// It calls a tool.
    pub(crate) calls: bool,
    /// Something of the answer itself has come.
    pub(crate) begun: bool,
    pub(crate) bytes: usize,
}

impl Gathered {
    fn take(&mut self, event: Event) -> Result<(), RunError> {
        match &event {
            Event::Started { .. } => {}
            Event::Delta { index, delta } => {
                self.begun = true;
                self.bytes += match delta {
                    Delta::Text { text, logprobs } => {
                        if *index == 0 {
                            self.text.push_str(text);
                        }
                        text.len() + logprobs.len() * 64
                    }
                    Delta::Reasoning(text) => text.len(),
                    Delta::ToolCall { id, name, .. } => {
                        self.calls = true;
                        id.len() + name.len()
                    }
                    Delta::ToolArguments { fragment, .. } => fragment.len(),
                };
            }
            Event::Finished { index, reason } => {
                self.begun = true;
                if *index == 0 {
                    self.reason = Some(*reason);
                }
            }
            Event::Usage(usage) => self.usage = Some(*usage),
            Event::Wire(bytes) => self.bytes += bytes.len(),
        }
        if self.bytes > MOST_BYTES {
            let message = format!("the answer is longer than {MOST_BYTES} bytes");
            return Err(RunError::new(RunErrorKind::AnswerTooLong, message));
        }
        self.events.push(event);
        Ok(())
    }
}

/// What has just happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Happened {
    /// A target has accepted.
    Accepted,
    /// There is one more event: the last one gathered.
    Came,
    /// The answer is whole.
    Complete,
    /// There is no answer, or it broke off.
    Failed,
}

enum State {
    Calling(BoxFuture<'static, Result<Leg, RunError>>),
    Answering(Leg),
    Complete(Leg),
    Failed(RunError),
}

/// An answer that is being made. Dropping it cancels the work.
pub(crate) struct Half {
    state: State,
    pub(crate) gathered: Gathered,
}

impl Half {
    /// Has the first of these steps that can answer.
    pub(crate) fn begin(account: &Arc<Account>, steps: &[Step], registry: &Arc<Registry>) -> Self {
        let (account, steps, registry) = (account.clone(), steps.to_vec(), registry.clone());
        let calling = Box::pin(async move { first_leg(&account, &steps, &registry).await });
        Self { state: State::Calling(calling), gathered: Gathered::default() }
    }

    /// Goes on with an answer that has begun.
    pub(crate) fn of(leg: Leg) -> Self {
        Self { state: State::Answering(leg), gathered: Gathered::default() }
    }

    /// What happens next; never returns once it is over. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Happened {
        poll_fn(|context| self.poll(context)).await
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Happened> {
        match &mut self.state {
            State::Calling(calling) => match ready!(calling.as_mut().poll(context)) {
                Ok(leg) => {
                    self.state = State::Answering(leg);
                    Poll::Ready(Happened::Accepted)
                }
                Err(error) => self.fail(error),
            },
            State::Answering(leg) => match ready!(Pin::new(leg).poll_next(context)) {
                Some(Ok(event)) => match self.gathered.take(event) {
                    Ok(()) => Poll::Ready(Happened::Came),
                    Err(error) => self.fail(error),
                },
                Some(Err(error)) => self.fail(error),
                None => {
                    let state =
                        std::mem::replace(&mut self.state, State::Calling(Box::pin(std::future::pending())));
                    if let State::Answering(leg) = state {
                        self.state = State::Complete(leg);
                    }
                    Poll::Ready(Happened::Complete)
                }
            },
            State::Complete(_) | State::Failed(_) => Poll::Pending,
        }
    }

    fn fail(&mut self, error: RunError) -> Poll<Happened> {
        self.state = State::Failed(error);
        Poll::Ready(Happened::Failed)
    }

    /// Ends the work, whatever has come of it.
    pub(crate) fn give_up(&mut self, why: RunError) {
        self.state = State::Failed(why);
    }

    /// The answer, once a target has accepted and unless it has failed.
    pub(crate) fn leg(&self) -> Option<&Leg> {
        match &self.state {
            State::Answering(leg) | State::Complete(leg) => Some(leg),
            State::Calling(_) | State::Failed(_) => None,
        }
    }

    /// The whole answer is there.
    pub(crate) fn complete(&self) -> bool {
        matches!(self.state, State::Complete(_))
    }

    /// Why there is no answer, where there is none.
    pub(crate) fn failure(&self) -> Option<&RunError> {
        match &self.state {
            State::Failed(error) => Some(error),
            State::Calling(_) | State::Answering(_) | State::Complete(_) => None,
        }
    }

    /// The answer, to be read from its beginning.
    pub(crate) fn into_leg(self) -> Option<Leg> {
        match self.state {
            State::Answering(mut leg) | State::Complete(mut leg) => {
                leg.give_back(self.gathered.events);
                Some(leg)
            }
            State::Calling(_) | State::Failed(_) => None,
        }
    }
}
