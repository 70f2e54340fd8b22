//! The stream of events made from a response.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_core::Stream;
use futures_util::future::poll_fn;
use http::HeaderMap;
use inshore_domain::{BackendError, BackendErrorKind, Billed, Event};
use tokio::time::Instant;

use crate::gate::Exchange;
use crate::received::{self, description};
use crate::refusal::{MAX_ERROR_BODY, Refuser};
use crate::sse::{Block, Framer};

/// How long to wait for the end of the body after the protocol's own end of the stream, so that the connection can be
/// used again. Servers send both at once.
const DRAIN: Duration = Duration::from_millis(50);
/// How long to wait for token counts and for the end of the stream after the last answer has ended. Servers send them at
/// once, and some never send an end.
const AFTERMATH: Duration = Duration::from_secs(5);
/// How long an answer that has begun is held back for its first piece, so that a failure in between can still be turned
/// into another target's answer. Thinking models say nothing for minutes after their first event.
const PEEK: Duration = Duration::from_secs(2);
/// Longest stream. A million tokens, each in an event of its own of 250 bytes.
const MAX_STREAM: u64 = 256 << 20;
/// How much of a stream is kept until an answer begins, to tell what it is if none does.
const FRONT: usize = MAX_ERROR_BODY;

/// Answers, and calls of tools, that one response may begin. Each is looked for in a list; real ones have some hundred at
/// most.
pub(crate) const MAX_BEGUN: usize = 2048;

/// What is done with the bytes of an event that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// They are the caller's.
    Forward,
    /// The caller did not ask for them.
    Withhold,
    /// They are the caller's, and the stream is complete.
    Last,
}

/// Reads the answers of one protocol.
pub(crate) trait Reader: Send {
    /// Reads one event of a stream.
    fn event(&mut self, data: &[u8], out: &mut VecDeque<Event>) -> Result<Verdict, BackendError>;

    /// Reads a whole answer.
    fn whole(&mut self, body: &[u8], out: &mut VecDeque<Event>) -> Result<(), BackendError>;

    /// Whether every answer that has begun has ended, so that the stream may end here.
    fn is_complete(&self) -> bool;

    /// Whether every answer that was asked for has ended, so that whatever happens to the stream now is nobody's loss.
    fn has_all(&self) -> bool;
}

/// A streamed answer.
pub(crate) struct Answer {
    exchange: Exchange,
    framer: Framer,
    reader: Box<dyn Reader>,
    by: Arc<Refuser>,
    /// Give the bytes on besides the events.
    wire: bool,
    /// How long bytes may come without a piece of an answer among them.
    patience: Duration,
    /// When the last piece came.
    progress: Instant,
    /// Bytes so far.
    received: u64,
    /// The first bytes, until the answer begins.
    front: BytesMut,
    ready: VecDeque<Event>,
    /// Bytes that are still to be given on: comments may come before the answer starts.
    held: Wire,
    started: bool,
    /// A piece of the answer has been read.
    spoke: bool,
    failure: Option<BackendError>,
    /// The protocol's end of the stream has come: since when.
    complete: Option<Instant>,
    ended: bool,
}

impl Answer {
    pub(crate) fn new(
        exchange: Exchange,
        reader: Box<dyn Reader>,
        by: Arc<Refuser>,
        wire: bool,
        patience: Duration,
    ) -> Self {
        Self {
            exchange,
            framer: Framer::default(),
            reader,
            by,
            wire,
            patience,
            progress: Instant::now(),
            received: 0,
            front: BytesMut::new(),
            ready: VecDeque::new(),
            held: Wire::default(),
            started: false,
            spoke: false,
            failure: None,
            complete: None,
            ended: false,
        }
    }

    /// Waits until there is something to give on, so that what fails before is an error here.
    pub(crate) async fn begun(mut self) -> Result<Self, BackendError> {
        let mut deadline = self.progress + self.patience;
        let mut peeking = false;
        loop {
            let more = poll_fn(|cx| self.poll_read(cx));
            let more = match tokio::time::timeout_at(deadline, more).await {
                Ok(more) => more,
                Err(_) if peeking => return Ok(self),
                Err(_) => return Err(self.silence()),
            };
            if self.spoke || self.ready.iter().any(|event| matches!(event, Event::Finished { .. })) {
                return Ok(self);
            }
            if let Some(failure) = self.failure.take() {
                return Err(failure);
            }
            if !more {
                return Ok(self);
            }
            if !peeking && self.started {
                peeking = true;
                deadline = deadline.min(Instant::now() + PEEK);
            }
        }
    }

    fn silence(&self) -> BackendError {
        let message = format!(
            "`{}` sent no piece of an answer for {} s",
            self.by.target().id,
            self.patience.as_secs_f32()
        );
        BackendError::new(BackendErrorKind::Timeout, message)
    }

