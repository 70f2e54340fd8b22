//! An answer on its way to the caller.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use inshore_domain::{BoxFuture, Event, ReceiptId, Target};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::error::RunError;
use crate::execute::Begun;
use crate::settle::outcome;

/// An accepted request: who answers, and the answer as it is made.
#[derive(Debug)]
pub struct Answer {
    /// Names the receipt, which is in the store by the time the events end.
    pub receipt: ReceiptId,
    /// Which target answers.
    pub target: Arc<Target>,
    /// The model, as the target names it.
    pub model: String,
    /// What the caller should know before it reads on: a cap that is nearly used up.
    pub notes: Vec<String>,
    /// The answer was given before, and is given again.
    pub replayed: bool,
    /// The answer.
    pub events: AnswerStream,
}

/// The events of an answer. Ends only after the receipt is committed; an error is the last item. Dropping it cancels
/// the work, and the receipt then says `Cancelled`.
pub struct AnswerStream {
    state: State,
    tasks: TaskTracker,
    /// Shutdown waits until this answer is settled.
    _token: TaskTrackerToken,
}

enum State {
    Streaming(Box<Begun>),
    Settling { commit: BoxFuture<'static, Result<(), RunError>>, error: Option<RunError> },
    Done,
}

impl AnswerStream {
    pub(crate) fn new(begun: Begun) -> Self {
        let tasks = begun.running.account.shared.tasks.clone();
        Self { state: State::Streaming(Box::new(begun)), _token: tasks.token(), tasks }
    }

    /// Leaves the streaming state: the work is dropped, and what happened becomes a receipt.
    fn settle(&mut self, error: Option<RunError>) {
        let State::Streaming(begun) = std::mem::replace(&mut self.state, State::Done) else { return };
        let Begun { leg, running } = *begun;
        drop(leg);
        let error = error.map(|error| error.with_receipt(running.account.id));
        let commit = Box::pin(running.settle(outcome(error.as_ref())));
        self.state = State::Settling { commit, error };
    }
}

impl Stream for AnswerStream {
    type Item = Result<Event, RunError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match &mut self.state {
                State::Streaming(begun) => match ready!(Pin::new(&mut begun.leg).poll_next(context)) {
                    Some(Ok(event)) => {
                        begun.running.note(&event);
                        return Poll::Ready(Some(Ok(event)));
                    }
                    Some(Err(error)) => self.settle(Some(error)),
                    None => self.settle(None),
                },
                State::Settling { commit, error } => {
                    let committed = ready!(commit.as_mut().poll(context));
                    let error = error.take().or(committed.err());
                    self.state = State::Done;
                    if let Some(error) = error {
                        return Poll::Ready(Some(Err(error)));
                    }
                }
                State::Done => return Poll::Ready(None),
            }
        }
    }
}

impl Drop for AnswerStream {
    /// While streaming, dropping the work cancels it and the receipt says so (see [`crate::settle::Running`]). The caller may also
    /// leave while the receipt is being written: it must be written all the same.
    fn drop(&mut self) {
        let state = std::mem::replace(&mut self.state, State::Done);
        if let State::Settling { commit, .. } = state
            && tokio::runtime::Handle::try_current().is_ok()
        {
            self.tasks.spawn(commit);
        }
    }
}

impl fmt::Debug for AnswerStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Streaming(_) => "streaming",
            State::Settling { .. } => "settling",
            State::Done => "done",
        };
        f.debug_tuple("AnswerStream").field(&state).finish()
    }
}
