//! What the API answers.

use bytes::Bytes;
use serde_json::{Value, json};

use super::check::prompt_tokens;
use crate::openai::frames::halves;
use crate::script::{Ending, Fault, Reply, Tokens, Turn, limited, tokens_of};

/// An answer before it is written down.
pub(super) struct Answer<'a> {
    body: &'a Value,
    blocks: Vec<Block>,
    ending: Ending,
    tokens: Tokens,
    error: Option<(usize, String)>,
}

enum Block {
    Thinking(String),
    Text(String),
    Call { id: String, name: String, input: String },
}

impl Block {
    fn whole(&self) -> Value {
        match self {
            Self::Thinking(thinking) => {
                json!({ "type": "thinking", "thinking": thinking, "signature": "sim" })
            }
            Self::Text(text) => json!({ "type": "text", "text": text }),
            Self::Call { id, name, input } => {
                let input: Value = serde_json::from_str(input).unwrap_or(json!({}));
                json!({ "type": "tool_use", "id": id, "name": name, "input": input })
            }
        }
    }

    fn start(&self) -> Value {
        match self {
            Self::Thinking(_) => json!({ "type": "thinking", "thinking": "", "signature": "" }),
            Self::Text(_) => json!({ "type": "text", "text": "" }),
            Self::Call { id, name, .. } => json!({ "type": "tool_use", "id": id, "name": name, "input": {} }),
        }
    }

    fn deltas(&self) -> Vec<Value> {
        match self {
            Self::Thinking(thinking) => {
                let mut deltas: Vec<Value> = tokens_of(thinking)
                    .iter()
                    .map(|token| json!({ "type": "thinking_delta", "thinking": token }))
                    .collect();
                deltas.push(json!({ "type": "signature_delta", "signature": "sim" }));
                deltas
            }
            Self::Text(text) => {
                tokens_of(text).iter().map(|token| json!({ "type": "text_delta", "text": token })).collect()
            }
            Self::Call { input, .. } => {
                // The real one begins with an empty piece.
                let pieces = std::iter::once(String::new()).chain(halves(input));
                pieces.map(|piece| json!({ "type": "input_json_delta", "partial_json": piece })).collect()
            }
        }
    }
}

impl<'a> Answer<'a> {
    pub(super) fn new(body: &'a Value, turn: &Turn) -> Self {
        let stops: Vec<String> = body["stop_sequences"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|stop| stop.as_str().map(str::to_owned))
            .collect();
        let limit = body["max_tokens"].as_u64();
        let mut ending = Ending::End;
        let mut cut = |text: &str| {
            let (text, why) = limited(text, limit, &stops);
            ending = why;
            Block::Text(text)
        };
        let blocks = match &turn.reply {
            Reply::Text(text) => vec![cut(text)],
            Reply::Thought { thinking, text } => vec![Block::Thinking(thinking.clone()), cut(text)],
            Reply::Calls(calls) => calls
                .iter()
                .enumerate()
                .map(|(place, (name, input))| Block::Call {
                    id: format!("toolu_sim_{place}"),
                    name: name.clone(),
                    input: input.clone(),
                })
                .collect(),
            Reply::Refusal { .. } | Reply::Exact { .. } => Vec::new(),
        };
        let words = |block: &Block| match block {
            Block::Thinking(text) | Block::Text(text) | Block::Call { input: text, .. } => {
                tokens_of(text).len()
            }
        };
        let output = u32::try_from(blocks.iter().map(words).sum::<usize>()).unwrap_or(u32::MAX);
        let prompt = u32::try_from(prompt_tokens(body)).unwrap_or(u32::MAX);
        let tokens = turn.tokens.unwrap_or(Tokens { prompt, output, ..Tokens::default() });
        let error = match &turn.fault {
            Some(Fault::ErrorEvent { at_event, kind }) => Some((*at_event, kind.clone())),
            _ => None,
        };
        Self { body, blocks, ending, tokens, error }
    }

    fn usage(&self, output: u32) -> Value {
        let Tokens { prompt, cached, written, .. } = self.tokens;
        json!({
            "input_tokens": prompt.saturating_sub(cached).saturating_sub(written), "cache_creation_input_tokens": written,
            "cache_read_input_tokens": cached, "output_tokens": output,
        })
    }

    fn reason(&self) -> (&'static str, Value) {
        match &self.ending {
            Ending::Length => ("max_tokens", Value::Null),
            Ending::Stop(stop) => ("stop_sequence", json!(stop)),
            Ending::End if self.blocks.iter().any(|block| matches!(block, Block::Call { .. })) => {
                ("tool_use", Value::Null)
            }
            Ending::End => ("end_turn", Value::Null),
        }
    }

    fn message(&self, content: Vec<Value>, usage: Value) -> Value {
        json!({
            "id": "msg_sim", "type": "message", "role": "assistant", "model": self.body["model"], "content": content,
            "stop_reason": null, "stop_sequence": null, "usage": usage,
        })
    }

    pub(super) fn whole(&self) -> Value {
        let mut message =
            self.message(self.blocks.iter().map(Block::whole).collect(), self.usage(self.tokens.output));
        let (reason, sequence) = self.reason();
        message["stop_reason"] = json!(reason);
        message["stop_sequence"] = sequence;
        message
    }

    pub(super) fn stream(&self) -> Vec<Bytes> {
        let mut events =
            vec![json!({ "type": "message_start", "message": self.message(vec![], self.usage(1)) })];
        for (index, block) in self.blocks.iter().enumerate() {
            events.push(
                json!({ "type": "content_block_start", "index": index, "content_block": block.start() }),
            );
            if index == 0 {
                events.push(json!({ "type": "ping" }));
            }
            let deltas = block.deltas().into_iter();
            events.extend(
                deltas.map(|delta| json!({ "type": "content_block_delta", "index": index, "delta": delta })),
            );
            events.push(json!({ "type": "content_block_stop", "index": index }));
        }
        let (reason, sequence) = self.reason();
        let delta = json!({ "stop_reason": reason, "stop_sequence": sequence });
        events.push(json!({ "type": "message_delta", "delta": delta, "usage": { "output_tokens": self.tokens.output } }));
        events.push(json!({ "type": "message_stop" }));
        if let Some((at, kind)) = &self.error {
            events.truncate(*at);
            events
                .push(json!({ "type": "error", "error": { "type": kind, "message": "the script says so" } }));
        }
        events
            .into_iter()
            .map(|event| {
                Bytes::from(format!(
                    "event: {}\ndata: {event}\n\n",
                    event["type"].as_str().unwrap_or_default()
                ))
            })
            .collect()
    }
}
