//! OpenAI's wire formats.
//!
//! A file each for a route's request and answer: `chat`, `chat_answer`; `completions`; `responses`, `responses_answer`,
//! `responses_events`; `embeddings`; `models`. `fields` is what requests share, `shapes` what answers share.

mod chat;
mod chat_answer;
mod completions;
mod embeddings;
pub(crate) mod fields;
pub(crate) mod models;
mod responses;
mod responses_answer;
mod responses_events;
mod responses_revised;
pub(crate) mod shapes;

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;
use inshore_domain::Task;
use inshore_domain::request::Dialect;
use inshore_runtime::Embedded;

use crate::admit::{Asked, Shared, admit, takes_revisions};
use crate::answer::{self, Provenance};
use crate::body;
use crate::fault::Fault;
use crate::gate::{App, Caller};
use crate::json;
use crate::revisions;
use shapes::Stamp;

pub(crate) use chat::{MESSAGES, checked_choice};
pub(crate) use models::{model, models};

/// Answers with the fault, in the caller's own words, where there is one.
pub(crate) fn settled(caller: &Caller, outcome: Result<Response, Fault>) -> Response {
    outcome.unwrap_or_else(|fault| fault.respond(caller.shape, &caller.id.to_string()))
}

/// `POST /v1/chat/completions`
pub(crate) async fn chat(
    State(app): Shared,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let outcome = answer_chat(&app, &caller, &headers, body).await;
    settled(&caller, outcome)
}

fn asked_chat<'a>(wire: &mut chat::ChatRequest<'a>) -> Result<Asked<'a>, Fault> {
    let task = Task::Chat(wire.chat()?);
    Ok(Asked {
        user: wire.end_user(),
        model: std::mem::take(&mut wire.model),
        task,
        stream: wire.stream.unwrap_or(false),
        dialect: Dialect::OpenAiChat,
        metadata: wire.metadata,
    })
}

fn wants_logprobs(task: &Task) -> bool {
    task.sampling().is_some_and(|sampling| sampling.logprobs.is_some())
}

async fn answer_chat(
    app: &Arc<App>,
    caller: &Caller,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Fault> {
    let received = body::read(app, headers, body).await?;
    let mut wire: chat::ChatRequest<'_> = json::parse(&received.bytes)?;
    let include_usage = wire.include_usage()?;
    let asked = asked_chat(&mut wire)?;
    let (stream, with_logprobs) = (asked.stream, wants_logprobs(&asked.task));
    let request = admit(app, caller, headers, asked, received.bytes.clone())?;
    let answer = app.parts.runtime.run(request).await?;
    let stamp = Stamp::new("chatcmpl-", caller, answer.model.clone(), &answer.target);
    if stream {
        let chunks = chat_answer::Chunks::new(stamp, include_usage, with_logprobs);
        return Ok(answer::stream(answer, chunks, received));
    }
    collected(answer, |collected| chat_answer::whole(&stamp, collected, with_logprobs)).await
}

/// Waits for the whole answer and writes it, or forwards what the target wrote.
pub(crate) async fn collected(
    answer: inshore_runtime::Answer,
    write: impl FnOnce(answer::Collected) -> Vec<u8>,
) -> Result<Response, Fault> {
    let provenance = Provenance::of(&answer);
    let collected = answer::collect(answer.events).await.map_err(|mut fault| {
        fault.receipt.get_or_insert(provenance.receipt);
        fault
    })?;
    Ok(match collected.wire() {
        Some(wire) => answer::whole(wire, &provenance),
        None => answer::whole(write(collected), &provenance),
    })
}

/// `POST /v1/completions`
pub(crate) async fn completions(
    State(app): Shared,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let outcome = answer_completion(&app, &caller, &headers, body).await;
    settled(&caller, outcome)
}

fn asked_completion<'a>(wire: &mut completions::CompletionRequest<'a>) -> Result<Asked<'a>, Fault> {
    let task = Task::Completion(wire.completion()?);
    Ok(Asked {
        user: wire.end_user(),
        model: std::mem::take(&mut wire.model),
        task,
        stream: wire.stream.unwrap_or(false),
        dialect: Dialect::OpenAiCompletions,
        metadata: wire.metadata,
    })
}

async fn answer_completion(
    app: &Arc<App>,
    caller: &Caller,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Fault> {
    let received = body::read(app, headers, body).await?;
    let mut wire: completions::CompletionRequest<'_> = json::parse(&received.bytes)?;
    let include_usage = wire.include_usage()?;
    let asked = asked_completion(&mut wire)?;
    let (stream, with_logprobs) = (asked.stream, wants_logprobs(&asked.task));
    let request = admit(app, caller, headers, asked, received.bytes.clone())?;
    let answer = app.parts.runtime.run(request).await?;
    let stamp = Stamp::new("cmpl-", caller, answer.model.clone(), &answer.target);
    if stream {
        let chunks = completions::Chunks::new(stamp, include_usage, with_logprobs);
        return Ok(answer::stream(answer, chunks, received));
    }
    collected(answer, |collected| completions::whole(&stamp, collected, with_logprobs)).await
}

/// `POST /v1/responses`
pub(crate) async fn responses(
    State(app): Shared,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let outcome = answer_response(&app, &caller, &headers, body).await;
    settled(&caller, outcome)
}

fn asked_response<'a>(wire: &mut responses::ResponseRequest<'a>) -> Result<Asked<'a>, Fault> {
    let task = Task::Chat(wire.chat()?);
    Ok(Asked {
        user: wire.end_user(),
        model: std::mem::take(&mut wire.model),
        task,
        stream: wire.stream.unwrap_or(false),
        dialect: Dialect::OpenAiResponses,
        metadata: wire.metadata,
    })
}

