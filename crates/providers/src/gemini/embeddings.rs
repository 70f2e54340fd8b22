//! `:batchEmbedContents`.

use inshore_domain::request::{Embedding, PromptText};
use inshore_domain::{BackendError, BackendErrorKind, Embeddings, Target, Usage};
use serde::{Deserialize, Serialize};

use super::request::{Content, Part};
use crate::json::{Count, encode, if_right};
use crate::protocol::refuse;
use crate::refusal::Refuser;
use crate::vectors::Asked;

/// Inputs that the API takes in one call; it refuses more.
const MAX_INPUTS: usize = 100;

#[derive(Serialize)]
struct Body<'a> {
    requests: Vec<One<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct One<'a> {
    model: &'a str,
    content: Content<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_dimensionality: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    embeddings: Vec<Vector>,
    #[serde(default, deserialize_with = "if_right")]
    usage_metadata: Option<WireUsage>,
}

#[derive(Deserialize)]
struct Vector {
    #[serde(deserialize_with = "crate::vectors::numbers")]
    values: Vec<f32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireUsage {
    #[serde(default)]
    prompt_token_count: Count,
}

pub(super) fn body(task: &Embedding, target: &Target, model: &str) -> Result<Vec<u8>, BackendError> {
    if task.inputs.len() > MAX_INPUTS {
        let message = format!("`{}` takes at most {MAX_INPUTS} inputs in one call", target.id);
        return Err(BackendError::new(BackendErrorKind::Unsupported, message));
    }
    let requests = task
        .inputs
        .iter()
        .map(|input| match input {
            PromptText::Text(text) => Ok(One {
                model,
                content: Content::of(vec![Part::text(text)]),
                output_dimensionality: task.dimensions,
            }),
            PromptText::Tokens(_) => Err(refuse(target, "input")),
        })
        .collect::<Result<Vec<_>, _>>()?;
    encode(&Body { requests })
}

/// One vector of length 1 for each input; the API keeps their order. Most models report no tokens here: the counts are then
/// 0, which no text has.
pub(super) fn read(body: &[u8], asked: Asked, by: &Refuser) -> Result<Embeddings, BackendError> {
    let answer: Answer = serde_json::from_slice(body).map_err(|_| by.unreadable(body))?;
    let vectors = answer.embeddings.into_iter().map(|vector| vector.values).collect();
    let prompt_tokens = answer.usage_metadata.map_or(0, |usage| usage.prompt_token_count.or_zero());
    Ok((asked.check(vectors, by)?, Usage { prompt_tokens, ..Usage::default() }))
}
