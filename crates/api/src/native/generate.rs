//! `POST /inshore/v1/generate`: an answer that may be revised while it is made.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue};
use inshore_domain::request::Dialect;
use inshore_domain::{ReceiptId, Task};

use super::decision::dialect;
use crate::admit::{Shared, admit};
use crate::body;
use crate::fault::Fault;
use crate::gate::{App, Caller};
use crate::openai::settled;
use crate::revisions::ai_sdk::AiSdk;
use crate::revisions::native::{Native, accepted};
use crate::revisions::stream;

/// The form of the events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Native,
    AiSdk,
}

/// `POST /inshore/v1/generate?api=chat&format=native`: the body is that of the API named (`chat`, `completions`, `responses`,
/// `messages`); without a name it is told by its fields.
pub(crate) async fn generate(
    State(app): Shared,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let outcome = begin(&app, &caller, query.as_deref().unwrap_or_default(), &headers, body).await;
    settled(&caller, outcome)
}

async fn begin(
    app: &Arc<App>,
    caller: &Caller,
    query: &str,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Fault> {
    let (form, api) = form(query)?;
    let received = body::read(app, headers, body).await?;
    let asked = match dialect(&api, &received.bytes)? {
        Dialect::AnthropicMessages => crate::anthropic::asked(&received.bytes),
        dialect => crate::openai::asked(dialect, &received.bytes),
    }?;
    one_answer(&asked.task)?;
    let request = admit(app, caller, headers, asked, received.bytes.clone())?;
    let given = app.parts.runtime.generate(request).await?;
    let (receipt, body) = (given.receipt, Some(received));
    Ok(match form {
        Form::Native => {
            let head = accepted(receipt, given.strategy.as_str());
            let project = Native { receipt, request: caller.id.to_string() };
            stream(receipt, &given.notes, given.log, head, project, body)
        }
        Form::AiSdk => {
            let head = AiSdk::start(receipt);
            ai_sdk(stream(receipt, &given.notes, given.log, head, AiSdk::new(), body))
        }
    })
}

fn ai_sdk(mut response: Response) -> Response {
    let name = HeaderName::from_static("x-vercel-ai-ui-message-stream");
    response.headers_mut().insert(name, HeaderValue::from_static("v1"));
    response
}

/// `GET /inshore/v1/generate/{receipt}`: reads an answer on after the event that `Last-Event-ID` names, or from its beginning.
pub(crate) async fn resume(
    State(app): Shared,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    let outcome = || {
        let receipt: ReceiptId = id.parse().map_err(|error| Fault::value("id", format!("{error}")))?;
        let passed = passed(&headers)?;
        let log = app.parts.runtime.resume(&caller.app, receipt, passed)?;
        let project = Native { receipt, request: caller.id.to_string() };
        Ok(stream(receipt, &[], log, Vec::new(), project, None))
    };
    settled(&caller, outcome())
}

fn passed(headers: &HeaderMap) -> Result<usize, Fault> {
    let Some(last) = headers.get("last-event-id").filter(|last| !last.is_empty()) else { return Ok(0) };
    let number = last.to_str().ok().and_then(|last| last.parse().ok());
    number.ok_or_else(|| {
        Fault::value("last-event-id", "`last-event-id` must be the id of an event of this answer")
    })
}

/// The form, and what is left of the query.
fn form(query: &str) -> Result<(Form, String), Fault> {
    let (mut form, mut rest) = (Form::Native, Vec::new());
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("format", "native")) => form = Form::Native,
            Some(("format", "ai-sdk")) => form = Form::AiSdk,
            Some(("format", other)) => {
                let shown: String = other.chars().take(64).collect();
                let message = format!("`{shown}` is not a format that is known here");
                return Err(Fault::value("format", message).hint("known are native and ai-sdk"));
            }
            _ => rest.push(pair),
        }
    }
    Ok((form, rest.join("&")))
}

/// A log holds one answer.
fn one_answer(task: &Task) -> Result<(), Fault> {
    let several = match task {
        Task::Chat(chat) => chat.sampling.n > 1,
        Task::Completion(completion) => completion.sampling.n > 1 || completion.prompts.len() > 1,
        Task::Embedding(_) => {
            let message = "embeddings are not made here: nothing of them is revised";
            return Err(Fault::unsupported("input", message).hint("use `POST /v1/embeddings`"));
        }
    };
    if several {
        return Err(Fault::unsupported("n", "one answer at a time is made here"));
    }
    Ok(())
}
