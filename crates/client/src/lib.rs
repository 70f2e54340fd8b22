//! Reads Inshore's answers that are revised while they are made: a draft is there at once, and a better answer takes its place.
//!
//! Two halves. The pure one takes the bytes of `POST /inshore/v1/generate` as they arrive and keeps the answer as it stands: an
//! [`SseDecoder`] makes events of bytes, a [`Page`] applies them. The other, behind the feature `transport` (on by default), sends
//! the request to the daemon of this machine and reads on by itself when the connection breaks: [`transport::Client`].
//!
//! ```
//! use inshore_client::{Page, SseDecoder, State};
//!
//! let (mut decoder, mut page) = (SseDecoder::default(), Page::default());
//! decoder.push(b"id: 1\nevent: opened\ndata: {\"block\":0,\"kind\":\"text\"}\n\n")?;
//! decoder.push(b"id: 2\nevent: appended\ndata: {\"block\":0,\"text\":\"We meet on Tue")?;
//! decoder.push(b"sday\"}\n\nid: 3\nevent: replaced\ndata: {\"block\":0,\"start\":11,\"end\":14,\"text\":\"Wedne\"}\n\n")?;
//! while let Some(event) = decoder.next_event() {
//!     page.take(&event)?;
//! }
//! assert_eq!((page.text(), page.state()), ("We meet on Wednesday", State::Draft));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What the events are is in the project's `docs/generate.md`.
//!
//! Layout: `sse` the framing; `event` the events' wire types; `page` what they make; [`transport`] the daemon.
//!
//! Invariants: no event is applied twice, and none is missed unseen; what cannot be applied ends the answer instead of making it
//! wrong. The pure half does no I/O and reads no clock. This crate depends on no other of the project.
#![forbid(unsafe_code)]

mod event;
mod page;
mod sse;
#[cfg(feature = "transport")]
pub mod transport;

pub use event::{
    Accepted, Appended, Begun, BlockKind, Ended, Event, Finalised, Opened, Part, Problem, Replaced, Usage,
};
pub use page::{Block, Misfit, Page, State};
pub use sse::{MAX_EVENT_BYTES, SseDecoder, SseEvent, TooLong};
