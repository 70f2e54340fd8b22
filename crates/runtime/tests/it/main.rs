//! The road of a request over scripted backends and a real store.
#![cfg(test)]

mod road;
mod scripted;
