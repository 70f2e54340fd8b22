//! The road of a request over scripted backends and a real store.
#![cfg(test)]

mod cache;
mod cascade;
mod chunks;
mod draft;
mod endpoints;
mod hedge;
mod learn;
mod masked;
mod road;
mod scripted;
mod spend;
mod split;
