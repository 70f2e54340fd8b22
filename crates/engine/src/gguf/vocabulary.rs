//! The tokens that have a meaning of their own, out of a vocabulary that is otherwise left in the file.

use std::collections::BTreeSet;
use std::io::{Read, Seek};

use super::error::GgufError;
use super::metadata::{Metadata, Value};
use super::read::Reader;
use super::{Special, SpecialToken};

/// Mistral's vocabularies have a thousand control tokens, Gemma's some six thousand unused ones.
const MAX_SPECIAL: u64 = 16_384;
/// A token longer than this is not markup; also bounds the memory of the walk.
const MAX_TOKEN: u64 = 256;

/// `LLAMA_TOKEN_TYPE_*`.
const UNKNOWN: u8 = 2;
const CONTROL: u8 = 3;
const USER_DEFINED: u8 = 4;
const UNUSED: u8 = 5;

/// Tokens that llama.cpp finds by their text when the metadata does not name them (`llama-vocab.cpp`, `load`).
const INFILL_PREFIX: [&str; 8] = [
    "<|fim_prefix|>",
    "<fim-prefix>",
    "<fim_prefix>",
    "<|code_prefix|>",
    "<｜fim▁begin｜>",
    "<PRE>",
    "▁<PRE>",
    "[PREFIX]",
];

/// What is kept of the vocabulary.
#[derive(Debug, Default)]
pub(super) struct Vocabulary {
    pub(super) size: Option<u32>,
    pub(super) special: Vec<SpecialToken>,
    pub(super) bos: Option<SpecialToken>,
    pub(super) eos: Option<SpecialToken>,
    pub(super) infill: bool,
}

/// Reads what is kept. Rewinds the reader.
pub(super) fn read_vocabulary<R: Read + Seek>(
    reader: &mut Reader<R>,
    metadata: &Metadata,
) -> Result<Vocabulary, GgufError> {
    let mut vocabulary = Vocabulary { infill: names_infill(metadata), ..Vocabulary::default() };
    let len = metadata.len_of("tokenizer.ggml.tokens");
    vocabulary.size = len.and_then(|len| u32::try_from(len).ok());
    let id = |key: &str| metadata.u32(key);
    let (bos, eos) = (id("tokenizer.ggml.bos_token_id"), id("tokenizer.ggml.eos_token_id"));
    let kinds = token_kinds(reader, metadata)?;
    let named: BTreeSet<u32> = NAMED.iter().filter_map(|key| id(key)).collect();
    let mut keep = |id: u32, text: String| {
        let kind = kinds.get(id as usize).copied();
        let token = SpecialToken { id, text, special: special(kind, named.contains(&id)) };
        if INFILL_PREFIX.contains(&token.text.as_str()) && kind != Some(UNUSED) {
            vocabulary.infill = true;
        }
        if bos == Some(id) {
            vocabulary.bos = Some(token.clone());
        }
        if eos == Some(id) {
            vocabulary.eos = Some(token.clone());
        }
        let looks_special = looks_like_markup(&token.text);
        if matches!(kind, Some(UNKNOWN | CONTROL | USER_DEFINED)) || named.contains(&id) || looks_special {
            vocabulary.special.push(token);
        }
        let found = vocabulary.special.len() as u64;
        let limit = MAX_SPECIAL;
        if found > limit {
            Err(GgufError::Limit { what: "the number of special tokens", found, limit })
        } else {
            Ok(())
        }
    };
    match metadata.get("tokenizer.ggml.tokens") {
        Some(Value::Texts(texts)) => {
            for (id, text) in texts.iter().enumerate() {
                keep(u32::try_from(id).unwrap_or(u32::MAX), text.clone())?;
            }
        }
        Some(Value::Array(place)) => {
            reader.rewind_to(place.position)?;
            for id in 0..place.len {
                let bytes = reader.string_or_skip(MAX_TOKEN, "the vocabulary")?;
                let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
                if let (Some(text), Ok(id)) = (text, u32::try_from(id)) {
                    keep(id, text)?;
                }
            }
        }
        _ => {}
    }
    Ok(vocabulary)
}

/// Metadata keys that name a token with a meaning.
const NAMED: [&str; 12] = [
    "tokenizer.ggml.bos_token_id",
    "tokenizer.ggml.eos_token_id",
    "tokenizer.ggml.eot_token_id",
    "tokenizer.ggml.eom_token_id",
    "tokenizer.ggml.unknown_token_id",
    "tokenizer.ggml.padding_token_id",
    "tokenizer.ggml.seperator_token_id",
    "tokenizer.ggml.mask_token_id",
    "tokenizer.ggml.fim_pre_token_id",
    "tokenizer.ggml.fim_suf_token_id",
    "tokenizer.ggml.fim_mid_token_id",
    "tokenizer.ggml.prefix_token_id",
];

fn names_infill(metadata: &Metadata) -> bool {
    ["tokenizer.ggml.fim_pre_token_id", "tokenizer.ggml.prefix_token_id"]
        .iter()
        .any(|key| metadata.u32(key).is_some())
}

/// llama.cpp makes control tokens of some tokens by their text (`<|im_end|>`, `<|eot_id|>`, `<end_of_turn>`) even where the file
/// says otherwise; all of these look so.
fn looks_like_markup(text: &str) -> bool {
    let inner = |open: &str, close: &str| {
        text.strip_prefix(open).is_some_and(|rest| rest.len() > close.len() && rest.ends_with(close))
    };
    inner("<|", "|>")
        || inner("<｜", "｜>")
        || matches!(text, "<end_of_turn>" | "<EOT>" | "<s>" | "</s>" | "<end_of_text>")
}

fn special(kind: Option<u8>, named: bool) -> Special {
    match kind {
        Some(CONTROL | UNKNOWN) => Special::Control,
        Some(USER_DEFINED) => Special::UserDefined,
        _ if named => Special::Control,
        _ => Special::Suspected,
    }
}

fn token_kinds<R: Read + Seek>(reader: &mut Reader<R>, metadata: &Metadata) -> Result<Vec<u8>, GgufError> {
    match metadata.get("tokenizer.ggml.token_type") {
        Some(Value::Integers(kinds)) => {
            Ok(kinds.iter().map(|kind| u8::try_from(*kind).unwrap_or(0)).collect())
        }
        Some(Value::Array(place)) if matches!(place.kind, 4 | 5) => {
            // As many as there are tokens; the tokens' number has a limit.
            let tokens = metadata.len_of("tokenizer.ggml.tokens").unwrap_or(0);
            reader.rewind_to(place.position)?;
            let mut kinds = Vec::new();
            for _ in 0..place.len.min(tokens) {
                kinds.push(u8::try_from(reader.u32("the token types")?).unwrap_or(0));
            }
            Ok(kinds)
        }
        _ => Ok(Vec::new()),
    }
}
