//! What the API answers.

use bytes::Bytes;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::check::prompt_tokens;
use crate::script::{Ending, Fault, Reply, Tokens, Turn, limited, tokens_of};

/// The signature that the newer models put on the first of their calls.
const SIGNATURE: &str = "c2ltLXNpZ25hdHVyZQ==";
/// What is taken for one that was lost; base 64 of `skip_thought_signature_validator`.
const SKIP: &str = "c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I=";

pub(super) fn is_signed(signature: &str) -> bool {
    [SIGNATURE, SKIP].contains(&signature)
}

/// An answer before it is written down.
pub(super) struct Answer<'a> {
    model: &'a str,
    body: &'a Value,
    thinking: String,
    text: String,
    calls: Vec<(String, String)>,
    ending: Ending,
    tokens: Tokens,
    thoughts: usize,
    error: Option<(usize, String)>,
}

impl<'a> Answer<'a> {
    pub(super) fn new(model: &'a str, body: &'a Value, turn: &Turn) -> Self {
        let config = &body["generation_config"];
        let stops: Vec<String> = config["stop_sequences"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|stop| stop.as_str().map(str::to_owned))
            .collect();
        let (thinking, text, calls) = match &turn.reply {
            Reply::Text(text) => (String::new(), text.as_str(), Vec::new()),
            Reply::Thought { thinking, text } => (thinking.clone(), text.as_str(), Vec::new()),
            Reply::Calls(calls) => (String::new(), "", calls.clone()),
            Reply::Refusal { .. } | Reply::Exact { .. } => (String::new(), "", Vec::new()),
        };
        let (text, ending) = limited(text, config["max_output_tokens"].as_u64(), &stops);
        let candidates = config["candidate_count"].as_u64().unwrap_or(1);
        let words = tokens_of(&text).len()
            + calls.iter().map(|(_, arguments)| tokens_of(arguments).len()).sum::<usize>();
        let output = u32::try_from(words as u64 * candidates).unwrap_or(u32::MAX);
        let prompt = u32::try_from(prompt_tokens(body)).unwrap_or(u32::MAX);
        let tokens = turn.tokens.unwrap_or(Tokens { prompt, output, ..Tokens::default() });
        let thoughts = tokens_of(&thinking).len();
        let error = match &turn.fault {
            Some(Fault::ErrorEvent { at_event, kind }) => Some((*at_event, kind.clone())),
            _ => None,
        };
        Self { model, body, thinking, text, calls, ending, tokens, thoughts, error }
    }

    fn candidates(&self) -> u64 {
        self.body["generation_config"]["candidate_count"].as_u64().unwrap_or(1)
    }

    /// The encoding leaves out what is 0.
    fn usage(&self, at_end: bool) -> Value {
        let Tokens { prompt, cached, output, .. } = self.tokens;
        let output = if at_end { output } else { 0 };
        let thoughts = if at_end { self.thoughts } else { 0 };
        let mut usage = json!({
            "promptTokenCount": prompt, "totalTokenCount": prompt as usize + output as usize + thoughts,
            "promptTokensDetails": [{ "modality": "TEXT", "tokenCount": prompt }],
        });
        let counts = [
            ("cachedContentTokenCount", cached as usize),
            ("candidatesTokenCount", output as usize),
            ("thoughtsTokenCount", thoughts),
        ];
        for (name, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
            usage[name] = json!(count);
        }
        usage
    }

