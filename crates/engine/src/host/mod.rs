//! One running engine child: its process, its socket and the work that is under way on it.
//!
//! The child is untrusted: every frame from it is foreign bytes. A frame that does not decode, or that says what cannot be, ends the child.
//! Guaranteed: work of one client never waits for another client to read (each has a queue of its own); whatever happens to the
//! child, every piece of work ends with a last reply; dropping a piece of work cancels it.

mod launch;
mod queue;
pub(crate) mod wire;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_util::task::TaskTracker;

use crate::frames::{FromChild, Load, Loaded, STATE_PIECE, StatePiece, ToChild, WorkId};
pub use launch::{CommandLauncher, Descriptors, Launched, Launcher, Process};
use queue::Queue;
pub(crate) use queue::Reply;

/// How long a killed child may take to be gone before its end is reported without an exit status. The kernel frees a large
/// model's memory in well under a second.
const EXIT_GRACE: Duration = Duration::from_secs(5);
/// Pieces of restored state on their way to the child, of a megabyte each: enough to keep it busy.
const RESTORES_IN_FLIGHT: usize = 4;
/// Pieces of saved state waiting for the disk, of a megabyte each. When the disk is slower, the prefix is not saved.
const SAVED_WAITING: usize = 64;
/// Tokens of a saved prefix, which come with its first piece: more than any model's context.
const SAVED_TOKENS: usize = 2 << 20;

/// Why a child is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Death {
    /// How it ended: `signal 9 (SIGKILL)`, `exit status 1`, `it broke the protocol`.
    pub how: String,
    /// It was asked to go.
    pub expected: bool,
    /// The last line it logged.
    pub last_words: Option<String>,
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.how)
    }
}

/// Why a child could not be started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StartError {
    /// The system would not start the process.
    #[error("the engine cannot be started: {0}")]
    Spawn(String),
    /// The child says that the model cannot be loaded.
    #[error("{0}")]
    Refused(String),
    /// The child died on the way.
    #[error("the engine died while loading the model: {0}")]
    Died(Death),
}

struct Outgoing {
    frame: ToChild,
    _permit: Option<OwnedSemaphorePermit>,
}

type Works = Arc<Mutex<HashMap<WorkId, Arc<Queue>>>>;

/// A handle to a running child. Dropping the last one shuts the child down.
#[derive(Debug)]
pub(crate) struct Host {
    outbox: mpsc::UnboundedSender<Outgoing>,
    works: Shared,
    next: AtomicU64,
    death: watch::Receiver<Option<Arc<Death>>>,
    quit: watch::Sender<bool>,
    restores: Arc<Semaphore>,
    pid: Option<u32>,
    loaded: Loaded,
}

#[derive(Clone, Default)]
struct Shared(Works);

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shared")
    }
}

