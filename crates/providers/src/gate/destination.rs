//! Where a call may go.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;

use url::{Host, Url};

use super::identity::TlsIdentity;

/// How a destination is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Plain HTTP: this machine, a private network, or a host declared for it.
    Http,
    /// HTTP over TLS.
    Https,
}

/// A scheme, host and port, and the certificates used there. Two are equal when these are, whatever else was declared, so
/// that a connection made with one certificate is never used for another.
#[derive(Debug, Clone)]
pub struct Destination {
    pub(crate) scheme: Scheme,
    pub(crate) host: Host,
    pub(crate) port: u16,
    /// The config says that plain HTTP beyond private networks is meant.
    pub(crate) plain_declared: bool,
    pub(super) identity: Option<TlsIdentity>,
    /// `host:port`, made once.
    authority: String,
}

/// An address that cannot be a destination.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadDestination {
    /// Neither `http` nor `https`.
    #[error("`{0}` is not a scheme that can be called: expected http or https")]
    Scheme(String),
    /// No host.
    #[error("the address names no host")]
    Host,
    /// A user name or password, which would end up in logs.
    #[error("the address holds a user name or password; hand the key in apart")]
    Credentials,
    /// Plain HTTP to an address that anybody on the way can read.
    #[error(
        "plain http to `{0}` would be readable on the way; use https or declare that plain http is meant"
    )]
    Plain(String),
}

impl Destination {
    /// The destination of a URL. Plain HTTP to a public IP address is refused; to a host name it is decided when the
    /// name is resolved: only loopback, link-local and private addresses are then called.
    pub fn of(url: &Url) -> Result<Self, BadDestination> {
        Self::parse(url, false)
    }

    /// The same, with plain HTTP to any address declared as meant.
    pub fn of_plain(url: &Url) -> Result<Self, BadDestination> {
        Self::parse(url, true)
    }

    fn parse(url: &Url, plain_declared: bool) -> Result<Self, BadDestination> {
        let scheme = match url.scheme() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            other => return Err(BadDestination::Scheme(other.chars().take(32).collect())),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(BadDestination::Credentials);
        }
        let host = url.host().ok_or(BadDestination::Host)?.to_owned();
        let port = url.port_or_known_default().ok_or(BadDestination::Host)?;
        let literal = match &host {
            Host::Ipv4(ip) => Some(IpAddr::V4(*ip)),
            Host::Ipv6(ip) => Some(IpAddr::V6(*ip)),
            Host::Domain(_) => None,
        };
        if scheme == Scheme::Http && !plain_declared && literal.is_some_and(|ip| !is_near(ip)) {
            return Err(BadDestination::Plain(host.to_string()));
        }
        let authority = format!("{host}:{port}");
        Ok(Self { scheme, host, port, plain_declared, identity: None, authority })
    }

    /// The same with certificates of its own.
    #[must_use]
    pub fn with_identity(mut self, identity: TlsIdentity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// Host and port, as receipts show them.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// How it is spoken to.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The value of the `Host` header: the port is left out where it is the scheme's own.
    pub(crate) fn host_header(&self) -> String {
        match (self.scheme, self.port) {
            (Scheme::Http, 80) | (Scheme::Https, 443) => self.host.to_string(),
            _ => self.authority.clone(),
        }
    }

    /// Whether an address found for the host may be called.
    pub(crate) fn permits(&self, ip: IpAddr) -> bool {
        self.scheme == Scheme::Https || self.plain_declared || is_near(ip)
    }
}

/// Loopback, link-local and private addresses (RFC 1918, RFC 4193, RFC 4291), and the shared range of RFC 6598 that
/// overlay networks such as Tailscale use.
fn is_near(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [first, second, ..] = ip.octets();
            ip.is_loopback()
                || ip.is_private()
                || ip.is_link_local()
                || (first == 100 && (64..128).contains(&second))
        }
        IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
            Some(mapped) => is_near(IpAddr::V4(mapped)),
            None => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
        },
    }
}

impl PartialEq for Destination {
    fn eq(&self, other: &Self) -> bool {
        self.scheme == other.scheme
            && self.port == other.port
            && self.host == other.host
            && self.identity == other.identity
    }
}

impl Eq for Destination {}

impl Hash for Destination {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.scheme.hash(state);
        self.authority.hash(state);
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        write!(f, "{scheme}://{}", self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(url: &str) -> Result<String, BadDestination> {
        Destination::of(&url.parse().unwrap()).map(|destination| destination.to_string())
    }

    #[test]
    fn only_near_hosts_may_be_spoken_to_in_plain() {
        for near in [
            "http://127.0.0.1:80",
            "http://10.1.2.3:8080",
            "http://100.100.0.1:80",
            "http://[::1]:11434",
            "http://[fd00::1]:80",
        ] {
            assert_eq!(of(near).unwrap(), near);
        }
        for far in ["http://8.8.8.8/", "http://[2001:db8::1]/", "http://[::ffff:8.8.8.8]/"] {
            assert!(matches!(of(far), Err(BadDestination::Plain(_))), "{far}");
            assert!(Destination::of_plain(&far.parse().unwrap()).is_ok());
        }
        let named = Destination::of(&"http://edge.example".parse().unwrap()).unwrap();
        assert!(named.permits("192.168.1.1".parse().unwrap()) && !named.permits("8.8.8.8".parse().unwrap()));
    }

    #[test]
    fn addresses_that_cannot_be_called_are_refused() {
        assert!(matches!(of("ftp://example.test/"), Err(BadDestination::Scheme(_))));
        assert_eq!(of("https://me:secret@example.test/"), Err(BadDestination::Credentials));
        assert_eq!(of("https://example.test/v1").unwrap(), "https://example.test:443");
    }
}
