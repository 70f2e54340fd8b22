//! The words of Inshore, and the traits that backends implement.
//!
//! Everything in the workspace depends on this crate and it depends on nothing of ours. It knows no I/O, no
//! serialization, no clock and no async runtime: wire formats (OpenAI, Anthropic, engine frames, database rows)
//! live at their own edges and convert to and from these types explicitly.
//!
//! Layout: [`request`] what an app asked; [`facts`] what inspection found; [`target`] where work can run;
//! [`decision`] where it will run and why; [`event`] what an answer is made of; [`revision`] how it may change while it is made; [`receipt`] what happened;
//! [`cap`] what may be spent; [`backend`] the traits that run work; [`money`], [`id`], [`time`] the small words below them.
#![forbid(unsafe_code)]

pub mod backend;
pub mod cap;
pub mod decision;
pub mod event;
pub mod facts;
pub mod id;
pub mod money;
pub mod receipt;
pub mod request;
pub mod revision;
pub mod target;
pub mod time;

pub use backend::{
    Backend, BackendError, BackendErrorKind, Billed, BoxFuture, Call, Embedder, Embeddings, EventStream,
};
pub use cap::{Amounts, Cap, Claim, Closing, Covers, Measure, OverCap, Reservation, Window};
pub use decision::{Decision, Estimate, Exclusion, Hybrid, Plain, Prefer, Split, Step, Strategy, Verdict};
pub use event::{Delta, Event, FinishReason, TokenLogprob, Usage};
pub use facts::{DeviceState, Facts, Finding, Headroom, Health, Sensitivity};
pub use id::{ReceiptId, RequestId, ReservationId, TraceId};
pub use money::{Currency, Money};
pub use receipt::{EgressLog, EgressRecord, Outcome, Receipt, Replay, Timings};
pub use request::{Hints, Principal, Profile, Request, Task};
pub use revision::{BlockKind, Revision};
pub use target::{Capabilities, Capability, Price, Target, TargetId, Tier};
pub use time::{Clock, Timestamp};
