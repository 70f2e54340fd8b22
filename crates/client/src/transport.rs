//! Speaks with the daemon of this machine, and with nothing else.
//!
//! A [`Client`] knows where the daemon is; [`Client::generate`] asks, and the [`Answer`] is read event by event. When the connection
//! breaks before the answer's end, the answer is read on where it stopped.
//!
//! No task is started: a connection makes progress while its answer is read.

mod answer;
mod connection;
mod error;

use std::fmt;
use std::net::SocketAddr;
#[cfg(unix)]
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderName, HeaderValue, Method, Request};
use http_body_util::Full;
use serde::Serialize;

pub use answer::Answer;
pub use error::Error;

use connection::{Head, Place};

/// How an answer is read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retries {
    /// Tries one after another that bring no event; 0 reads nothing on.
    pub tries: u32,
    /// The wait before the second of them; it doubles from one to the next. The first is made at once.
    pub wait: Duration,
}

impl Default for Retries {
    /// Seven tries within 6.3 seconds: a daemon cancels an answer that nobody has read for 15 seconds.
    fn default() -> Self {
        Self { tries: 7, wait: Duration::from_millis(100) }
    }
}

impl Retries {
    /// The wait before the try with this number, counted from 0.
    fn before(self, tried: u32) -> Duration {
        match tried {
            0 => Duration::ZERO,
            // Doubled ten times it is longer than anyone waits.
            _ => self.wait.saturating_mul(1 << (tried - 1).min(10)),
        }
    }
}

/// A daemon on this machine, and the token by which it knows the app.
#[derive(Clone)]
pub struct Client {
    place: Place,
    authorization: HeaderValue,
    retries: Retries,
}

// Without the token.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("place", &self.place)
            .field("retries", &self.retries)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// A daemon at an address of this machine; by default it is at `127.0.0.1:7467`.
    ///
    /// # Errors
    /// When the address is of another machine, or the token cannot be one.
    pub fn tcp(address: SocketAddr, token: &str) -> Result<Self, Error> {
        if !address.ip().is_loopback() {
            return Err(Error::NotLocal(address));
        }
        Self::at(Place::Tcp(address), token)
    }

    /// A daemon at a Unix socket.
    ///
    /// # Errors
    /// When the token cannot be one.
    #[cfg(unix)]
    pub fn unix(path: impl Into<PathBuf>, token: &str) -> Result<Self, Error> {
        Self::at(Place::Unix(path.into()), token)
    }

    fn at(place: Place, token: &str) -> Result<Self, Error> {
        let mut authorization =
            HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| Error::Token)?;
        authorization.set_sensitive(true);
        Ok(Self { place, authorization, retries: Retries::default() })
    }

    /// The same with other retries.
    #[must_use]
    pub fn with_retries(mut self, retries: Retries) -> Self {
        self.retries = retries;
        self
    }

    /// Asks for an answer: `body` is that of OpenAI's chat, completions or responses. Hints are names without `x-inshore-`, such as
    /// `feature` and `strategy`, with their values. Nothing is sent twice.
    ///
    /// # Errors
    /// When the daemon cannot be reached or refuses the request.
    pub async fn generate(&self, body: &impl Serialize, hints: &[(&str, &str)]) -> Result<Answer, Error> {
        let body = serde_json::to_vec(body).map_err(Error::Body)?;
        let mut request = self.request(Method::POST, "/inshore/v1/generate", body)?;
        for (hint, value) in hints {
            let name = HeaderName::try_from(format!("x-inshore-{hint}"));
            let (Ok(name), Ok(value)) = (name, HeaderValue::try_from(*value)) else {
                return Err(Error::Hint((*hint).to_owned()));
            };
            request.headers_mut().insert(name, value);
        }
        let head = connection::send(&self.place, request).await?;
        Ok(Answer::new(self.clone(), head.accept().await?))
    }

    /// Reads an answer that this app has asked for, from its beginning: one that is being made, or that has ended some minutes ago.
    ///
    /// # Errors
    /// When the daemon cannot be reached or has no such answer.
    pub async fn resume(&self, receipt: &str) -> Result<Answer, Error> {
        let head = self.read_on(&format!("/inshore/v1/generate/{receipt}"), 0).await?;
        Ok(Answer::new(self.clone(), head.accept().await?))
    }

    async fn read_on(&self, path: &str, passed: u64) -> Result<Head, Error> {
        let mut request = self.request(Method::GET, path, Vec::new())?;
        request.headers_mut().insert("last-event-id", HeaderValue::from(passed));
        connection::send(&self.place, request).await
    }

    fn request(&self, method: Method, path: &str, body: Vec<u8>) -> Result<Request<Full<Bytes>>, Error> {
        let request = Request::builder().method(method).uri(path).body(Full::new(Bytes::from(body)));
        let mut request = request.map_err(|_| Error::Path(path.to_owned()))?;
        let headers = request.headers_mut();
        headers.insert(AUTHORIZATION, self.authorization.clone());
        headers.insert(HOST, HeaderValue::from_static("localhost"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        Ok(request)
    }
}

#[cfg(test)]
mod tests;
