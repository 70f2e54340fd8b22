//! The loopback HTTP server: the APIs that apps already use, in front of the runtime.
//!
//! A request walks one way through the files of this crate:
//!
//! | folder or file | does |
//! |---|---|
//! | [`mod@serve`](fn@serve), `server/` | accepts connections, holds every limit in time and number |
//! | `gate` | who may speak at all: Host, Origin, bearer token; adds ids and CORS headers to every response |
//! | `body`, `json` | reads a body within its limits, turns it into wire structs, names the field that is wrong |
//! | `openai/`, `anthropic/`, `native/` | the wire structs of each API and their conversion to and from domain words |
//! | `admit` | hints, principal, ids: one [`inshore_domain::Request`] |
//! | `answer` | the events of an answer as a stream of server-sent events, or collected |
//! | `fault` | every error, in each API's own shape |
//!
//! Invariants: nothing here decides where work runs, and nothing knows a provider or an engine. Wire structs never leave
//! the crate and domain types are never serialized. A request without a token reaches nothing but `/healthz` and
//! `/readyz`; a request whose `Host` is not ours, or whose `Origin` is not configured, reaches nothing at all. A field
//! that could change the answer is honoured or refused by name, never dropped. When the target sent wire bytes in the
//! caller's own dialect, exactly these bytes are forwarded.
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate self as inshore_api;

mod admit;
mod answer;
mod anthropic;
mod body;
mod control;
mod fault;
mod gate;
mod json;
mod native;
mod openai;
mod options;
mod revisions;
mod routes;
mod server;

pub use control::{Control, ControlError, Refreshed, Status, TargetStatus};
pub use options::{ApiOptions, AppToken, Limits, Observer, Tokens};
pub use server::{Listeners, Parts, serve};

/// The request parsers alone, for fuzzing: each takes any bytes as a body and says whether they would be admitted.
pub mod parsers {
    pub use crate::anthropic::check_count_tokens as anthropic_count_tokens;
    pub use crate::anthropic::check_messages as anthropic_messages;
    pub use crate::openai::check_chat as openai_chat;
    pub use crate::openai::check_completions as openai_completions;
    pub use crate::openai::check_embeddings as openai_embeddings;
    pub use crate::openai::check_responses as openai_responses;
}
