//! Model pulls: resumable, verified, and atomic.
//!
//! A file is written to `NAME.part` beside its place, with what is known of it in `NAME.part.state`, and takes its name
//! only when its checksum is right. An interrupted pull goes on where it stopped, if the server still has the same file.
//!
//! Redirects are followed here and nowhere else, because hubs keep their files on other hosts: at most
//! [`MAX_REDIRECTS`], never from TLS to plain text, and the token stays with the first host. Each host is named in the
//! result.

mod file;
mod transfer;

use std::path::{Path, PathBuf};
use std::time::Duration;

use inshore_domain::EgressLog;
use url::Url;

use crate::gate::{BadDestination, Gate, GateError, GateErrorKind, Timeouts};
use crate::secret::Secret;

pub use file::Digest;

/// Most redirects of one attempt. Hubs need one or two.
pub const MAX_REDIRECTS: usize = 5;

/// What to pull, and where to.
#[derive(Debug, Clone)]
pub struct Download {
    /// Where the file is. Its destination must be declared at the gate.
    pub url: Url,
    /// Where it goes. The folder must exist.
    pub path: PathBuf,
    /// Sent to the host of `url` only.
    pub token: Option<Secret>,
    /// The checksum that the file must have. Without it the one that the hub tells is used (`x-linked-etag`, which is a
    /// checksum for files kept in LFS), and without that the file is not verified, and the result says so.
    pub sha256: Option<Digest>,
    /// Most bytes taken.
    pub max_bytes: u64,
    /// When to give up.
    pub retry: Retry,
    /// How long to wait for what.
    pub timeouts: Timeouts,
}

impl Download {
    /// A pull with the usual limits.
    pub fn new(url: Url, path: PathBuf) -> Self {
        let timeouts = Timeouts {
            first_byte: Duration::from_secs(60),
            idle: Duration::from_secs(60),
            ..Timeouts::default()
        };
        // The largest open models have files of some 50 GB; 1 TiB only stops a server that sends without end.
        Self { url, path, token: None, sha256: None, max_bytes: 1 << 40, retry: Retry::default(), timeouts }
    }
}

/// When to try again after a broken connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// Attempts in a row that may bring not one byte. Default 6.
    pub attempts: u32,
    /// Wait before the second of these; doubled each time, 30 s at most. Default 500 ms.
    pub first_wait: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self { attempts: 6, first_wait: Duration::from_millis(500) }
    }
}

/// How far a pull is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes in the file, those of earlier pulls included.
    pub bytes: u64,
    /// Bytes that it will have, where the server tells.
    pub total: Option<u64>,
    /// Bytes that were there before this pull began.
    pub resumed_from: u64,
}

/// A file that was pulled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Downloaded {
    /// Where it is.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// Its checksum.
    pub sha256: Digest,
    /// What the checksum was compared with.
    pub verified: Verified,
    /// Bytes that an earlier pull had left.
    pub resumed_from: u64,
    /// Hosts that were called, the first one first.
    pub hosts: Vec<String>,
}

/// What a checksum was compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verified {
    /// With the one handed in.
    Expected,
    /// With the one that the hub told.
    ByHub,
    /// With none: nobody told one.
    No,
}

/// Why a pull failed. What was pulled so far is kept, except where it is known to be wrong.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// The address cannot be called.
    #[error("the address cannot be called: {0}")]
    Address(#[from] BadDestination),
    /// Not a reference of the form `hf:OWNER/REPO/FILE[@REVISION]`.
    #[error(
        "`{0}` is not a model reference: expected hf:OWNER/REPO/FILE.gguf or hf:OWNER/REPO/FILE.gguf@REVISION"
    )]
    Reference(String),
    /// The server refused.
    #[error("`{host}` answered {status}{}", hint_of(*status))]
    Refused {
        /// Who.
        host: String,
        /// HTTP status.
        status: u16,
    },
    /// A redirect that is not followed.
    #[error("`{host}` redirects {why}")]
    Redirect {
        /// Who.
        host: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The connection failed too often.
    #[error("{0}; what was pulled so far is kept, and the next pull goes on there")]
    Connection(GateError),
    /// The server does not keep to the protocol.
    #[error("`{host}`: {why}")]
    Protocol {
        /// Who.
        host: String,
        /// What is wrong.
        why: &'static str,
    },
    /// The file is not the one it should be. What was pulled is deleted.
    #[error("the file has the checksum {found} and should have {expected}; it was deleted")]
    Checksum {
        /// What it should be.
        expected: Digest,
        /// What it is.
        found: Digest,
    },
    /// Larger than the limit.
    #[error("the file is larger than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// The disk has no room for it.
    #[error("the file needs {needed} more bytes and the disk has {free} free")]
    NoSpace {
        /// Still to be pulled.
        needed: u64,
        /// Free on the disk.
        free: u64,
    },
    /// Another pull of the same file is under way.
    #[error("another pull of `{0}` is under way")]
    Busy(PathBuf),
    /// The disk.
    #[error("`{path}`: {error}")]
    Disk {
        /// Which file.
        path: PathBuf,
        /// What went wrong.
        error: std::io::Error,
    },
}

fn hint_of(status: u16) -> &'static str {
    match status {
        401 | 403 => ": a token may be needed, or the model's terms must be accepted first",
        404 => ": there is no such file",
        429 => ": too many requests",
        _ => "",
    }
}

