//! The shipped binary from outside: a real daemon, a real engine child, the model in the box, in a home of its own each.
#![cfg(test)]

mod advise;
mod answers;
mod clients;
mod commands;
mod generate;
mod home;
mod isolation;
mod lifecycle;
mod models;
mod remote;
mod rules;
