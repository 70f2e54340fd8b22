//! Edge and cloud backends, and the only outbound HTTP client of the daemon.
//!
//! Layout: [`gate`] the one way out: declared destinations, connections, byte counts; [`sse`] the framing of streamed
//! answers; `splice` edits of a JSON body that leave every other byte alone; `protocol` what a protocol is, and `openai`,
//! `anthropic`, `gemini`, `inshore` those there are, each with its own wire types; `json` and `vectors` what they share;
//! `answer` the stream of events made from a response; `refusal` what a provider's refusal means, `received` what else may
//! come; [`provider`] the backend made of these; [`batcher`] small requests for vectors in one call; [`prices`] what
//! well-known models cost; [`prober`] a look at targets that nobody calls; [`warmer`] connections that lie ready; [`forwarding`] what gives a server away that
//! sends its work on; [`download`] model pulls.
//!
//! Invariants: nothing is sent to a destination that was not declared. A key is sent only to the destination it was
//! handed in for, and no `Debug`, error or event shows it. Answers' redirects are refused. Every byte sent is in the
//! egress log, also when the call fails. Dropping an answer closes its connection. No task is spawned.
#![forbid(unsafe_code)]

mod answer;
mod anthropic;
pub mod batcher;
pub mod download;
pub mod forwarding;
pub mod gate;
mod gemini;
mod inshore;
mod json;
mod openai;
pub mod prices;
pub mod prober;
mod protocol;
pub mod provider;
mod received;
mod refusal;
mod secret;
mod splice;
pub mod sse;
mod vectors;
pub mod warmer;

pub use batcher::{BatchOptions, Batcher};
pub use gate::{BadIdentity, Destination, Gate, GateOptions, Timeouts, TlsIdentity};
pub use prober::{Probed, Prober, Subject};
pub use provider::{Provider, ProviderKind, ProviderTarget};
pub use secret::Secret;
pub use warmer::{KeepWarm, Warmed, Warmer};
