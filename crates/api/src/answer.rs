//! The events of an answer on their way out: as server-sent events, or collected into one body.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use futures_core::Stream;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use http_body::Frame;
use inshore_domain::{Delta, Event, FinishReason, ReceiptId, Target, TokenLogprob, Usage};
use inshore_runtime::{Answer, AnswerStream};

use crate::body::Received;
use crate::fault::Fault;

/// Events that are ready together go out together, up to this size: one write for many tokens where the target is
/// faster than the client, and still a piece that any socket buffer takes.
const PIECE: usize = 16 << 10;

/// Bytes of a whole answer that is not streamed. A million tokens of text are 4 MB; a target that sends more than this
/// does not end.
const ANSWER_BYTES: usize = 64 << 20;

/// Answers of one request: `n` (16 at most) for each of the prompts of a completion.
const ANSWERS: u32 = 1 << 16;

/// Turns events into the server-sent events of one API.
pub(crate) trait Encode: Send + Unpin + 'static {
    /// Appends whatever the event becomes.
    fn event(&mut self, event: Event, out: &mut Vec<u8>);
    /// Appends what ends an answer that failed half way.
    fn fail(&mut self, fault: &Fault, out: &mut Vec<u8>);
    /// Appends what ends a complete answer.
    fn finish(&mut self, out: &mut Vec<u8>);
}

/// Appends `data: …` with the value as JSON.
pub(crate) fn data<T: serde::Serialize>(out: &mut Vec<u8>, value: &T) {
    out.extend_from_slice(b"data: ");
    // Wire structs hold nothing that serde_json could refuse, and a Vec takes every byte.
    let _ = serde_json::to_writer(&mut *out, value);
    out.extend_from_slice(b"\n\n");
}

/// Appends `event: …` and `data: …`.
pub(crate) fn named<T: serde::Serialize>(out: &mut Vec<u8>, name: &str, value: &T) {
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(name.as_bytes());
    out.push(b'\n');
    data(out, value);
}

/// Whether the target's own bytes are forwarded or its events encoded. Settled by what comes first, and never changed:
/// half of an answer in one form and half in the other would be neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Open,
    Wire,
    Encoded,
}

/// The answer as server-sent events. Ends after the receipt is committed; dropping it cancels the work.
struct Sse<E> {
    events: AnswerStream,
    encode: E,
    form: Form,
    ended: bool,
    out: Vec<u8>,
    /// Bytes to forward, after what is in `out`.
    wire: Option<Bytes>,
    _body: Received,
}

impl<E: Encode> Sse<E> {
    /// Takes in one event.
    fn take(&mut self, event: Event) {
        match (event, self.form) {
            (Event::Wire(bytes), Form::Open | Form::Wire) => {
                self.form = Form::Wire;
                self.forward(bytes);
            }
            (Event::Wire(_), Form::Encoded) | (_, Form::Wire) => {}
            (event, Form::Open | Form::Encoded) => {
                self.encode.event(event, &mut self.out);
                if !self.out.is_empty() {
                    self.form = Form::Encoded;
                }
            }
        }
    }

    fn forward(&mut self, bytes: Bytes) {
        // One piece at a time is handed on as it is; several are joined, as they go into one write anyway.
        match self.wire.take() {
            None => self.wire = (!bytes.is_empty()).then_some(bytes),
            Some(first) => {
                let mut joined = BytesMut::with_capacity(first.len() + bytes.len());
                joined.extend_from_slice(&first);
                joined.extend_from_slice(&bytes);
                self.wire = Some(joined.freeze());
            }
        }
    }

    fn end(&mut self, fault: Option<&Fault>) {
        self.ended = true;
        match fault {
            Some(fault) => {
                if let Some(wire) = self.wire.take() {
                    self.out.extend_from_slice(&wire);
                }
                self.encode.fail(fault, &mut self.out);
            }
            None if self.form != Form::Wire => self.encode.finish(&mut self.out),
            None => {}
        }
    }

    fn waiting_bytes(&self) -> usize {
        self.out.len() + self.wire.as_ref().map_or(0, Bytes::len)
    }

    fn piece(&mut self) -> Option<Bytes> {
        if let Some(wire) = self.wire.take() {
            return Some(wire);
        }
        (!self.out.is_empty()).then(|| Bytes::from(std::mem::take(&mut self.out)))
    }
}

impl<E: Encode> http_body::Body for Sse<E> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        let mut pending = false;
        while !this.ended && this.waiting_bytes() < PIECE {
            match Pin::new(&mut this.events).poll_next(context) {
                Poll::Ready(Some(Ok(event))) => this.take(event),
                Poll::Ready(Some(Err(error))) => this.end(Some(&Fault::from(error))),
                Poll::Ready(None) => this.end(None),
                Poll::Pending => {
                    pending = true;
                    break;
                }
            }
        }
        match this.piece() {
            Some(piece) => Poll::Ready(Some(Ok(Frame::data(piece)))),
            None if pending => Poll::Pending,
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended && self.out.is_empty() && self.wire.is_none()
    }
}

/// The streaming response.
pub(crate) fn stream<E: Encode>(answer: Answer, encode: E, body: Received) -> Response {
    let provenance = Provenance::of(&answer);
    let sse = Sse {
        events: answer.events,
        encode,
        form: Form::Open,
        ended: false,
        out: Vec::new(),
        wire: None,
        _body: body,
    };
    let mut response = Response::new(Body::new(sse));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    // An answer is nobody else's and never the same twice; and a proxy that collects it would undo the streaming.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    provenance.tell(headers);
    response
}

