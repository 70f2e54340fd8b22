//! JSON that is written and read in the same way by every protocol.

use std::fmt;

use inshore_domain::request::{Json, ToolCall};
use inshore_domain::{BackendError, BackendErrorKind, Billed};
use serde::de::{DeserializeOwned, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

pub(crate) fn encode<T: Serialize>(body: &T) -> Result<Vec<u8>, BackendError> {
    serde_json::to_vec(body).map_err(|_| {
        BackendError::new(BackendErrorKind::Failed, "the request cannot be written as JSON")
            .with_billed(Billed::No)
    })
}

/// JSON as it is. An error names the field it came in.
pub(crate) fn raw<'a>(json: &'a Json, field: &str) -> Result<&'a RawValue, BackendError> {
    serde_json::from_str(&json.0).map_err(|_| {
        let kind = BackendErrorKind::InvalidRequest { field: Some(field.to_owned()) };
        BackendError::new(kind, format!("`{field}` holds text that is not JSON"))
    })
}

/// The arguments of a call, where the protocol wants an object; elsewhere they are any text.
pub(crate) fn arguments(call: &ToolCall) -> Result<&RawValue, BackendError> {
    let text = if call.arguments.trim().is_empty() { "{}" } else { call.arguments.trim() };
    object(text).ok_or_else(|| {
        let kind = BackendErrorKind::InvalidRequest { field: Some("tool_calls".into()) };
        BackendError::new(kind, format!("the arguments of the call of `{}` are not a JSON object", call.name))
    })
}

/// The text as a JSON object, if it is one.
pub(crate) fn object(text: &str) -> Option<&RawValue> {
    serde_json::from_str::<&RawValue>(text).ok().filter(|value| value.get().starts_with('{'))
}

/// A count that a provider reports, `None` where what it says is no count: missing, negative, with a fraction, text. A count
/// beyond 32 bits is the largest there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Count(pub(crate) Option<u32>);

impl Count {
    pub(crate) fn or_zero(self) -> u32 {
        self.0.unwrap_or(0)
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CountVisitor)
    }
}

struct CountVisitor;

impl<'de> Visitor<'de> for CountVisitor {
    type Value = Count;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a count")
    }

    fn visit_u64<E>(self, count: u64) -> Result<Count, E> {
        Ok(Count(Some(u32::try_from(count).unwrap_or(u32::MAX))))
    }

    fn visit_i64<E>(self, count: i64) -> Result<Count, E> {
        Ok(Count(u64::try_from(count).ok().map(|count| u32::try_from(count).unwrap_or(u32::MAX))))
    }

    /// Whole numbers beyond 64 bits arrive here.
    fn visit_f64<E>(self, count: f64) -> Result<Count, E> {
        // The cast saturates.
        Ok(Count((count >= 0.0 && count.fract() == 0.0).then_some(count as u32)))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Count, E> {
        Ok(Count(None))
    }

    fn visit_str<E>(self, _: &str) -> Result<Count, E> {
        Ok(Count(None))
    }

    fn visit_unit<E>(self) -> Result<Count, E> {
        Ok(Count(None))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Count, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Count(None))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Count, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Count(None))
    }
}

/// A member that may be of any shape: `None` unless it is of the right one.
pub(crate) fn if_right<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    serde_json::Value::deserialize(deserializer).map(|value| serde_json::from_value(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_count_counts() {
        for (text, expected) in [
            ("0", Some(0)),
            ("17", Some(17)),
            ("17.0", Some(17)),
            ("4294967295", Some(u32::MAX)),
            ("4294967296", Some(u32::MAX)),
            ("99999999999999999999999", Some(u32::MAX)),
            ("1e300", Some(u32::MAX)),
            ("-1", None),
            ("-1e300", None),
            ("1.5", None),
            ("\"17\"", None),
            ("null", None),
            ("true", None),
            ("[17]", None),
            ("{\"n\":{\"m\":[1]}}", None),
        ] {
            assert_eq!(serde_json::from_str::<Count>(text).unwrap(), Count(expected), "{text}");
        }
    }
}