    fn reason(&self) -> &'static str {
        if self.ending == Ending::Length { "MAX_TOKENS" } else { "STOP" }
    }

    fn call_parts(&self) -> Vec<Value> {
        let newer = self.model.contains("gemini-3");
        let part = |(place, (name, arguments)): (usize, &(String, String))| {
            let args: Value = serde_json::from_str(arguments).unwrap_or(json!({}));
            let mut part = json!({ "functionCall": { "name": name, "args": args } });
            if newer {
                part["functionCall"]["id"] = json!(format!("sim_{place}"));
            }
            if newer && place == 0 {
                part["thoughtSignature"] = json!(SIGNATURE);
            }
            part
        };
        self.calls.iter().enumerate().map(part).collect()
    }

    fn candidate(&self, index: u64, parts: Vec<Value>, reason: Option<&str>) -> Value {
        let mut candidate = json!({ "content": { "parts": parts, "role": "model" } });
        if index > 0 {
            candidate["index"] = json!(index);
        }
        if let Some(reason) = reason {
            candidate["finishReason"] = json!(reason);
        }
        if self.body["generation_config"]["response_logprobs"] == true && !parts.is_empty() {
            let texts = candidate["content"]["parts"].as_array().into_iter().flatten();
            let tokens: Vec<String> = texts
                .filter(|part| part["thought"] != true)
                .filter_map(|part| part["text"].as_str())
                .flat_map(tokens_of)
                .map(str::to_owned)
                .collect();
            let one = |token: &str, p: f64| json!({ "token": token, "tokenId": 7, "logProbability": p });
            let chosen: Vec<Value> = tokens.iter().map(|token| one(token, -0.25)).collect();
            let top: Vec<Value> = tokens
                .iter()
                .map(|token| json!({ "candidates": [one(token, -0.25), one("?", -2.0)] }))
                .collect();
            candidate["logprobsResult"] = json!({ "chosenCandidates": chosen, "topCandidates": top });
        }
        candidate
    }

    fn response(&self, candidates: Vec<Value>, at_end: bool) -> Value {
        json!({
            "candidates": candidates, "usageMetadata": self.usage(at_end), "modelVersion": self.model,
            "responseId": "sim-response",
        })
    }

    pub(super) fn whole(&self) -> Value {
        let mut parts = Vec::new();
        if !self.thinking.is_empty() {
            parts.push(json!({ "text": self.thinking, "thought": true }));
        }
        if !self.text.is_empty() {
            parts.push(json!({ "text": self.text }));
        }
        parts.extend(self.call_parts());
        let candidates = (0..self.candidates())
            .map(|index| self.candidate(index, parts.clone(), Some(self.reason())))
            .collect();
        self.response(candidates, true)
    }

    pub(super) fn stream(&self) -> Vec<Bytes> {
        let mut events = Vec::new();
        for index in 0..self.candidates() {
            let chunk = |part: Value| self.response(vec![self.candidate(index, vec![part], None)], false);
            events.extend(
                tokens_of(&self.thinking)
                    .iter()
                    .map(|token| chunk(json!({ "text": token, "thought": true }))),
            );
            events.extend(tokens_of(&self.text).iter().map(|token| chunk(json!({ "text": token }))));
            if !self.calls.is_empty() {
                events.push(self.response(vec![self.candidate(index, self.call_parts(), None)], false));
            }
            let last = index + 1 == self.candidates();
            let end = self.candidate(index, vec![json!({ "text": "" })], Some(self.reason()));
            events.push(self.response(vec![end], last));
        }
        if let Some((at, status)) = &self.error {
            events.truncate(*at);
            let error = json!({ "code": code_of(status), "message": "the script says so", "status": status });
            events.push(json!({ "error": error }));
        }
        // Google ends its lines with CRLF.
        events.into_iter().map(|event| Bytes::from(format!("data: {event}\r\n\r\n"))).collect()
    }
}

fn code_of(status: &str) -> u16 {
    match status {
        "RESOURCE_EXHAUSTED" => 429,
        "UNAVAILABLE" => 503,
        "DEADLINE_EXCEEDED" => 504,
        _ => 500,
    }
}

/// Vectors made from the inputs' bytes: the same text always has the same one. They are not of length 1, as those of the
/// real API are not when they are shortened.
pub(super) fn embeddings(body: &Value) -> Value {
    let vector = |request: &Value| {
        let dimensions = request["output_dimensionality"].as_u64().unwrap_or(8).min(32);
        let digest = Sha256::digest(request["content"].to_string());
        let values: Vec<f64> =
            digest.iter().zip(0..dimensions).map(|(byte, _)| f64::from(*byte) - 127.5).collect();
        json!({ "values": values })
    };
    let list: Vec<Value> = body["requests"].as_array().into_iter().flatten().map(vector).collect();
    json!({ "embeddings": list })
}
