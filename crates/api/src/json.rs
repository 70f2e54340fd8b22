//! Bodies to wire structs, with the field at fault named.
//!
//! Wire structs refuse unknown fields: a field that this server has never heard of might change the answer. Each lists
//! what it honours, what it may ignore because the answer stays the same, and what it knows but must refuse.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use http::StatusCode;
use serde::de::{
    self, Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::value::RawValue;

use crate::fault::Fault;

/// Marks an error of ours among serde's: the field is known, and cannot be honoured.
const REFUSED: &str = "cannot be honoured";

/// Levels of nesting in a schema; the JSON parser of the whole body allows 128.
const SCHEMA_DEPTH: usize = 64;

/// Elements of a list, but for token ids. The longest lists that are honoured have a quarter of these; and what a few bytes of a body
/// become in memory is a hundred, so a longer list is refused while it is read.
const ELEMENTS: usize = 1 << 16;

/// Longest part of a parser's message that is repeated: it may quote the caller's whole text.
const QUOTED_CHARS: usize = 300;

/// Reads a body. The wire struct may borrow from it.
pub(crate) fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Fault> {
    let bad = |code, message: String| Fault::new(StatusCode::BAD_REQUEST, code, message);
    if body.is_empty() {
        return Err(bad("invalid_json", "the body is empty: expected a JSON object".to_owned()));
    }
    let text = std::str::from_utf8(body).map_err(|error| {
        bad("invalid_utf8", format!("the body is not valid UTF-8 at byte {}", error.valid_up_to()))
    })?;
    // Serde would read an array as a struct's fields in their order.
    if text.trim_ascii_start().starts_with('[') {
        return Err(bad("invalid_type", "the body is wrong: expected an object, not an array".to_owned()));
    }
    serde_json::from_str(text).map_err(|error| explain::<T>(text, error))
}

/// Parses once more, slowly, to find where the error is.
fn explain<'a, T: Deserialize<'a>>(text: &'a str, first: serde_json::Error) -> Fault {
    if !first.is_data() {
        let message = format!("the body is not valid JSON: {first}");
        return Fault::new(StatusCode::BAD_REQUEST, "invalid_json", message);
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let (path, message) = match serde_path_to_error::deserialize::<_, T>(&mut deserializer) {
        Err(error) => (error.path().to_string(), without_position(&error.inner().to_string())),
        Ok(_) => (String::new(), without_position(&first.to_string())),
    };
    let path = if path == "." || path == "?" { String::new() } else { path };
    let named = message.split('`').nth(1).unwrap_or_default();
    if message.starts_with("unknown field") {
        let field = joined(&path, named);
        return Fault::field(
            &field,
            "unknown_parameter",
            format!("`{field}` is not a field that is known here"),
        );
    }
    if message.starts_with("missing field") {
        let field = joined(&path, named);
        return Fault::field(&field, "missing_required_parameter", format!("`{field}` is missing"));
    }
    let field = if path.is_empty() { "the body".to_owned() } else { format!("`{path}`") };
    let (code, message) = if let Some(why) = message.strip_prefix(REFUSED) {
        ("unsupported_parameter", format!("{field} {REFUSED}{why}"))
    } else if let Some((_, expected)) =
        message.split_once("`, expected ").filter(|_| message.starts_with("unknown variant"))
    {
        ("unsupported_value", format!("{field} cannot be `{named}` here: expected {expected}"))
    } else {
        ("invalid_type", format!("{field} is wrong: {}", plain_words(&message)))
    };
    let mut fault = Fault::new(StatusCode::BAD_REQUEST, code, message);
    fault.param = (!path.is_empty()).then_some(path);
    fault
}

/// What a caller understands in place of this program's types.
fn plain_words(message: &str) -> String {
    let Some((found, expected)) = message.rsplit_once(", expected ") else { return message.to_owned() };
    let expected = match expected {
        "f32" | "f64" => "a number",
        "u8" | "u32" | "usize" => "a whole number that is not negative",
        "i64" => "a whole number",
        "a sequence" => "an array",
        other if other.starts_with("struct ") => "an object",
        other => other,
    };
    format!("{found}, expected {expected}")
}

fn joined(path: &str, name: &str) -> String {
    let name: String = name.chars().take(QUOTED_CHARS).collect();
    if path.is_empty() || path == name || path.ends_with(&format!(".{name}")) {
        if path.is_empty() { name } else { path.to_owned() }
    } else {
        format!("{path}.{name}")
    }
}

fn without_position(message: &str) -> String {
    let end = message.rfind(" at line ").unwrap_or(message.len());
    message.get(..end).unwrap_or(message).chars().take(QUOTED_CHARS).collect()
}

/// A field that is known, would change the answer, and cannot be honoured. Absent and `null` are fine.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refused;

impl<'de> Deserialize<'de> for Refused {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Option::<IgnoredAny>::deserialize(deserializer)? {
            None => Ok(Self),
            Some(_) => Err(refused("by this server")),
        }
    }
}

/// A switch that may only be off: turned on it would change the answer, and cannot be honoured.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OnlyFalse;

impl<'de> Deserialize<'de> for OnlyFalse {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Option::<bool>::deserialize(deserializer)? {
            None | Some(false) => Ok(Self),
            Some(true) => Err(refused("when true")),
        }
    }
}

