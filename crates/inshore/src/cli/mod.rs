//! The command line: what can be said, and which file does it.

mod advise;
mod answer;
mod ask;
mod chat;
mod complete;
mod completions;
mod config;
mod decide;
mod doctor;
mod model;
mod policy;
mod receipt;
mod router;
mod secret;
mod serve;
mod service;
mod spend;
mod status;
mod stop;
mod token;
mod version;

pub(crate) use version::VERSION;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::client::Daemon;
use crate::config::{Loaded, Sources};
use crate::environment::{Environment, VARIABLES};
use crate::failure::{Exit, Failure, Outcome};
use crate::output::{self, Output};
use crate::paths::Paths;

const EXAMPLES: &str = "\
Exit codes: 0 done; 1 it did not work; 2 the command line or the configuration is wrong; 3 the daemon cannot be reached; \
4 the daemon refused the request; 5 a daemon already runs; 130 stopped by Ctrl-C.

Examples:
  inshore complete \"Thank you for your letter of\"
  inshore model pull hf:Qwen/Qwen3-4B-GGUF/Qwen3-4B-Q4_K_M.gguf
  inshore ask \"What does this say?\" < letter.txt
  inshore receipt --last";

/// The end of `inshore --help`: exit codes, environment, examples.
fn after_help() -> String {
    let width = VARIABLES.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let variables: String =
        VARIABLES.iter().map(|(name, does)| format!("\n  {name:<width$}  {does}")).collect();
    format!("{EXAMPLES}\n\nEnvironment:{variables}")
}

/// Answers from a model on this machine, through the APIs that apps already speak.
#[derive(Debug, Parser)]
#[command(name = "inshore", version, after_help = after_help(), max_term_width = 100, subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// Print results as JSON
    #[arg(long, global = true)]
    json: bool,
    /// Set one config key for this command and for a daemon that it starts
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE", global = true)]
    sets: Vec<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon in the foreground
    Serve(serve::Args),
    /// Talk with a model; the answer streams, with a receipt line after it
    Chat(chat::Args),
    /// Ask one question; text piped in is read along
    Ask(ask::Args),
    /// Finish a sentence
    Complete(complete::Args),
    /// List, download, import and remove models
    Model(model::Args),
    /// Show what happened for an answer: where it ran, what left this machine, what it cost, and why
    Receipt(receipt::Args),
    /// Show where a request would run now, and why, without running it
    Decide(decide::Args),
    /// Compare where your features could run, with latency and monthly cost, and recommend one
    Advise(advise::Args),
    /// Show, check and test the policies that say which targets may be used
    Policy(policy::Args),
    /// Show what was spent, on what, and what the device saved
    Spend(spend::Args),
    /// Show what was learned about which answers of smaller models are kept
    Router(router::Args),
    /// Show the running daemon, its targets and loaded models
    Status(status::Args),
    /// Look at this installation: hardware, sandbox, models, config, and what would be chosen
    Doctor(doctor::Args),
    /// Show and check the configuration
    Config(config::Args),
    /// Make and revoke the tokens that apps present
    Token(token::Args),
    /// Keep providers' keys in the operating system's keyring
    Secret(secret::Args),
    /// Stop the running daemon
    Stop(stop::Args),
    /// Start the daemon with the session: systemd, launchd or a Windows task
    InstallService(service::Args),
    /// Print a completion script for a shell
    Completions(completions::Args),
    /// Print the version
    Version(version::Args),
    /// One loaded model; started by the daemon, of no use by hand
    #[command(hide = true)]
    Engine,
}

/// What every command gets.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) environment: Environment,
    pub(crate) paths: Paths,
    pub(crate) sets: Vec<String>,
    pub(crate) output: Output,
}

impl Context {
    fn sources(&self) -> Sources<'_> {
        Sources { paths: &self.paths, environment: &self.environment, sets: &self.sets }
    }

    /// The effective configuration.
    pub(crate) fn config(&self) -> Outcome<Loaded> {
        Ok(crate::config::load(&self.sources())?)
    }

    fn starter(&self) -> crate::client::Starter<'_> {
        crate::client::Starter { paths: &self.paths, environment: &self.environment, sets: &self.sets }
    }

    /// The models folder.
    pub(crate) fn catalogue(&self, loaded: &Loaded) -> crate::catalogue::Catalogue {
        let models = &loaded.config.models;
        crate::catalogue::Catalogue::new(
            models.dir.clone().unwrap_or_else(|| self.paths.models()),
            models.builtin,
        )
    }
}

/// Reads the command line and does what it says.
pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read our output has read enough.
        Err(failure) if is_broken_pipe(&failure) => ExitCode::SUCCESS,
        Err(failure) => {
            output::failure(&failure);
            failure.exit_code()
        }
    }
}

fn is_broken_pipe(failure: &Failure) -> bool {
    let kind = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind)
    };
    failure.error.chain().any(|cause| kind(cause) == Some(std::io::ErrorKind::BrokenPipe))
}

fn run(cli: Cli) -> Outcome {
    let environment = Environment::read();
    let paths = Paths::find(&environment)?;
    let context = Context { environment, paths, sets: cli.sets, output: Output { json: cli.json } };
    match cli.command {
        Command::Serve(args) => serve::run(&context, &args),
        Command::Chat(args) => chat::run(&context, &args),
        Command::Ask(args) => ask::run(&context, &args),
        Command::Complete(args) => complete::run(&context, &args),
        Command::Model(args) => model::run(&context, &args),
        Command::Receipt(args) => receipt::run(&context, &args),
        Command::Decide(args) => decide::run(&context, &args),
        Command::Advise(args) => advise::run(&context, &args),
        Command::Policy(args) => policy::run(&context, &args),
        Command::Spend(args) => spend::run(&context, &args),
        Command::Router(args) => router::run(&context, &args),
        Command::Status(args) => status::run(&context, &args),
        Command::Doctor(args) => doctor::run(&context, &args),
        Command::Config(args) => config::run(&context, &args),
        Command::Token(args) => token::run(&context, &args),
        Command::Secret(args) => secret::run(&context, &args),
        Command::Stop(args) => stop::run(&context, &args),
        Command::InstallService(args) => service::run(&context, &args),
        Command::Completions(args) => completions::run(&context, &args),
        Command::Version(args) => version::run(&context, &args),
        Command::Engine => Err(Failure::new(Exit::Usage, "`inshore engine` is started by the daemon only")),
    }
}

/// The whole command line, for completions and for a test that no help is missing.
pub(crate) fn definition() -> clap::Command {
    Cli::command()
}

/// Runs a command's asynchronous part on this thread.
fn block_on<T>(future: impl Future<Output = Outcome<T>>) -> Outcome<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(future)
}

/// Runs `work` until it is done or Ctrl-C is pressed.
async fn until_interrupted<T>(work: impl Future<Output = Outcome<T>>) -> Outcome<T> {
    tokio::select! {
        outcome = work => outcome,
        _ = tokio::signal::ctrl_c() => Err(Failure::new(Exit::Interrupted, "stopped")),
    }
}

/// Tells a running daemon that models or tokens have changed.
fn refresh(context: &Context) -> Outcome {
    let Some(daemon) = Daemon::find(&context.paths)? else { return Ok(()) };
    if let Err(failure) = block_on(daemon.post("/inshore/v1/models/refresh", &serde_json::json!({}))) {
        output::warn(&format!("the running daemon did not learn of it: {:#}", failure.error));
    }
    Ok(())
}
