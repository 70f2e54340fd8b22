//! The store through its public face, over real files.
#![cfg(test)]

mod closing;
mod kill;
mod opening;
mod retention;
mod round_trip;
mod sample;
mod secrecy;
