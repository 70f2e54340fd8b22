//! `inshore-sim`: a scripted provider on loopback, for benches and for trying things by hand.
#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use inshore_sim::{Turn, anthropic, gemini, openai};

#[derive(Parser)]
#[command(about = "A scripted provider on loopback. Prints its base URL, and runs until it is interrupted.")]
struct Cli {
    #[command(subcommand)]
    provider: Provider,
}

#[derive(Subcommand)]
enum Provider {
    /// Speaks OpenAI's API.
    Openai(Settings),
    /// Speaks Anthropic's API.
    Anthropic(Settings),
    /// Speaks the Gemini API.
    Gemini(Settings),
}

#[derive(Args)]
struct Settings {
    /// Port; 0 lets the system choose.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// A model it has; may be given several times.
    #[arg(long = "model")]
    models: Vec<String>,
    /// The key it wants; none for OpenAI means that any will do.
    #[arg(long)]
    key: Option<String>,
    /// What it says.
    #[arg(long)]
    text: Option<String>,
    /// Say a text of this many tokens instead.
    #[arg(long, conflicts_with = "text")]
    tokens: Option<usize>,
    /// Milliseconds before the head of each response.
    #[arg(long, default_value_t = 0)]
    head_delay: u64,
    /// Milliseconds before each token of a streamed answer.
    #[arg(long, default_value_t = 0)]
    token_delay: u64,
    /// Answer with bytes made beforehand, without checks (OpenAI only).
    #[arg(long)]
    fast: bool,
}

impl Settings {
    fn turn(&self) -> Turn {
        let text = match (&self.text, self.tokens) {
            (Some(text), _) => text.clone(),
            (None, Some(tokens)) => vec!["word"; tokens].join(" "),
            (None, None) => "Hello from a simulated provider.".to_owned(),
        };
        Turn::text(text)
            .paced(Duration::from_millis(self.head_delay), Duration::from_millis(self.token_delay))
    }

    fn models(&self, otherwise: Vec<String>) -> Vec<String> {
        if self.models.is_empty() { otherwise } else { self.models.clone() }
    }
}

#[tokio::main]
async fn main() -> io::Result<()> {
    match Cli::parse().provider {
        Provider::Openai(settings) => {
            let defaults = openai::Options::default();
            let options = openai::Options {
                port: settings.port,
                models: settings.models(defaults.models),
                key: settings.key.clone(),
                context_window: 1 << 20,
                strict_parameters: true,
                fast: settings.fast,
                owned_by: defaults.owned_by,
            };
            let server = openai::Server::start(options, settings.turn()).await?;
            until_interrupted(&server.base_url()).await
        }
        Provider::Anthropic(settings) => {
            let defaults = anthropic::Options::default();
            let options = anthropic::Options {
                port: settings.port,
                models: settings.models(defaults.models),
                key: settings.key.clone().unwrap_or(defaults.key),
                context_window: 1 << 20,
            };
            let server = anthropic::Server::start(options, settings.turn()).await?;
            until_interrupted(&server.base_url()).await
        }
        Provider::Gemini(settings) => {
            let defaults = gemini::Options::default();
            let options = gemini::Options {
                port: settings.port,
                models: settings.models(defaults.models),
                key: settings.key.clone().unwrap_or(defaults.key),
                context_window: 1 << 20,
            };
            let server = gemini::Server::start(options, settings.turn()).await?;
            until_interrupted(&server.base_url()).await
        }
    }
}

async fn until_interrupted(base_url: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{base_url}")?;
    stdout.flush()?;
    tokio::signal::ctrl_c().await
}
