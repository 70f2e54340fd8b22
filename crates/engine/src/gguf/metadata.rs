//! The key-value pairs in front of the tensors.

use std::collections::BTreeMap;
use std::io::{Read, Seek};

use super::error::{GgufError, shown};
use super::read::Reader;

/// Published models have about fifty; merged ones with notes some hundreds.
const MAX_ENTRIES: u64 = 1 << 16;
/// The format's own limit is 65,535; llama.cpp's keys have at most some sixty bytes.
const MAX_KEY: u64 = 1024;
/// The longest strings of use are chat templates, of some ten to sixty kilobytes. A longer string is passed over.
const MAX_TEXT: u64 = 1 << 20;
/// All that is kept of a file's metadata. Hit by hostile files only.
const MAX_KEPT: u64 = 8 << 20;
/// Arrays kept as values: one number per layer. Longer ones (tokens, scores, merges) are found again by their place.
const MAX_KEPT_ARRAY: u64 = 1024;
/// Four times the largest vocabulary there is, with its merges; bounds the walk through strings.
const MAX_ARRAY: u64 = 1 << 22;
/// Bytes are skipped, not walked: a character map may be larger.
const MAX_FLAT_BYTES: u64 = 1 << 31;

/// Value types of the format (`gguf_metadata_value_type`).
const STRING: u32 = 8;
const ARRAY: u32 = 9;

/// A value as far as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Integer(i128),
    Float(f64),
    Bool(bool),
    Text(String),
    Integers(Vec<i128>),
    Texts(Vec<String>),
    /// A long array, by its place.
    Array(ArrayPlace),
    /// A string too long to be of use.
    Passed,
}

/// Where a long array lies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct ArrayPlace {
    pub(super) kind: u32,
    pub(super) len: u64,
    pub(super) position: u64,
}

/// All pairs, by key.
#[derive(Debug, Default)]
pub(super) struct Metadata(BTreeMap<String, Value>);

impl Metadata {
    pub(super) fn read<R: Read + Seek>(reader: &mut Reader<R>, count: u64) -> Result<Self, GgufError> {
        if count > MAX_ENTRIES {
            return Err(GgufError::Limit {
                what: "the number of metadata entries",
                found: count,
                limit: MAX_ENTRIES,
            });
        }
        let mut metadata = BTreeMap::new();
        let mut kept: u64 = 0;
        for _ in 0..count {
            let key = reader.string(MAX_KEY, "the length of a metadata key")?;
            let key = String::from_utf8(key)
                .map_err(|_| GgufError::Malformed("a metadata key is not UTF-8".into()))?;
            let kind = reader.u32("the metadata")?;
            let value = read_value(reader, kind, &key)?;
            kept = kept.saturating_add(key.len() as u64).saturating_add(weight(&value));
            if kept > MAX_KEPT {
                return Err(GgufError::Limit {
                    what: "the size of the metadata",
                    found: kept,
                    limit: MAX_KEPT,
                });
            }
            if key.is_empty() || metadata.contains_key(&key) {
                return Err(GgufError::Malformed(format!(
                    "the metadata key `{}` is empty or appears twice",
                    shown(&key)
                )));
            }
            metadata.insert(key, value);
        }
        Ok(Self(metadata))
    }

    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    pub(super) fn text(&self, key: &str) -> Option<&str> {
        match self.get(key)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A number that fits; a number that does not is as good as none.
    pub(super) fn u32(&self, key: &str) -> Option<u32> {
        match self.get(key)? {
            Value::Integer(number) => u32::try_from(*number).ok(),
            _ => None,
        }
    }

    pub(super) fn float(&self, key: &str) -> Option<f64> {
        match self.get(key)? {
            Value::Float(number) => Some(*number).filter(|number| number.is_finite()),
            #[expect(clippy::cast_precision_loss, reason = "settings are small numbers")]
            Value::Integer(number) => Some(*number as f64),
            _ => None,
        }
    }

    pub(super) fn bool(&self, key: &str) -> Option<bool> {
        match self.get(key)? {
            Value::Bool(truth) => Some(*truth),
            _ => None,
        }
    }

    /// One number for all layers, or one for each.
    pub(super) fn per_layer(&self, key: &str) -> Option<Vec<u32>> {
        match self.get(key)? {
            Value::Integer(number) => Some(vec![u32::try_from(*number).ok()?]),
            Value::Integers(numbers) => numbers.iter().map(|number| u32::try_from(*number).ok()).collect(),
            _ => None,
        }
    }

    /// Length of an array, kept or not.
    pub(super) fn len_of(&self, key: &str) -> Option<u64> {
        match self.get(key)? {
            Value::Array(place) => Some(place.len),
            Value::Texts(texts) => Some(texts.len() as u64),
            _ => None,
        }
    }

    /// Texts whose key begins so: what follows in the key, and the text.
    pub(super) fn texts_under<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.0
            .range(prefix.to_owned()..)
            .map_while(move |(key, value)| Some((key.strip_prefix(prefix)?, value)))
            .filter_map(|(name, value)| match value {
                Value::Text(text) => Some((name, text.as_str())),
                _ => None,
            })
    }
}

