//! The backends against scripted providers over loopback.

mod anthropic;
mod convert;
mod download;
mod faults;
mod gate;
mod openai;
mod responses;
mod rig;
