//! The handle.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle, Thread};

use inshore_domain::{
    Claim, Closing, Currency, Principal, Receipt, ReceiptId, Reservation, ReservationId, Timestamp,
};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use crate::books::{
    AccountName, Balance, CloseError, Doubt, Expired, Mirror, ReserveError, Reserved, Settled, SpendQuery,
    SpendRow,
};
use crate::connection::{connect, prepare};
use crate::desk::Desk;
use crate::error::StoreError;
use crate::folder::{Folder, Task};
use crate::key::Key;
use crate::labels::Kept;
use crate::lock::Lock;
use crate::reader::{self, Read, Reader};
use crate::work::{Close, Doubts, EXPIRED_AT_ONCE, Expire, Lost, Reserve, Settle, Work};
use crate::writer::{self, Common, Order, Writer};

/// Receipts kept unless [`StoreOptions::retained`] says otherwise: at about 350 bytes each, 350 MB, or a year of 2,700
/// requests a day.
pub const RETAINED_RECEIPTS: u32 = 1_000_000;
/// Most receipts that one call of [`Store::receipts`] gives: they are held in memory at once.
pub const MAX_LISTED: u32 = 10_000;

/// How to open a store.
#[derive(Debug)]
pub struct StoreOptions {
    /// The database. Its folder must exist; SQLite's own files and the lock lie beside it.
    pub path: PathBuf,
    /// Encrypts it.
    pub key: Key,
    /// How many receipts are kept. Beyond it the oldest are removed in small pieces, so that for a short while there may
    /// be some hundred more. 0 is read as 1.
    pub retained: u32,
    /// The installation's currency, in which reservations and caps of money are counted. When it changes, the caps of money
    /// begin anew; what was spent stays in the books in the currency that it was spent in.
    pub currency: Currency,
}

impl StoreOptions {
    /// The usual limits, and dollars.
    pub fn new(path: impl Into<PathBuf>, key: Key) -> Self {
        Self { path: path.into(), key, retained: RETAINED_RECEIPTS, currency: Currency::USD }
    }
}

/// A handle to the open database. Cheap to clone; the database closes when [`Store::close`] is called or the last
/// handle is dropped, which then waits for it.
#[derive(Clone, Debug)]
pub struct Store {
    shared: Arc<Shared>,
}

struct Shared {
    orders: mpsc::Sender<Order>,
    reads: mpsc::Sender<Read>,
    /// What the folder is told besides.
    to_folder: std::sync::mpsc::Sender<Task>,
    desk: Arc<Desk>,
    mirror: Arc<Mirror>,
    lost: Arc<Lost>,
    // Last, because fields are dropped in order: the threads are woken when they can see that nobody is left.
    threads: Threads,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("queued", &(writer::QUEUE - self.orders.capacity()))
            .finish_non_exhaustive()
    }
}

/// The writer's, the folder's and the reader's thread.
struct Threads {
    /// Parked while there is nothing to do.
    writer: Thread,
    running: Vec<JoinHandle<()>>,
}

