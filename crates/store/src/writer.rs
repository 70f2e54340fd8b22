//! What changes the state and commits it to the journal, and what waits for it.
//!
//! Whatever has queued up while the last record was being written goes into the next one, so that many callers share the price
//! of one write and a single caller waits for nobody. Whose thread it runs on is `desk`'s business; that records come to the
//! tables is `folder`'s.

use std::path::PathBuf;
use std::sync::Arc;

use inshore_domain::Currency;
use rusqlite::Connection;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{mpsc, oneshot};

use crate::books::Mirror;
use crate::error::StoreError;
use crate::fold::Fold;
use crate::folder::{Done, Failed, Job};
use crate::journal::Journal;
use crate::state::State;
use crate::work::{Lost, Reply, Work};
use crate::written::Pen;

/// Orders that may wait for the writer. At 12,000 a second this is a third of a second of work and, at about 1 KiB
/// each, 4 MiB; beyond it callers wait for room.
pub(crate) const QUEUE: usize = 4096;
/// Most orders in one record. The price of a write is spread thin enough at a few dozen, and the first caller
/// of a batch waits for the last.
pub(crate) const BATCH: usize = 256;
/// Bytes that may be written down and not be in the tables: some two thousand requests, which take twice as much in memory. Beyond
/// it callers wait for the next fold, a few milliseconds, or hear what is wrong with the database.
pub(crate) const MOST_UNFOLDED: usize = 2 << 20;
/// What a record of one request takes, so that its buffer need not grow.
const USUAL: usize = 1024;

/// What the writer is told.
pub(crate) enum Order {
    Work(Work),
    /// Bring all that was ordered before to the tables, for whoever is about to read them.
    Fold(Reply<()>),
    /// Finish what is queued, close the database, then answer.
    Close(oneshot::Sender<()>),
}

/// Whether a turn may wait for the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// On a caller's thread.
    None,
    /// On the writer's own.
    Some,
}

/// What a turn has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Nothing.
    Idle,
    /// Work, or something that only the writer's own thread may do.
    More,
    /// Nothing, and nothing can come any more.
    Ended,
}

/// What the writer shares with those who give it orders.
#[derive(Debug, Clone)]
pub(crate) struct Common {
    /// The installation's, in which money is counted.
    pub(crate) currency: Currency,
    /// What callers see of the counters.
    pub(crate) mirror: Arc<Mirror>,
    /// Reservations of which nobody heard.
    pub(crate) lost: Arc<Lost>,
    /// How many receipts are kept.
    pub(crate) retained: i64,
}

pub(crate) struct Writer {
    /// Only asked: for old receipts, and for counters of windows that are over.
    connection: Connection,
    path: PathBuf,
    journal: Journal,
    orders: mpsc::Receiver<Order>,
    common: Common,
    /// A batch that has to wait.
    held: Vec<Work>,
    /// Those who wait until the tables are up to date, and those of them whose job is being done.
    waiting: Vec<Reply<()>>,
    served: Vec<Reply<()>>,
    /// Those who wait for the end.
    pub(crate) closing: Vec<oneshot::Sender<()>>,
    /// What is known without asking the database.
    state: Known,
    /// The rows of records that are in no fold yet.
    written: Vec<Vec<u8>>,
    /// Folds that are to be written, in their order, and how many of them there were when that failed last.
    folds: Vec<Fold>,
    failed_with: usize,
    /// Bytes that are written down and not in the tables.
    unfolded: usize,
    /// A job is being done.
    at_work: bool,
    /// Why the last job could not be done; for the next order that needs it.
    failed: Option<StoreError>,
}

/// The state, and whether it is what the journal says.
enum Known {
    Good(State),
    /// A record could not be written after it had changed this, or a panic took it along: to be read again.
    Stale(Option<State>),
}