impl DownloadError {
    fn disk(path: &Path, error: std::io::Error) -> Self {
        Self::Disk { path: path.to_owned(), error }
    }

    /// Whether the same attempt may succeed a little later.
    fn may_pass(&self) -> bool {
        match self {
            Self::Connection(error) => error.kind != GateErrorKind::Undeclared,
            Self::Refused { status, .. } => matches!(status, 408 | 425 | 429 | 500 | 502..=504),
            _ => false,
        }
    }
}

/// The address of `hf:OWNER/REPO/FILE[@REVISION]` at a hub; the revision is `main` where none is given. `FILE` may be in
/// folders.
pub fn hub_url(hub: &Url, reference: &str) -> Result<Url, DownloadError> {
    let bad = || DownloadError::Reference(reference.chars().take(200).collect());
    let rest = reference.strip_prefix("hf:").ok_or_else(bad)?;
    let (path, revision) = rest.rsplit_once('@').unwrap_or((rest, "main"));
    let mut parts = path.split('/');
    let (owner, repo) = (parts.next().ok_or_else(bad)?, parts.next().ok_or_else(bad)?);
    let file: Vec<&str> = parts.collect();
    let proper = |part: &&str| {
        !part.is_empty()
            && *part != "."
            // Hubs refuse it inside of names too, and whatever reads the address next need not know where it may stand.
            && !part.contains("..")
            && !part.contains(['\\', '?', '#'])
            && !part.chars().any(char::is_control)
    };
    let all = [owner, repo, revision].into_iter().chain(file.iter().copied());
    if file.is_empty() || !all.clone().all(|part| proper(&part)) {
        return Err(bad());
    }
    let mut url = hub.clone();
    let mut segments = url.path_segments_mut().map_err(|()| bad())?;
    segments.pop_if_empty().extend([owner, repo, "resolve", revision]).extend(file);
    drop(segments);
    Ok(url)
}

/// Pulls a file. `progress` is called at the start and after each piece; it must not block. Dropping the future stops
/// the pull, and what was pulled so far is kept.
pub async fn download(
    gate: &Gate,
    what: &Download,
    egress: &EgressLog,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Downloaded, DownloadError> {
    let mut part = file::Part::open(&what.path, what.url.as_str()).await?;
    let resumed_from = part.length();
    let mut pull = transfer::Pull::new(gate, what, egress, resumed_from);
    let mut fruitless = 0;
    loop {
        let before = part.length();
        match pull.attempt(&mut part, progress).await {
            Ok(()) => break,
            Err(error) if error.may_pass() => {
                fruitless = if part.length() > before { 0 } else { fruitless + 1 };
                if fruitless >= what.retry.attempts {
                    part.keep().await?;
                    return Err(error);
                }
                let doubled = what.retry.first_wait.saturating_mul(1 << fruitless.min(10));
                tokio::time::sleep(doubled.min(Duration::from_secs(30))).await;
            }
            Err(error) => {
                part.keep().await?;
                return Err(error);
            }
        }
    }
    let (expected, verified) = match (what.sha256, pull.told()) {
        (Some(expected), _) => (Some(expected), Verified::Expected),
        (None, Some(told)) => (Some(told), Verified::ByHub),
        (None, None) => (None, Verified::No),
    };
    let found = part.digest();
    if let Some(expected) = expected.filter(|expected| *expected != found) {
        part.discard().await?;
        return Err(DownloadError::Checksum { expected, found });
    }
    let bytes = part.length();
    part.finish().await?;
    Ok(Downloaded {
        path: what.path.clone(),
        bytes,
        sha256: found,
        verified,
        resumed_from: pull.resumed_from(),
        hosts: pull.into_hosts(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn resolve(reference: &str) -> Option<String> {
        hub_url(&"https://hub.example/".parse().unwrap(), reference).ok().map(String::from)
    }

    #[test]
    fn references_become_addresses() {
        assert_eq!(
            resolve("hf:Qwen/Qwen3-GGUF/q4.gguf").unwrap(),
            "https://hub.example/Qwen/Qwen3-GGUF/resolve/main/q4.gguf"
        );
        assert_eq!(
            resolve("hf:a/b/dir/f.gguf@v1.0").unwrap(),
            "https://hub.example/a/b/resolve/v1.0/dir/f.gguf"
        );
        assert_eq!(
            resolve("hf:a/b/with space.gguf").unwrap(),
            "https://hub.example/a/b/resolve/main/with%20space.gguf"
        );
        for bad in [
            "a/b/c",
            "hf:",
            "hf:a",
            "hf:a/b",
            "hf:a/b/",
            "hf:a//c",
            "hf:a/../c",
            "hf:@/..a/:@a",
            "hf:a/b/../../c",
            "hf:a/b/c?x",
            "hf:a/b/c@",
            "hf:a/b/c\\d",
        ] {
            assert_eq!(resolve(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_reference_never_leaves_the_hub(reference in "hf:[a-z./@%#?\\\\: ]{0,30}") {
            if let Some(url) = resolve(&reference) {
                prop_assert!(url.starts_with("https://hub.example/") && url.contains("/resolve/"));
                prop_assert!(!url.contains(".."), "{url}");
            }
        }
    }
}
