//! What it is that came in place of an answer.

use serde::de::IgnoredAny;

/// How far into a body is looked for what it is.
const LOOKED_AT: usize = 1024;

/// What a stream is that stands where something else should.
pub(crate) const EVENTS: &str = "a stream of events, which was not asked for";

/// Names what a body is, for people. Quotes nothing of it: it may hold the prompt.
pub(crate) fn description(body: &[u8]) -> &'static str {
    let front = body.get(..LOOKED_AT).unwrap_or(body);
    let text = front.trim_ascii_start();
    match text {
        [] => "an empty body",
        [0x1f, 0x8b, ..] => "compressed bytes, which were not asked for",
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "text in UTF-16",
        _ if front.contains(&0) => "bytes that are not text",
        _ if std::str::from_utf8(body).is_err() => "text that is not UTF-8",
        [b'<', ..] if is_html(text) => "an HTML page",
        [b'<', ..] => "markup",
        [b'{' | b'[', ..] => match serde_json::from_slice::<IgnoredAny>(body) {
            Ok(_) => "JSON of another shape",
            Err(error) if error.is_eof() => "JSON that is cut off",
            Err(_) => "text that is not JSON",
        },
        _ if ["data:", "event:", ":"].iter().any(|field| text.starts_with(field.as_bytes())) => EVENTS,
        _ => "text that is not JSON",
    }
}

fn is_html(text: &[u8]) -> bool {
    let lower = text.to_ascii_lowercase();
    ["<!doctype html", "<html", "<body", "<head"]
        .iter()
        .any(|tag| memchr::memmem::find(&lower, tag.as_bytes()).is_some())
}

/// Text without the byte order mark that some servers put in front of JSON, where it does not belong (RFC 8259, section 8.1).
pub(crate) fn without_mark(body: bytes::Bytes) -> bytes::Bytes {
    if body.starts_with(b"\xef\xbb\xbf") { body.slice(3..) } else { body }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_came_is_named() {
        for (body, expected) in [
            (&b""[..], "an empty body"),
            (b" \r\n", "an empty body"),
            (b"\x1f\x8b\x08\x00", "compressed bytes, which were not asked for"),
            (b"\xff\xfe{\x00}\x00", "text in UTF-16"),
            (b"{\x00}\x00", "bytes that are not text"),
            (b"{\"a\":\"\xc3\"}", "text that is not UTF-8"),
            (b"\n<!DOCTYPE html><title>Sign in</title>", "an HTML page"),
            (b"<?xml version=\"1.0\"?><Error/>", "markup"),
            (b"{\"a\":[1,2]}", "JSON of another shape"),
            (b"[{\"a\":", "JSON that is cut off"),
            (b"{a}", "text that is not JSON"),
            (b"Bad gateway", "text that is not JSON"),
            (b"data: {}\n\n", EVENTS),
        ] {
            assert_eq!(description(body), expected, "{body:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_have_a_name(body in proptest::collection::vec(any::<u8>(), 0..100)) {
            prop_assert!(!description(&body).is_empty());
        }
    }
}