impl Writer {
    /// Takes over a state that the tables agree with, and a connection to look things up.
    pub(crate) fn new(
        connection: Connection,
        path: PathBuf,
        journal: Journal,
        mut state: State,
        common: Common,
        orders: mpsc::Receiver<Order>,
    ) -> Self {
        state.books.publish(&common.mirror);
        Self {
            connection,
            path,
            journal,
            orders,
            common,
            held: Vec::new(),
            waiting: Vec::new(),
            served: Vec::new(),
            closing: Vec::new(),
            state: Known::Good(state),
            written: Vec::new(),
            folds: Vec::new(),
            failed_with: 0,
            unfolded: 0,
            at_work: false,
            failed: None,
        }
    }

    /// Carries out what is queued, `most` orders at a time at most.
    pub(crate) fn turn(&mut self, most: usize, patience: Patience) -> Turn {
        let mut batch = std::mem::take(&mut self.held);
        if !self.common.lost.is_empty() {
            batch.push(Work::Forget(self.common.lost.take()));
        }
        let mut ended = false;
        while batch.len() < most {
            match self.orders.try_recv() {
                Ok(Order::Work(work)) => batch.push(work),
                Ok(Order::Fold(done)) => self.waiting.push(done),
                Ok(Order::Close(done)) => {
                    // Orders that are queued are still carried out; new ones are refused.
                    self.orders.close();
                    self.closing.push(done);
                }
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    ended = true;
                    break;
                }
            }
        }
        let full = batch.len() >= most;
        if !batch.is_empty() {
            self.carry_out(batch, patience);
        } else if ended && self.waiting.is_empty() && !self.at_work {
            return Turn::Ended;
        }
        self.answer_idle();
        // What has to wait for the job that is being done is looked at again when it has ended.
        let waits = ended || !self.closing.is_empty() || !self.held.is_empty() || self.has_job();
        let left = full && self.held.is_empty() || !self.common.lost.is_empty() || waits && !self.at_work;
        if left { Turn::More } else { Turn::Idle }
    }

    /// Commits a batch and answers each caller.
    fn carry_out(&mut self, mut batch: Vec<Work>, patience: Patience) {
        let done = if self.must_wait() {
            match self.failed.take_if(|_| patience == Patience::Some) {
                Some(error) => Err(error),
                // The writer's thread does its job first, and begins its next turn with these.
                None => {
                    self.held = batch;
                    return;
                }
            }
        } else {
            self.commit(&mut batch)
        };
        match done {
            Ok(()) => batch.into_iter().for_each(Work::answer),
            Err(error) => {
                tracing::error!(%error, orders = batch.len(), "orders could not be carried out");
                batch.into_iter().for_each(|work| work.fail(&error));
            }
        }
    }

    /// Whether nothing can be done before the next job is.
    fn must_wait(&self) -> bool {
        matches!(self.state, Known::Stale(_)) || self.unfolded >= MOST_UNFOLDED
    }

    /// One record: what all orders of the batch write down.
    fn commit(&mut self, batch: &mut [Work]) -> Result<(), StoreError> {
        // Taken out, so that a panic leaves none behind that is half changed.
        let Known::Good(mut state) = std::mem::replace(&mut self.state, Known::Stale(None)) else {
            return Err(StoreError::Closed);
        };
        let mut rows = Vec::with_capacity(USUAL * batch.len());
        let mut pen = Pen { connection: &self.connection, rows: &mut rows };
        let carried_out = batch.iter_mut().try_for_each(|work| work.carry_out(&mut pen, &mut state));
        let done = carried_out.map_err(|error| StoreError::from_sqlite(&self.path, &error)).and_then(|()| {
            // A refusal leaves nothing to commit.
            if rows.is_empty() {
                return Ok(());
            }
            self.journal.append(&rows).map_err(|error| StoreError::from_io(&self.path, &error))
        });
        if done.is_err() {
            self.state = Known::Stale(Some(state));
            return done;
        }
        state.books.publish(&self.common.mirror);
        if !rows.is_empty() {
            rows.shrink_to_fit();
            self.unfolded += rows.len();
            self.written.push(rows);
        }
        self.state = Known::Good(state);
        if self.is_due() {
            self.make_fold();
        }
        Ok(())
    }

    fn is_due(&self) -> bool {
        matches!(&self.state, Known::Good(state) if state.is_due(self.common.retained))
    }

    /// Puts all that is in no fold yet into one.
    fn make_fold(&mut self) {
        if let Known::Good(state) = &mut self.state {
            let written = std::mem::take(&mut self.written);
            self.folds.push(state.fold(written, self.journal.last(), self.common.retained));
        }
    }

    /// Those who wait for tables that are up to date need not wait.
    fn answer_idle(&mut self) {
        let idle = !self.at_work && !self.is_behind() && matches!(self.state, Known::Good(_));
        if idle && !self.is_due() {
            self.waiting.drain(..).for_each(|waiting| drop(waiting.send(Ok(()))));
        }
    }

    fn has_job(&self) -> bool {
        !self.waiting.is_empty()
            || self.must_wait() && !self.held.is_empty()
            || self.folds.len() > self.failed_with
            || self.is_due()
    }

    /// What the writer's thread has to do before it does anything else.
    pub(crate) fn job(&mut self) -> Option<Job> {
        // Whoever is held is told first why the last one failed.
        if self.at_work || !self.has_job() || self.failed.is_some() && !self.held.is_empty() {
            return None;
        }
        Some(self.make_job())
    }

    /// The oldest fold, so that callers who wait for room wait for no more than that; or all there is, when somebody waits for
    /// all, or nothing is in a fold yet.
    pub(crate) fn make_job(&mut self) -> Job {
        self.at_work = true;
        if let Known::Stale(earlier) = &mut self.state {
            let earlier = earlier.take().map(Box::new);
            let mut written: Vec<_> = self.folds.drain(..).flat_map(|fold| fold.written).collect();
            written.append(&mut self.written);
            self.served.append(&mut self.waiting);
            return Job::Recover { written, last: self.journal.last(), earlier };
        }
        let all = !self.waiting.is_empty() || self.folds.is_empty();
        if all {
            self.make_fold();
            self.served.append(&mut self.waiting);
        }
        let folds = self.folds.drain(..if all { self.folds.len() } else { 1 }).collect();
        Job::Fold { folds, force: self.journal.is_long() }
    }

    /// Takes note of what became of a job.
    pub(crate) fn end_job(&mut self, done: Result<Done, Failed>) {
        self.at_work = false;
        let answer = match done {
            Ok(done) => {
                (self.failed, self.failed_with) = (None, 0);
                self.take(done);
                Ok(())
            }
            Err(Failed { job, error }) => {
                tracing::error!(%error, "what is in the journal could not be brought to its tables");
                match job {
                    Job::Fold { mut folds, .. } => {
                        folds.append(&mut self.folds);
                        self.folds = folds;
                    }
                    Job::Recover { written, earlier, .. } => {
                        self.written = written;
                        self.state = Known::Stale(earlier.map(|state| *state));
                    }
                }
                // It is tried again when there is more, or when somebody waits for it.
                self.failed_with = self.folds.len();
                self.failed = Some(error.clone());
                Err(error)
            }
        };
        for waiting in self.served.drain(..) {
            let _ = waiting.send(answer.clone());
        }
    }

    fn take(&mut self, done: Done) {
        self.unfolded = self.unfolded.saturating_sub(done.bytes);
        if let Some(mut state) = done.state {
            self.common.mirror.clear();
            state.books.publish(&self.common.mirror);
            self.state = Known::Good(*state);
        } else if let Known::Good(state) = &mut self.state {
            state.folded(done.receipts, self.folds.is_empty());
            // Counters may have left.
            state.books.publish(&self.common.mirror);
        }
        if let Some(record) = done.forced {
            self.journal.forced(record);
        }
        if self.journal.is_long()
            && let Some(salt) = done.salt
            && let Err(error) = self.journal.turn_over(&salt)
        {
            tracing::warn!(%error, "the other file of the journal could not be begun");
        }
    }

    /// Whether anything is written down that is in no table.
    pub(crate) fn is_behind(&self) -> bool {
        !self.folds.is_empty() || !self.written.is_empty()
    }
}

#[cfg(test)]
mod tests;