impl Drop for Threads {
    /// Waits until the files are closed. A process that ended before would take the cipher library away from under them: it cleans
    /// up after itself when `main` returns, whoever is still at work.
    fn drop(&mut self) {
        self.writer.unpark();
        for thread in self.running.drain(..).filter(|thread| thread.thread().id() != thread::current().id()) {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// Sees to it that what was queued is carried out: on this thread at once, or on the writer's.
    fn carry_out(&self) {
        if self.desk.lend_thread() {
            self.threads.writer.unpark();
        }
    }
}

impl Store {
    /// Opens the database, or makes it when the file is missing or empty, brings its schema up to date, and brings to its
    /// tables what a process that has died left in its journal. Reservations that it left open are in doubt from then on.
    /// Blocks.
    ///
    /// # Errors
    /// [`StoreError::InUse`], [`StoreError::OtherJournal`], [`StoreError::WrongKey`], [`StoreError::NotAStore`], [`StoreError::NewerSchema`],
    /// [`StoreError::Damaged`], and the operating system's refusals. Whatever the error, the file stays as it was.
    pub fn open(options: StoreOptions) -> Result<Self, StoreError> {
        let StoreOptions { path, key, retained, currency } = options;
        let lock = Arc::new(Lock::take(&path)?);
        prepare(&path, &key)?;
        let (mirror, lost) = (Arc::new(Mirror::new(currency)), Arc::new(Lost::default()));
        let retained = i64::from(retained.max(1));
        let common = Common { currency, mirror: Arc::clone(&mirror), lost: Arc::clone(&lost), retained };
        let (mut folder, left) = Folder::open(&path, &key, &common, Arc::clone(&lock))?;
        let (reading, asking) = (connect(&path, &key)?, connect(&path, &key)?);
        let (journal, state) = folder.begin(key, left)?;

        let (reads, read_queue) = mpsc::channel(reader::QUEUE);
        let (orders, order_queue) = mpsc::channel(writer::QUEUE);
        let reader = Reader::new(reading, path.clone(), lock)?;
        let writer = Writer::new(asking, path.clone(), journal, state, common, order_queue);
        let desk = Arc::new(Desk::new(writer));
        let start = |name: &str, work: Box<dyn FnOnce() + Send>| {
            let started = thread::Builder::new().name(name.to_owned()).spawn(work);
            started.map_err(|error| StoreError::unavailable(&path, error))
        };
        let reading = start("store-read", Box::new(move || reader.run(read_queue)))?;
        let at_desk = Arc::clone(&desk);
        let (tasks, task_queue) = std::sync::mpsc::channel();
        let to_folder = tasks.clone();
        let (results, result_queue) = std::sync::mpsc::channel();
        let writing = start("store-write", Box::new(move || at_desk.work(&tasks, &result_queue)))?;
        let writer = writing.thread().clone();
        lost.wake(writer.clone());
        let woken = writer.clone();
        let folding = start("store-fold", Box::new(move || folder.work(&task_queue, &results, &woken)))?;
        let threads = Threads { writer, running: vec![writing, folding, reading] };
        let shared = Shared { orders, reads, to_folder, desk, mirror, lost, threads };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Sets an amount aside in every cap that the reservation claims, and returns when that is committed. For each claim,
    /// settled + reserved + in doubt + what is wanted stays within the limit, whatever else happens at the same time; a claim
    /// of nothing is always granted. Caps of one request are counted until its receipt is settled.
    ///
    /// `principal` and `feature` say whose money it is in [`Self::spend`]. A call that can cost money should be reserved also
    /// when no cap covers it: what is not reserved is not in the books.
    ///
    /// Like [`Self::settle`], the work is done even if the future is dropped; then, as the caller cannot know of the
    /// reservation and has not made the call, it is released again.
    ///
    /// Names of caps and subjects longer than 128 bytes count as their beginning.
    ///
    /// # Errors
    /// [`ReserveError::OverCap`] names the first claim without room. Whatever the error, nothing is reserved.
    pub fn reserve(
        &self,
        reservation: Reservation,
        principal: &Principal,
        feature: Option<&str>,
    ) -> impl Future<Output = Result<Reserved, ReserveError>> + Send + 'static + use<> {
        let account = AccountName::of(&reservation.target.0, principal, feature);
        let lost = Arc::clone(&self.shared.lost);
        let (done, answer) = oneshot::channel();
        let answer = self.order(Work::Reserve(Reserve::new(reservation, account, lost, done)), answer);
        async move { answer.await?.take().ok_or(ReserveError::Store(StoreError::Closed)) }
    }

    /// Writes a receipt, closes its reservations, and returns when all that is committed, in one record of the journal (the
    /// crate's first page says what that survives). Callers that wait at the same time share a record.
    ///
    /// A closing never settles more than was reserved: the rest is disputed. A reservation that is closed already, or was
    /// never made, stays as it is and is disputed too. Neither keeps the receipt or the other closings from being written:
    /// the answer lists the disputes, and the log has them.
    ///
    /// The order is queued by the call itself, not by the first poll: the work is done even if the future is dropped.
    /// Only when the queue is full (4096 waiting) does the future wait for room, and dropping it then gives up.
    ///
    /// When nobody else is writing, the call itself writes the record (some 10 µs, without waiting for any lock or
    /// disk); otherwise whoever is at it does.
    ///
    /// Texts longer than 4096 bytes are cut; times are kept in microseconds.
    ///
    /// # Errors
    /// [`StoreError::AlreadySettled`] when there is a receipt with this id: it is left as it is, and so are the reservations;
    /// [`Self::close_reservation`] closes those that are still open. Whatever the error, nothing was written.
    pub fn settle(
        &self,
        receipt: Receipt,
        closings: Vec<(ReservationId, Closing)>,
    ) -> impl Future<Output = Result<Settled, StoreError>> + Send + 'static + use<> {
        let (done, answer) = oneshot::channel();
        self.order(Work::Settle(Settle::new(receipt, closings, done)), answer)
    }

    /// Closes one reservation without a receipt: one in doubt of which it has become known what it cost, or one whose call
    /// was never made. `at` is the time of it in the ledger. Putting in doubt what is in doubt changes nothing.
    ///
    /// # Errors
    /// [`CloseError::Unknown`] when it is closed already or was never made; the books are as they were.
    pub fn close_reservation(
        &self,
        id: ReservationId,
        closing: Closing,
        at: Timestamp,
    ) -> impl Future<Output = Result<Settled, CloseError>> + Send + 'static + use<> {
        let (done, answer) = oneshot::channel();
        self.order(Work::Close(Close { id, closing, at, done, outcome: None }), answer)
    }

