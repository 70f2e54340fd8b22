//! The backends against scripted providers over loopback.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "what the rig is not given as expected fails the test"
)]

mod anthropic;
mod convert;
mod download;
mod edge;
mod faults;
mod foreign;
mod gate;
mod gemini;
mod openai;
mod prober;
mod responses;
mod rig;
mod warmer;