/// A JSON response with the receipt's headers.
pub(crate) fn whole(body: impl Into<Body>, provenance: &Provenance) -> Response {
    let mut response = plain(body);
    provenance.tell(response.headers_mut());
    response
}

/// A JSON response without a receipt.
pub(crate) fn plain(body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Where an answer comes from, as headers tell it.
pub(crate) struct Provenance {
    pub(crate) receipt: ReceiptId,
    pub(crate) target: Arc<Target>,
    /// What the caller should know: a cap that is nearly used up.
    pub(crate) notes: Vec<String>,
    /// It was given before.
    pub(crate) replayed: bool,
}

impl Provenance {
    pub(crate) fn of(answer: &Answer) -> Self {
        Self {
            receipt: answer.receipt,
            target: answer.target.clone(),
            notes: answer.notes.clone(),
            replayed: answer.replayed,
        }
    }

    fn tell(&self, headers: &mut HeaderMap) {
        if let Ok(receipt) = HeaderValue::try_from(self.receipt.to_string()) {
            headers.insert(HeaderName::from_static("x-inshore-receipt"), receipt);
        }
        if let Ok(id) = HeaderValue::try_from(self.target.id.0.as_str()) {
            headers.insert(HeaderName::from_static("x-inshore-target"), id);
        }
        let tier = HeaderValue::from_static(self.target.tier.as_str());
        headers.insert(HeaderName::from_static("x-inshore-tier"), tier);
        if self.replayed {
            headers.insert(HeaderName::from_static("x-inshore-cache"), HeaderValue::from_static("hit"));
        }
        for note in &self.notes {
            // Names of caps may hold what no header can; the receipt has the note all the same.
            if let Ok(note) = HeaderValue::try_from(note.as_str()) {
                headers.append(HeaderName::from_static("x-inshore-note"), note);
            }
        }
    }
}

/// A whole answer.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    /// By index.
    pub(crate) answers: Vec<One>,
    pub(crate) usage: Usage,
    /// The body as the target sent it, in the caller's dialect.
    pub(crate) wire: Option<Bytes>,
}

/// One of the answers.
#[derive(Debug, Default, Clone)]
pub(crate) struct One {
    pub(crate) text: String,
    pub(crate) logprobs: Vec<TokenLogprob>,
    pub(crate) reasoning: String,
    pub(crate) calls: Vec<inshore_domain::request::ToolCall>,
    pub(crate) reason: Option<FinishReason>,
}

/// Waits for the whole answer. Dropping the future cancels the work.
pub(crate) async fn collect(mut events: AnswerStream) -> Result<Collected, Fault> {
    let mut collected = Collected::default();
    let mut bytes = 0_usize;
    while let Some(event) = std::future::poll_fn(|context| Pin::new(&mut events).poll_next(context)).await {
        bytes = bytes.saturating_add(collected.take(event?)?);
        if bytes > ANSWER_BYTES {
            let message = format!("the target's answer is longer than {ANSWER_BYTES} bytes");
            return Err(Fault::new(StatusCode::BAD_GATEWAY, "answer_too_long", message));
        }
    }
    Ok(collected)
}

impl Collected {
    /// Takes in one event and says how many bytes it holds.
    fn take(&mut self, event: Event) -> Result<usize, Fault> {
        match event {
            Event::Started { .. } => Ok(0),
            Event::Delta { index, delta } => self.one(index)?.take(delta),
            Event::Finished { index, reason } => {
                self.one(index)?.reason = Some(reason);
                Ok(0)
            }
            Event::Usage(usage) => {
                self.usage = usage;
                Ok(0)
            }
            Event::Wire(bytes) => {
                let length = bytes.len();
                self.wire = match self.wire.take() {
                    Some(first) if !first.is_empty() => Some([first, bytes].concat().into()),
                    _ => Some(bytes),
                };
                Ok(length)
            }
        }
    }

    fn one(&mut self, index: u32) -> Result<&mut One, Fault> {
        let place = index as usize;
        if index < ANSWERS && place >= self.answers.len() {
            self.answers.resize_with(place + 1, One::default);
        }
        self.answers.get_mut(place).ok_or_else(|| protocol("an answer with an absurd index"))
    }

    /// The bytes to forward, where there are any.
    pub(crate) fn wire(&self) -> Option<Bytes> {
        self.wire.clone().filter(|wire| !wire.is_empty())
    }
}

impl One {
    fn take(&mut self, delta: Delta) -> Result<usize, Fault> {
        Ok(match delta {
            Delta::Text { text, logprobs } => {
                self.text.push_str(&text);
                let tokens = logprobs.len() * 64;
                self.logprobs.extend(logprobs);
                text.len() + tokens
            }
            Delta::Reasoning(text) => {
                self.reasoning.push_str(&text);
                text.len()
            }
            Delta::ToolCall { call, id, name } => {
                if call as usize != self.calls.len() {
                    return Err(protocol("tool calls out of order"));
                }
                let length = id.len() + name.len() + 64;
                self.calls.push(inshore_domain::request::ToolCall { id, name, arguments: String::new() });
                length
            }
            Delta::ToolArguments { call, fragment } => {
                let call = self
                    .calls
                    .get_mut(call as usize)
                    .ok_or_else(|| protocol("arguments without a tool call"))?;
                call.arguments.push_str(&fragment);
                fragment.len()
            }
        })
    }
}

/// The target said what no answer holds.
pub(crate) fn protocol(what: &str) -> Fault {
    Fault::new(StatusCode::BAD_GATEWAY, "protocol", format!("the target sent {what}"))
}
