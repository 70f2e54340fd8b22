//! What the binary hands in: tokens, hosts, origins, limits.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

/// How the server behaves. The default has no tokens, so that it refuses everything but the health routes.
#[derive(Clone, Default)]
pub struct ApiOptions {
    /// Who may call. Every request but the health routes must present one of these tokens. Keep a clone to replace
    /// them while the server runs.
    pub tokens: Tokens,
    /// Names by which clients may reach this server beside `localhost`, `127.0.0.1` and `[::1]`, without port.
    pub allowed_hosts: Vec<String>,
    /// Origins whose pages may call from a browser, exactly as the browser sends them (`https://app.example`).
    /// Empty: no page may, and no CORS header is ever sent.
    pub cors_origins: Vec<String>,
    /// Limits in size, number and time.
    pub limits: Limits,
    /// Sees accepted sockets, for tests and diagnostics.
    pub observer: Option<Arc<dyn Observer>>,
}

impl fmt::Debug for ApiOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiOptions")
            .field("tokens", &self.tokens)
            .field("allowed_hosts", &self.allowed_hosts)
            .field("cors_origins", &self.cors_origins)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// Sees accepted sockets.
pub trait Observer: Send + Sync {
    /// Called for each accepted TCP socket after its options have been set and before anything is read from it.
    fn accepted(&self, socket: &tokio::net::TcpStream);
}

/// The tokens there are. Clones share them, so that the holder of one can replace those of a running server.
#[derive(Clone, Default)]
pub struct Tokens(Arc<ArcSwap<Vec<AppToken>>>);

impl Tokens {
    /// Replaces all tokens. Requests already admitted go on.
    pub fn replace(&self, tokens: Vec<AppToken>) {
        self.0.store(Arc::new(tokens));
    }

    /// The app that `presented` belongs to.
    pub(crate) fn app_of(&self, presented: &[u8]) -> Option<Arc<str>> {
        app_of(&self.0.load(), presented)
    }
}

impl From<Vec<AppToken>> for Tokens {
    fn from(tokens: Vec<AppToken>) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(tokens)))
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.load().fmt(f)
    }
}

/// A token and the app it belongs to. Holds only the token's SHA-256, so that neither a log line nor a memory dump shows it.
#[derive(Clone)]
pub struct AppToken {
    app: Arc<str>,
    digest: [u8; 32],
}

impl AppToken {
    /// The app's name, which receipts and prompt caches are kept by, and the token it presents.
    pub fn new(app: impl Into<Arc<str>>, token: &str) -> Self {
        Self { app: app.into(), digest: digest(token.as_bytes()) }
    }

    /// The app's name.
    pub fn app(&self) -> &str {
        &self.app
    }
}

impl fmt::Debug for AppToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AppToken({})", self.app)
    }
}

fn digest(token: &[u8]) -> [u8; 32] {
    Sha256::digest(token).into()
}

/// The app that `presented` belongs to. Looks at every token whatever the outcome, and compares digests in constant time,
/// so that the time taken tells nothing about how near a guess was.
fn app_of(tokens: &[AppToken], presented: &[u8]) -> Option<Arc<str>> {
    let presented = digest(presented);
    let mut found = None;
    for token in tokens {
        let same: Choice = token.digest.as_slice().ct_eq(presented.as_slice());
        if bool::from(same) {
            found = Some(token.app.clone());
        }
    }
    found
}

/// Limits of the server. Each default is defended where it is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest body. 32 MiB holds a million tokens of text, or a few photographs as data URLs.
    pub body_bytes: usize,
    /// Bytes of all bodies being read or answered, together. 256 MiB: eight of the longest; a ninth waits for later.
    pub bodies_bytes: usize,
    /// Connections at once. 512 leaves half of the usual soft limit of 1,024 descriptors to the rest of the daemon.
    /// When they are all taken, the connection that has been idle longest makes room for a new one; connections with a
    /// request in work never do.
    pub connections: usize,
    /// From the first byte of a request's head to its last. On loopback a head arrives in one packet; 10 s is for
    /// machines that have just woken up.
    pub head_timeout: Duration,
    /// From the end of the head to the end of the body, for the same reason longer: bodies are megabytes.
    pub body_timeout: Duration,
    /// How long a connection without a request is kept. Longer than the pools of the official clients keep theirs (5 s
    /// in Python, 5 s in Node), so that it is they who close and no request meets a closing connection.
    pub idle_timeout: Duration,
    /// While a client does not read, at least [`Self::write_progress`] bytes must go out in this time.
    pub write_stall: Duration,
    /// See [`Self::write_stall`].
    pub write_progress: usize,
    /// How long answers in work may go on after shutdown was asked for.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 32 << 20,
            bodies_bytes: 256 << 20,
            connections: 512,
            head_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(90),
            write_stall: Duration::from_secs(30),
            write_progress: 1024,
            grace: Duration::from_secs(20),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_finds_its_app_and_nothing_else_does() {
        let tokens = [AppToken::new("editor", "aaaa"), AppToken::new("mail", "bbbb")];
        assert_eq!(app_of(&tokens, b"bbbb").as_deref(), Some("mail"));
        assert_eq!(app_of(&tokens, b"aaaa").as_deref(), Some("editor"));
        for wrong in ["", "aaa", "aaaaa", "bbbB"] {
            assert_eq!(app_of(&tokens, wrong.as_bytes()), None, "{wrong}");
        }
        assert_eq!(app_of(&[], b""), None);
    }

    #[test]
    fn a_token_does_not_print() {
        let options =
            ApiOptions { tokens: vec![AppToken::new("mail", "s3cret")].into(), ..ApiOptions::default() };
        let shown = format!("{options:?}");
        assert!(shown.contains("mail") && !shown.contains("s3cret"), "{shown}");
    }
}
