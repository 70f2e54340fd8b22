//! A server that answers by script, to try clients against without a model.
//!
//! `cargo run -p inshore-api --example scripted` prints its base URL and token, and serves until it is stopped.

#[expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a part of the tests")]
#[path = "../tests/it/scripted.rs"]
mod scripted;

use inshore_api::{ApiOptions, AppToken, Listeners, serve};
use inshore_domain::event::Delta;
use inshore_domain::request::{Task, ToolChoice};
use inshore_domain::{Call, FinishReason};
use scripted::{Scripted, daemon, delta, finished, text, usage};
use tokio_util::sync::CancellationToken;

/// Calls the first tool where there is one, and greets where there is none.
fn script(call: &Call) -> Scripted {
    if let Task::Chat(chat) = &call.request.task
        && let Some(tool) = chat.tools.first().filter(|_| chat.tool_choice != ToolChoice::None)
    {
        return Ok(vec![
            delta(Delta::ToolCall { call: 0, id: "call_1".to_owned(), name: tool.name.clone() }),
            delta(Delta::ToolArguments { call: 0, fragment: "{\"city\":".to_owned() }),
            delta(Delta::ToolArguments { call: 0, fragment: "\"Oslo\"}".to_owned() }),
            finished(FinishReason::ToolCalls),
            usage(),
        ]);
    }
    Ok(vec![text(0, "Good "), text(0, "morning"), text(0, "."), finished(FinishReason::Stop), usage()])
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> std::io::Result<()> {
    let daemon = daemon(Box::new(script));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    #[expect(clippy::print_stdout, reason = "the caller reads it")]
    {
        println!("INSHORE_BASE_URL=http://{address} INSHORE_TOKEN=secret INSHORE_MODEL=tiny");
    }
    let options =
        ApiOptions { tokens: vec![AppToken::new("example", "secret")].into(), ..ApiOptions::default() };
    let listeners = Listeners { tcp: vec![listener], ..Listeners::default() };
    serve(listeners, daemon.parts, options, CancellationToken::new()).await
}
