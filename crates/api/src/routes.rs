//! All paths there are.

use std::sync::Arc;

use axum::response::Response;
use axum::routing::{get, post};
use axum::{Extension, Router};
use http::{Method, StatusCode, Uri};

use crate::fault::Fault;
use crate::gate::{App, Caller};
use crate::{anthropic, native, openai};

pub(crate) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/v1/chat/completions", post(openai::chat))
        .route("/v1/completions", post(openai::completions))
        .route("/v1/responses", post(openai::responses))
        .route("/v1/embeddings", post(openai::embeddings))
        .route("/v1/models", get(openai::models))
        .route("/v1/models/{*id}", get(openai::model))
        .route("/v1/messages", post(anthropic::messages))
        .route("/v1/messages/count_tokens", post(anthropic::count_tokens))
        .route("/inshore/v1/status", get(native::status))
        .route("/inshore/v1/receipts", get(native::receipts))
        .route("/inshore/v1/receipts/{id}", get(native::receipt))
        .route("/inshore/v1/decide", post(native::decide))
        .route("/inshore/v1/generate", post(native::generate))
        .route("/inshore/v1/generate/{id}", get(native::resume))
        .route("/inshore/v1/spend", get(native::spend))
        .route("/inshore/v1/spend/what-if", get(native::what_if))
        .route("/inshore/v1/spend/doubts", get(native::doubts))
        .route("/inshore/v1/spend/reconcile", post(native::reconcile))
        .route("/inshore/v1/feedback", post(native::feedback))
        .route("/inshore/v1/router", get(native::router))
        .route("/inshore/v1/shutdown", post(native::shutdown))
        .route("/inshore/v1/models/refresh", post(native::refresh_models))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .with_state(app)
}

async fn unknown(Extension(caller): Extension<Caller>, method: Method, uri: Uri) -> Response {
    let path: String = uri.path().chars().take(128).collect();
    Fault::not_found("unknown_url", format!("there is no `{method} {path}` here"))
        .respond(caller.shape, &caller.id.to_string())
}

async fn wrong_method(Extension(caller): Extension<Caller>, method: Method, uri: Uri) -> Response {
    let path: String = uri.path().chars().take(128).collect();
    let message = format!("`{path}` does not take `{method}`");
    Fault::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
        .respond(caller.shape, &caller.id.to_string())
}
