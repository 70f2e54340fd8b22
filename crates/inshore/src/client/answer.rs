//! An answer as it is made.

use anyhow::{Context, bail};
use http_body_util::BodyExt;
use hyper::Response;
use hyper::body::Incoming;
use inshore_providers::sse::Framer;
use serde_json::Value;

use crate::failure::{Exit, Failure, Outcome};

/// What comes next in an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Text of the answer.
    Text(String),
    /// Thinking that is not part of it.
    Reasoning(String),
    /// Why it ended, in OpenAI's words.
    Finished(String),
}

/// A streamed answer to OpenAI's chat or completions.
#[derive(Debug)]
pub(crate) struct Answering {
    /// Names the receipt.
    pub(crate) receipt: Option<String>,
    /// Who answers.
    pub(crate) target: Option<String>,
    body: Incoming,
    framer: Framer,
    ready: std::collections::VecDeque<Piece>,
    ended: bool,
}

impl Answering {
    pub(super) fn new(response: Response<Incoming>) -> Self {
        let header = |name: &str| {
            response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
        };
        Self {
            receipt: header("x-inshore-receipt"),
            target: header("x-inshore-target"),
            body: response.into_body(),
            framer: Framer::default(),
            ready: std::collections::VecDeque::new(),
            ended: false,
        }
    }

    /// The next piece; `None` when the answer is complete, and its receipt written. An error when it broke off.
    pub(crate) async fn next(&mut self) -> Outcome<Option<Piece>> {
        loop {
            if let Some(piece) = self.ready.pop_front() {
                return Ok(Some(piece));
            }
            match self.body.frame().await {
                Some(frame) => {
                    let frame = frame.context("the daemon's answer broke off")?;
                    if let Ok(data) = frame.into_data() {
                        self.framer.push(data);
                        self.take_blocks()?;
                    }
                }
                None if self.ended => return Ok(None),
                None => return Err(Failure::new(Exit::Failure, "the daemon's answer broke off")),
            }
        }
    }

    fn take_blocks(&mut self) -> Outcome {
        while let Some(block) = self.framer.next_block().context("the daemon's answer cannot be read")? {
            let Some(data) = block.data else { continue };
            if data.as_ref() == b"[DONE]" {
                self.ended = true;
                continue;
            }
            let value: Value = serde_json::from_slice(&data).context("the daemon's answer cannot be read")?;
            self.ready.extend(pieces(&value)?);
        }
        Ok(())
    }
}

fn pieces(value: &Value) -> anyhow::Result<Vec<Piece>> {
    if let Some(message) = value.pointer("/error/message").and_then(Value::as_str) {
        bail!("{message}");
    }
    let mut pieces = Vec::new();
    let Some(choice) = value.pointer("/choices/0") else { return Ok(pieces) };
    let text = |pointer: &str| {
        choice.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
    };
    pieces
        .extend(text("/delta/reasoning_content").or_else(|| text("/delta/reasoning")).map(Piece::Reasoning));
    pieces.extend(text("/delta/content").or_else(|| text("/text")).map(Piece::Text));
    pieces.extend(text("/finish_reason").map(Piece::Finished));
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn both_kinds_of_chunk_are_understood() {
        let chat = json!({"choices": [{"delta": {"content": "Hi"}, "finish_reason": null}]});
        assert_eq!(pieces(&chat).unwrap(), [Piece::Text("Hi".into())]);
        let completion = json!({"choices": [{"text": "there", "finish_reason": "stop"}]});
        assert_eq!(
            pieces(&completion).unwrap(),
            [Piece::Text("there".into()), Piece::Finished("stop".into())]
        );
        assert_eq!(pieces(&json!({"choices": [], "usage": {}})).unwrap(), []);
        assert!(
            pieces(&json!({"error": {"message": "it broke"}})).unwrap_err().to_string().contains("it broke")
        );
    }
}
