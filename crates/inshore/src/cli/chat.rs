//! `inshore chat`

use rustyline::error::ReadlineError;
use rustyline::history::MemHistory;
use serde_json::{Value, json};

use super::{Context, answer};
use crate::client::{Daemon, find_or_start};
use crate::failure::{Exit, Failure, Outcome};
use crate::output;

/// Talk with a model. The answer streams, with a receipt line after it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  inshore chat
  inshore chat --model qwen3-4b --system \"Answer in one sentence.\"

Within the chat: /help lists what else can be typed; Ctrl-C stops an answer, Ctrl-D ends the chat.")]
pub(crate) struct Args {
    /// The model, or `auto`, `device`, `edge`, `cloud`
    #[arg(long, short, default_value = "auto")]
    model: String,
    /// Instructions for the model
    #[arg(long)]
    system: Option<String>,
    /// How answers are made: draft, direct or fallback. A draft is shown on a terminal only
    #[arg(long)]
    strategy: Option<String>,
}

const HELP: &str = "\
/clear         begin anew
/model NAME    go on with another model
/system TEXT   change the instructions
/exit          end the chat (also Ctrl-D)";

/// A conversation under way.
struct Chat<'a> {
    context: &'a Context,
    daemon: Daemon,
    model: String,
    system: Option<String>,
    strategy: Option<String>,
    /// Question and answer in turn.
    messages: Vec<Value>,
}

pub(crate) fn run(context: &Context, args: &Args) -> Outcome {
    if context.output.json {
        return Err(Failure::new(Exit::Usage, "a chat has no JSON form")
            .with_hint("`inshore ask --json` answers one question"));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let daemon = runtime.block_on(find_or_start(&context.starter()))?;
    let (model, system) = (args.model.clone(), args.system.clone());
    let mut chat =
        Chat { context, daemon, model, system, strategy: args.strategy.clone(), messages: Vec::new() };
    let config = rustyline::Config::builder().auto_add_history(true).build();
    let mut editor = rustyline::Editor::<(), MemHistory>::with_history(config, MemHistory::new())
        .map_err(|error| Failure::new(Exit::Failure, format!("the terminal cannot be used: {error}")))?;
    if output::stdin_is_terminal() {
        output::aside("Ctrl-D ends the chat, /help lists commands");
    }
    loop {
        match editor.readline("> ") {
            Ok(line) => match chat.command(line.trim()) {
                Turn::Go(line) => {
                    // One failed answer does not end the conversation.
                    if let Err(failure) = runtime.block_on(chat.answer(line)) {
                        output::failure(&failure);
                        if failure.exit == Exit::Unreachable {
                            return Err(failure);
                        }
                    }
                }
                Turn::Again => {}
                Turn::End => return Ok(()),
            },
            Err(ReadlineError::Interrupted) => {}
            Err(ReadlineError::Eof) => return Ok(()),
            Err(error) => {
                return Err(Failure::new(Exit::Failure, format!("the terminal cannot be read: {error}")));
            }
        }
    }
}

/// What a line means.
enum Turn<'a> {
    /// It is for the model.
    Go(&'a str),
    /// It was for us.
    Again,
    /// The chat ends.
    End,
}

impl Chat<'_> {
    fn command<'l>(&mut self, line: &'l str) -> Turn<'l> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "" => {}
            "/exit" | "/quit" => return Turn::End,
            "/help" => output::note(HELP),
            "/clear" => self.messages.clear(),
            "/model" if rest.is_empty() => output::note(&self.model),
            "/model" => self.model = rest.trim().to_owned(),
            "/system" => self.system = (!rest.trim().is_empty()).then(|| rest.trim().to_owned()),
            _ if word.starts_with('/') => {
                output::warn(&format!("`{word}` is not a command; /help lists them"))
            }
            _ => return Turn::Go(line),
        }
        Turn::Again
    }

    async fn answer(&mut self, line: &str) -> Outcome {
        self.messages.push(json!({"role": "user", "content": line}));
        let outcome = tokio::select! {
            outcome = self.stream() => outcome,
            _ = tokio::signal::ctrl_c() => {
                output::note("\nstopped");
                Ok(None)
            }
        };
        match outcome {
            Ok(Some(text)) => {
                self.messages.push(json!({"role": "assistant", "content": text}));
                Ok(())
            }
            // Without its answer the question would be asked twice.
            Ok(None) => {
                self.messages.pop();
                Ok(())
            }
            Err(failure) => {
                self.messages.pop();
                Err(failure)
            }
        }
    }

    async fn stream(&self) -> Outcome<Option<String>> {
        let system = self.system.iter().map(|text| json!({"role": "system", "content": text}));
        let messages: Vec<Value> = system.chain(self.messages.iter().cloned()).collect();
        let body = json!({
            "model": self.model, "messages": messages, "stream": true,
        });
        let mut hints = vec![("x-inshore-feature", "chat")];
        hints.extend(self.strategy.iter().map(|strategy| ("x-inshore-strategy", strategy.as_str())));
        let screen = answer::screen(self.strategy.as_deref(), self.context.output);
        let revised = screen.is_some();
        let shown = match screen {
            Some(screen) => answer::show_revised(screen, self.daemon.generate(&body, &hints).await?).await?,
            None => {
                let mut answering = self.daemon.stream("/v1/chat/completions", &body, &hints).await?;
                if self.messages.len() == 1 {
                    answer::warn_of_builtin(answering.target.as_deref());
                }
                answer::show(self.context.output, &mut answering).await?
            }
        };
        self.context.output.line("")?;
        if revised && self.messages.len() == 1 {
            answer::warn_of_builtin(shown.target.as_deref());
        }
        if let Some(id) = &shown.receipt {
            output::aside(&answer::receipt_line(&self.daemon, id).await?);
        }
        Ok(Some(shown.text))
    }
}
