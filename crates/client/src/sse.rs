//! Server-sent events, as WHATWG HTML section 9.2.6 defines them.

use std::collections::VecDeque;

/// Longest event accepted. The daemon's answers have 16 MiB of text at most; written as JSON, a text of nothing but control
/// characters is six times as long.
pub const MAX_EVENT_BYTES: usize = 100 << 20;

/// One event of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SseEvent {
    /// The event's name; `message` where it has none.
    pub name: String,
    /// The event's data, several lines joined by LF.
    pub data: String,
    /// The event's own `id`. Unlike in a browser, an event without one does not take that of the event before.
    pub id: Option<String>,
}

/// An event that grows without end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event is longer than {MAX_EVENT_BYTES} bytes")]
pub struct TooLong;

/// Makes events of bytes that are cut anywhere, also inside of a character or a line end. What is no UTF-8 is read as U+FFFD.
#[derive(Debug, Default)]
pub struct SseDecoder {
    /// The line that is being read.
    line: Vec<u8>,
    /// The last line ended with a CR: an LF now belongs to the same line end.
    after_cr: bool,
    /// A line has been read, so that a byte order mark can no longer come.
    begun: bool,
    name: String,
    data: Option<Vec<u8>>,
    id: Option<String>,
    /// Bytes of the event that is being read.
    bytes: usize,
    ready: VecDeque<SseEvent>,
}

impl SseDecoder {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// When an event is longer than [`MAX_EVENT_BYTES`]. Nothing that is pushed afterwards makes sense.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<(), TooLong> {
        while !bytes.is_empty() {
            if std::mem::take(&mut self.after_cr)
                && let Some(rest) = bytes.strip_prefix(b"\n")
            {
                bytes = rest;
                continue;
            }
            let end = bytes.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
            let (piece, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
            self.bytes += piece.len();
            if self.bytes > MAX_EVENT_BYTES {
                return Err(TooLong);
            }
            self.line.extend_from_slice(piece);
            let Some((end, rest)) = rest.split_first() else { break };
            self.after_cr = *end == b'\r';
            self.end_line();
            bytes = rest;
        }
        Ok(())
    }

    /// The next event, or `None` until more bytes come.
    pub fn next_event(&mut self) -> Option<SseEvent> {
        self.ready.pop_front()
    }

    fn end_line(&mut self) {
        let mut line = std::mem::take(&mut self.line);
        let read = match line.strip_prefix(b"\xef\xbb\xbf") {
            Some(rest) if !self.begun => rest,
            _ => &line,
        };
        self.begun = true;
        if read.is_empty() {
            self.end_event();
        } else {
            self.field(read);
        }
        line.clear();
        self.line = line;
    }

    fn field(&mut self, line: &[u8]) {
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let (field, value) = line.split_at(colon);
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" => match &mut self.data {
                None => self.data = Some(value.to_vec()),
                Some(data) => {
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
            },
            b"event" => self.name = text(value),
            // The standard: an id with a NUL is ignored.
            b"id" if !value.contains(&0) => self.id = Some(text(value)),
            _ => {}
        }
    }

    fn end_event(&mut self) {
        self.bytes = 0;
        let (name, id) = (std::mem::take(&mut self.name), self.id.take());
        let Some(data) = self.data.take() else { return };
        let name = if name.is_empty() { "message".to_owned() } else { name };
        self.ready.push_back(SseEvent { name, data: text(&data), id });
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(pieces: &[&[u8]]) -> Vec<SseEvent> {
        let mut decoder = SseDecoder::default();
        let mut events = Vec::new();
        for piece in pieces {
            decoder.push(piece).unwrap();
            while let Some(event) = decoder.next_event() {
                events.push(event);
            }
        }
        events
    }

    fn event(name: &str, data: &str, id: Option<&str>) -> SseEvent {
        SseEvent { name: name.into(), data: data.into(), id: id.map(str::to_owned) }
    }

    #[test]
    fn the_standards_examples_are_read() {
        let stream = b"data: YHOO\ndata: +2\ndata: 10\n\n: test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\ndata\n\ndata\ndata\n\ndata:";
        let expected = [
            event("message", "YHOO\n+2\n10", None),
            event("message", "first event", Some("1")),
            event("message", "second event", Some("")),
            event("message", " third event", None),
            event("message", "", None),
            event("message", "\n", None),
        ];
        assert_eq!(read(&[stream]), expected);
    }

    #[test]
    fn line_ends_and_a_byte_order_mark_are_read() {
        for end in ["\n", "\r", "\r\n"] {
            let stream =
                format!("\u{feff}event: add{end}id: 1{end}data: \u{feff}1{end}{end}data: 2{end}{end}");
            assert_eq!(
                read(&[stream.as_bytes()]),
                [event("add", "\u{feff}1", Some("1")), event("message", "2", None)]
            );
        }
        assert_eq!(read(&[b"data: 1\r\n\r"]), [event("message", "1", None)], "its last LF is not waited for");
        assert_eq!(read(&[b"id: 1\0\ndata: x\nretry: 5\nother\n\n"]), [event("message", "x", None)]);
    }

    #[test]
    fn an_event_without_end_is_an_error() {
        let mut decoder = SseDecoder::default();
        let piece = vec![b'a'; MAX_EVENT_BYTES / 4 + 1];
        let pushed: Vec<bool> = (0..4).map(|_| decoder.push(&piece).is_ok()).collect();
        assert_eq!(pushed, [true, true, true, false]);
    }

    proptest! {
        #[test]
        fn cutting_a_stream_elsewhere_changes_no_event(
            lines in prop::collection::vec("(data|event|id|:)?:? ?[a-zü\u{1f600}]{0,3}(\r|\n|\r\n){1,2}", 0..20),
            noise in prop::collection::vec(any::<u8>(), 0..40),
            cuts in prop::collection::vec(0usize..400, 0..30),
        ) {
            let mut whole = lines.concat().into_bytes();
            whole.extend_from_slice(&noise);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(whole.len())).collect();
            cuts.extend([0, whole.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &whole[pair[0]..pair[1]]).collect();
            let single: Vec<&[u8]> = whole.chunks(1).collect();
            let expected = read(&[&whole]);
            prop_assert_eq!(&read(&pieces), &expected);
            prop_assert_eq!(&read(&single), &expected);
        }

        #[test]
        fn what_is_written_is_read(data in "[a-zä\u{1f600} :]{0,30}", name in "[a-z_]{1,10}", id in 0u64..99) {
            let stream = format!("id: {id}\nevent: {name}\ndata: {data}\n\n");
            prop_assert_eq!(read(&[stream.as_bytes()]), vec![event(&name, &data, Some(&id.to_string()))]);
        }
    }
}
