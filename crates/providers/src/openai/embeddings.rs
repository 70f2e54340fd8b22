//! `/embeddings`.

use inshore_domain::request::{Embedding, PromptText};
use inshore_domain::{BackendError, Capability, Embeddings, Target, Usage};
use serde::{Deserialize, Serialize};

use super::request::Prompt;
use super::response::WireUsage;
use crate::json::{encode, if_right};
use crate::protocol::refuse;
use crate::refusal::Refuser;
use crate::vectors::Asked;

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    input: Vec<Prompt<'a>>,
    /// Numbers, not base 64: not every imitator knows the latter.
    encoding_format: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    dimensions: Option<u32>,
}

#[derive(Deserialize)]
struct Answer {
    data: Vec<Vector>,
    #[serde(default, deserialize_with = "if_right")]
    usage: Option<WireUsage>,
}

#[derive(Deserialize)]
struct Vector {
    #[serde(default)]
    index: Option<usize>,
    #[serde(deserialize_with = "crate::vectors::numbers")]
    embedding: Vec<f32>,
}

pub(super) fn body(task: &Embedding, target: &Target) -> Result<Vec<u8>, BackendError> {
    let tokens = task.inputs.iter().any(|input| matches!(input, PromptText::Tokens(_)));
    if tokens && !target.capabilities.has(Capability::TokenPrompts) {
        return Err(refuse(target, "input"));
    }
    let input = task.inputs.iter().map(Prompt::from).collect();
    encode(&Body { model: &target.model, input, encoding_format: "float", dimensions: task.dimensions })
}

/// One vector of length 1 for each input, in the order of the inputs. Without a report of tokens the counts are 0, which
/// no text has.
pub(super) fn read(body: &[u8], asked: Asked, by: &Refuser) -> Result<Embeddings, BackendError> {
    let answer: Answer = serde_json::from_slice(body).map_err(|_| by.unreadable(body))?;
    let mut vectors: Vec<Option<Vec<f32>>> = vec![None; asked.inputs];
    for (place, vector) in answer.data.into_iter().enumerate() {
        let slot = vectors.get_mut(vector.index.unwrap_or(place)).filter(|slot| slot.is_none());
        *slot.ok_or_else(|| by.broken("a vector that belongs to no input"))? = Some(vector.embedding);
    }
    let vectors: Option<Vec<Vec<f32>>> = vectors.into_iter().collect();
    let vectors = vectors.ok_or_else(|| by.broken("fewer vectors than inputs"))?;
    let prompt_tokens = answer.usage.and_then(|usage| usage.prompt()).unwrap_or(0);
    Ok((asked.check(vectors, by)?, Usage { prompt_tokens, ..Usage::default() }))
}
