//! What the API answers.

use bytes::Bytes;
use http::Response;
use memchr::memmem;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::Options;
use super::check::prompt_tokens;
use crate::script::{Ending, Fault, Reply, Tokens, Turn, limited, tokens_of};
use crate::server::{End, ReplyBody};

/// Which endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Chat,
    Completion,
    Responses,
    Embeddings,
}

/// Seconds since 1970 that every answer bears, so that answers are the same each time.
const CREATED: u64 = 1_700_000_000;

/// An answer before it is written down.
pub(crate) struct Answer<'a> {
    shape: Shape,
    body: &'a Value,
    thinking: String,
    text: String,
    calls: Vec<(String, String)>,
    ending: Ending,
    tokens: Tokens,
    error: Option<(usize, String)>,
}

impl<'a> Answer<'a> {
    pub(super) fn new(shape: Shape, body: &'a Value, turn: &Turn) -> Self {
        let stops = match &body["stop"] {
            Value::String(stop) => vec![stop.clone()],
            Value::Array(stops) => stops.iter().filter_map(|stop| stop.as_str().map(str::to_owned)).collect(),
            _ => Vec::new(),
        };
        let limit = ["max_tokens", "max_completion_tokens", "max_output_tokens"]
            .iter()
            .find_map(|name| body[*name].as_u64());
        let (thinking, text, calls) = match &turn.reply {
            Reply::Text(text) => (String::new(), text.as_str(), Vec::new()),
            Reply::Thought { thinking, text } => (thinking.clone(), text.as_str(), Vec::new()),
            Reply::Calls(calls) => (String::new(), "", calls.clone()),
            Reply::Refusal { .. } | Reply::Exact { .. } => (String::new(), "", Vec::new()),
        };
        let (text, ending) = limited(text, limit, &stops);
        let output = tokens_of(&text).len()
            + calls.iter().map(|(_, arguments)| tokens_of(arguments).len()).sum::<usize>();
        let prompt = u32::try_from(prompt_tokens(body)).unwrap_or(u32::MAX);
        let answers = u32::try_from(body["n"].as_u64().unwrap_or(1)).unwrap_or(1);
        let output = u32::try_from(output).unwrap_or(u32::MAX).saturating_mul(answers);
        let tokens = turn.tokens.unwrap_or(Tokens { prompt, output, ..Tokens::default() });
        let error = match &turn.fault {
            Some(Fault::ErrorEvent { at_event, kind }) => Some((*at_event, kind.clone())),
            _ => None,
        };
        Self { shape, body, thinking, text, calls, ending, tokens, error }
    }

