//! Pure decisions: which targets a request may use, and which of these is preferred.
//!
//! Layout: [`inspect`] turns a request into facts without a network; [`decide()`] turns facts, rules and targets into a
//! [`inshore_domain::Decision`]. Both are plain functions.
//!
//! Invariants, all absences: no I/O, no clock, no randomness, no async. The same Facts, Rules and Targets always give
//! the same Decision. Every target that is excluded has a reason. Restricted text never leaves the device, whatever the
//! rules say.
#![forbid(unsafe_code)]

mod decide;
pub mod inspect;

pub use decide::{Rules, decide, names};
