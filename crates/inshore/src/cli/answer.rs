//! What `chat`, `ask` and `complete` share: an answer on the terminal, and the line under it.

use inshore_client::transport::Answer;
use inshore_client::{Event, State};

use crate::catalogue::builtin;
use crate::client::{self, Answering, Daemon, Piece, Receipt};
use crate::failure::Outcome;
use crate::output::{self, Output, Screen};

/// Where an answer of this strategy is shown while it changes; `None` where only the final text is wanted.
pub(crate) fn screen(strategy: Option<&str>, output: Output) -> Option<Screen<std::io::Stdout>> {
    (strategy == Some("draft") && !output.json).then(output::screen).flatten()
}

/// The one command that gets a model which answers questions. 2.5 GB; the README names the same.
pub(crate) const PULL_CHAT_MODEL: &str = "inshore model pull hf:Qwen/Qwen3-4B-GGUF/Qwen3-4B-Q4_K_M.gguf";

/// An answer that has been shown.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    pub(crate) text: String,
    pub(crate) reason: String,
    pub(crate) receipt: Option<String>,
    /// Whose answer it is.
    pub(crate) target: Option<String>,
}

/// Shows an answer as it comes. In JSON mode nothing is shown until the end.
pub(crate) async fn show(output: Output, answering: &mut Answering) -> Outcome<Shown> {
    let (receipt, target) = (answering.receipt.clone(), answering.target.clone());
    let mut shown = Shown { receipt, target, ..Shown::default() };
    while let Some(piece) = answering.next().await? {
        match piece {
            Piece::Text(text) => {
                if !output.json {
                    output.piece(&text)?;
                }
                shown.text.push_str(&text);
            }
            // Thinking is for the curious; on a terminal it would bury the answer.
            Piece::Reasoning(_) => {}
            Piece::Finished(reason) => shown.reason = reason,
        }
    }
    Ok(shown)
}

/// Shows an answer as it stands: a draft dim, until the better answer has taken its place.
pub(crate) async fn show_revised(mut screen: Screen<std::io::Stdout>, mut answer: Answer) -> Outcome<Shown> {
    while let Some(event) = answer.next().await.map_err(client::unanswered)? {
        // A better answer comes as several replacements, and something always follows them.
        if !matches!(event, Event::Begun(_) | Event::Replaced(_)) {
            screen.show(answer.page().text(), answer.page().state() == State::Draft)?;
        }
    }
    let page = answer.page();
    let reason = page.finalised().map(|finalised| finalised.reason.clone()).unwrap_or_default();
    let target = page.target().map(|begun| begun.target.clone());
    Ok(Shown { text: page.text().to_owned(), reason, receipt: answer.receipt().map(str::to_owned), target })
}

/// Says plainly when the answer comes from the model that cannot answer.
pub(crate) fn warn_of_builtin(target: Option<&str>) {
    if target.is_some_and(|target| target.ends_with(builtin::ID)) {
        output::warn(&format!(
            "`{}` is the small model that comes with Inshore: it finishes sentences and cannot answer questions.\n\
             This gets a model that can: {PULL_CHAT_MODEL}",
            builtin::ID
        ));
    }
}

/// The line under an answer: where it came from, what it took and what left this machine.
pub(crate) async fn receipt_line(daemon: &Daemon, id: &str) -> Outcome<String> {
    let receipt = daemon.get(&format!("/inshore/v1/receipts/{id}")).await?;
    let receipt: Receipt = serde_json::from_value(receipt).map_err(anyhow::Error::from)?;
    Ok(receipt.in_one_line())
}
