//! The road of a request over scripted backends and a real store.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests stop at what they do not expect")]

mod road;
mod scripted;
