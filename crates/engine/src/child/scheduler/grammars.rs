//! The reader of grammars, which is built when the first grammar comes, while the others go on.

use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::time::Duration;

use crate::child::constraint::{Constrained, Constraints, words_of};
use crate::child::llama::Model;
use crate::frames::{Constraint, Generate, WorkError, WorkId};

/// How long an idle scheduler waits before it looks whether the reader is ready: short beside the second that building takes.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// Requests that may wait for the reader.
const MAX_HELD: usize = 256;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Grammars {
    reader: Reader,
    held: Vec<Generate>,
}

#[derive(Debug, Default)]
enum Reader {
    #[default]
    NotWanted,
    Building(Receiver<Result<Constraints, String>>),
    Ready(Constraints),
    Failed(String),
}

impl Grammars {
    /// Whether somebody waits for the reader.
    pub(super) fn is_building(&self) -> bool {
        matches!(self.reader, Reader::Building(_))
    }

    /// Keeps a request that needs the reader before there is one; any other is given back.
    pub(super) fn hold(&mut self, model: &Model, generate: Generate) -> Option<Generate> {
        if generate.constraint.is_none() || self.held.len() >= MAX_HELD {
            return Some(generate);
        }
        if matches!(self.reader, Reader::NotWanted) {
            self.reader = start(model);
        }
        if !self.is_building() {
            return Some(generate);
        }
        self.held.push(generate);
        None
    }

    /// The requests that waited, once the reader is there or has failed.
    pub(super) fn take_ready(&mut self) -> Vec<Generate> {
        let Reader::Building(receiver) = &self.reader else { return Vec::new() };
        self.reader = match receiver.try_recv() {
            Ok(Ok(constraints)) => Reader::Ready(constraints),
            Ok(Err(message)) => Reader::Failed(message),
            Err(TryRecvError::Empty) => return Vec::new(),
            Err(TryRecvError::Disconnected) => {
                Reader::Failed("the grammar reader could not be built".to_owned())
            }
        };
        std::mem::take(&mut self.held)
    }

    /// Forgets a request that waits; whether there was one.
    pub(super) fn drop_held(&mut self, id: WorkId) -> bool {
        let before = self.held.len();
        self.held.retain(|generate| generate.id != id);
        self.held.len() < before
    }

    /// Reads a request's grammar, if it has one.
    pub(super) fn read(&self, constraint: Option<&Constraint>) -> Result<Option<Constrained>, WorkError> {
        let Some(constraint) = constraint else { return Ok(None) };
        let failed = |message| WorkError::BadConstraint { message };
        match &self.reader {
            Reader::Ready(constraints) => constraints.read(constraint).map(Some).map_err(failed),
            Reader::Failed(message) => Err(failed(message.clone())),
            Reader::NotWanted | Reader::Building(_) => Err(WorkError::Internal {
                message: format!("more than {MAX_HELD} requests wait for the grammar reader"),
            }),
        }
    }
}

fn start(model: &Model) -> Reader {
    let (words, ends) = match words_of(model) {
        Ok(found) => found,
        Err(message) => return Reader::Failed(message),
    };
    let (sender, receiver) = sync_channel(1);
    let build = move || {
        // The scheduler may have ended: then nobody needs it.
        let _ = sender.send(Constraints::for_words(&words, &ends));
    };
    match std::thread::Builder::new().name("grammars".into()).spawn(build) {
        Ok(_) => Reader::Building(receiver),
        Err(error) => Reader::Failed(format!("cannot start a thread: {error}")),
    }
}
