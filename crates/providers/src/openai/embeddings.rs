//! `/embeddings`.

use inshore_domain::request::{Embedding, PromptText};
use inshore_domain::{BackendError, Capability, Target, Usage};
use serde::{Deserialize, Serialize};

use super::request::{Prompt, encode};
use super::response::WireUsage;
use crate::answer::unreadable;
use crate::provider::refuse;

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
    #[serde(default)]
    usage: Option<WireUsage>,
}

#[derive(Deserialize)]
struct Vector {
    #[serde(default)]
    index: Option<usize>,
    embedding: Vec<f32>,
}

pub(crate) fn body(task: &Embedding, target: &Target) -> Result<Vec<u8>, BackendError> {
    let tokens = task.inputs.iter().any(|input| matches!(input, PromptText::Tokens(_)));
    if tokens && !target.capabilities.has(Capability::TokenPrompts) {
        return Err(refuse(target, "input"));
    }
    let input = task.inputs.iter().map(Prompt::from).collect();
    encode(&Body { model: &target.model, input, encoding_format: "float", dimensions: task.dimensions })
}

/// One vector of length 1 for each input, in the order of the inputs.
pub(crate) fn read(
    body: &[u8],
    inputs: usize,
    target: &Target,
) -> Result<(Vec<Vec<f32>>, Usage), BackendError> {
    let answer: Answer = serde_json::from_slice(body).map_err(|_| unreadable(&target.id))?;
    let mut vectors: Vec<Option<Vec<f32>>> = vec![None; inputs];
    for (place, vector) in answer.data.into_iter().enumerate() {
        let slot = vectors.get_mut(vector.index.unwrap_or(place)).ok_or_else(|| unreadable(&target.id))?;
        *slot = Some(normalised(vector.embedding));
    }
    let vectors: Option<Vec<Vec<f32>>> = vectors.into_iter().collect();
    Ok((vectors.ok_or_else(|| unreadable(&target.id))?, answer.usage.map(Usage::from).unwrap_or_default()))
}

fn normalised(mut vector: Vec<f32>) -> Vec<f32> {
    let length = vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
    // A vector of zeros has no direction and stays as it is; one of length 1 already is not touched by rounding.
    if length > 0.0 && (length - 1.0).abs() > 1e-6 {
        vector.iter_mut().for_each(|x| *x = (f64::from(*x) / length) as f32);
    }
    vector
}