    fn reason(&self) -> &'static str {
        match self.ending {
            Ending::Length => "length",
            _ if !self.calls.is_empty() => "tool_calls",
            _ => "stop",
        }
    }

    fn usage(&self) -> Value {
        let Tokens { prompt, cached, output, .. } = self.tokens;
        json!({
            "prompt_tokens": prompt, "completion_tokens": output, "total_tokens": prompt + output,
            "prompt_tokens_details": { "cached_tokens": cached, "audio_tokens": 0 },
            "completion_tokens_details": { "reasoning_tokens": 0, "audio_tokens": 0 },
        })
    }

    fn choices(&self) -> u64 {
        self.body["n"].as_u64().unwrap_or(1)
    }

    pub(super) fn whole(&self) -> Value {
        match self.shape {
            Shape::Responses => self.response("completed", self.items(), true),
            Shape::Completion => {
                let choices: Vec<Value> = (0..self.choices())
                    .map(|index| json!({ "text": self.text, "index": index, "logprobs": self.completion_logprobs(), "finish_reason": self.reason() }))
                    .collect();
                json!({ "id": "cmpl-sim", "object": "text_completion", "created": CREATED, "model": self.body["model"], "choices": choices, "usage": self.usage() })
            }
            _ => {
                let choices: Vec<Value> = (0..self.choices()).map(|index| self.chat_choice(index)).collect();
                json!({
                    "id": "chatcmpl-sim", "object": "chat.completion", "created": CREATED, "model": self.body["model"],
                    "choices": choices, "usage": self.usage(), "system_fingerprint": "fp_sim",
                })
            }
        }
    }

    fn chat_choice(&self, index: u64) -> Value {
        let content = if self.calls.is_empty() { Value::from(self.text.clone()) } else { Value::Null };
        let mut message = json!({ "role": "assistant", "content": content, "refusal": null });
        if !self.thinking.is_empty() {
            message["reasoning_content"] = json!(self.thinking);
        }
        if !self.calls.is_empty() {
            message["tool_calls"] =
                self.calls.iter().enumerate().map(|(place, call)| wire_call(place, call, true)).collect();
        }
        let logprobs = if self.body["logprobs"] == true {
            let content: Vec<Value> = tokens_of(&self.text).into_iter().map(logprob).collect();
            json!({ "content": content, "refusal": null })
        } else {
            Value::Null
        };
        json!({ "index": index, "message": message, "logprobs": logprobs, "finish_reason": self.reason() })
    }

    fn completion_logprobs(&self) -> Value {
        if self.body["logprobs"].is_null() {
            return Value::Null;
        }
        let tokens = tokens_of(&self.text);
        let each: Vec<f64> = tokens.iter().map(|_| -0.25).collect();
        let top: Vec<Value> = tokens.iter().map(|token| json!({ *token: -0.25, "?": -2.0 })).collect();
        json!({ "tokens": tokens, "token_logprobs": each, "top_logprobs": top, "text_offset": [] })
    }

    pub(super) fn stream(&self) -> Vec<Bytes> {
        let mut events = match self.shape {
            Shape::Responses => self.response_events(),
            _ => self.chunks(),
        };
        if let Some((at, kind)) = &self.error {
            events.truncate(*at);
            let error = json!({ "error": { "message": "the script says so", "type": kind, "param": null, "code": null } });
            events.push(Bytes::from(format!("data: {error}\n\n")));
        }
        events
    }

    fn chunks(&self) -> Vec<Bytes> {
        let want_usage = self.body["stream_options"]["include_usage"] == true;
        let chat = self.shape == Shape::Chat;
        let (id, object) =
            if chat { ("chatcmpl-sim", "chat.completion.chunk") } else { ("cmpl-sim", "text_completion") };
        let chunk = |choices: Value, usage: Option<Value>| {
            let mut value = json!({
                "id": id, "object": object, "created": CREATED, "model": self.body["model"],
                "system_fingerprint": "fp_sim", "choices": choices,
            });
            if want_usage {
                value["usage"] = usage.unwrap_or(Value::Null);
            }
            Bytes::from(format!("data: {value}\n\n"))
        };
        let mut events = Vec::new();
        for index in 0..self.choices() {
            let deltas = if chat { self.chat_deltas() } else { self.completion_deltas() };
            for mut choice in deltas {
                choice["index"] = json!(index);
                events.push(chunk(json!([choice]), None));
            }
        }
        if want_usage {
            events.push(chunk(json!([]), Some(self.usage())));
        }
        events.push(Bytes::from_static(b"data: [DONE]\n\n"));
        events
    }

    fn completion_deltas(&self) -> Vec<Value> {
        let mut deltas: Vec<Value> = tokens_of(&self.text)
            .into_iter()
            .map(|token| json!({ "text": token, "logprobs": null, "finish_reason": null }))
            .collect();
        deltas.push(json!({ "text": "", "logprobs": null, "finish_reason": self.reason() }));
        deltas
    }

    fn chat_deltas(&self) -> Vec<Value> {
        let want_logprobs = self.body["logprobs"] == true;
        let plain = |delta: Value| json!({ "delta": delta, "logprobs": null, "finish_reason": null });
        let mut deltas = vec![plain(json!({ "role": "assistant", "content": "", "refusal": null }))];
        deltas.extend(
            tokens_of(&self.thinking).into_iter().map(|token| plain(json!({ "reasoning_content": token }))),
        );
        deltas.extend(tokens_of(&self.text).into_iter().map(|token| {
            let mut delta = plain(json!({ "content": token }));
            if want_logprobs {
                delta["logprobs"] = json!({ "content": [logprob(token)], "refusal": null });
            }
            delta
        }));
        for (place, call) in self.calls.iter().enumerate() {
            deltas.push(plain(
                json!({ "tool_calls": [wire_call(place, &(call.0.clone(), String::new()), false)] }),
            ));
            deltas.extend(halves(&call.1).into_iter().map(|half| {
                plain(json!({ "tool_calls": [{ "index": place, "function": { "arguments": half } }] }))
            }));
        }
        deltas.push(json!({ "delta": {}, "logprobs": null, "finish_reason": self.reason() }));
        deltas
    }

    fn items(&self) -> Vec<Value> {
        if self.calls.is_empty() {
            let part = json!({ "type": "output_text", "text": self.text, "annotations": [] });
            return vec![
                json!({ "id": "msg_sim", "type": "message", "status": "completed", "role": "assistant", "content": [part] }),
            ];
        }
        let calls = self.calls.iter().enumerate();
        calls.map(|(place, (name, arguments))| json!({ "id": format!("fc_sim_{place}"), "type": "function_call", "status": "completed", "call_id": format!("call_sim_{place}"), "name": name, "arguments": arguments })).collect()
    }

    fn response(&self, status: &str, output: Vec<Value>, usage: bool) -> Value {
        let Tokens { prompt, cached, output: made, .. } = self.tokens;
        let usage = usage.then(|| json!({
            "input_tokens": prompt, "input_tokens_details": { "cached_tokens": cached }, "output_tokens": made,
            "output_tokens_details": { "reasoning_tokens": 0 }, "total_tokens": prompt + made,
        }));
        let cut = self.ending == Ending::Length && status == "completed";
        let (status, details) = if cut {
            ("incomplete", json!({ "reason": "max_output_tokens" }))
        } else {
            (status, Value::Null)
        };
        json!({
            "id": "resp_sim", "object": "response", "created_at": CREATED, "status": status, "model": self.body["model"],
            "output": output, "usage": usage, "error": null, "incomplete_details": details,
        })
    }

    fn response_events(&self) -> Vec<Bytes> {
        let mut events = vec![
            json!({ "type": "response.created", "response": self.response("in_progress", vec![], false) }),
            json!({ "type": "response.in_progress", "response": self.response("in_progress", vec![], false) }),
        ];
        for (place, item) in self.items().into_iter().enumerate() {
            let id = item["id"].clone();
            let mut begun = item.clone();
            begun["status"] = json!("in_progress");
            let is_call = item["type"] == "function_call";
            begun[if is_call { "arguments" } else { "content" }] =
                if is_call { json!("") } else { json!([]) };
            events
                .push(json!({ "type": "response.output_item.added", "output_index": place, "item": begun }));
            let (word, pieces) = if is_call {
                ("function_call_arguments", halves(item["arguments"].as_str().unwrap_or_default()))
            } else {
                events.push(json!({ "type": "response.content_part.added", "item_id": id, "output_index": place, "content_index": 0, "part": { "type": "output_text", "text": "", "annotations": [] } }));
                ("output_text", tokens_of(&self.text).into_iter().map(str::to_owned).collect())
            };
            events.extend(pieces.into_iter().map(|piece| json!({ "type": format!("response.{word}.delta"), "item_id": id, "output_index": place, "content_index": 0, "delta": piece })));
            events.push(
                json!({ "type": format!("response.{word}.done"), "item_id": id, "output_index": place }),
            );
            events.push(json!({ "type": "response.output_item.done", "output_index": place, "item": item }));
        }
        let last = self.response("completed", self.items(), true);
        let word = if last["status"] == "incomplete" { "response.incomplete" } else { "response.completed" };
        events.push(json!({ "type": word, "response": last }));
        let numbered = events.into_iter().enumerate();
        numbered
            .map(|(number, mut event)| {
                event["sequence_number"] = json!(number);
                Bytes::from(format!(
                    "event: {}\ndata: {event}\n\n",
                    event["type"].as_str().unwrap_or_default()
                ))
            })
            .collect()
    }
}

