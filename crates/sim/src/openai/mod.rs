//! A provider that speaks OpenAI's API: chat completions, completions, responses, embeddings, models.
//!
//! Layout: [`check`] what the real one refuses; [`frames`] what it answers.

mod check;
pub(crate) mod frames;

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{Response, StatusCode};
use serde_json::{Value, json};

use crate::script::{Fault, Reply, Script, Turn};
use crate::server::{Deed, End, Notes, ReplyBody, Seen, Server as HttpServer, Site, Stats};
use check::Refused;
use frames::Shape;

/// What the provider is.
#[derive(Debug, Clone)]
pub struct Options {
    /// Port; 0 lets the system choose.
    pub port: u16,
    /// Models that it has.
    pub models: Vec<String>,
    /// The key it wants; `None` wants none, as servers on one's own machine do.
    pub key: Option<String>,
    /// Longest prompt in tokens (words).
    pub context_window: usize,
    /// Refuse parameters that OpenAI does not know, as OpenAI does. Its imitators ignore them.
    pub strict_parameters: bool,
    /// Answer with bytes made beforehand, without checks and records: for benches.
    pub fast: bool,
    /// Whose its models are, in the list of models.
    pub owned_by: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            port: 0,
            models: vec!["sim-large".into()],
            key: Some("sk-sim".into()),
            context_window: 4096,
            strict_parameters: true,
            fast: false,
            owned_by: "sim".into(),
        }
    }
}

/// A running provider.
#[derive(Debug)]
pub struct Server {
    http: HttpServer,
    script: Arc<Script>,
}

impl Server {
    /// Starts on loopback. `turn` is the answer until told otherwise.
    pub async fn start(options: Options, turn: Turn) -> io::Result<Self> {
        let script = Arc::new(Script::always(turn));
        let port = options.port;
        let prepared =
            if options.fast { Some(frames::Prepared::new(&options, &script.next())) } else { None };
        let site = Arc::new(OpenAi { options, script: script.clone(), prepared });
        Ok(Self { http: HttpServer::start(site, port).await?, script })
    }

    /// Where the API begins, as clients want it.
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.http.address())
    }

    /// What it answers.
    pub fn script(&self) -> &Script {
        &self.script
    }

    /// The server below: requests seen, counts, shutdown.
    pub fn http(&self) -> &HttpServer {
        &self.http
    }

    /// Counts so far.
    pub fn stats(&self) -> Stats {
        self.http.stats()
    }
}

struct OpenAi {
    options: Options,
    script: Arc<Script>,
    prepared: Option<frames::Prepared>,
}

impl Site for OpenAi {
    fn answer(&self, seen: Seen, notes: &Notes) -> BoxFuture<'_, Deed> {
        let notes = notes.clone();
        async move { self.answer_now(&seen, &notes).await }.boxed()
    }

    fn fast(&self, path: &str, body: &[u8]) -> Option<Response<ReplyBody>> {
        self.prepared.as_ref()?.answer(path, body)
    }
}

impl OpenAi {
    async fn answer_now(&self, seen: &Seen, notes: &Notes) -> Deed {
        if let Err(refused) = check::caller(seen, &self.options) {
            return refused.deed();
        }
        let shape = match (seen.method.as_str(), seen.path.as_str()) {
            ("GET", "/v1/models") => return self.models(),
            ("POST", "/v1/chat/completions") => Shape::Chat,
            ("POST", "/v1/completions") => Shape::Completion,
            ("POST", "/v1/responses") => Shape::Responses,
            ("POST", "/v1/embeddings") => Shape::Embeddings,
            (method, path) => return Refused::unknown_url(method, path).deed(),
        };
        let body = match check::body(seen, shape, &self.options) {
            Ok(body) => body,
            Err(refused) => return refused.deed(),
        };
        self.carry_out(shape, &body, notes).await
    }

    async fn carry_out(&self, shape: Shape, body: &Value, notes: &Notes) -> Deed {
        let turn = self.script.next();
        if turn.fault == Some(Fault::RequestLost) {
            return Deed::Break;
        }
        if !turn.head_delay.is_zero() {
            tokio::time::sleep(turn.head_delay).await;
        }
        if let Some(deed) = said_outright(&turn.reply) {
            return deed;
        }
        notes.carried_out();
        match turn.fault {
            Some(Fault::ResponseLost) => return Deed::Break,
            Some(Fault::NeverAnswer) => return std::future::pending().await,
            _ => {}
        }
        if shape == Shape::Embeddings {
            return json_deed(200, &frames::embeddings(body), turn.fault.as_ref());
        }
        let answer = frames::Answer::new(shape, body, &turn);
        if body["stream"] == true {
            return streamed(answer.stream(), &turn);
        }
        json_deed(200, &answer.whole(), turn.fault.as_ref())
    }

