//! Scripted providers with faults, for tests and benches. Never shipped.
//!
//! Layout: [`server`] the HTTP server below all of them: it records what came, counts connections, and can break off;
//! [`script`] what a provider is told to answer, and how to fail; [`openai`], [`anthropic`], [`gemini`] the protocols, checked
//! as strictly as the real ones; [`hub`] a model hub with its content network.
//!
//! Invariants: only loopback addresses are bound, with ports chosen by the system. Nothing is random: the same script
//! and requests give the same bytes. Both forms of a lost call exist: the request lost before it was carried out, and
//! the response lost after.
#![forbid(unsafe_code)]
#![expect(
    clippy::indexing_slicing,
    reason = "indexing a JSON value by name gives null where there is none; what is written to is an object made here"
)]

pub mod anthropic;
pub mod gemini;
pub mod hub;
pub mod openai;
pub mod script;
pub mod server;

pub use script::{Fault, Reply, Tokens, Turn};
pub use server::{Seen, Stats};