fn wire_call(place: usize, (name, arguments): &(String, String), whole: bool) -> Value {
    let mut call = json!({ "id": format!("call_sim_{place}"), "type": "function", "function": { "name": name, "arguments": arguments } });
    if !whole {
        call["index"] = json!(place);
    }
    call
}

fn logprob(token: &str) -> Value {
    let one = |token: &str, p: f64| json!({ "token": token, "logprob": p, "bytes": token.as_bytes() });
    let mut value = one(token, -0.25);
    value["top_logprobs"] = json!([one(token, -0.25), one("?", -2.0)]);
    value
}

/// A text in two pieces, so that what is cut must be joined.
pub(crate) fn halves(text: &str) -> Vec<String> {
    let middle = (0..=text.len() / 2).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let (front, back) = text.split_at(middle);
    [front, back].into_iter().filter(|half| !half.is_empty()).map(str::to_owned).collect()
}

/// Vectors made from the inputs' bytes: the same text always has the same one.
pub(super) fn embeddings(body: &Value) -> Value {
    let inputs = match &body["input"] {
        Value::Array(items) if items.iter().all(|item| !item.is_u64()) => items.clone(),
        one => vec![one.clone()],
    };
    let dimensions = body["dimensions"].as_u64().unwrap_or(8).min(32);
    let data: Vec<Value> = inputs
        .iter()
        .enumerate()
        .map(|(index, input)| {
            let digest = Sha256::digest(input.to_string());
            let vector: Vec<f64> =
                digest.iter().zip(0..dimensions).map(|(byte, _)| f64::from(*byte) - 127.5).collect();
            json!({ "object": "embedding", "index": index, "embedding": vector })
        })
        .collect();
    let tokens = prompt_tokens(body);
    json!({ "object": "list", "data": data, "model": body["model"], "usage": { "prompt_tokens": tokens, "total_tokens": tokens } })
}

