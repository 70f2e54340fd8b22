//! The server from outside: raw sockets, every response shape, every refusal.
#![cfg(test)]

mod connections;
mod errors;
mod gate;
mod native;
mod parsers;
mod passthrough;
mod revisions;
mod scripted;
mod server;
mod shapes;
