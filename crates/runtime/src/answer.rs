//! An answer on its way to the caller.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;
use inshore_domain::{Event, ReceiptId, Target};
use tokio::sync::mpsc;

use crate::error::RunError;

/// An accepted request: who answers, and the answer as it is made.
#[derive(Debug)]
pub struct Answer {
    /// Names the receipt, which is in the store by the time the events end.
    pub receipt: ReceiptId,
    /// Which target answers.
    pub target: Arc<Target>,
    /// The model, as the target names it.
    pub model: String,
    /// The answer.
    pub events: AnswerStream,
}

/// The events of an answer. Ends only after the receipt is committed. Dropping it cancels the work; the receipt then
/// says `Cancelled`.
#[derive(Debug)]
pub struct AnswerStream {
    pub(crate) events: mpsc::Receiver<Result<Event, RunError>>,
}

impl Stream for AnswerStream {
    type Item = Result<Event, RunError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.events.poll_recv(context)
    }
}
