//! `inshore serve`

use std::io::Write;
use std::net::SocketAddr;

use anyhow::Context as _;

use super::Context;
use crate::config::Sources;
use crate::daemon::{self, Start};
use crate::failure::Outcome;
use crate::output;

/// Run the daemon in the foreground.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  inshore serve
  inshore serve --listen 127.0.0.1:8080
  inshore serve --set engine.keep_alive=forever

SIGTERM or Ctrl-C ends it after the answers in work; a second one at once. SIGHUP reads models and targets again.")]
pub(crate) struct Args {
    /// Serve here instead of the configured address; always an address of this machine
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Print one line of JSON when ready; for programs that start the daemon
    #[arg(long, hide = true)]
    announce: bool,
}

pub(crate) fn run(context: &Context, args: &Args) -> Outcome {
    let mut sets = context.sets.clone();
    sets.extend(args.listen.map(|address| format!("server.listen={address}")));
    let (paths, environment) = (context.paths.clone(), context.environment.clone());
    let read =
        move || crate::config::load(&Sources { paths: &paths, environment: &environment, sets: &sets });
    let loaded = read()?;
    let announce = args.announce;
    daemon::run(Start {
        paths: &context.paths,
        environment: &context.environment,
        loaded,
        reload: Box::new(move || read().context("the configuration is wrong")),
        announce: Box::new(move |address| {
            if announce {
                let mut out = std::io::stdout().lock();
                serde_json::to_writer(&mut out, address)?;
                writeln!(out)?;
                return out.flush();
            }
            output::note(&format!("ready on http://{}/v1", address.tcp));
            Ok(())
        }),
    })
}