impl Shared {
    fn with<T>(&self, act: impl FnOnce(&mut HashMap<WorkId, Arc<Queue>>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Host {
    /// Starts a child, hands it the model and waits until it is loaded. Dropping the future kills the child.
    pub(crate) async fn start(
        launcher: &dyn Launcher,
        descriptors: Descriptors,
        load: Load,
        tasks: &TaskTracker,
    ) -> Result<(Arc<Self>, mpsc::Receiver<StatePiece>), StartError> {
        let launched = launcher.launch(descriptors).map_err(|error| StartError::Spawn(error.to_string()))?;
        let pid = launched.process.pid();
        let (outbox, to_write) = mpsc::unbounded_channel();
        let (quit, quits) = watch::channel(false);
        let (death_sender, death) = watch::channel(None);
        let (loaded_sender, loaded) = tokio::sync::oneshot::channel();
        let (saved_sender, saved) = mpsc::channel(SAVED_WAITING);
        let works = Shared::default();
        let (read, write) = launched.stream.into_split();
        let reader = Incoming { works: works.clone(), loaded: Some(loaded_sender), saved: saved_sender };
        let keeper = Keeper { process: launched.process, quits, works: works.clone(), death: death_sender };
        tasks.spawn(keeper.run(reader.read_all(read), write_all(write, to_write)));
        let _ = outbox.send(Outgoing { frame: ToChild::Load(load), _permit: None });
        // From here on dropping this future drops `quit`, which ends the child.
        let loaded = loaded.await;
        let host = |loaded| {
            let restores = Arc::new(Semaphore::new(RESTORES_IN_FLIGHT));
            Arc::new(Self {
                outbox,
                works,
                next: AtomicU64::new(1),
                death: death.clone(),
                quit,
                restores,
                pid,
                loaded,
            })
        };
        match loaded {
            Ok(Ok(loaded)) => Ok((host(loaded), saved)),
            Ok(Err(message)) => Err(StartError::Refused(message)),
            Err(_) => Err(StartError::Died(last(death.clone()).await)),
        }
    }

    /// What the child told of the model.
    pub(crate) fn loaded(&self) -> &Loaded {
        &self.loaded
    }

    /// Its process, for people.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// Whether it still takes work.
    pub(crate) fn is_alive(&self) -> bool {
        self.death.borrow().is_none() && !self.outbox.is_closed()
    }

    /// Starts a piece of work.
    pub(crate) fn submit(self: &Arc<Self>, frame: impl FnOnce(WorkId) -> ToChild) -> Work {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let queue = Arc::new(Queue::default());
        self.works.with(|works| works.insert(id, Arc::clone(&queue)));
        let sent = self.outbox.send(Outgoing { frame: frame(id), _permit: None });
        // The keeper empties the map once, after it has closed the outbox; later work is told here.
        if sent.is_err() || !self.is_alive() {
            queue.end(self.known_death());
        }
        Work { id, queue, host: Arc::clone(self), done: false }
    }

    /// Sends a piece of saved state; waits while the child has enough of them.
    pub(crate) async fn restore(&self, piece: StatePiece) -> bool {
        let Ok(permit) = Arc::clone(&self.restores).acquire_owned().await else { return false };
        self.outbox.send(Outgoing { frame: ToChild::Restore(piece), _permit: Some(permit) }).is_ok()
    }

    /// Asks the child to go, and waits until it is gone.
    pub(crate) async fn quit(&self) -> Death {
        let _ = self.quit.send(true);
        last(self.death.clone()).await
    }

    /// Waits until the child is gone, for whatever reason.
    pub(crate) async fn died(&self) -> Death {
        last(self.death.clone()).await
    }

    fn known_death(&self) -> Arc<Death> {
        self.death.borrow().clone().unwrap_or_else(|| Arc::new(unknown_death()))
    }
}

fn unknown_death() -> Death {
    Death { how: "it went away".into(), expected: false, last_words: None }
}

async fn last(mut death: watch::Receiver<Option<Arc<Death>>>) -> Death {
    match death.wait_for(Option::is_some).await {
        Ok(death) => death.as_deref().cloned().unwrap_or_else(unknown_death),
        Err(_) => unknown_death(),
    }
}

/// A piece of work under way. Dropping it before its end cancels it.
#[derive(Debug)]
pub(crate) struct Work {
    id: WorkId,
    queue: Arc<Queue>,
    host: Arc<Host>,
    done: bool,
}

impl Work {
    /// The next reply. After [`Reply::Gone`] or [`Reply::Overflow`] nothing follows.
    pub(crate) async fn next(&mut self) -> Reply {
        let reply = self.queue.next().await;
        if matches!(reply, Reply::Gone(_)) {
            self.done = true;
        }
        reply
    }

    /// Says that the work has ended, so that dropping it need not cancel anything.
    pub(crate) fn finish(&mut self) {
        self.done = true;
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.host.works.with(|works| works.remove(&self.id));
        if !self.done {
            let _ = self.host.outbox.send(Outgoing { frame: ToChild::Cancel { id: self.id }, _permit: None });
        }
    }
}

async fn write_all(
    write: impl tokio::io::AsyncWrite + Unpin,
    mut frames: mpsc::UnboundedReceiver<Outgoing>,
) -> String {
    let mut writer = wire::FrameWriter::new(write);
    while let Some(outgoing) = frames.recv().await {
        if let Err(error) = writer.write(&outgoing.frame).await {
            return error.to_string();
        }
    }
    String::new()
}

/// The half that reads.
struct Incoming {
    works: Shared,
    loaded: Option<tokio::sync::oneshot::Sender<Result<Loaded, String>>>,
    saved: mpsc::Sender<StatePiece>,
}

impl Incoming {
    /// Reads until the end; says what was wrong, or nothing when the child just went.
    async fn read_all(mut self, read: impl tokio::io::AsyncRead + Unpin) -> String {
        let mut reader = wire::FrameReader::new(read);
        loop {
            match reader.read::<FromChild>().await {
                Ok(Some((frame, bytes))) => {
                    if let Err(wrong) = self.take(frame, bytes) {
                        return wrong.to_owned();
                    }
                }
                Ok(None) => return String::new(),
                Err(error) => return error.to_string(),
            }
        }
    }

    fn take(&mut self, frame: FromChild, bytes: usize) -> Result<(), &'static str> {
        let id = match &frame {
            FromChild::Loaded(_) | FromChild::LoadFailed { .. } => return self.take_loaded(frame),
            FromChild::Saved(_) => return self.take_saved(frame),
            FromChild::Restored { key, error } => {
                match error {
                    None => tracing::debug!(key = %short(key), "the engine took a saved prefix"),
                    Some(error) => {
                        tracing::warn!(key = %short(key), error = %short(error), "the engine refused a saved prefix")
                    }
                }
                return Ok(());
            }
            FromChild::Started { id, .. } | FromChild::Text { id, .. } | FromChild::Finished { id, .. } => {
                *id
            }
            FromChild::Failed { id, .. } | FromChild::Embedded { id, .. } | FromChild::Tokens { id, .. } => {
                *id
            }
            FromChild::Probed { id, .. } | FromChild::Stats { id, .. } => *id,
        };
        // Work that was cancelled may still have frames on the way.
        if let Some(queue) = self.works.with(|works| works.get(&id).cloned()) {
            queue.push(frame, bytes);
        }
        Ok(())
    }

    fn take_loaded(&mut self, frame: FromChild) -> Result<(), &'static str> {
        let sender = self.loaded.take().ok_or("it reported twice that the model is loaded")?;
        let outcome = match frame {
            FromChild::Loaded(loaded) => Ok(loaded),
            FromChild::LoadFailed { message } => Err(short(&message)),
            _ => return Ok(()),
        };
        let _ = sender.send(outcome);
        Ok(())
    }

    fn take_saved(&self, frame: FromChild) -> Result<(), &'static str> {
        let FromChild::Saved(piece) = frame else { return Ok(()) };
        if piece.bytes.len() > STATE_PIECE || piece.tokens.len() > SAVED_TOKENS {
            return Err("it sent a piece of saved state that is too large");
        }
        if let Err(error) = self.saved.try_send(piece) {
            tracing::warn!(%error, "a prefix is not saved: the disk is too slow");
        }
        Ok(())
    }
}

