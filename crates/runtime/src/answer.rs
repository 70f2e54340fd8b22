//! An answer on its way to the caller.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use inshore_domain::{
    BackendError, BackendErrorKind, BoxFuture, Event, EventStream, Outcome, ReceiptId, Target,
};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::error::RunError;
use crate::execute::Begun;
use crate::settle::Running;

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
    Streaming(Box<Streaming>),
    Settling { commit: BoxFuture<'static, Result<(), RunError>>, error: Option<RunError> },
    Done,
}

/// How an answer ends that does not come to its end.
enum Ending {
    /// The target failed.
    Failed(BackendError),
    /// It was cut here.
    Cut(RunError),
}

struct Streaming {
    running: Running,
    first: Option<Event>,
    rest: EventStream,
    /// At least one answer has been finished.
    finished: bool,
}

impl AnswerStream {
    pub(crate) fn new(begun: Begun) -> Self {
        let tasks = begun.running.shared.tasks.clone();
        let streaming =
            Streaming { running: begun.running, first: begun.first, rest: begun.rest, finished: false };
        Self { state: State::Streaming(Box::new(streaming)), _token: tasks.token(), tasks }
    }

    /// Leaves the streaming state: the work is dropped, and what happened becomes a receipt.
    fn settle(&mut self, ending: Option<Ending>) {
        let State::Streaming(streaming) = std::mem::replace(&mut self.state, State::Done) else { return };
        let Streaming { running, rest, finished, .. } = *streaming;
        drop(rest);
        let ending = match ending {
            None if !finished => Some(Ending::Failed(broke_off(&running))),
            other => other,
        };
        if let (Some(Ending::Failed(error)), Some((target, _))) = (&ending, &running.answering)
            && error.kind.counts_against_health()
        {
            running.shared.health.failed(&target.id, running.now(), error.retry_after);
        }
        let error = ending.map(|ending| match ending {
            Ending::Failed(error) => RunError::from(error),
            Ending::Cut(error) => error,
        });
        let error = error.map(|error| error.with_receipt(running.id));
        let outcome = match &error {
            None => Outcome::Answered,
            Some(error) => Outcome::Failed { code: error.kind.code().into(), message: error.message.clone() },
        };
        self.state = State::Settling { commit: Box::pin(running.settle(outcome)), error };
    }
}

fn broke_off(running: &Running) -> BackendError {
    let target = running.answering.as_ref().map(|(target, _)| target.id.to_string()).unwrap_or_default();
    BackendError::new(BackendErrorKind::Protocol, format!("the answer of `{target}` broke off"))
        .with_hint("what was received is incomplete; send the request again")
}

impl Streaming {
    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Event, BackendError>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        self.rest.as_mut().poll_next(context)
    }

    fn note(&mut self, event: &Event) {
        self.finished |= matches!(event, Event::Finished { .. });
        self.running.note(event);
    }
}

impl Stream for AnswerStream {
    type Item = Result<Event, RunError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match &mut self.state {
                State::Streaming(streaming) => match ready!(streaming.poll_event(context)) {
                    Some(Ok(event)) => {
                        streaming.note(&event);
                        if let Some(cut) = streaming.running.count_piece(&event) {
                            self.settle(Some(Ending::Cut(cut)));
                            continue;
                        }
                        return Poll::Ready(Some(Ok(event)));
                    }
                    Some(Err(error)) => self.settle(Some(Ending::Failed(error))),
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
    /// While streaming, dropping the work cancels it and the receipt says so (see [`Running`]). The caller may also leave
    /// while the receipt is being written: it must be written all the same.
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