fn weight(value: &Value) -> u64 {
    match value {
        Value::Text(text) => text.len() as u64,
        Value::Texts(texts) => texts.iter().map(|text| text.len() as u64 + 24).sum(),
        Value::Integers(numbers) => numbers.len() as u64 * 16,
        _ => 32,
    }
}

/// Bytes of one element, for types of fixed size.
fn width(kind: u32) -> Option<u64> {
    match kind {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}

fn read_value<R: Read + Seek>(reader: &mut Reader<R>, kind: u32, key: &str) -> Result<Value, GgufError> {
    match kind {
        STRING => {
            let text = reader.string_or_skip(MAX_TEXT, "a metadata value")?;
            // Descriptions with a broken character are not worth refusing a model for.
            Ok(text.map_or(Value::Passed, |text| Value::Text(String::from_utf8_lossy(&text).into_owned())))
        }
        ARRAY => read_array(reader, key),
        _ => read_scalar(reader, kind, key),
    }
}

fn read_scalar<R: Read + Seek>(reader: &mut Reader<R>, kind: u32, key: &str) -> Result<Value, GgufError> {
    let what = "a metadata value";
    Ok(match kind {
        0 => Value::Integer(u8::from_le_bytes(reader.array(what)?).into()),
        1 => Value::Integer(i8::from_le_bytes(reader.array(what)?).into()),
        2 => Value::Integer(u16::from_le_bytes(reader.array(what)?).into()),
        3 => Value::Integer(i16::from_le_bytes(reader.array(what)?).into()),
        4 => Value::Integer(u32::from_le_bytes(reader.array(what)?).into()),
        5 => Value::Integer(i32::from_le_bytes(reader.array(what)?).into()),
        6 => Value::Float(f32::from_le_bytes(reader.array(what)?).into()),
        7 => Value::Bool(reader.array::<1>(what)? != [0]),
        10 => Value::Integer(u64::from_le_bytes(reader.array(what)?).into()),
        11 => Value::Integer(i64::from_le_bytes(reader.array(what)?).into()),
        12 => Value::Float(f64::from_le_bytes(reader.array(what)?)),
        _ => {
            return Err(GgufError::Malformed(format!(
                "metadata `{}` has the unknown type {kind}",
                shown(key)
            )));
        }
    })
}

fn read_array<R: Read + Seek>(reader: &mut Reader<R>, key: &str) -> Result<Value, GgufError> {
    let what = "a metadata array";
    let kind = reader.u32(what)?;
    let len = reader.u64(what)?;
    let position = reader.position();
    let place = ArrayPlace { kind, len, position };
    if kind == STRING {
        return read_texts(reader, place);
    }
    // llama.cpp refuses arrays of arrays as well; no model has any.
    let Some(width) = width(kind) else {
        return Err(GgufError::Malformed(format!(
            "metadata `{}` is an array of the unusable type {kind}",
            shown(key)
        )));
    };
    let bytes = len.saturating_mul(width);
    if bytes > MAX_FLAT_BYTES {
        return Err(GgufError::Limit {
            what: "the size of a metadata array",
            found: bytes,
            limit: MAX_FLAT_BYTES,
        });
    }
    if len > MAX_KEPT_ARRAY {
        reader.skip(bytes, what)?;
        return Ok(Value::Array(place));
    }
    let mut numbers = Vec::new();
    for _ in 0..len {
        match read_scalar(reader, kind, key)? {
            Value::Integer(number) => numbers.push(number),
            Value::Bool(truth) => numbers.push(truth.into()),
            _ => {}
        }
    }
    Ok(Value::Integers(numbers))
}

fn read_texts<R: Read + Seek>(reader: &mut Reader<R>, place: ArrayPlace) -> Result<Value, GgufError> {
    let what = "a metadata array";
    if place.len > MAX_ARRAY {
        return Err(GgufError::Limit {
            what: "the length of a metadata array",
            found: place.len,
            limit: MAX_ARRAY,
        });
    }
    // Tags, languages and base models are few; anything longer is a vocabulary.
    if place.len > 64 {
        for _ in 0..place.len {
            let len = reader.u64(what)?;
            reader.skip(len, what)?;
        }
        return Ok(Value::Array(place));
    }
    let mut texts = Vec::new();
    for _ in 0..place.len {
        let text = reader.string_or_skip(4096, what)?.unwrap_or_default();
        texts.push(String::from_utf8_lossy(&text).into_owned());
    }
    Ok(Value::Texts(texts))
}
