//! The one way out: every outbound byte of the daemon passes here.
//!
//! A call goes to a [`Destination`] that was declared before, or nowhere. Redirects are never followed here (model
//! downloads do so themselves, by their own rules). No proxy is taken from the environment. Bytes are counted at the
//! socket, above TLS.
//!
//! Connections are HTTP/1.1 and are kept for re-use. They have no task of their own: the task that makes the call drives
//! the connection, so that a chunk wakes one task, dropping the call closes the socket at once, and shutdown has nothing
//! to wait for. An idle connection that the peer has closed is noticed when it is next taken.

mod connect;
mod destination;
mod error;
mod exchange;
mod identity;
mod link;
mod pieces;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use http::{Request, response};
use inshore_domain::{EgressLog, EgressRecord, TargetId};
use tokio::time::Instant;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::CertificateDer;

pub use destination::{BadDestination, Destination, Scheme};
pub use error::{GateError, GateErrorKind};
pub(crate) use exchange::Exchange;
pub use identity::{BadIdentity, TlsIdentity};
pub(crate) use pieces::Pieces;

use exchange::Meter;
use link::Link;

/// Idle connections kept for one destination. More would only be of use to a burst of more than this many parallel
/// calls, each of which then pays one handshake.
const MAX_IDLE: usize = 64;
/// How long an idle connection is kept. Most servers close after 60 s or more; one that closes sooner is noticed when
/// the connection is taken, so this only bounds how long sockets lie about.
const IDLE_KEPT: Duration = Duration::from_secs(90);
/// A connection that has lain idle for this long does not count as ready: routers forget connections, and it would be closed
/// before the next look.
const READY_FOR: Duration = Duration::from_secs(60);

/// How long to wait for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For name resolution, TCP and TLS together. Default 10 s.
    pub connect: Duration,
    /// From the last byte of the request to the head of the response, and for the first event of a stream. Default
    /// 300 s: a provider thinks for minutes before the first byte of an answer that is not streamed.
    pub first_byte: Duration,
    /// Between two pieces of a response. Default 120 s.
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            first_byte: Duration::from_secs(300),
            idle: Duration::from_secs(120),
        }
    }
}

/// What a [`Gate`] is made with.
#[derive(Debug, Clone, Default)]
pub struct GateOptions {
    /// Certificate authorities trusted beside those of the operating system: an organisation's own, or a test's.
    pub extra_roots: Vec<CertificateDer<'static>>,
}

/// The outbound client. One for the whole process; share it by `Arc`.
pub struct Gate {
    options: GateOptions,
    routes: RwLock<HashMap<Destination, Arc<Route>>>,
    /// Made at the first call by TLS: reading the system's certificates takes some 10 ms, which a start should not pay.
    tls: OnceLock<Result<Arc<ClientConfig>, String>>,
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
        f.debug_struct("Gate")
            .field("destinations", &routes.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// A declared destination and its idle connections, the one used last at the back.
pub(crate) struct Route {
    destination: Destination,
    idle: Mutex<VecDeque<(Instant, Link)>>,
}

impl Route {
    fn new(destination: Destination) -> Arc<Self> {
        Arc::new(Self { destination, idle: Mutex::new(VecDeque::new()) })
    }

    /// The connection used last: the least likely to have been closed.
    fn take(&self) -> Option<Link> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop_back().map(|(_, link)| link)
    }

    /// Whether a connection lies idle that will do for the next call. Those found closed are gone afterwards.
    async fn is_ready(&self) -> bool {
        loop {
            // Nothing is awaited while the lock is held, and a call that comes meanwhile finds the other connections.
            let newest = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop_back();
            let Some((since, mut link)) = newest else { return false };
            if link.is_alive().await {
                self.put_back(since, link);
                return since.elapsed() <= READY_FOR;
            }
        }
    }

    pub(crate) fn give_back(&self, link: Link) {
        self.put_back(Instant::now(), link);
    }

    fn put_back(&self, since: Instant, link: Link) {
        let now = Instant::now();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push_back((since, link));
        while idle.len() > MAX_IDLE
            || idle.front().is_some_and(|(since, _)| now.duration_since(*since) > IDLE_KEPT)
        {
            idle.pop_front();
        }
    }
}

/// Whose call it is, for the egress record.
pub(crate) struct Account<'a> {
    pub(crate) egress: &'a EgressLog,
    pub(crate) target: &'a TargetId,
}

