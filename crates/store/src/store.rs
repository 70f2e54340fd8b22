//! The handle.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, Thread};

use inshore_domain::{Receipt, ReceiptId};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use crate::connection::{connect, prepare};
use crate::desk::Desk;
use crate::error::StoreError;
use crate::key::Key;
use crate::lock::Lock;
use crate::migrations::migrate;
use crate::reader::{self, Read, Reader};
use crate::writer::{self, Order, Settlement, Writer};

/// Receipts kept unless [`StoreOptions::retained`] says otherwise: at about 400 bytes each, 400 MB, or a year of 2,700
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
}

impl StoreOptions {
    /// The usual limits.
    pub fn new(path: impl Into<PathBuf>, key: Key) -> Self {
        Self { path: path.into(), key, retained: RETAINED_RECEIPTS }
    }
}

/// A handle to the open database. Cheap to clone; the database closes when [`Store::close`] is called or the last
/// handle is dropped (then without anybody waiting for it).
#[derive(Clone, Debug)]
pub struct Store {
    shared: Arc<Shared>,
}

struct Shared {
    orders: mpsc::Sender<Order>,
    reads: mpsc::Sender<Read>,
    desk: Arc<Desk>,
    // After `orders`, because fields are dropped in order: the thread is woken when it can see that nobody is left.
    writer: Wakeful,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("queued", &(writer::QUEUE - self.orders.capacity()))
            .finish_non_exhaustive()
    }
}

/// A parked thread that is woken when this is dropped.
struct Wakeful(Thread);

impl Drop for Wakeful {
    fn drop(&mut self) {
        self.0.unpark();
    }
}

impl Shared {
    /// Sees to it that what was queued is carried out: on this thread at once, or on the writer's.
    fn carry_out(&self) {
        if self.desk.lend_thread() {
            self.writer.0.unpark();
        }
    }
}

impl Store {
    /// Opens the database, or makes it when the file is missing or empty, and brings its schema up to date. Blocks.
    ///
    /// # Errors
    /// [`StoreError::InUse`], [`StoreError::WrongKey`], [`StoreError::NotAStore`], [`StoreError::NewerSchema`],
    /// [`StoreError::Damaged`], and the operating system's refusals. Whatever the error, the file stays as it was.
    pub fn open(options: StoreOptions) -> Result<Self, StoreError> {
        let StoreOptions { path, key, retained } = options;
        let lock = Arc::new(Lock::take(&path)?);
        prepare(&path, &key)?;
        let mut writing = connect(&path, &key)?;
        migrate(&mut writing, &path)?;
        let reading = connect(&path, &key)?;

        let (reads, read_queue) = mpsc::channel(reader::QUEUE);
        let (orders, order_queue) = mpsc::channel(writer::QUEUE);
        let reader = Reader::new(reading, path.clone(), Arc::clone(&lock))?;
        let writer = Writer::new(writing, path.clone(), retained, order_queue, reads.clone(), lock)?;
        let desk = Arc::new(Desk::new(writer));
        let start = |name: &str, work: Box<dyn FnOnce() + Send>| {
            let started = thread::Builder::new().name(name.to_owned()).spawn(work);
            started
                .map(|running| running.thread().clone())
                .map_err(|error| StoreError::unavailable(&path, error))
        };
        start("store-read", Box::new(move || reader.run(read_queue)))?;
        let at_desk = Arc::clone(&desk);
        let writer = start("store-write", Box::new(move || at_desk.work()))?;
        Ok(Self { shared: Arc::new(Shared { orders, reads, desk, writer: Wakeful(writer) }) })
    }

    /// Writes a receipt and returns when it is committed (the crate's first page says what that survives). Callers that
    /// wait at the same time share a transaction.
    ///
    /// The receipt is queued by the call itself, not by the first poll: the work is done even if the future is dropped.
    /// Only when the queue is full (4096 waiting) does the future wait for room, and dropping it then gives up.
    ///
    /// When nobody else is writing, the call itself runs the transaction (some 30 µs, without waiting for any lock or
    /// disk); otherwise the writer's thread does.
    ///
    /// Texts longer than 4096 bytes are cut; times are kept in microseconds.
    ///
    /// # Errors
    /// [`StoreError::AlreadySettled`] when there is a receipt with this id: it is left as it is.
    pub fn settle(
        &self,
        receipt: Receipt,
    ) -> impl Future<Output = Result<(), StoreError>> + Send + 'static + use<> {
        let (done, answer) = oneshot::channel();
        let queued = self.shared.orders.try_send(Order::Settle(Settlement::new(receipt, done)));
        self.shared.carry_out();
        let shared = Arc::clone(&self.shared);
        async move {
            match queued {
                Ok(()) => {}
                Err(TrySendError::Full(order)) => {
                    shared.orders.send(order).await.map_err(|_| StoreError::Closed)?;
                    shared.carry_out();
                }
                Err(TrySendError::Closed(_)) => return Err(StoreError::Closed),
            }
            // A handle that only waits does not keep the database open.
            drop(shared);
            answer.await.unwrap_or(Err(StoreError::Closed))
        }
    }

    /// The receipt with this id, where there is one.
    pub async fn receipt(&self, id: ReceiptId) -> Result<Option<Receipt>, StoreError> {
        self.read(|reply| Read::Receipt(id, reply)).await
    }

    /// The receipts committed last, newest first; at most [`MAX_LISTED`].
    pub async fn receipts(&self, limit: u32) -> Result<Vec<Receipt>, StoreError> {
        self.read(|reply| Read::Newest(limit.min(MAX_LISTED), reply)).await
    }

    /// Reads the whole database and checks every page's checksum and every tree's order. Takes seconds for a large one;
    /// commits go on meanwhile, other reads wait.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] with the first thing that was found.
    pub async fn verify(&self) -> Result<(), StoreError> {
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

    async fn read<T>(
        &self,
        query: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Read,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.shared.reads.send(query(reply)).await.map_err(|_| StoreError::Closed)?;
        answer.await.unwrap_or(Err(StoreError::Closed))
    }
}
