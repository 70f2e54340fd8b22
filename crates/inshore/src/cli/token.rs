//! `inshore token`

use serde_json::json;

use super::Context;
use crate::daemon::tokens;
use crate::failure::Outcome;

/// Make and revoke the tokens that apps present.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A receipt names the app whose token was presented, and prompt caches are kept apart by app.
A running daemon learns of new and revoked tokens at once."
)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a token for an app and print it
    #[command(after_help = "Example:\n  export OPENAI_API_KEY=$(inshore token create editor)")]
    Create {
        /// The app's name
        app: String,
    },
    /// List the apps that have a token
    List,
    /// Take an app's token away
    Revoke {
        /// The app's name
        app: String,
    },
    /// Print the token of this user's own tools
    #[command(after_help = "Example:\n  export OPENAI_API_KEY=$(inshore token show)")]
    Show,
}

pub(crate) fn run(context: &Context, args: &Args) -> Outcome {
    let paths = &context.paths;
    match &args.command {
        Command::Create { app } => {
            let token = tokens::create(paths, app)?;
            super::refresh(context)?;
            if context.output.json {
                return Ok(context.output.json(&json!({"app": app, "token": token}))?);
            }
            Ok(context.output.line(&token)?)
        }
        Command::List => {
            let apps: Vec<String> =
                std::iter::once(tokens::OWN_APP.to_owned()).chain(tokens::apps(paths)?).collect();
            if context.output.json {
                return Ok(context.output.json(&apps)?);
            }
            let rows: Vec<Vec<String>> = apps.into_iter().map(|app| vec![app]).collect();
            Ok(context.output.table(&["APP"], &rows)?)
        }
        Command::Revoke { app } => {
            tokens::revoke(paths, app)?;
            super::refresh(context)?;
            Ok(())
        }
        Command::Show => Ok(context.output.line(&tokens::own(paths)?)?),
    }
}
