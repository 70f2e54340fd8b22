//! Server-sent events, as WHATWG HTML section 9.2.6 defines them.
//!
//! The framer takes bytes as they arrive, cut anywhere, and gives back whole blocks together with their exact bytes, so
//! that they can be handed on unchanged. `id` and `retry` fields are kept in the bytes and otherwise ignored, because
//! neither API reconnects.

use bytes::{Bytes, BytesMut};
use memchr::memchr2;

/// Longest block accepted. Providers send whole tool arguments or a final object of the Responses API as one event;
/// these stay under 1 MiB in practice, and an answer with an embedded picture under 8.
pub const MAX_EVENT_BYTES: usize = 16 << 20;

/// One block of a stream: an event, or only comments and empty lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The exact bytes, with the blank line that ends the block. All blocks of a stream joined, and [`Framer::rest`],
    /// are the stream.
    pub raw: Bytes,
    /// The event's name; `None` means `message`.
    pub name: Option<Bytes>,
    /// The event's data, several lines joined by LF; `None` when the block holds no data and so is no event.
    pub data: Option<Bytes>,
}

/// A block that grows without end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event is longer than {MAX_EVENT_BYTES} bytes")]
pub struct TooLong;

/// Cuts a byte stream into blocks. Each byte is looked at once, however the stream is cut.
#[derive(Debug, Default)]
pub struct Framer {
    pending: Bytes,
    /// Bytes of `pending` known to hold no end of a block.
    scanned: usize,
    /// Where the line that is being scanned starts.
    line: usize,
    /// The last byte scanned was a CR: an LF now belongs to the same line end.
    after_cr: bool,
    /// A block has been given out, so that a byte order mark can no longer come.
    begun: bool,
}

impl Framer {
    /// Takes the next bytes. They are not copied when the last block was complete; of a block that comes in many chunks each
    /// byte is copied a few times at most, because the buffer grows by doubling.
    pub fn push(&mut self, chunk: Bytes) {
        if self.pending.is_empty() {
            self.pending = chunk;
            return;
        }
        let pending = std::mem::take(&mut self.pending);
        let mut joined = pending.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
        joined.extend_from_slice(&chunk);
        self.pending = joined.freeze();
    }

    /// The next whole block, or `None` until more bytes come.
    pub fn next_block(&mut self) -> Result<Option<Block>, TooLong> {
        while let Some(&byte) = self.pending.get(self.scanned) {
            if self.after_cr && byte == b'\n' {
                // The second half of a CRLF whose CR already ended the line.
                self.after_cr = false;
                self.scanned += 1;
                self.line = self.scanned;
                continue;
            }
            self.after_cr = false;
            let rest = self.pending.get(self.scanned..).unwrap_or_default();
            let Some(offset) = memchr2(b'\r', b'\n', rest) else {
                self.scanned = self.pending.len();
                break;
            };
            let end = self.scanned + offset;
            let blank = end == self.line;
            self.after_cr = self.pending.get(end) == Some(&b'\r');
            self.scanned = end + 1;
            // Take the LF of a CRLF along when it is already here, so that a block's bytes end where its lines end.
            if self.after_cr && self.pending.get(self.scanned) == Some(&b'\n') {
                self.after_cr = false;
                self.scanned += 1;
            }
            self.line = self.scanned;
            if blank {
                return Ok(Some(self.take()));
            }
        }
        if self.pending.len() > MAX_EVENT_BYTES { Err(TooLong) } else { Ok(None) }
    }

    /// Bytes after the last whole block. At the end of a stream the standard says to drop them.
    pub fn rest(&self) -> &[u8] {
        &self.pending
    }

    fn take(&mut self) -> Block {
        let raw = self.pending.split_to(self.scanned);
        self.scanned = 0;
        self.line = 0;
        let skip = if !self.begun && raw.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        self.begun = true;
        let (name, data) = fields(&raw, skip);
        Block { raw, name, data }
    }
}

/// Reads the fields of a block. Lines of data are slices of `raw` when there is only one.
fn fields(raw: &Bytes, skip: usize) -> (Option<Bytes>, Option<Bytes>) {
    let mut name = None;
    let mut data: Option<Bytes> = None;
    let mut start = skip;
    while start < raw.len() {
        let rest = raw.get(start..).unwrap_or_default();
        let length = memchr2(b'\r', b'\n', rest).unwrap_or(rest.len());
        let line = rest.get(..length).unwrap_or_default();
        if let Some(value) = value_of(line, b"data") {
            let piece = raw.slice_ref(value);
            data = Some(match data {
                None => piece,
                Some(before) => {
                    let mut joined = BytesMut::with_capacity(before.len() + 1 + piece.len());
                    joined.extend_from_slice(&before);
                    joined.extend_from_slice(b"\n");
                    joined.extend_from_slice(&piece);
                    joined.freeze()
                }
            });
        } else if let Some(value) = value_of(line, b"event") {
            name = (!value.is_empty()).then(|| raw.slice_ref(value));
        }
        // A CRLF is seen as two line ends here; the empty line between them holds no field.
        start += length + 1;
    }
    (name, data)
}

