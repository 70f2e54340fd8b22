use std::net::SocketAddr;

use crate::event::Problem;
use crate::page::Misfit;
use crate::sse::TooLong;

/// Why there is no answer, or no whole one.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Answers are asked of this machine only.
    #[error("`{0}` is not an address of this machine")]
    NotLocal(SocketAddr),
    /// A token holds visible characters only.
    #[error("the token cannot be sent in a header")]
    Token,
    /// A hint's name or value cannot stand in a header.
    #[error("the hint `{0}` cannot be sent in a header")]
    Hint(String),
    /// The answer's path is none.
    #[error("`{0}` is not a path")]
    Path(String),
    /// The body is not JSON.
    #[error("the request cannot be written as JSON")]
    Body(#[source] serde_json::Error),
    /// Nobody is there.
    #[error("the daemon cannot be reached")]
    Unreachable(#[source] std::io::Error),
    /// The connection broke before the daemon answered. It may have taken the request.
    #[error("the daemon did not answer")]
    Silent(#[source] hyper::Error),
    /// The daemon refuses the request.
    #[error("{0}")]
    Refused(Problem),
    /// The answer is not complete.
    #[error("{0}")]
    Failed(Problem),
    /// The connection broke, and the answer could not be read on.
    #[error("the answer broke off, and {tries} tries to read it on failed")]
    Broken {
        /// Tries one after another that brought no event.
        tries: u32,
        /// What the last of them met, where it did not even reach the answer.
        source: Option<Box<Error>>,
    },
    /// What came is not what a daemon sends.
    #[error("the daemon's answer cannot be read")]
    Misfit(#[from] Misfit),
    /// What came has no end.
    #[error("the daemon's answer cannot be read")]
    TooLong(#[from] TooLong),
}

impl Error {
    /// What the daemon said.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Refused(problem) | Self::Failed(problem) => Some(problem),
            _ => None,
        }
    }

    /// Whether another try may find the daemon: it was not there, the connection broke, or it said that it could not now.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Silent(_) => true,
            Self::Refused(problem) => problem.status >= 500 || problem.status == 429,
            _ => false,
        }
    }
}
