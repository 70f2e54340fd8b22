//! Accepts connections and holds every limit in time and number.
//!
//! `mod` accepts and shuts down; `connections` counts, and makes room when they run out; `guarded` is the socket with its
//! deadlines. The loop is our own because ready-made ones neither set `TCP_NODELAY` (without which each small piece
//! of a stream on a kept-alive connection waits up to 40 ms for an acknowledgement) nor bound half-open connections.

mod connections;
mod guarded;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use inshore_domain::Clock;
use inshore_runtime::Runtime;
use inshore_store::Store;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::control::Control;
use crate::gate::Gate;
use crate::options::ApiOptions;
use connections::{Connections, Slot};
use guarded::Guarded;

/// Read and write buffer of one connection, and so the longest request head. Enough for long tokens and trace headers;
/// with [`crate::Limits::connections`] it bounds the server's own memory.
const BUFFER: usize = 64 << 10;

/// How long the accept loop waits when the system has no descriptors left: they come back as connections end.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// Where to accept. The caller binds, so that it decides about addresses, ports and file modes, and tests need no
/// special mode.
#[derive(Debug, Default)]
pub struct Listeners {
    /// Loopback sockets.
    pub tcp: Vec<TcpListener>,
    /// A socket file, which the caller has made readable by its owner only. Requests on it skip the Host check, which
    /// guards against web pages: these cannot open socket files.
    #[cfg(unix)]
    pub unix: Option<tokio::net::UnixListener>,
}

#[cfg(unix)]
impl Listeners {
    /// Binds a socket file that only its owner may open. A file that a dead daemon left is replaced; one that somebody
    /// listens on is an error.
    ///
    /// The directory should be private to the owner too: between creation and `chmod` the file has the umask's mode.
    ///
    /// # Errors
    /// When the path is in use, is no socket, or cannot be written.
    pub async fn bind_unix(path: &std::path::Path) -> io::Result<tokio::net::UnixListener> {
        use std::os::unix::fs::{FileTypeExt, PermissionsExt};
        if let Ok(found) = std::fs::symlink_metadata(path) {
            if !found.file_type().is_socket() {
                let message = format!("`{}` exists and is no socket", path.display());
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, message));
            }
            if tokio::net::UnixStream::connect(path).await.is_ok() {
                let message = format!("`{}` is in use by another process", path.display());
                return Err(io::Error::new(io::ErrorKind::AddrInUse, message));
            }
            std::fs::remove_file(path)?;
        }
        let listener = tokio::net::UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        Ok(listener)
    }
}

/// What the server puts on the wire.
#[derive(Clone)]
pub struct Parts {
    /// Answers requests.
    pub runtime: Runtime,
    /// Holds the receipts.
    pub store: Store,
    /// Time and randomness.
    pub clock: Arc<dyn Clock>,
    /// The daemon itself.
    pub control: Arc<dyn Control>,
}

/// Serves until `shutdown` is cancelled, then finishes what is in work for up to [`crate::Limits::grace`] and returns.
///
/// Answers still running after the grace period are cut off, which cancels their work. The runtime and the store are
/// left open; whoever made them closes them.
///
/// # Errors
/// When a listener fails for good. Running out of descriptors is waited out.
pub async fn serve(
    listeners: Listeners,
    parts: Parts,
    options: ApiOptions,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let server = Server::new(parts, options);
    let loops = TaskTracker::new();
    let (failed, mut failure) = tokio::sync::mpsc::channel(1);
    for listener in listeners.tcp {
        let (server, shutdown, failed) = (server.clone(), shutdown.clone(), failed.clone());
        loops.spawn(async move { report(server.accept_tcp(listener, shutdown).await, &failed) });
    }
    #[cfg(unix)]
    if let Some(listener) = listeners.unix {
        let (server, shutdown, failed) = (server.clone(), shutdown.clone(), failed.clone());
        loops.spawn(async move { report(server.accept_unix(listener, shutdown).await, &failed) });
    }
    drop(failed);
    loops.close();
    let outcome = tokio::select! {
        () = shutdown.cancelled() => Ok(()),
        error = failure.recv() => error.map_or(Ok(()), Err),
    };
    shutdown.cancel();
    loops.wait().await;
    server.drain().await;
    outcome
}

fn report(outcome: io::Result<()>, failed: &tokio::sync::mpsc::Sender<io::Error>) {
    if let Err(error) = outcome {
        // Full: another listener failed first, and one failure ends the server.
        let _ = failed.try_send(error);
    }
}

/// All connections and what answers them.
#[derive(Clone)]
struct Server {
    gate: Arc<Gate>,
    connections: Arc<Connections>,
    tasks: TaskTracker,
    /// Asks connections to finish what they do.
    draining: CancellationToken,
    /// Tells connections that time is up.
    abort: CancellationToken,
}