    /// The reservations in doubt, oldest first; at most `limit` of the 16,384 that there can be.
    pub async fn in_doubt(&self, limit: usize) -> Result<Vec<Doubt>, StoreError> {
        let (done, answer) = oneshot::channel();
        self.order(Work::Doubts(Doubts { limit, done, outcome: Vec::new() }), answer).await
    }

    /// Turns the reservations in doubt that were made before a moment into charges of their whole amounts. `at` is the
    /// time of it in the ledger. Many are done in several transactions: an error may leave some done.
    pub async fn expire_in_doubt(&self, before: Timestamp, at: Timestamp) -> Result<Expired, StoreError> {
        let mut all = Expired::default();
        loop {
            let (done, answer) = oneshot::channel();
            let piece = Work::Expire(Expire { before, at, done, outcome: Expired::default() });
            let expired = self.order(piece, answer).await?;
            all.join(&expired);
            if expired.count < EXPIRED_AT_ONCE as u64 {
                return Ok(all);
            }
        }
    }

    /// What is left of the limit of each claim, without waiting and without asking the database: as of the last commit, so
    /// what is queued is not in it, and only [`Self::reserve`] decides. Of a cap of one request it is the limit, and likewise
    /// of a window that is over and was let go of.
    pub fn headroom(&self, claims: &[Claim]) -> Vec<u64> {
        self.shared.mirror.headroom(claims)
    }

    /// What was spent and used between two moments, summed up; the dearest first, days in their order. At most 16,384 rows.
    ///
    /// It is made of daily sums that stay when receipts leave: the money of every reservation, by the day on which it was
    /// made, and requests and tokens of every receipt, by the day on which it was admitted.
    pub async fn spend(&self, query: SpendQuery) -> Result<Vec<SpendRow>, StoreError> {
        self.fold().await?;
        self.read(|reply| Read::Spend(query, reply)).await
    }