    /// Reads one chunk of the response; `false` at the end.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        if self.ended {
            return Poll::Ready(false);
        }
        let chunk = ready!(self.exchange.poll_chunk(cx));
        match (chunk, self.complete) {
            // Whatever comes after the protocol's end is only read to let the connection be used again.
            (Some(Ok(_)), Some(since)) => self.ended = since.elapsed() > DRAIN,
            (Some(Err(_)) | None, Some(_)) => self.ended = true,
            (Some(Ok(chunk)), None) => {
                if let Err(error) = self.read(chunk) {
                    self.fail(error);
                }
            }
            (Some(Err(error)), None) => self.fail(error.into()),
            (None, None) if self.reader.is_complete() => self.ended = true,
            (None, None) => {
                let error = self.no_answer().unwrap_or_else(|| self.by.cut_short());
                self.fail(error);
            }
        }
        Poll::Ready(!self.ended)
    }

    fn read(&mut self, chunk: Bytes) -> Result<(), BackendError> {
        self.received += chunk.len() as u64;
        if self.received > MAX_STREAM {
            return Err(self.by.broken(format_args!("a stream of more than {MAX_STREAM} bytes")));
        }
        if !self.started {
            let room = FRONT.saturating_sub(self.front.len());
            self.front.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
        }
        let (waited, before) = (self.reader.has_all(), self.ready.len());
        self.framer.push(chunk);
        self.read_blocks()?;
        if self.started && !self.front.is_empty() {
            self.front = BytesMut::new();
        }
        if self.ready.iter().skip(before).any(|event| !matches!(event, Event::Wire(_))) {
            self.progress = Instant::now();
        } else if self.progress.elapsed() > self.patience {
            return Err(self.silence());
        }
        if self.complete.is_none() && self.reader.has_all() && !waited {
            self.exchange.shorten_idle(AFTERMATH);
        }
        Ok(())
    }

    /// The error of a stream that ends before an answer begins, where it is not simply cut off.
    fn no_answer(&self) -> Option<BackendError> {
        if self.started || self.front.is_empty() {
            return None;
        }
        let what = description(&self.front);
        self.by
            .refusal_in_success(&HeaderMap::new(), &self.front)
            .or_else(|| (what != received::EVENTS).then(|| self.by.broken(what)))
    }

    fn fail(&mut self, mut error: BackendError) {
        self.ended = true;
        // After the end of the last answer a broken stream is nobody's loss; one that goes on with nonsense is not trusted.
        if self.reader.has_all() && error.kind != BackendErrorKind::Protocol {
            return;
        }
        if self.started {
            error.billed = Billed::Maybe;
        }
        if self.spoke {
            error.message.push_str("; the answer is incomplete");
        }
        self.failure = Some(error);
    }

    fn read_blocks(&mut self) -> Result<(), BackendError> {
        let before = self.ready.len();
        let result = loop {
            match self.framer.next_block() {
                Ok(None) => break Ok(()),
                Ok(Some(block)) => match self.read_block(&block) {
                    Ok(Verdict::Withhold) => {}
                    Ok(Verdict::Forward) => self.hold(block.raw),
                    Ok(Verdict::Last) => {
                        self.hold(block.raw);
                        self.complete = Some(Instant::now());
                        self.exchange.shorten_idle(DRAIN);
                        break Ok(());
                    }
                    Err(error) => break Err(error),
                },
                Err(error) => break Err(self.by.broken(error)),
            }
        };
        for event in self.ready.iter().skip(before) {
            self.started |= matches!(event, Event::Started { .. });
            self.spoke |= matches!(event, Event::Delta { .. });
        }
        if self.started
            && let Some(bytes) = std::mem::take(&mut self.held).joined()
        {
            self.ready.push_back(Event::Wire(bytes));
        }
        result
    }

    fn hold(&mut self, raw: Bytes) {
        if self.wire {
            self.held.add(raw);
        }
    }

    fn read_block(&mut self, block: &Block) -> Result<Verdict, BackendError> {
        match &block.data {
            None => Ok(Verdict::Forward),
            Some(data) => self.reader.event(data, &mut self.ready),
        }
    }
}

impl Stream for Answer {
    type Item = Result<Event, BackendError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(event)));
            }
            if let Some(failure) = self.failure.take() {
                return Poll::Ready(Some(Err(failure)));
            }
            if !ready!(self.poll_read(cx)) && self.ready.is_empty() && self.failure.is_none() {
                return Poll::Ready(None);
            }
        }
    }
}

/// The bytes of the blocks of one chunk, so that what came together goes on together.
#[derive(Default)]
struct Wire {
    first: Option<Bytes>,
    more: BytesMut,
}

impl Wire {
    fn add(&mut self, raw: Bytes) {
        match &self.first {
            None => self.first = Some(raw),
            Some(first) => {
                if self.more.is_empty() {
                    self.more.extend_from_slice(first);
                }
                self.more.extend_from_slice(&raw);
            }
        }
    }

    fn joined(self) -> Option<Bytes> {
        if self.more.is_empty() { self.first } else { Some(self.more.freeze()) }
    }
}

