//! Edits of a JSON body that leave every other byte as the caller wrote it.
//!
//! Re-encoding a body changes white space, key order and number formats, and with them the prefix by which providers
//! find a cached prompt. So a body that is handed on is not parsed into a tree: the spans of its top-level members are
//! found in one pass, and the few that must change are replaced.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use inshore_domain::request::Original;
use inshore_domain::{BackendError, BackendErrorKind};
use memchr::memchr2;

use crate::gate::Pieces;

/// Deepest nesting looked into; serde_json, which has read the body before, stops at 128.
const MAX_DEPTH: u32 = 256;
/// Prefix of our own hints in `metadata`.
const HINT_PREFIX: &str = "inshore_";
/// Top-level members that only this runtime knows and that do not change the answer.
const OWN_MEMBERS: [&str; 3] = ["pin", "cache_prompt", "truncate_prompt"];
const USAGE_WISH: &[u8] = br#""include_usage":true"#;

/// The body is not a JSON object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

/// A member of an object: spans of its key (with quotes) and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member<'a> {
    pub(crate) name: Cow<'a, str>,
    pub(crate) key: Range<usize>,
    pub(crate) value: Range<usize>,
}

/// What is to be changed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Edit<'a> {
    /// The model's name at the target.
    pub(crate) model: &'a str,
    /// Ask for token counts at the end of the stream (`stream_options.include_usage`), if the body does not.
    pub(crate) want_usage: bool,
}

/// A changed body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Edited {
    pub(crate) pieces: Vec<Bytes>,
    /// The caller did not ask for token counts and we did, so the chunk that carries them is not the caller's.
    pub(crate) usage_added: bool,
}

/// Text that takes the place of a span.
struct Change {
    span: Range<usize>,
    text: Vec<u8>,
}

/// The caller's own body with the model replaced, and whether the wish for token counts was added.
pub(crate) fn original(
    original: Option<&Original>,
    model: &str,
    want_usage: bool,
) -> Result<(Pieces, bool), BackendError> {
    let edited = original.and_then(|original| edit(&original.body, Edit { model, want_usage }).ok());
    let edited = edited.ok_or_else(not_an_object)?;
    Ok((Pieces::new(edited.pieces), edited.usage_added))
}

pub(crate) fn not_an_object() -> BackendError {
    BackendError::new(
        BackendErrorKind::InvalidRequest { field: None },
        "the request's body is not a JSON object",
    )
}

/// Replaces the model, adds the wish for token counts, and takes out what is meant for this runtime only.
pub(crate) fn edit(body: &Bytes, edit: Edit<'_>) -> Result<Edited, Malformed> {
    let body = without_own_members(body)?;
    let members = members(&body)?;
    let model = serde_json::to_vec(edit.model).map_err(|_| Malformed)?;
    let mut changes: Vec<Change> = members
        .iter()
        .filter(|member| member.name == "model")
        .map(|member| Change { span: member.value.clone(), text: model.clone() })
        .collect();
    if changes.is_empty() {
        changes.push(insertion(&body, &members, b"model", &model)?);
    }
    let mut usage_added = false;
    if edit.want_usage
        && let Some(change) = usage_change(&body, &members)?
    {
        changes.push(change);
        usage_added = true;
    }
    Ok(Edited { pieces: apply(&body, changes), usage_added })
}

/// Keeps only the members named in `keep`, and replaces the model.
pub(crate) fn keep_only(body: &Bytes, keep: &[&str], model: &str) -> Result<Vec<u8>, Malformed> {
    let mut out = b"{\"model\":".to_vec();
    out.extend(serde_json::to_vec(model).map_err(|_| Malformed)?);
    for member in members(body)? {
        if keep.contains(&member.name.as_ref()) && member.name != "model" {
            out.push(b',');
            out.extend_from_slice(body.get(member.key).ok_or(Malformed)?);
            out.push(b':');
            out.extend_from_slice(body.get(member.value).ok_or(Malformed)?);
        }
    }
    out.push(b'}');
    Ok(out)
}