/// An error that says that the field where it is raised cannot be honoured.
pub(crate) fn refused<E: de::Error>(why: impl fmt::Display) -> E {
    E::custom(format_args!("{REFUSED} {why}"))
}

/// A field that cannot change the answer. Taken whatever it holds.
pub(crate) type Ignored = Option<IgnoredAny>;

/// A list, not longer than any that is honoured.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Few<T>(pub(crate) Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Few<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FewVisitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for FewVisitor<T> {
            type Value = Few<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a sequence")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Few<T>, A::Error> {
                let mut all = Vec::new();
                while let Some(element) = list.next_element()? {
                    push(&mut all, element)?;
                }
                Ok(Few(all))
            }
        }
        deserializer.deserialize_seq(FewVisitor(PhantomData))
    }
}

/// Adds to a list that is being read, unless it is too long already.
pub(crate) fn push<T, E: de::Error>(all: &mut Vec<T>, element: T) -> Result<(), E> {
    if all.len() >= ELEMENTS {
        return Err(E::custom(format_args!("more than {ELEMENTS} elements")));
    }
    all.push(element);
    Ok(())
}

/// Text, or a list of something.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum TextOr<T> {
    Text(String),
    List(Vec<T>),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for TextOr<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrList<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for TextOrList<T> {
            type Value = TextOr<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or an array")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(TextOr::Text(text.to_owned()))
            }
            fn visit_string<E: de::Error>(self, text: String) -> Result<Self::Value, E> {
                Ok(TextOr::Text(text))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
                Few::deserialize(de::value::SeqAccessDeserializer::new(list)).map(|few| TextOr::List(few.0))
            }
        }
        deserializer.deserialize_any(TextOrList(PhantomData))
    }
}

/// What an API words as a plain string or as an object: `"auto"` or `{"type": "function", ...}`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum WordOr<T> {
    Word(String),
    Object(T),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for WordOr<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WordOrObject<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for WordOrObject<T> {
            type Value = WordOr<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or an object")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(WordOr::Word(text.to_owned()))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(de::value::MapAccessDeserializer::new(map)).map(WordOr::Object)
            }
        }
        deserializer.deserialize_any(WordOrObject(PhantomData))
    }
}

/// A list of pairs written as an object, in the order given.
pub(crate) struct Pairs<V>(pub(crate) Vec<(String, V)>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Pairs<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PairVisitor<V>(PhantomData<V>);
        impl<'de, V: Deserialize<'de>> Visitor<'de> for PairVisitor<V> {
            type Value = Pairs<V>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    push(&mut pairs, pair)?;
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(PairVisitor(PhantomData))
    }
}

/// Reads an object key by key with a function, for objects of which only some keys matter.
pub(crate) fn each_key(
    object: &RawValue,
    mut take: impl FnMut(&str, &RawValue),
) -> Result<(), serde_json::Error> {
    struct Keys<F>(F);
    impl<'de, F: FnMut(&str, &RawValue)> Visitor<'de> for Keys<F> {
        type Value = ();
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
            while let Some(key) = map.next_key_seed(Borrowed)? {
                (self.0)(&key, map.next_value::<&RawValue>()?);
            }
            Ok(())
        }
    }
    let mut deserializer = serde_json::Deserializer::from_str(object.get());
    deserializer.deserialize_map(Keys(&mut take))
}

/// A string that is borrowed where it has no escapes.
struct Borrowed;

impl<'de> DeserializeSeed<'de> for Borrowed {
    type Value = Cow<'de, str>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Cow<'de, str>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Cow::Borrowed(text))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Cow::Owned(text.to_owned()))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// A JSON schema: an object (or `true`), not nested without end. What it says is checked by whoever enforces it.