/// The value of a line `field: value`, `field:value` or `field`.
fn value_of<'a>(line: &'a [u8], field: &[u8]) -> Option<&'a [u8]> {
    let after = line.strip_prefix(field)?;
    match after.split_first() {
        None => Some(after),
        Some((b':', value)) => Some(value.strip_prefix(b" ").unwrap_or(value)),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(chunks: &[&[u8]]) -> (Vec<Block>, Vec<u8>) {
        let mut framer = Framer::default();
        let mut blocks = Vec::new();
        for chunk in chunks {
            framer.push(Bytes::copy_from_slice(chunk));
            while let Some(block) = framer.next_block().unwrap() {
                blocks.push(block);
            }
        }
        (blocks, framer.rest().to_vec())
    }

    fn events(blocks: &[Block]) -> Vec<(Option<String>, String)> {
        let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
        blocks.iter().filter_map(|b| Some((b.name.as_ref().map(text), text(b.data.as_ref()?)))).collect()
    }

    #[test]
    fn the_standards_examples_are_read() {
        let (blocks, rest) = read(&[b"data: YHOO\ndata: +2\ndata: 10\n\n: test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\ndata\n\ndata\ndata\n\ndata:"]);
        let expected = ["YHOO\n+2\n10", "first event", "second event", " third event", "", "\n"];
        assert_eq!(events(&blocks).into_iter().map(|(_, data)| data).collect::<Vec<_>>(), expected);
        assert_eq!(rest, b"data:");
        assert!(blocks.iter().any(|block| block.data.is_none() && block.raw == b": test stream\n\n"[..]));
    }

    #[test]
    fn line_ends_names_and_a_byte_order_mark_are_read() {
        for stream in [
            "\u{feff}event: add\ndata: 1\n\ndata: 2\n\n",
            "\u{feff}event: add\rdata: 1\r\rdata: 2\r\r",
            "\u{feff}event: add\r\ndata: 1\r\n\r\ndata: 2\r\n\r\n",
        ] {
            let (blocks, rest) = read(&[stream.as_bytes()]);
            assert_eq!(events(&blocks), [(Some("add".into()), "1".into()), (None, "2".into())]);
            assert!(rest.is_empty());
        }
    }

    #[test]
    fn an_event_is_given_out_before_the_line_feed_of_its_last_line_end_comes() {
        let (blocks, _) = read(&[b"data: 1\r\n\r"]);
        assert_eq!(events(&blocks), [(None, "1".into())]);
    }

    #[test]
    fn a_block_without_end_is_an_error() {
        let mut framer = Framer::default();
        framer.push(Bytes::from(vec![b'a'; MAX_EVENT_BYTES + 1]));
        assert_eq!(framer.next_block(), Err(TooLong));
    }

    proptest! {
        #[test]
        fn cutting_a_stream_elsewhere_changes_no_event_and_no_byte(
            stream in proptest::collection::vec(
                prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'\n'), Just(b':'), Just(b' '), Just(b'd'), Just(b'x'), any::<u8>()],
                0..200,
            ),
            lines in proptest::collection::vec("(data|event|id|:)?:? ?[a-z]{0,3}(\r|\n|\r\n){1,2}", 0..20),
            cuts in proptest::collection::vec(0usize..400, 0..30),
        ) {
            let mut whole = lines.concat().into_bytes();
            whole.extend_from_slice(&stream);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(whole.len())).collect();
            cuts.push(0);
            cuts.push(whole.len());
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &whole[pair[0]..pair[1]]).collect();
            let single: Vec<&[u8]> = whole.chunks(1).collect();
            let (one, _) = read(&[&whole]);
            for chunks in [pieces, single] {
                let (blocks, rest) = read(&chunks);
                prop_assert_eq!(events(&blocks), events(&one));
                let mut joined: Vec<u8> = blocks.iter().flat_map(|block| block.raw.to_vec()).collect();
                joined.extend_from_slice(&rest);
                prop_assert_eq!(&joined, &whole);
            }
        }

        #[test]
        fn what_is_written_is_read(data in "[a-z\u{e4}\u{1f600} :]{0,30}", name in "[a-z_]{1,10}") {
            let stream = format!("event: {name}\ndata: {data}\n\n");
            let (blocks, _) = read(&[stream.as_bytes()]);
            prop_assert_eq!(events(&blocks), vec![(Some(name), data)]);
        }
    }
}
