//! `POST /v1/embeddings`.
//!
//! Source: OpenAI API reference, "Create embeddings".

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use inshore_domain::Usage;
use inshore_domain::request::Embedding;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::completions::Prompts;
use crate::fault::{Fault, json};
use crate::json::within;

/// Longest vectors of any model known are 8,192 long; twice that leaves room.
const DIMENSIONS: u32 = 16_384;

/// The body. All fields are honoured.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EmbeddingRequest<'a> {
    pub(super) model: String,
    input: Prompts,
    #[serde(default)]
    encoding_format: Option<Encoding>,
    dimensions: Option<u32>,
    pub(super) user: Option<String>,
    #[serde(borrow)]
    pub(super) metadata: Option<&'a RawValue>,
}

/// How vectors are written.
#[derive(Deserialize, Debug, Clone, Copy, PartialEq, Eq, Default)]
#[serde(rename_all = "lowercase")]
pub(super) enum Encoding {
    #[default]
    Float,
    /// Little-endian 32-bit floats: a third of the bytes, and what the official clients ask for by themselves.
    Base64,
}

impl EmbeddingRequest<'_> {
    pub(super) fn encoding(&self) -> Encoding {
        self.encoding_format.unwrap_or_default()
    }

    pub(super) fn embedding(self) -> Result<Embedding, Fault> {
        Ok(Embedding {
            dimensions: within("dimensions", self.dimensions, 1, DIMENSIONS)?,
            inputs: self.input.checked("input", true)?,
        })
    }
}

#[derive(Serialize)]
struct List<'a> {
    object: &'static str,
    data: Vec<Item<'a>>,
    model: &'a str,
    usage: EmbeddingUsage,
}

#[derive(Serialize)]
struct Item<'a> {
    object: &'static str,
    index: usize,
    embedding: Vector<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Vector<'a> {
    Floats(&'a [f32]),
    Base64(String),
}

#[derive(Serialize)]
struct EmbeddingUsage {
    prompt_tokens: u32,
    total_tokens: u32,
}

pub(super) fn whole(model: &str, vectors: &[Vec<f32>], usage: Usage, encoding: Encoding) -> Vec<u8> {
    let vectors = vectors.iter().enumerate();
    let data = vectors
        .map(|(index, numbers)| Item { object: "embedding", index, embedding: vector(numbers, encoding) })
        .collect();
    let usage = EmbeddingUsage { prompt_tokens: usage.prompt_tokens, total_tokens: usage.prompt_tokens };
    json(&List { object: "list", data, model, usage })
}

fn vector(numbers: &[f32], encoding: Encoding) -> Vector<'_> {
    match encoding {
        Encoding::Float => Vector::Floats(numbers),
        Encoding::Base64 => {
            let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
            Vector::Base64(STANDARD.encode(bytes))
        }
    }
}