    /// The balances of the ledger, by target and currency, after checking the books: the postings of each transaction sum to
    /// nothing, and counters, open reservations and daily sums are what the ledger makes them. Takes about a second for a
    /// million reservations.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] with the first thing that does not agree.
    pub async fn books(&self) -> Result<Vec<Balance>, StoreError> {
        self.fold().await?;
        self.read(Read::Books).await
    }

    /// The receipt with this id, where there is one. Like all that reads, it waits until what was committed before is in the
    /// tables, a few milliseconds at most, and fails where the database cannot take it.
    pub async fn receipt(&self, id: ReceiptId) -> Result<Option<Receipt>, StoreError> {
        self.fold().await?;
        self.read(|reply| Read::Receipt(id, reply)).await
    }

    /// The receipts committed last, newest first; at most [`MAX_LISTED`].
    pub async fn receipts(&self, limit: u32) -> Result<Vec<Receipt>, StoreError> {
        self.fold().await?;
        self.read(|reply| Read::Newest(limit.min(MAX_LISTED), reply)).await
    }

    /// Reads the whole database and checks every page's checksum, every tree's order and the books (see [`Self::books`]).
    /// Takes seconds for a large one; commits go on meanwhile, other reads wait.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] with the first thing that was found.
    pub async fn verify(&self) -> Result<(), StoreError> {
        self.fold().await?;
        self.read(Read::Verify).await
    }

    /// Carries out what is queued, copies the write-ahead log back, closes the files and frees the lock. Later calls on
    /// any handle give [`StoreError::Closed`]; closing again does nothing.
    pub async fn close(&self) -> Result<(), StoreError> {
        let (done, closed) = oneshot::channel();
        if self.shared.reads.send(Read::Close(done)).await.is_ok() {
            let _ = closed.await;
        }
        let (done, closed) = oneshot::channel();
        if self.shared.orders.send(Order::Close(done)).await.is_ok() {
            self.shared.carry_out();
            let _ = closed.await;
        }
        Ok(())
    }

    /// Brings all that was ordered before to the tables that the reader is about to read.
    async fn fold(&self) -> Result<(), StoreError> {
        let (done, answer) = oneshot::channel();
        self.give(Order::Fold(done), answer).await
    }

    /// Has something kept that is not in the journal, by the call itself, and gives the answer.
    pub(crate) fn keep_beside(
        &self,
        kept: Kept,
        answer: oneshot::Receiver<Result<bool, StoreError>>,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send + 'static + use<> {
        let sent = self.shared.to_folder.send(Task::Keep(kept)).map_err(|_| StoreError::Closed);
        async move {
            sent?;
            answer.await.map_err(|_| StoreError::Closed)?
        }
    }

    /// Queues work by the call itself, and gives its answer.
    fn order<T, E>(
        &self,
        work: Work,
        answer: oneshot::Receiver<Result<T, E>>,
    ) -> impl Future<Output = Result<T, E>> + Send + 'static + use<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.give(Order::Work(work), answer)
    }

    fn give<T, E>(
        &self,
        order: Order,
        answer: oneshot::Receiver<Result<T, E>>,
    ) -> impl Future<Output = Result<T, E>> + Send + 'static + use<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let queued = self.shared.orders.try_send(order);
        self.shared.carry_out();
        let shared = Arc::clone(&self.shared);
        async move {
            match queued {
                Ok(()) => {}
                Err(TrySendError::Full(order)) => {
                    shared.orders.send(order).await.map_err(|_| StoreError::Closed)?;
                    shared.carry_out();
                }
                Err(TrySendError::Closed(_)) => return Err(StoreError::Closed.into()),
            }
            // A handle that only waits does not keep the database open.
            drop(shared);
            answer.await.unwrap_or(Err(StoreError::Closed.into()))
        }
    }

    pub(crate) async fn read<T>(
        &self,
        query: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Read,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.shared.reads.send(query(reply)).await.map_err(|_| StoreError::Closed)?;
        answer.await.unwrap_or(Err(StoreError::Closed))
    }
}
