//! Anthropic's wire format: `POST /v1/messages` and `POST /v1/messages/count_tokens`.
//!
//! `request` reads, `answer` writes.

mod answer;
mod request;

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;
use inshore_domain::Task;
use inshore_domain::request::Dialect;
use serde::Serialize;

use crate::admit::{Asked, Shared, admit};
use crate::answer::{plain, stream};
use crate::body;
use crate::fault::{Fault, json as to_json};
use crate::gate::{App, Caller};
use crate::json;
use crate::openai::{checked, collected, settled};
use request::{CountRequest, MessagesRequest};

/// `POST /v1/messages`
pub(crate) async fn messages(
    State(app): Shared,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let outcome = answer_messages(&app, &caller, &headers, body).await;
    settled(&caller, outcome)
}

/// What a body of `POST /v1/messages` asks for.
pub(crate) fn asked(body: &[u8]) -> Result<Asked<'_>, Fault> {
    let wire: MessagesRequest<'_> = json::parse(body)?;
    let stream = wire.stream.unwrap_or(false);
    let (user, metadata) = (wire.end_user()?, wire.metadata);
    let (model, chat) = wire.chat()?;
    Ok(Asked { model, task: Task::Chat(chat), stream, dialect: Dialect::AnthropicMessages, metadata, user })
}

async fn answer_messages(
    app: &Arc<App>,
    caller: &Caller,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Fault> {
    let received = body::read(app, headers, body).await?;
    let asked = asked(&received.bytes)?;
    let streamed = asked.stream;
    let stops = asked.task.sampling().map(|sampling| sampling.stop.clone()).unwrap_or_default();
    let request = admit(app, caller, headers, asked, received.bytes.clone())?;
    let answer = app.parts.runtime.run(request).await?;
    let stamp = answer::Stamp::new(caller, answer.model.clone(), stops);
    if streamed {
        return Ok(stream(answer, answer::Events::new(stamp), received));
    }
    collected(answer, |collected| answer::whole(&stamp, collected)).await
}

/// `POST /v1/messages/count_tokens`
pub(crate) async fn count_tokens(
    State(app): Shared,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let outcome = answer_count(&app, &caller, &headers, body).await;
    settled(&caller, outcome)
}

#[derive(Serialize)]
struct Count {
    input_tokens: u32,
}

async fn answer_count(
    app: &Arc<App>,
    caller: &Caller,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Fault> {
    let received = body::read(app, headers, body).await?;
    let wire: CountRequest<'_> = json::parse(&received.bytes)?;
    let (model, chat) = wire.chat()?;
    let asked = Asked {
        model,
        task: Task::Chat(chat),
        stream: false,
        dialect: Dialect::AnthropicMessages,
        metadata: None,
        user: None,
    };
    let request = admit(app, caller, headers, asked, received.bytes.clone())?;
    let input_tokens = app.parts.runtime.count_tokens(request).await?;
    Ok(plain(to_json(&Count { input_tokens })))
}

/// Whether a body would be admitted to `POST /v1/messages`; the status and message where not.
pub fn check_messages(body: &[u8]) -> Result<(), (u16, String)> {
    checked(json::parse::<MessagesRequest<'_>>(body).and_then(|wire| {
        wire.end_user()?;
        wire.chat()
    }))
}

/// Whether a body would be admitted to `POST /v1/messages/count_tokens`; the status and message where not.
pub fn check_count_tokens(body: &[u8]) -> Result<(), (u16, String)> {
    checked(json::parse::<CountRequest<'_>>(body).and_then(CountRequest::chat))
}