/// A whole answer as a stream.
pub(crate) fn whole(events: VecDeque<Event>) -> inshore_domain::EventStream {
    Box::pin(futures_util::stream::iter(events.into_iter().map(Ok)))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::anthropic::response::AnthropicReader;
    use crate::gemini::response::GeminiReader;
    use crate::openai::response::OpenAiReader;
    use crate::openai::responses::ResponsesReader;
    use inshore_domain::{Capabilities, Clock, Target, TargetId, Tier, Timestamp};
    use proptest::prelude::*;

    #[derive(Debug)]
    struct Still;

    impl Clock for Still {
        fn now(&self) -> Timestamp {
            Timestamp::default()
        }
        fn monotonic(&self) -> std::time::Instant {
            std::time::Instant::now()
        }
        fn random(&self) -> u128 {
            5
        }
    }

    pub(crate) fn target(id: &str) -> Target {
        Target {
            id: TargetId(id.into()),
            endpoint_of: None,
            tier: Tier::Cloud,
            model: "m".into(),
            aliases: Vec::new(),
            destination: None,
            context_window: 1,
            max_output: None,
            capabilities: Capabilities::NONE,
            price: None,
            permitted_up_to: None,
            region: None,
            quality: None,
        }
    }

    pub(crate) fn refuser() -> Arc<Refuser> {
        Refuser::new(target("cloud/m").into(), None, Arc::new(Still))
    }

    fn readers() -> Vec<Box<dyn Reader>> {
        let by = refuser();
        vec![
            Box::new(OpenAiReader::new(by.clone(), true, 2)),
            Box::new(ResponsesReader::new(by.clone())),
            Box::new(AnthropicReader::new(by.clone(), vec!["stop".into()])),
            Box::new(GeminiReader::new(by, Arc::default(), 1)),
        ]
    }

    /// Events as providers send them, to be bent.
    const EVENTS: [&str; 12] = [
        r#"{"model":"m","choices":[{"index":0,"delta":{"content":"a","tool_calls":[{"index":1,"id":"c","function":{"name":"f","arguments":"{"}}]},"finish_reason":"stop","logprobs":{"content":[{"token":"a","logprob":-1,"bytes":[97],"top_logprobs":[]}]}}],"usage":{"prompt_tokens":4000000000,"completion_tokens":1}}"#,
        r#"{"type":"response.output_item.added","output_index":0,"item":{"type":"function_call","call_id":"c","name":"f"}}"#,
        r#"{"type":"response.function_call_arguments.delta","output_index":0,"delta":"{}"}"#,
        r#"{"type":"response.completed","response":{"status":"completed","output":[],"usage":{"input_tokens":1,"output_tokens":2}}}"#,
        r#"{"type":"message_start","message":{"model":"m","usage":{"input_tokens":4294967295,"cache_read_input_tokens":4294967295}}}"#,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"t","name":"f","input":{"a":1}}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{"}}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"stop_sequence","stop_sequence":"stop"},"usage":{"output_tokens":3}}"#,
        r#"{"error":{"message":"m","type":"t","code":7,"param":null}}"#,
        r#"{"candidates":[{"index":0,"content":{"role":"model","parts":[{"text":"hm","thought":true},{"text":"a"},{"functionCall":{"name":"f","args":{"a":1}},"thoughtSignature":"c2ln"}]}}],"modelVersion":"m","usageMetadata":{"promptTokenCount":3}}"#,
        r#"{"candidates":[{"finishReason":"STOP","logprobsResult":{"chosenCandidates":[{"token":"a","tokenId":7,"logProbability":-1}],"topCandidates":[{"candidates":[]}]}}],"usageMetadata":{"promptTokenCount":3,"candidatesTokenCount":4294967295,"thoughtsTokenCount":4294967295}}"#,
        r#"{"promptFeedback":{"blockReason":"SAFETY"}}"#,
    ];

    proptest! {
        #[test]
        fn any_events_are_read_or_refused_and_an_answer_starts_first(
            picks in proptest::collection::vec((0..EVENTS.len(), proptest::option::of((0usize..400, any::<u8>()))), 0..12),
            noise in proptest::collection::vec(any::<u8>(), 0..60),
        ) {
            for mut reader in readers() {
                let mut out = VecDeque::new();
                for (pick, bend) in &picks {
                    let mut event = EVENTS[*pick].as_bytes().to_vec();
                    if let Some((place, byte)) = bend {
                        let place = place % event.len();
                        event[place] = *byte;
                    }
                    if reader.event(&event, &mut out).is_err() { break; }
                }
                let _ = reader.event(&noise, &mut out);
                let starts = out.iter().filter(|event| matches!(event, Event::Started { .. })).count();
                let first = out.front().is_none_or(|event| matches!(event, Event::Started { .. }));
                prop_assert!(first && starts <= 1, "{out:?}");
            }
            for mut reader in readers() {
                let _ = reader.whole(&noise, &mut VecDeque::new());
                let _ = crate::refusal::Said::in_body(&noise);
            }
        }
    }
}
