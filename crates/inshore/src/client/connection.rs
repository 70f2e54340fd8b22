//! One request on one connection.

use std::net::SocketAddr;
#[cfg(unix)]
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderValue, Request};
use http_body_util::Full;
use hyper::Response;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_util::task::TaskTracker;

use crate::daemon::address::Address;

/// A place on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Endpoint {
    #[cfg(unix)]
    Unix(PathBuf),
    Tcp(Loopback),
}

/// An address that only this machine can reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Loopback(SocketAddr);

impl Loopback {
    fn new(address: SocketAddr) -> Result<Self> {
        if !address.ip().is_loopback() {
            bail!("`{address}` is not on this machine");
        }
        Ok(Self(address))
    }

    pub(super) fn get(self) -> SocketAddr {
        self.0
    }
}

impl Endpoint {
    /// The nearest way to a daemon.
    pub(super) fn of(address: &Address) -> Result<Self> {
        #[cfg(unix)]
        if let Some(path) = address.unix.as_ref().filter(|path| path.exists()) {
            return Ok(Self::Unix(path.clone()));
        }
        Loopback::new(address.tcp).map(Self::Tcp)
    }

    /// Sends a request; the head of the response is there when this returns.
    pub(super) async fn send(
        &self,
        tasks: &TaskTracker,
        token: &str,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>> {
        let mut bearer =
            HeaderValue::from_str(&format!("Bearer {token}")).context("the token file is damaged")?;
        bearer.set_sensitive(true);
        let headers = request.headers_mut();
        headers.insert(AUTHORIZATION, bearer);
        headers.insert(HOST, HeaderValue::from_static("localhost"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        match self {
            #[cfg(unix)]
            Self::Unix(path) => {
                let stream = tokio::net::UnixStream::connect(path).await;
                exchange(
                    tasks,
                    stream.with_context(|| format!("cannot connect to `{}`", path.display()))?,
                    request,
                )
                .await
            }
            Self::Tcp(Loopback(address)) => {
                let stream = TcpStream::connect(address)
                    .await
                    .with_context(|| format!("cannot connect to {address}"))?;
                stream.set_nodelay(true)?;
                exchange(tasks, stream, request).await
            }
        }
    }
}

async fn exchange<S>(
    tasks: &TaskTracker,
    stream: S,
    request: Request<Full<Bytes>>,
) -> Result<Response<Incoming>>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // Ends with the response's body; what goes wrong on the way is seen there.
    tasks.spawn(async move {
        let _ = connection.await;
    });
    Ok(sender.send_request(request).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_this_machine_can_be_an_endpoint() {
        let address = |tcp: &str| Address {
            pid: 1,
            version: String::new(),
            tcp: tcp.parse().unwrap(),
            unix: None,
            started: 0,
        };
        assert!(Endpoint::of(&address("127.0.0.1:1")).is_ok());
        assert!(Endpoint::of(&address("[::1]:1")).is_ok());
        for elsewhere in ["192.168.1.1:1", "0.0.0.0:1", "8.8.8.8:1", "[2001:db8::1]:1"] {
            assert!(Endpoint::of(&address(elsewhere)).is_err(), "{elsewhere}");
        }
    }
}
