//! JSON that is written and read in the same way by every protocol.

use inshore_domain::request::{Json, ToolCall};
use inshore_domain::{BackendError, BackendErrorKind};
use serde::Serialize;
use serde_json::value::RawValue;

pub(crate) fn encode<T: Serialize>(body: &T) -> Result<Vec<u8>, BackendError> {
    serde_json::to_vec(body)
        .map_err(|_| BackendError::new(BackendErrorKind::Failed, "the request cannot be written as JSON"))
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
