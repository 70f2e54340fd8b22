//! Talks to the daemon of this machine, and to nothing else.
//!
//! An [`Endpoint`] is a Unix socket or a loopback address; there is no way to make another. Only a daemon that holds its lock is
//! talked to, so that the token is not shown to whoever took its port after it ended.
//!
//! Layout: [`start`] starts a daemon when none runs; [`answer`] an answer as it is made; [`connection`] one request.

mod answer;
mod connection;
mod receipt;
mod start;

use anyhow::Context;
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::Response;
use hyper::body::Incoming;
use inshore_client::transport::{Answer, Client, Error};
use serde_json::Value;
use tokio_util::task::TaskTracker;

pub(crate) use answer::{Answering, Piece};
pub(crate) use receipt::{Cost, Ending, Receipt};
pub(crate) use start::{Starter, find_or_start};

use crate::daemon::address::Address;
use crate::daemon::{lock, tokens};
use crate::failure::{Exit, Failure, Outcome};
use crate::paths::Paths;
use connection::Endpoint;

/// The longest answer that is read as a whole: a list of a thousand receipts has under 2 MB.
const MAX_BODY: usize = 16 << 20;

/// A daemon that runs.
#[derive(Debug)]
pub(crate) struct Daemon {
    pub(crate) address: Address,
    endpoint: Endpoint,
    token: String,
    tasks: TaskTracker,
}

impl Daemon {
    /// The daemon that runs; `None` when none does.
    pub(crate) fn find(paths: &Paths) -> Outcome<Option<Self>> {
        if !lock::is_held(paths) {
            return Ok(None);
        }
        let Some(address) = Address::read(paths) else { return Ok(None) };
        let token = tokens::own_if_any(paths)
            .with_context(|| format!("cannot read `{}`", paths.token().display()))?;
        let endpoint = Endpoint::of(&address)?;
        Ok(Some(Self { address, endpoint, token, tasks: TaskTracker::new() }))
    }

    /// The daemon that runs, or an error that says how to start one.
    pub(crate) fn find_running(paths: &Paths) -> Outcome<Self> {
        Self::find(paths)?.ok_or_else(|| {
            Failure::new(Exit::Unreachable, "no daemon is running").with_hint("`inshore serve` starts one")
        })
    }

    /// Asks for something and reads the whole answer.
    pub(crate) async fn get(&self, path: &str) -> Outcome<Value> {
        let response = self.send(Method::GET, path, None, &[]).await?;
        whole(response).await
    }

    /// Sends something and reads the whole answer.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Outcome<Value> {
        let response = self.send(Method::POST, path, Some(body), &[]).await?;
        whole(response).await
    }

    /// Sends something with hints, names and values of `x-inshore-` headers, and reads the whole answer.
    pub(crate) async fn post_hinted(
        &self,
        path: &str,
        body: &Value,
        hints: &[(&'static str, &str)],
    ) -> Outcome<Value> {
        let response = self.send(Method::POST, path, Some(body), hints).await?;
        whole(response).await
    }

    /// Sends a request whose answer is streamed, with hints: names and values of `x-inshore-` headers.
    pub(crate) async fn stream(
        &self,
        path: &str,
        body: &Value,
        hints: &[(&'static str, &str)],
    ) -> Outcome<Answering> {
        let response = self.send(Method::POST, path, Some(body), hints).await?;
        if !response.status().is_success() {
            return Err(refusal(response).await);
        }
        Ok(Answering::new(response))
    }

    /// Asks for an answer that may be revised while it is made.
    pub(crate) async fn generate(&self, body: &Value, hints: &[(&'static str, &str)]) -> Outcome<Answer> {
        let client = match &self.endpoint {
            #[cfg(unix)]
            Endpoint::Unix(path) => Client::unix(path, &self.token),
            Endpoint::Tcp(address) => Client::tcp(address.get(), &self.token),
        };
        let hints: Vec<(&str, &str)> =
            hints.iter().map(|(name, value)| (name.trim_start_matches("x-inshore-"), *value)).collect();
        client.map_err(unanswered)?.generate(body, &hints).await.map_err(unanswered)
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        hints: &[(&'static str, &str)],
    ) -> Outcome<Response<Incoming>> {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in hints {
            request = request.header(*name, *value);
        }
        let bytes = body.map(|value| Bytes::from(value.to_string())).unwrap_or_default();
        let request = request.body(Full::new(bytes)).context("this cannot be sent")?;
        self.endpoint.send(&self.tasks, &self.token, request).await.map_err(|error| Failure {
            exit: Exit::Unreachable,
            error: error.context("the daemon cannot be reached"),
            hint: Some("`inshore doctor` looks for the cause".to_owned()),
        })
    }
}

async fn whole(response: Response<Incoming>) -> Outcome<Value> {
    if !response.status().is_success() {
        return Err(refusal(response).await);
    }
    let body = read(response).await?;
    if body.is_empty() {
        return Ok(Value::Null);
    }
    Ok(serde_json::from_slice(&body).context("the daemon's answer is not JSON")?)
}

async fn read(response: Response<Incoming>) -> anyhow::Result<Bytes> {
    let body = Limited::new(response.into_body(), MAX_BODY).collect().await;
    body.map(http_body_util::Collected::to_bytes)
        .map_err(|error| anyhow::anyhow!("the daemon's answer broke off: {error}"))
}

/// What the daemon says when it refuses, in either of its two shapes: OpenAI's and that of RFC 9457.
async fn refusal(response: Response<Incoming>) -> Failure {
    let status = response.status();
    let value: Value = match read(response).await {
        Ok(body) => serde_json::from_slice(&body).unwrap_or(Value::Null),
        Err(error) => return error.into(),
    };
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let message = text("/error/message").or_else(|| text("/detail")).or_else(|| text("/title"));
    let message = message.unwrap_or_else(|| format!("the daemon answered {status}"));
    let hint = text("/error/hint").or_else(|| text("/hint"));
    Failure { exit: exit(status), error: anyhow::anyhow!("{message}"), hint }
}

fn exit(status: StatusCode) -> Exit {
    if status == StatusCode::NOT_FOUND || status.is_server_error() { Exit::Failure } else { Exit::Refused }
}

/// Why there is no answer that may be revised, or no whole one.
pub(crate) fn unanswered(error: Error) -> Failure {
    let hint = error.problem().and_then(|problem| problem.hint.clone());
    match &error {
        Error::Unreachable(_) => Failure {
            exit: Exit::Unreachable,
            error: error.into(),
            hint: Some("`inshore doctor` looks for the cause".to_owned()),
        },
        Error::Refused(problem) => {
            let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::BAD_GATEWAY);
            Failure { exit: exit(status), error: error.into(), hint }
        }
        _ => Failure { exit: Exit::Failure, error: error.into(), hint },
    }
}
