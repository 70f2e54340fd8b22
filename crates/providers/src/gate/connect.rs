//! Making a connection.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::sign::SingleCertAndKey;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};
use url::Host;

use super::destination::{Destination, Scheme};
use super::error::{GateError, GateErrorKind};
use super::link::{Link, Socket};
use super::{Gate, GateOptions};

/// Head start of an address over the next one (RFC 8305, section 8, recommends 250 ms).
const HEAD_START: Duration = Duration::from_millis(250);
/// Addresses tried for one name; more than that is a misconfigured name.
const MAX_ADDRESSES: usize = 8;

pub(super) async fn connect(gate: &Gate, to: &Destination, limit: Duration) -> Result<Link, GateError> {
    match tokio::time::timeout(limit, connect_unbounded(gate, to)).await {
        Ok(result) => result.map_err(|error| error.with_written(false).at(to)),
        Err(_) => {
            let message = format!("no connection within {} s", limit.as_secs_f32());
            Err(GateError::new(GateErrorKind::Timeout, message).with_written(false).at(to))
        }
    }
}

async fn connect_unbounded(gate: &Gate, to: &Destination) -> Result<Link, GateError> {
    let stream = race(resolve(to).await?)
        .await
        .map_err(|error| unreachable(&format!("no connection: {}", error.kind())))?;
    // A request or a token must not wait for the acknowledgement of the packet before it.
    stream.set_nodelay(true).map_err(|error| unreachable(&format!("the socket failed: {}", error.kind())))?;
    let socket = match to.scheme {
        Scheme::Http => Socket::Plain(stream),
        Scheme::Https => {
            let name = server_name(&to.host)?;
            let connector = TlsConnector::from(tls(gate, to)?);
            let stream = connector.connect(name, stream).await.map_err(|error| {
                GateError::of_tls(&error).unwrap_or_else(|| unreachable(&format!("no TLS: {error}")))
            })?;
            Socket::Tls(Box::new(stream))
        }
    };
    Link::over(socket).await
}

fn unreachable(message: &str) -> GateError {
    GateError::new(GateErrorKind::Unreachable, message)
}

/// The addresses of the host that may be called, in turn of both families, as the resolver orders them within each.
async fn resolve(to: &Destination) -> Result<Vec<SocketAddr>, GateError> {
    let found: Vec<SocketAddr> = match &to.host {
        Host::Ipv4(ip) => vec![SocketAddr::new(IpAddr::V4(*ip), to.port)],
        Host::Ipv6(ip) => vec![SocketAddr::new(IpAddr::V6(*ip), to.port)],
        Host::Domain(name) => tokio::net::lookup_host((name.as_str(), to.port))
            .await
            .map_err(|_| unreachable("the name cannot be resolved"))?
            .collect(),
    };
    let any = !found.is_empty();
    let (six, four): (Vec<_>, Vec<_>) =
        found.into_iter().filter(|address| to.permits(address.ip())).partition(SocketAddr::is_ipv6);
    let mut order = Vec::with_capacity(six.len() + four.len());
    let (mut six, mut four) = (six.into_iter(), four.into_iter());
    while order.len() < MAX_ADDRESSES {
        let before = order.len();
        order.extend(six.next());
        order.extend(four.next());
        if order.len() == before {
            break;
        }
    }
    match order.is_empty() {
        false => Ok(order),
        true if any => Err(unreachable(
            "plain http would leave the private network; use https, or declare that it is meant",
        )),
        true => Err(unreachable("the name has no address")),
    }
}

/// Connects to the first address that accepts, each with a head start over the next.
async fn race(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    if let [only] = addresses.as_slice() {
        return TcpStream::connect(only).await;
    }
    let mut attempts: FuturesUnordered<_> = addresses
        .into_iter()
        .zip(0u32..)
        .map(|(address, turn)| async move {
            tokio::time::sleep(HEAD_START * turn).await;
            TcpStream::connect(address).await
        })
        .collect();
    let mut last = io::Error::from(io::ErrorKind::NotConnected);
    while let Some(attempt) = attempts.next().await {
        match attempt {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn server_name(host: &Host) -> Result<ServerName<'static>, GateError> {
    match host {
        Host::Domain(name) => {
            ServerName::try_from(name.clone()).map_err(|_| unreachable("the host name is not valid"))
        }
        Host::Ipv4(ip) => Ok(ServerName::from(IpAddr::V4(*ip))),
        Host::Ipv6(ip) => Ok(ServerName::from(IpAddr::V6(*ip))),
    }
}

fn tls(gate: &Gate, to: &Destination) -> Result<Arc<ClientConfig>, GateError> {
    let own = || {
        let make = || tls_config(system_roots(&gate.options)?, None).map(Arc::new);
        gate.tls.get_or_init(make).clone()
    };
    let config = to.identity.as_ref().map_or_else(own, |identity| identity.config(&gate.options));
    config.map_err(|message| unreachable(&message))
}

/// The authorities that the system trusts, and those that the gate was made with.
pub(super) fn system_roots(options: &GateOptions) -> Result<Arc<RootCertStore>, String> {
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(system.certs);
    roots.add_parsable_certificates(options.extra_roots.iter().cloned());
    if roots.is_empty() {
        return Err(
            "no certificate authorities were found on this system, so no https call can be made".into()
        );
    }
    Ok(Arc::new(roots))
}

pub(super) fn tls_config(
    roots: Arc<RootCertStore>,
    client: Option<Arc<SingleCertAndKey>>,
) -> Result<ClientConfig, String> {
    let provider = Arc::new(crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be set up: {error}"))?
        .with_root_certificates(roots);
    let mut config = match client {
        Some(client) => builder.with_client_cert_resolver(client),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