/// Answers made beforehand.
pub(crate) struct Prepared {
    chat: Bytes,
    chat_stream: Vec<(std::time::Duration, Bytes)>,
    completion: Bytes,
}

impl Prepared {
    pub(super) fn new(options: &Options, turn: &Turn) -> Self {
        let body = json!({ "model": options.models.first(), "messages": [{ "content": "a b c d" }], "stream_options": { "include_usage": true } });
        let chat = Answer::new(Shape::Chat, &body, turn);
        let completion = Answer::new(Shape::Completion, &body, turn);
        Self {
            chat: chat.whole().to_string().into(),
            chat_stream: chat.stream().into_iter().map(|event| (turn.token_delay, event)).collect(),
            completion: completion.whole().to_string().into(),
        }
    }

    pub(super) fn answer(&self, path: &str, body: &[u8]) -> Option<Response<ReplyBody>> {
        let stream = memmem::find(body, b"\"stream\":true")
            .or_else(|| memmem::find(body, b"\"stream\": true"))
            .is_some();
        let (kind, body) = match path {
            "/v1/chat/completions" if stream => {
                ("text/event-stream", ReplyBody::pieces(self.chat_stream.clone(), End::Whole))
            }
            "/v1/chat/completions" => ("application/json", ReplyBody::whole(self.chat.clone())),
            "/v1/completions" if !stream => ("application/json", ReplyBody::whole(self.completion.clone())),
            _ => return None,
        };
        Response::builder().header("content-type", kind).body(body).ok()
    }
}
