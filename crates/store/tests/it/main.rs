//! The store through its public face, over real files.
#![cfg(test)]

mod closing;
mod hammer;
mod interleavings;
mod journal;
mod kill;
mod labels;
mod money;
mod opening;
mod retention;
mod round_trip;
mod sample;
mod secrecy;
mod spend;