/// The spans of an object's members, in order. Expects valid JSON; anything else is an error or garbage spans, never a
/// panic.
pub(crate) fn members(object: &[u8]) -> Result<Vec<Member<'_>>, Malformed> {
    let mut scanner = Scanner { text: object, at: 0 };
    let mut found = Vec::with_capacity(12);
    scanner.expect(b'{')?;
    if scanner.peek()? == b'}' {
        return Ok(found);
    }
    loop {
        scanner.space();
        let key = scanner.string()?;
        let quoted = object.get(key.clone()).ok_or(Malformed)?;
        scanner.expect(b':')?;
        scanner.space();
        let value = scanner.value()?;
        found.push(Member { name: name_of(quoted)?, key, value });
        match scanner.peek()? {
            b',' => scanner.at += 1,
            b'}' => return Ok(found),
            _ => return Err(Malformed),
        }
    }
}

fn name_of(quoted: &[u8]) -> Result<Cow<'_, str>, Malformed> {
    if memchr::memchr(b'\\', quoted).is_some() {
        return serde_json::from_slice::<String>(quoted).map(Cow::Owned).map_err(|_| Malformed);
    }
    let inner = quoted.get(1..quoted.len().saturating_sub(1)).ok_or(Malformed)?;
    std::str::from_utf8(inner).map(Cow::Borrowed).map_err(|_| Malformed)
}