pub(crate) fn schema(field: &str, schema: &RawValue) -> Result<inshore_domain::request::Json, Fault> {
    let text = schema.get();
    if !text.starts_with('{') {
        return Err(Fault::value(
            field,
            format!("`{field}` is wrong: expected a JSON schema, which is an object"),
        ));
    }
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > SCHEMA_DEPTH {
            let message = format!("`{field}` is nested more than {SCHEMA_DEPTH} levels deep");
            return Err(Fault::value(field, message));
        }
    }
    Ok(inshore_domain::request::Json(text.to_owned()))
}

/// A number within its bounds, both included.
pub(crate) fn within<N: PartialOrd + fmt::Display + Copy>(
    field: &str,
    value: Option<N>,
    least: N,
    most: N,
) -> Result<Option<N>, Fault> {
    match value {
        Some(number) if !(number >= least && number <= most) => {
            Err(Fault::value(field, format!("`{field}` is {number}: expected {least} to {most}")))
        }
        value => Ok(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Wire {
        #[expect(dead_code, reason = "only parsed")]
        model: String,
        #[serde(default)]
        #[expect(dead_code, reason = "only parsed")]
        audio: Refused,
        #[serde(default)]
        #[expect(dead_code, reason = "only parsed")]
        inner: Option<Few<Inner>>,
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        #[expect(dead_code, reason = "only parsed")]
        n: u8,
    }

    fn check(body: &str, code: &str, param: Option<&str>, message: &str) {
        let fault = parse::<Wire>(body.as_bytes()).expect_err("a bad body");
        assert_eq!(fault.status, StatusCode::BAD_REQUEST);
        assert_eq!((fault.code.as_ref(), fault.param.as_deref()), (code, param), "{}", fault.message);
        assert!(fault.message.starts_with(message), "{}", fault.message);
    }

    #[test]
    fn the_field_at_fault_is_named() {
        check("", "invalid_json", None, "the body is empty");
        check("{", "invalid_json", None, "the body is not valid JSON: EOF");
        check("{}", "missing_required_parameter", Some("model"), "`model` is missing");
        check(r#"{"model":1}"#, "invalid_type", Some("model"), "`model` is wrong: invalid type: integer `1`");
        check(r#"{"model":"m","modle":1}"#, "unknown_parameter", Some("modle"), "`modle` is not a field");
        check(
            r#"{"model":"m","audio":{}}"#,
            "unsupported_parameter",
            Some("audio"),
            "`audio` cannot be honoured by this server",
        );
        check(
            r#"{"model":"m","inner":[{"n":1},{"n":300}]}"#,
            "invalid_type",
            Some("inner[1].n"),
            "`inner[1].n` is wrong",
        );
        check(
            r#"{"model":"m","inner":[{"n":1,"m":2}]}"#,
            "unknown_parameter",
            Some("inner[0].m"),
            "`inner[0].m` is not",
        );
        check(
            r#"{"model":"m","inner":[{}]}"#,
            "missing_required_parameter",
            Some("inner[0].n"),
            "`inner[0].n` is missing",
        );
        let many = format!(r#"{{"model":"m","inner":[{}{{"n":1}}]}}"#, "{\"n\":1},".repeat(ELEMENTS));
        check(&many, "invalid_type", Some("inner"), "`inner` is wrong: more than 65536 elements");
        check("[]", "invalid_type", None, "the body is wrong: expected an object");
        check("7", "invalid_type", None, "the body is wrong: invalid type");
    }

    #[test]
    fn nothing_deep_or_strange_gets_through() {
        let deep = format!(r#"{{"model":"m","inner":{}"#, "[".repeat(100_000));
        let fault = parse::<Wire>(deep.as_bytes()).expect_err("too deep");
        assert!(fault.message.chars().count() < 500, "{}", fault.message);
        let fault = parse::<Wire>(b"{\"model\":\"\xff\"}").expect_err("not UTF-8");
        assert_eq!(fault.message, "the body is not valid UTF-8 at byte 10");
        let long = format!(r#"{{"model":{{}},"inner":"{}"}}"#, "x".repeat(100_000));
        assert!(parse::<Wire>(long.as_bytes()).expect_err("wrong").message.len() < 1_000);
        let raw: &RawValue = serde_json::from_str(r#"{"a":"[[{{\"[["}"#).expect("valid");
        assert!(schema("s", raw).is_ok());
        let nested = format!("{}{}", "{\"a\":".repeat(70), "1".to_owned() + &"}".repeat(70));
        let raw: &RawValue = serde_json::from_str(&nested).expect("valid");
        assert!(schema("s", raw).is_err());
    }
}