    fn models(&self) -> Deed {
        let list: Vec<Value> = self
            .options
            .models
            .iter()
            .map(|id| json!({ "id": id, "object": "model", "created": 1_700_000_000, "owned_by": self.options.owned_by }))
            .collect();
        json_deed(200, &json!({ "object": "list", "data": list }), None)
    }
}

fn said_outright(reply: &Reply) -> Option<Deed> {
    match reply {
        Reply::Refusal { status, kind, code, message, headers } => {
            let error = json!({ "message": message, "type": kind, "param": null, "code": code });
            Some(exact(*status, headers, json!({ "error": error }).to_string().into()))
        }
        Reply::Exact { status, headers, body } => Some(exact(*status, headers, body.clone())),
        _ => None,
    }
}

pub(crate) fn exact(status: u16, headers: &[(String, String)], body: Bytes) -> Deed {
    let mut response = Response::builder().status(status);
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
        response = response.header("content-type", "application/json");
    }
    for (name, value) in headers {
        response = response.header(name, value);
    }
    response.body(ReplyBody::whole(body)).map_or(Deed::Break, Deed::Answer)
}

/// A JSON answer, whole or cut.
pub(crate) fn json_deed(status: u16, value: &Value, fault: Option<&Fault>) -> Deed {
    let bytes = Bytes::from(value.to_string());
    let length = bytes.len();
    let body = match fault {
        Some(Fault::CutAfter(at)) => {
            ReplyBody::part_of(bytes.slice(..length.min(*at)), length as u64 + 1, End::Cut)
        }
        Some(Fault::StallAfter(at)) => {
            ReplyBody::part_of(bytes.slice(..length.min(*at)), length as u64 + 1, End::Stall)
        }
        Some(Fault::Garbage { bytes: garbage, .. }) => ReplyBody::whole(garbage.clone()),
        _ => ReplyBody::whole(bytes),
    };
    let response = Response::builder().status(status).header("content-type", "application/json");
    response.header("x-request-id", "req_sim").body(body).map_or(Deed::Break, Deed::Answer)
}

/// A streamed answer: the events with the script's pauses and faults.
pub(crate) fn streamed(events: Vec<Bytes>, turn: &Turn) -> Deed {
    let mut pieces: Vec<_> = events.into_iter().map(|event| (turn.token_delay, event)).collect();
    if let Some((pause, _)) = pieces.first_mut() {
        *pause = std::time::Duration::ZERO;
    }
    let mut end = End::Whole;
    match &turn.fault {
        Some(Fault::Garbage { before_event, bytes }) => {
            pieces.insert((*before_event).min(pieces.len()), (std::time::Duration::ZERO, bytes.clone()));
        }
        Some(Fault::CutAfter(at)) => {
            pieces = first_bytes(pieces, *at);
            end = End::Cut;
        }
        Some(Fault::StallAfter(at)) => {
            pieces = first_bytes(pieces, *at);
            end = End::Stall;
        }
        Some(Fault::Reordered(order)) => {
            pieces = order.iter().filter_map(|place| pieces.get(*place).cloned()).collect();
        }
        Some(Fault::Recut { line_end, size }) => pieces = recut(&pieces, line_end, *size),
        _ => {}
    }
    Response::builder()
        .status(StatusCode::OK)
        .header("content-type", "text/event-stream; charset=utf-8")
        .header("cache-control", "no-cache")
        .body(ReplyBody::pieces(pieces, end))
        .map_or(Deed::Break, Deed::Answer)
}

fn recut(
    pieces: &[(std::time::Duration, Bytes)],
    line_end: &str,
    size: usize,
) -> Vec<(std::time::Duration, Bytes)> {
    let whole: Vec<u8> = pieces.iter().flat_map(|(_, piece)| piece.to_vec()).collect();
    // Events are JSON on one line, so that every line end is one of the framing.
    let text = String::from_utf8_lossy(&whole).replace("\r\n", "\n").replace('\n', line_end);
    let chunks = text.as_bytes().chunks(size.max(1));
    chunks.map(|chunk| (std::time::Duration::ZERO, Bytes::copy_from_slice(chunk))).collect()
}

fn first_bytes(
    pieces: Vec<(std::time::Duration, Bytes)>,
    mut left: usize,
) -> Vec<(std::time::Duration, Bytes)> {
    let mut kept = Vec::new();
    for (pause, piece) in pieces {
        let take = piece.len().min(left);
        left -= take;
        if take > 0 {
            kept.push((pause, piece.slice(..take)));
        }
    }
    kept
}
