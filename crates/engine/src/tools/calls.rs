//! Calls as JSON, in the shapes that models write them.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

/// A call, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) name: String,
    /// JSON text.
    pub(super) arguments: String,
}

/// Finds where a JSON object or array ends, as its text comes in.
#[derive(Debug, Clone, Default)]
pub(super) struct Scan {
    place: usize,
    depth: usize,
    in_text: bool,
    escaped: bool,
}

/// How far a scan got.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Scanned {
    /// It ends behind this byte.
    End(usize),
    /// It goes on.
    More,
    /// It does not begin like one.
    Not,
}

impl Scan {
    /// Begins at a byte of the text.
    pub(super) fn at(place: usize) -> Self {
        Self { place, ..Self::default() }
    }

    /// Goes on where it stopped; `text` must begin with what it was last time.
    pub(super) fn go_on(&mut self, text: &str) -> Scanned {
        while let Some(byte) = text.as_bytes().get(self.place) {
            if self.depth == 0 && !byte.is_ascii_whitespace() && !matches!(byte, b'{' | b'[') {
                return Scanned::Not;
            }
            self.place += 1;
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.in_text => self.escaped = true,
                b'"' => self.in_text = !self.in_text,
                _ if self.in_text => {}
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        return Scanned::End(self.place);
                    }
                }
                _ => {}
            }
        }
        Scanned::More
    }
}

/// Reads one call or a list of them; `None` when it is neither.
pub(super) fn read(json: &str) -> Option<Vec<Call>> {
    if json.trim_start().starts_with('[') {
        let items: Vec<&RawValue> = serde_json::from_str(json).ok()?;
        return items
            .into_iter()
            .map(|item| read_one(item.get(), false))
            .collect::<Option<Vec<Call>>>()
            .filter(|calls| !calls.is_empty());
    }
    read_one(json, false).map(|call| vec![call])
}

/// `wrapped`: it was found in another one. That happens once: what a model nests deeper is no call, and has no end.
fn read_one(json: &str, wrapped: bool) -> Option<Call> {
    let fields: BTreeMap<String, &RawValue> = serde_json::from_str(json).ok()?;
    let text = |key: &str| fields.get(key).and_then(|value| serde_json::from_str::<String>(value.get()).ok());
    // `{"type": "function", "function": {…}}`, as in the API.
    if let Some(inner) = fields.get("function").filter(|value| !wrapped && value.get().starts_with('{')) {
        return read_one(inner.get(), true);
    }
    let name = text("name").or_else(|| text("function")).filter(|name| !name.is_empty())?;
    let arguments =
        fields.get("arguments").or_else(|| fields.get("parameters")).or_else(|| fields.get("args"))?;
    Some(Call { name, arguments: object(arguments.get())? })
}

/// Arguments as JSON text: an object, or a text that holds one.
pub(super) fn object(json: &str) -> Option<String> {
    match json.trim_start().bytes().next()? {
        b'{' => Some(json.trim().to_owned()),
        b'"' => serde_json::from_str::<String>(json)
            .ok()
            .map(|text| if text.trim().is_empty() { "{}".to_owned() } else { text }),
        b'n' => Some("{}".to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_in_a_wrapper_is_read_and_one_in_a_hundred_thousand_is_not() {
        let inner = r#"{"name":"time","arguments":{}}"#;
        let nested =
            |depth: usize| format!("{}{inner}{}", r#"{"function":"#.repeat(depth), "}".repeat(depth));
        let call = Call { name: "time".into(), arguments: "{}".into() };
        assert_eq!(read(&nested(0)), Some(vec![call.clone()]));
        assert_eq!(read(&nested(1)), Some(vec![call]));
        assert_eq!(read(&nested(2)), None);
        // Deeper than any stack.
        assert_eq!(read(&nested(100_000)), None);
        assert_eq!(read(&format!("[{}]", nested(100_000))), None);
    }
}
