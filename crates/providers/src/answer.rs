//! The stream of events made from a response.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_core::Stream;
use futures_util::future::poll_fn;
use inshore_domain::{BackendError, BackendErrorKind, Event};
use tokio::time::Instant;

use crate::gate::Exchange;
use crate::refusal::Refuser;
use crate::sse::{Block, Framer};

/// How long to wait for the end of the body after the protocol's own end of the stream, so that the connection can be
/// used again. Servers send both at once.
const DRAIN: Duration = Duration::from_millis(50);
/// How long an answer that has begun is held back for its first piece, so that a failure in between can still be turned
/// into another target's answer. Thinking models say nothing for minutes after their first event.
const PEEK: Duration = Duration::from_secs(2);

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

    /// Whether everything that an answer must have has been read, so that the stream may end here.
    fn is_complete(&self) -> bool;
}

/// A streamed answer.
pub(crate) struct Answer {
    exchange: Exchange,
    framer: Framer,
    reader: Box<dyn Reader>,
    by: Arc<Refuser>,
    /// Give the bytes on besides the events.
    wire: bool,
    ready: VecDeque<Event>,
    /// Bytes that are still to be given on: comments may come before the answer starts.
    held: Wire,
    started: bool,
    failure: Option<BackendError>,
    complete: bool,
    ended: bool,
}

impl Answer {
    pub(crate) fn new(exchange: Exchange, reader: Box<dyn Reader>, by: Arc<Refuser>, wire: bool) -> Self {
        let (framer, ready, held) = (Framer::default(), VecDeque::new(), Wire::default());
        let (started, complete, ended) = (false, false, false);
        Self { exchange, framer, reader, by, wire, ready, held, started, failure: None, complete, ended }
    }

    /// Waits until there is something to give on, so that what fails before is an error here.
    pub(crate) async fn begun(mut self, first_byte: Duration) -> Result<Self, BackendError> {
        let mut deadline = Instant::now() + first_byte;
        let mut peeking = false;
        loop {
            let more = poll_fn(|cx| self.poll_read(cx));
            let more = match tokio::time::timeout_at(deadline, more).await {
                Ok(more) => more,
                Err(_) if peeking => return Ok(self),
                Err(_) => {
                    let message = format!(
                        "`{}` sent no event within {} s",
                        self.by.target().id,
                        first_byte.as_secs_f32()
                    );
                    return Err(BackendError::new(BackendErrorKind::Timeout, message));
                }
            };
            if self.ready.iter().any(|event| matches!(event, Event::Delta { .. } | Event::Finished { .. })) {
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

    /// Reads one chunk of the response; `false` at the end.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        if self.ended {
            return Poll::Ready(false);
        }
        match ready!(self.exchange.poll_chunk(cx)) {
            // Whatever comes after the protocol's end is only read to let the connection be used again.
            Some(_) if self.complete => {}
            Some(Ok(chunk)) => {
                self.framer.push(chunk);
                if let Err(error) = self.read_blocks() {
                    self.fail(error);
                }
            }
            Some(Err(error)) => self.fail(error.into()),
            None => {
                self.ended = true;
                if !self.complete && !self.reader.is_complete() {
                    self.failure = Some(self.by.cut_short());
                }
            }
        }
        Poll::Ready(!self.ended)
    }

    fn fail(&mut self, error: BackendError) {
        self.ended = true;
        // After the end of the answer a broken connection is nobody's loss.
        self.failure = (!self.complete).then_some(error);
    }

    fn read_blocks(&mut self) -> Result<(), BackendError> {
        let result = loop {
            match self.framer.next_block() {
                Ok(None) => break Ok(()),
                Ok(Some(block)) => match self.read_block(&block) {
                    Ok(Verdict::Withhold) => {}
                    Ok(Verdict::Forward) => self.hold(block.raw),
                    Ok(Verdict::Last) => {
                        self.hold(block.raw);
                        self.complete = true;
                        self.exchange.set_idle(DRAIN);
                        break Ok(());
                    }
                    Err(error) => break Err(error),
                },
                Err(error) => {
                    let message = format!("`{}`: {error}", self.by.target().id);
                    break Err(BackendError::new(BackendErrorKind::Protocol, message));
                }
            }
        };
        self.started = self.started || self.ready.iter().any(|event| matches!(event, Event::Started { .. }));
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

    fn readers() -> Vec<Box<dyn Reader>> {
        let by = Refuser::new(target("cloud/m").into(), None, Arc::new(Still));
        vec![
            Box::new(OpenAiReader::new(by.clone(), true)),
            Box::new(ResponsesReader::new(by.clone())),
            Box::new(AnthropicReader::new(by.clone(), vec!["stop".into()])),
            Box::new(GeminiReader::new(by, Arc::default())),
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