impl Server {
    fn new(parts: Parts, options: ApiOptions) -> Self {
        let connections = Arc::new(Connections::new(options.limits.connections));
        Self {
            gate: Arc::new(Gate::new(parts, options)),
            connections,
            tasks: TaskTracker::new(),
            draining: CancellationToken::new(),
            abort: CancellationToken::new(),
        }
    }

    async fn accept_tcp(&self, listener: TcpListener, shutdown: CancellationToken) -> io::Result<()> {
        loop {
            let accepted = tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                accepted = listener.accept() => accepted,
            };
            let socket = match accepted {
                Ok((socket, _)) => socket,
                Err(error) => {
                    self.accept_failed(error).await?;
                    continue;
                }
            };
            // A socket that is gone already cannot take the option; reading from it will say so.
            let _ = socket.set_nodelay(true);
            if let Some(observer) = &self.gate.options().observer {
                observer.accepted(&socket);
            }
            if !self.begin(socket, Via::Tcp, &shutdown).await {
                return Ok(());
            }
        }
    }

    #[cfg(unix)]
    async fn accept_unix(
        &self,
        listener: tokio::net::UnixListener,
        shutdown: CancellationToken,
    ) -> io::Result<()> {
        loop {
            let accepted = tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((socket, _)) => {
                    if !self.begin(socket, Via::Unix, &shutdown).await {
                        return Ok(());
                    }
                }
                Err(error) => self.accept_failed(error).await?,
            }
        }
    }

    /// Errors of one connection are not errors of the listener.
    async fn accept_failed(&self, error: io::Error) -> io::Result<()> {
        use io::ErrorKind as Kind;
        if matches!(error.kind(), Kind::ConnectionAborted | Kind::ConnectionReset | Kind::Interrupted) {
            return Ok(());
        }
        // EMFILE and ENFILE, the same on Linux and macOS; Windows reports WSAEMFILE.
        if matches!(error.raw_os_error(), Some(23 | 24 | 10_024)) {
            tracing::warn!(%error, "no descriptors left for another connection");
            self.connections.evict_longest_idle();
            tokio::time::sleep(ACCEPT_BACKOFF).await;
            return Ok(());
        }
        Err(error)
    }

    /// Finds room for a connection and serves it in a task. `false` when shutdown came first.
    async fn begin<S>(&self, socket: S, via: Via, shutdown: &CancellationToken) -> bool
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let slot = tokio::select! {
            biased;
            () = shutdown.cancelled() => return false,
            slot = self.connections.enter() => slot,
        };
        let server = self.clone();
        self.tasks.spawn(async move { server.connection(socket, via, slot).await });
        true
    }

    async fn connection<S>(&self, socket: S, via: Via, slot: Slot)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let slot = Arc::new(slot);
        let limits = self.gate.options().limits;
        let io = TokioIo::new(Guarded::new(socket, slot.clone(), limits));
        let service = service_fn(|request: Request<Incoming>| {
            let work = slot.begin();
            let gate = self.gate.clone();
            async move {
                let Some(work) = work else {
                    // Evicted between the last byte of the head and here: nothing was done for it.
                    return Err(Evicted);
                };
                let response = gate.answer(request, via).await;
                Ok(response.map(|body| work.hold(body)))
            }
        });
        // Our own deadlines in `Guarded` replace hyper's, which count idle time as head time.
        let connection = hyper::server::conn::http1::Builder::new()
            .header_read_timeout(None)
            .max_buf_size(BUFFER)
            .serve_connection(io, service);
        let mut connection = std::pin::pin!(connection);
        let mut draining = false;
        loop {
            tokio::select! {
                biased;
                () = self.abort.cancelled() => return,
                () = slot.evicted() => return,
                () = self.draining.cancelled(), if !draining => {
                    draining = true;
                    connection.as_mut().graceful_shutdown();
                }
                outcome = connection.as_mut() => {
                    if let Err(error) = outcome {
                        tracing::debug!(%error, "connection ended early");
                    }
                    return;
                }
            }
        }
    }

    /// Lets connections finish, then ends those that did not.
    async fn drain(&self) {
        self.tasks.close();
        self.draining.cancel();
        let grace = self.gate.options().limits.grace;
        if tokio::time::timeout(grace, self.tasks.wait()).await.is_err() {
            tracing::warn!(connections = self.tasks.len(), "cut off after the grace period");
            self.abort.cancel();
            self.tasks.wait().await;
        }
    }
}

/// How a connection came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Via {
    Tcp,
    #[cfg(unix)]
    Unix,
}

/// The connection was closed to make room for another.
#[derive(Debug)]
struct Evicted;

impl std::fmt::Display for Evicted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("closed to make room for another connection")
    }
}

impl std::error::Error for Evicted {}

#[cfg(test)]
mod tests;
