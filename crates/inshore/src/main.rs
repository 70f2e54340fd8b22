//! The `inshore` command: the one shipped binary.
//!
//! It wires and holds no logic of its own: the road of a request is in `inshore-runtime`, the wire formats are in `inshore-api`,
//! inference is in `inshore-engine`. Here are the command line, the configuration, the models folder, and the daemon's start and
//! end. Only this crate reads the environment, the home folder, the wall clock, and writes to stdout.
//!
//! Layout: [`cli`] a file for each command; [`config`] layers and keys; [`catalogue`] models on disk; [`daemon`] wiring; [`client`]
//! talks to the daemon; [`machine`] network, battery, heat, [`network`] whether it is metered; [`policies`] the rules; [`secrets`] the keyring; [`output`] everything that is printed.
//!
//! Invariants: no command but `model pull` makes a connection that leaves this machine; the daemon makes one only for a target
//! that the configuration permits. Nothing is downloaded unless it was asked for by name.
#![forbid(unsafe_code)]

mod catalogue;
mod cli;
mod client;
mod clock;
mod config;
mod daemon;
mod environment;
mod failure;
mod machine;
mod network;
mod output;
mod paths;
mod policies;
mod secrets;

use std::process::ExitCode;

fn main() -> ExitCode {
    // The daemon starts this program again for each model it loads. That child must have no threads and no open files of ours, so
    // it is told apart before anything else happens.
    if std::env::args_os().nth(1).is_some_and(|argument| argument == "engine") {
        return daemon::engine_child();
    }
    cli::main()
}
