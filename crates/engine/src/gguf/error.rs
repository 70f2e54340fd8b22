//! What can be wrong with a model file.

use std::io;

/// Why a GGUF file is refused. The sentences are for people and never hold more than 80 characters of the file.
#[derive(Debug, thiserror::Error)]
pub enum GgufError {
    /// The first four bytes are not `GGUF`.
    #[error("not a GGUF file: it does not begin with `GGUF`")]
    NotGguf,
    /// Written for machines of the other byte order.
    #[error("this GGUF file is big-endian; only little-endian files are supported")]
    BigEndian,
    /// A version this reader does not know.
    #[error("GGUF version {0} is not supported: expected 2 or 3")]
    Version(u32),
    /// The file ends early.
    #[error("the file ends in the middle of {what}: it is truncated or still being downloaded")]
    Truncated {
        /// What was being read.
        what: &'static str,
    },
    /// More than any honest file has.
    #[error("{what} is {found}, more than the limit of {limit}")]
    Limit {
        /// What is too large.
        what: &'static str,
        /// What the file says.
        found: u64,
        /// The most that is accepted.
        limit: u64,
    },
    /// Anything else that contradicts the format.
    #[error("malformed GGUF file: {0}")]
    Malformed(String),
    /// One part of a model that was cut into several files.
    #[error("this is part {part} of a model split into {count} files")]
    Split {
        /// Its number, from 1.
        part: u64,
        /// How many there are.
        count: u64,
    },
    /// The file cannot be read.
    #[error("the model file cannot be read: {0}")]
    Io(#[from] io::Error),
}

impl GgufError {
    /// What to do about it, where there is something.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Split { .. } => {
                Some("join the parts into one file with llama.cpp's `llama-gguf-split --merge`")
            }
            Self::Truncated { .. } => Some("download it again"),
            _ => None,
        }
    }
}

/// At most 80 characters of foreign text, for messages.
pub(super) fn shown(text: &str) -> String {
    text.chars().take(80).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
