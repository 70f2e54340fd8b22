//! `inshore stop`

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{Context, block_on};
use crate::client::Daemon;
use crate::daemon::lock;
use crate::failure::{Exit, Failure, Outcome};
use crate::output;

/// Longer than the daemon lets answers in work go on.
const ENDS_WITHIN: Duration = Duration::from_secs(40);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Stop the running daemon. Answers in work are finished first.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  inshore stop")]
pub(crate) struct Args {}

pub(crate) fn run(context: &Context, _args: &Args) -> Outcome {
    block_on(async {
        let Some(daemon) = Daemon::find(&context.paths)? else {
            output::note("no daemon is running");
            return Ok(());
        };
        daemon.post("/inshore/v1/shutdown", &json!({})).await?;
        let deadline = Instant::now() + ENDS_WITHIN;
        while lock::is_held(&context.paths) {
            if Instant::now() > deadline {
                let message = format!("the daemon, process {}, has not ended", daemon.address.pid);
                return Err(Failure::new(Exit::Failure, message));
            }
            sleep(LOOK_AGAIN).await;
        }
        output::note("stopped");
        Ok(())
    })
}