impl Gate {
    /// A gate that lets nothing out yet.
    pub fn new(options: GateOptions) -> Self {
        Self { options, routes: RwLock::default(), tls: OnceLock::new() }
    }

    /// Lets calls to this destination out from now on.
    pub fn declare(&self, destination: Destination) {
        let mut routes = self.routes.write().unwrap_or_else(PoisonError::into_inner);
        // A key is equal also when only `plain_declared` differs; the newer declaration counts.
        if routes
            .get_key_value(&destination)
            .is_some_and(|(known, _)| known.plain_declared == destination.plain_declared)
        {
            return;
        }
        routes.remove(&destination);
        routes.insert(destination.clone(), Route::new(destination));
    }

    /// Lets calls out to these destinations only. Idle connections of destinations that stay are kept; calls under way
    /// are not ended.
    pub fn declare_only(&self, destinations: impl IntoIterator<Item = Destination>) {
        let keep: Vec<Destination> = destinations.into_iter().collect();
        self.routes.write().unwrap_or_else(PoisonError::into_inner).retain(|known, _| keep.contains(known));
        keep.into_iter().for_each(|destination| self.declare(destination));
    }

    /// Closes idle connections that have been kept long enough. Without calls nothing else does.
    pub fn sweep(&self) {
        let now = Instant::now();
        for route in self.routes.read().unwrap_or_else(PoisonError::into_inner).values() {
            let mut idle = route.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.retain(|(since, _)| now.duration_since(*since) <= IDLE_KEPT);
        }
    }

    /// Sees to it that a connection lies ready, so that the next call need not wait for the handshakes, and says whether one had to
    /// be made.
    pub async fn warm(&self, destination: &Destination, timeouts: &Timeouts) -> Result<bool, GateError> {
        let route = self.route(destination)?;
        if route.is_ready().await {
            return Ok(false);
        }
        let link = connect::connect(self, &route.destination, timeouts.connect).await?;
        route.give_back(link);
        Ok(true)
    }

    /// Sends a request and waits for the head of the response. Redirects come back as they are.
    pub(crate) async fn send(
        &self,
        destination: &Destination,
        request: Request<Pieces>,
        timeouts: &Timeouts,
        account: Account<'_>,
    ) -> Result<(response::Parts, Exchange), GateError> {
        let route = self.route(destination)?;
        self.send_by(route, request, timeouts, account).await
    }

    /// The same to a destination that nobody declared: where a declared hub redirects a download to.
    pub(crate) async fn send_redirected(
        &self,
        destination: &Destination,
        request: Request<Pieces>,
        timeouts: &Timeouts,
        account: Account<'_>,
    ) -> Result<(response::Parts, Exchange), GateError> {
        self.send_by(Route::new(destination.clone()), request, timeouts, account).await
    }

    async fn send_by(
        &self,
        route: Arc<Route>,
        mut request: Request<Pieces>,
        timeouts: &Timeouts,
        account: Account<'_>,
    ) -> Result<(response::Parts, Exchange), GateError> {
        let record = EgressRecord {
            target: account.target.clone(),
            destination: route.destination.authority().to_owned(),
            bytes_out: 0,
            bytes_in: 0,
            remote_receipt: None,
        };
        let mut meter = Meter::open(account.egress.clone(), record);
        loop {
            let (mut link, fresh) = match route.take() {
                Some(link) => (link, false),
                None => (connect::connect(self, &route.destination, timeouts.connect).await?, true),
            };
            if !link.is_alive().await {
                continue;
            }
            meter.attach(&link);
            match link.send(request, timeouts.first_byte).await {
                Ok(response) => {
                    let (head, body) = response.into_parts();
                    meter.note();
                    return Ok((head, Exchange::new(route, link, body, meter, timeouts.idle)));
                }
                // Not one byte was written: the connection was closed while it lay idle.
                Err((_, Some(unsent))) if !fresh => request = unsent,
                Err((error, _)) => {
                    let written = error.written && meter.wrote();
                    return Err(error.with_written(written).at(&route.destination));
                }
            }
        }
    }

    fn route(&self, destination: &Destination) -> Result<Arc<Route>, GateError> {
        let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
        routes.get(destination).cloned().ok_or_else(|| GateError::undeclared(destination))
    }
}
