//! Pure decisions: which targets a request may use, and which of these is preferred.
//!
//! Layout: [`inspect`] turns a request into facts without a network, for which [`sensitivity`] finds what is sensitive in its texts;
//! [`masking`] replaces that before a call and puts it back into the answer; [`rules`] are the policies and settings of an installation, and
//! complete the facts with what a [`feature`] needs; [`decide()`] turns facts, rules and targets into a
//! [`inshore_domain::Decision`], which [`explain()`] tells; [`cost`] is what a call can take and took, [`caps`] which counters it
//! claims from; [`verify`] whether an answer stands up to checks, [`router`] judges answers of the device by what was measured;
//! [`masking`] keeps values out of what leaves; [`split`] what of a long document leaves; [`cases`] are the tests that teams write for their policies; [`advise`] compares
//! where planned features could run.
//!
//! Invariants, all absences: no I/O, no clock, no randomness, no async. The same Facts, Rules and Targets always give
//! the same Decision. Every target that is excluded has a reason. Restricted text never leaves the device, whatever the
//! rules say. A policy that cannot be evaluated permits nothing. Only `rules` knows Cedar.
#![forbid(unsafe_code)]

pub mod advise;
pub mod caps;
pub mod cases;
pub mod cost;
mod decide;
mod explain;
pub mod feature;
pub mod inspect;
pub mod masking;
pub mod router;
pub mod rules;
#[cfg(test)]
mod samples;
pub mod sensitivity;
pub mod split;
pub mod verify;

pub use caps::claims;
pub use cases::run_cases;
pub use cost::{cost, usual, worst_case};
pub use decide::{Criterion, Misses, Objective, Prepared, decide, names};
pub use explain::{Account, Entry, Note, explain};
pub use feature::{Feature, Features};
pub use rules::{PolicyError, PolicyErrors, Rules, Settings};