/// Foreign text for logs and messages.
fn short(text: &str) -> String {
    text.chars().take(500).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Waits until the child's end is wished, or nobody is left who could wish it.
async fn wished(quits: &mut watch::Receiver<bool>) {
    let _ = quits.wait_for(|quit| *quit).await;
}

/// Waits for whichever comes first, the end of the child or the wish to end it, and tells everybody.
struct Keeper {
    process: Box<dyn Process>,
    quits: watch::Receiver<bool>,
    works: Shared,
    death: watch::Sender<Option<Arc<Death>>>,
}

impl Keeper {
    async fn run(self, reading: impl Future<Output = String>, writing: impl Future<Output = String>) {
        let Self { mut process, mut quits, works, death: news } = self;
        tokio::pin!(reading, writing);
        let (mut asked, mut status) = (false, None);
        let wrong = loop {
            tokio::select! {
                biased;
                // What the child sent before it died is still delivered: reading ends at the end of the socket.
                wrong = &mut reading => break wrong,
                () = wished(&mut quits) => {
                    asked = true;
                    break String::new();
                }
                how = process.wait(), if status.is_none() => status = Some(how),
                // A write fails when the child has closed its socket; then reading says more.
                _ = &mut writing, if status.is_none() => {
                    let rest = tokio::time::timeout(EXIT_GRACE, &mut reading).await;
                    break rest.unwrap_or_default();
                }
            }
        };
        // Its memory must be back soon and it has nothing to lose, so it is not asked politely. When it went by itself the signal
        // comes late and changes nothing; when it broke the protocol it must go.
        if status.is_none() && !asked && wrong.is_empty() {
            status = tokio::time::timeout(EXIT_GRACE / 5, process.wait()).await.ok();
        }
        if status.is_none() {
            process.kill();
            status = tokio::time::timeout(EXIT_GRACE, process.wait()).await.ok();
        }
        let how = match (asked, wrong.as_str(), status) {
            (true, _, _) => "it was unloaded".to_owned(),
            (_, "", Some(status)) => status,
            (_, "", None) => "it closed its socket and does not end".to_owned(),
            (_, wrong, _) => format!("it broke the protocol: {wrong}"),
        };
        let death = Arc::new(Death { how, expected: asked, last_words: process.last_words() });
        if !asked {
            tracing::warn!(how = %death.how, last_words = death.last_words.as_deref().unwrap_or(""), "an engine died");
        }
        news.send_replace(Some(Arc::clone(&death)));
        let queues: Vec<Arc<Queue>> = works.with(|works| works.drain().map(|(_, queue)| queue).collect());
        for queue in queues {
            queue.end(Arc::clone(&death));
        }
    }
}