async fn answer_response(
    app: &Arc<App>,
    caller: &Caller,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Fault> {
    let received = body::read(app, headers, body).await?;
    let mut wire: responses::ResponseRequest<'_> = json::parse(&received.bytes)?;
    let echo = wire.echo();
    let asked = asked_response(&mut wire)?;
    let stream = asked.stream;
    let request = admit(app, caller, headers, asked, received.bytes.clone())?;
    if stream && takes_revisions(headers) {
        let stamp = Stamp::open("resp_", caller, request.model.clone());
        let given = app.parts.runtime.generate(request).await?;
        let events = responses_events::Events::new(responses_answer::Head::new(stamp, echo));
        let project = responses_revised::Revised::new(events);
        return Ok(revisions::stream(
            given.receipt,
            &given.notes,
            given.log,
            Vec::new(),
            project,
            Some(received),
        ));
    }
    let answer = app.parts.runtime.run(request).await?;
    let stamp = Stamp::new("resp_", caller, answer.model.clone(), &answer.target);
    let head = responses_answer::Head::new(stamp, echo);
    if stream {
        return Ok(answer::stream(answer, responses_events::Events::new(head), received));
    }
    collected(answer, |collected| responses_answer::whole(&head, collected)).await
}

/// `POST /v1/embeddings`
pub(crate) async fn embeddings(
    State(app): Shared,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let outcome = answer_embeddings(&app, &caller, &headers, body).await;
    settled(&caller, outcome)
}

fn asked_embedding(mut wire: embeddings::EmbeddingRequest<'_>) -> Result<Asked<'_>, Fault> {
    let (model, user, metadata) = (std::mem::take(&mut wire.model), wire.user.take(), wire.metadata);
    Ok(Asked {
        model,
        task: Task::Embedding(wire.embedding()?),
        stream: false,
        dialect: Dialect::OpenAiEmbeddings,
        metadata,
        user,
    })
}

async fn answer_embeddings(
    app: &Arc<App>,
    caller: &Caller,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Fault> {
    let received = body::read(app, headers, body).await?;
    let wire: embeddings::EmbeddingRequest<'_> = json::parse(&received.bytes)?;
    let encoding = wire.encoding();
    let asked = asked_embedding(wire)?;
    let request = admit(app, caller, headers, asked, received.bytes.clone())?;
    let embedded = app.parts.runtime.embed(request).await?;
    let body = embeddings::whole(&embedded.target.model, &embedded.vectors, embedded.usage, encoding);
    let Embedded { receipt, target, .. } = embedded;
    Ok(answer::whole(body, &Provenance { receipt, target, notes: Vec::new(), replayed: false }))
}

/// What a body asks for, whichever of the OpenAI APIs it is written for.
pub(crate) fn asked(dialect: Dialect, body: &[u8]) -> Result<Asked<'_>, Fault> {
    match dialect {
        Dialect::OpenAiCompletions => asked_completion(&mut json::parse(body)?),
        Dialect::OpenAiResponses => asked_response(&mut json::parse(body)?),
        Dialect::OpenAiEmbeddings => asked_embedding(json::parse(body)?),
        _ => asked_chat(&mut json::parse(body)?),
    }
}

/// Whether a body would be admitted to `POST /v1/chat/completions`; the status and message where not.
pub fn check_chat(body: &[u8]) -> Result<(), (u16, String)> {
    let chat = json::parse::<chat::ChatRequest<'_>>(body).and_then(|mut wire| {
        wire.include_usage()?;
        wire.chat()
    });
    checked(chat)
}

/// Whether a body would be admitted to `POST /v1/completions`; the status and message where not.
pub fn check_completions(body: &[u8]) -> Result<(), (u16, String)> {
    let completion = json::parse::<completions::CompletionRequest<'_>>(body).and_then(|mut wire| {
        wire.include_usage()?;
        wire.completion()
    });
    checked(completion)
}

/// Whether a body would be admitted to `POST /v1/responses`; the status and message where not.
pub fn check_responses(body: &[u8]) -> Result<(), (u16, String)> {
    checked(json::parse::<responses::ResponseRequest<'_>>(body).and_then(|mut wire| wire.chat()))
}

/// Whether a body would be admitted to `POST /v1/embeddings`; the status and message where not.
pub fn check_embeddings(body: &[u8]) -> Result<(), (u16, String)> {
    checked(
        json::parse::<embeddings::EmbeddingRequest<'_>>(body)
            .and_then(embeddings::EmbeddingRequest::embedding),
    )
}

pub(crate) fn checked<T>(outcome: Result<T, Fault>) -> Result<(), (u16, String)> {
    outcome.map(drop).map_err(|fault| (fault.status.as_u16(), fault.message.clone()))
}