/// A member put in front of all others.
fn insertion(body: &[u8], members: &[Member<'_>], name: &[u8], value: &[u8]) -> Result<Change, Malformed> {
    let open = body.iter().position(|byte| *byte == b'{').ok_or(Malformed)? + 1;
    let mut text = vec![b'"'];
    text.extend_from_slice(name);
    text.extend_from_slice(b"\":");
    text.extend_from_slice(value);
    if !members.is_empty() {
        text.push(b',');
    }
    Ok(Change { span: open..open, text })
}

/// The change that makes the body ask for token counts; `None` when it asks already.
fn usage_change(body: &[u8], members: &[Member<'_>]) -> Result<Option<Change>, Malformed> {
    let Some(options) = members.iter().rfind(|member| member.name == "stream_options") else {
        let text = [b",\"stream_options\":{", USAGE_WISH, b"}"].concat();
        // Behind the last member, so that the front of the body stays as it was; in an empty object behind the model,
        // which is put in there first.
        let end = match members.last() {
            Some(member) => member.value.end,
            None => insertion(body, members, b"", b"")?.span.start,
        };
        return Ok(Some(Change { span: end..end, text }));
    };
    let text = body.get(options.value.clone()).ok_or(Malformed)?;
    if text == b"null" {
        let text = [b"{", USAGE_WISH, b"}"].concat();
        return Ok(Some(Change { span: options.value.clone(), text }));
    }
    let inner = self::members(text)?;
    let change = match inner.iter().rfind(|member| member.name == "include_usage") {
        Some(wish) if text.get(wish.value.clone()) == Some(b"true") => return Ok(None),
        Some(wish) => Change { span: wish.value.clone(), text: b"true".to_vec() },
        None => insertion(text, &inner, b"include_usage", b"true")?,
    };
    let start = options.value.start;
    Ok(Some(Change { span: start + change.span.start..start + change.span.end, text: change.text }))
}

/// Takes out our own members and hints. Almost always there are none, and the body is given back as it is.
fn without_own_members(body: &Bytes) -> Result<Bytes, Malformed> {
    let mut body = body.clone();
    // Each round takes out one member, so the rounds end.
    while let Some(range) = own_member(&body)? {
        let mut rest = body.get(..range.start).ok_or(Malformed)?.to_vec();
        rest.extend_from_slice(body.get(range.end..).ok_or(Malformed)?);
        body = Bytes::from(rest);
    }
    Ok(body)
}

fn own_member(body: &[u8]) -> Result<Option<Range<usize>>, Malformed> {
    let members = members(body)?;
    for (place, member) in members.iter().enumerate() {
        if OWN_MEMBERS.contains(&member.name.as_ref()) {
            return Ok(Some(removal(&members, place, 0)));
        }
        if member.name != "metadata" {
            continue;
        }
        let Ok(inner) = self::members(body.get(member.value.clone()).ok_or(Malformed)?) else { continue };
        let Some(hint) = inner.iter().position(|entry| entry.name.starts_with(HINT_PREFIX)) else { continue };
        // With its last entry the whole of `metadata` goes.
        let range = if inner.len() == 1 {
            removal(&members, place, 0)
        } else {
            removal(&inner, hint, member.value.start)
        };
        return Ok(Some(range));
    }
    Ok(None)
}

/// The span to cut so that the member at `place` is gone together with one comma.
fn removal(members: &[Member<'_>], place: usize, offset: usize) -> Range<usize> {
    let span = |start: usize, end: usize| offset + start..offset + end;
    let Some(member) = members.get(place) else { return 0..0 };
    if let Some(next) = members.get(place + 1) {
        return span(member.key.start, next.key.start);
    }
    match place.checked_sub(1).and_then(|before| members.get(before)) {
        Some(before) => span(before.value.end, member.value.end),
        None => span(member.key.start, member.value.end),
    }
}

fn apply(body: &Bytes, mut changes: Vec<Change>) -> Vec<Bytes> {
    changes.sort_by_key(|change| change.span.start);
    let mut pieces = Vec::with_capacity(changes.len() * 2 + 1);
    let mut done = 0;
    for Change { span, text } in changes {
        if span.start >= done && span.end <= body.len() {
            pieces.push(body.slice(done..span.start));
            pieces.push(Bytes::from(text));
            done = span.end;
        }
    }
    pieces.push(body.slice(done..));
    pieces
}

struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

impl Scanner<'_> {
    fn space(&mut self) {
        while matches!(self.text.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn peek(&mut self) -> Result<u8, Malformed> {
        self.space();
        self.text.get(self.at).copied().ok_or(Malformed)
    }

    fn expect(&mut self, byte: u8) -> Result<(), Malformed> {
        if self.peek()? != byte {
            return Err(Malformed);
        }
        self.at += 1;
        Ok(())
    }

    /// The span of a string, with its quotes.
    fn string(&mut self) -> Result<Range<usize>, Malformed> {
        let start = self.at;
        if self.text.get(start) != Some(&b'"') {
            return Err(Malformed);
        }
        let mut at = start + 1;
        loop {
            let rest = self.text.get(at..).ok_or(Malformed)?;
            let offset = memchr2(b'"', b'\\', rest).ok_or(Malformed)?;
            if rest.get(offset) == Some(&b'"') {
                self.at = at + offset + 1;
                return Ok(start..self.at);
            }
            at += offset + 2;
        }
    }

    fn value(&mut self) -> Result<Range<usize>, Malformed> {
        let start = self.at;
        match self.text.get(start) {
            Some(b'"') => self.string(),
            Some(b'{' | b'[') => {
                self.container()?;
                Ok(start..self.at)
            }
            Some(_) => {
                let rest = self.text.get(start..).ok_or(Malformed)?;
                let length = rest
                    .iter()
                    .position(|byte| matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r'))
                    .ok_or(Malformed)?;
                if length == 0 {
                    return Err(Malformed);
                }
                self.at += length;
                Ok(start..self.at)
            }
            None => Err(Malformed),
        }
    }

    fn container(&mut self) -> Result<(), Malformed> {
        let mut depth = 0u32;
        while let Some(byte) = self.text.get(self.at) {
            match byte {
                b'"' => {
                    self.string()?;
                    continue;
                }
                b'{' | b'[' if depth == MAX_DEPTH => return Err(Malformed),
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return Ok(());
            }
        }
        Err(Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn spliced(body: &str, want_usage: bool) -> (String, bool) {
        let edited =
            edit(&Bytes::copy_from_slice(body.as_bytes()), Edit { model: "m\"2", want_usage }).unwrap();
        (String::from_utf8(edited.pieces.concat()).unwrap(), edited.usage_added)
    }

    #[test]
    fn only_the_model_changes() {
        for (body, expected) in [
            (r#"{"model":"a","x":1.50e3}"#, r#"{"model":"m\"2","x":1.50e3}"#),
            (
                "{ \"x\" : [\"model\", {\"model\":1}],\n \"model\" : \"a\\\"b\" }\n",
                "{ \"x\" : [\"model\", {\"model\":1}],\n \"model\" : \"m\\\"2\" }\n",
            ),
            (r#"{"mod\u0065l":"a"}"#, r#"{"mod\u0065l":"m\"2"}"#),
            (r#"{"model":"a","model":"b"}"#, r#"{"model":"m\"2","model":"m\"2"}"#),
            (r#"{"x":true}"#, r#"{"model":"m\"2","x":true}"#),
            ("{}", r#"{"model":"m\"2"}"#),
        ] {
            assert_eq!(spliced(body, false), (expected.to_owned(), false), "{body}");
        }
    }

    #[test]
    fn token_counts_are_asked_for_once() {
        for (body, expected, added) in [
            (
                r#"{"model":"a","n":1 }"#,
                r#"{"model":"m\"2","n":1,"stream_options":{"include_usage":true} }"#,
                true,
            ),
            (
                r#"{"model":"a","stream_options":{"include_usage":true}}"#,
                r#"{"model":"m\"2","stream_options":{"include_usage":true}}"#,
                false,
            ),
            (
                r#"{"stream_options":{"include_usage": false},"model":"a"}"#,
                r#"{"stream_options":{"include_usage": true},"model":"m\"2"}"#,
                true,
            ),
            (
                r#"{"model":"a","stream_options":null}"#,
                r#"{"model":"m\"2","stream_options":{"include_usage":true}}"#,
                true,
            ),
            (
                r#"{"model":"a","stream_options":{"y":1}}"#,
                r#"{"model":"m\"2","stream_options":{"include_usage":true,"y":1}}"#,
                true,
            ),
            ("{}", r#"{"model":"m\"2","stream_options":{"include_usage":true}}"#, true),
            (
                r#"{"model":"a","stream_options":{}}"#,
                r#"{"model":"m\"2","stream_options":{"include_usage":true}}"#,
                true,
            ),
        ] {
            assert_eq!(spliced(body, true), (expected.to_owned(), added), "{body}");
        }
    }

    #[test]
    fn our_own_hints_stay_here() {
        for (body, expected) in [
            (r#"{"model":"a","metadata":{"inshore_feature":"x"}}"#, r#"{"model":"m\"2"}"#),
            (r#"{"metadata":{"inshore_a":"x","inshore_b":"y"},"model":"a"}"#, r#"{"model":"m\"2"}"#),
            (r#"{"metadata":{"k":1,"inshore_b":"y"},"model":"a"}"#, r#"{"metadata":{"k":1},"model":"m\"2"}"#),
            (
                r#"{"metadata":{"inshore_b":"y", "k":1},"model":"a","pin":true}"#,
                r#"{"metadata":{"k":1},"model":"m\"2"}"#,
            ),
            (r#"{"metadata":null,"model":"a"}"#, r#"{"metadata":null,"model":"m\"2"}"#),
        ] {
            assert_eq!(spliced(body, false), (expected.to_owned(), false), "{body}");
        }
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for body in [
            "",
            "[]",
            "{",
            "{\"a\"",
            "{\"a\":",
            "{\"a\":1",
            "{\"a\":\"",
            "{\"a\" 1}",
            "{\"a\":}",
            "{\"a\":[}",
        ] {
            let body = Bytes::from_static(body.as_bytes());
            assert_eq!(edit(&body, Edit { model: "m", want_usage: true }), Err(Malformed), "{body:?}");
        }
        let deep = Bytes::from(format!("{{\"a\":{}{}}}", "[".repeat(1000), "]".repeat(1000)));
        assert_eq!(members(&deep), Err(Malformed));
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                proptest::collection::btree_map("(model|stream_options|[\"\\\\a-z]{0,6})", inner, 0..5)
                    .prop_map(|map| Value::from(serde_json::Map::from_iter(map))),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_bytes_are_edited_or_refused(body in proptest::collection::vec(any::<u8>(), 0..200), text in "[\\[\\]{}\":,a-z\\\\ 1]{0,80}") {
            for body in [Bytes::from(body), Bytes::from(text)] {
                let _ = edit(&body, Edit { model: "m", want_usage: true });
            }
        }

        #[test]
        fn an_edit_means_what_it_says(mut value in json(), pretty: bool) {
            if !value.is_object() { value = json!({ "wrapped": value }); }
            for name in OWN_MEMBERS.into_iter().chain(["stream_options", "metadata"]) { value.as_object_mut().unwrap().remove(name); }
            let body = if pretty { serde_json::to_vec_pretty(&value) } else { serde_json::to_vec(&value) }.unwrap();
            let edited = edit(&Bytes::from(body), Edit { model: "new", want_usage: true }).unwrap();
            let read: Value = serde_json::from_slice(&edited.pieces.concat()).unwrap();
            value["model"] = json!("new");
            value["stream_options"] = json!({ "include_usage": true });
            prop_assert_eq!(read, value);
        }
    }
}
