//! From tokens to text: bytes are held back until they are whole characters, and text until it is no stop text.

/// What a piece of an answer brought.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Cut {
    /// Text that may be sent.
    pub(crate) text: String,
    /// The stop text that appeared, by its position in the list. Nothing follows.
    pub(crate) stopped: Option<usize>,
}

/// Cuts a stream of bytes into whole characters. Bytes that can never become a character are replaced by U+FFFD.
#[derive(Debug, Default)]
struct Characters {
    pending: Vec<u8>,
}

impl Characters {
    fn push(&mut self, bytes: &[u8], text: &mut String) {
        self.pending.extend_from_slice(bytes);
        let mut done = 0;
        loop {
            let rest = self.pending.get(done..).unwrap_or_default();
            match std::str::from_utf8(rest) {
                Ok(valid) => {
                    text.push_str(valid);
                    done += valid.len();
                    break;
                }
                Err(error) => {
                    let valid = rest.get(..error.valid_up_to()).unwrap_or_default();
                    text.push_str(std::str::from_utf8(valid).unwrap_or_default());
                    done += valid.len();
                    let Some(bad) = error.error_len() else { break };
                    text.push(char::REPLACEMENT_CHARACTER);
                    done += bad;
                }
            }
        }
        self.pending.drain(..done);
    }

    fn finish(&mut self, text: &mut String) {
        if !self.pending.is_empty() {
            self.pending.clear();
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
}

/// Turns the bytes of an answer's tokens into text that may be sent.
#[derive(Debug, Default)]
pub(crate) struct TextCutter {
    characters: Characters,
    stops: Vec<String>,
    /// Decoded text that could be the beginning of a stop text.
    held: String,
}

impl TextCutter {
    /// A cutter that ends before any of these texts. Empty ones never match.
    pub(crate) fn new(stops: Vec<String>) -> Self {
        Self { characters: Characters::default(), stops, held: String::new() }
    }

    /// Takes the bytes of one token.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Cut {
        self.characters.push(bytes, &mut self.held);
        self.cut()
    }

    /// The answer is over: what was held back is sent after all.
    pub(crate) fn finish(&mut self) -> Cut {
        self.characters.finish(&mut self.held);
        let mut cut = self.cut();
        if cut.stopped.is_none() {
            cut.text.push_str(&std::mem::take(&mut self.held));
        }
        cut
    }

    /// The stop text that begins first; of those that begin together, the first in the list.
    fn first_stop(&self) -> Option<(usize, usize)> {
        let found = self.stops.iter().enumerate().filter(|(_, stop)| !stop.is_empty());
        found.filter_map(|(index, stop)| Some((self.held.find(stop.as_str())?, index))).min()
    }

    fn cut(&mut self) -> Cut {
        if let Some((at, index)) = self.first_stop() {
            self.held.truncate(at);
            return Cut { text: std::mem::take(&mut self.held), stopped: Some(index) };
        }
        let keep = self.stops.iter().map(|stop| overlap(&self.held, stop)).max().unwrap_or(0);
        let kept = self.held.split_off(self.held.len() - keep);
        Cut { text: std::mem::replace(&mut self.held, kept), stopped: None }
    }
}

/// The length of the longest end of `text` that is a beginning, but not the whole, of `stop`.
fn overlap(text: &str, stop: &str) -> usize {
    let longest = text.len().min(stop.len().saturating_sub(1));
    (1..=longest)
        .rev()
        .find(|length| {
            let tail = text.as_bytes().get(text.len() - length..);
            tail == stop.as_bytes().get(..*length) && text.is_char_boundary(text.len() - length)
        })
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(stops: &[&str], pieces: &[&[u8]]) -> (String, Option<usize>) {
        let mut cutter = TextCutter::new(stops.iter().map(|stop| (*stop).to_owned()).collect());
        let mut text = String::new();
        for piece in pieces {
            let cut = cutter.push(piece);
            text.push_str(&cut.text);
            if cut.stopped.is_some() {
                return (text, cut.stopped);
            }
        }
        let cut = cutter.finish();
        (text + &cut.text, cut.stopped)
    }

    #[test]
    fn characters_are_never_cut() {
        let mut cutter = TextCutter::default();
        assert_eq!(cutter.push(&[0xe2, 0x82]).text, "");
        assert_eq!(cutter.push(&[0xac, b'!']).text, "€!");
        assert_eq!(cutter.push(&[b'a', 0xff, b'b']).text, "a\u{fffd}b");
        assert_eq!(cutter.push(&[0xe2]).text, "");
        assert_eq!(cutter.finish().text, "\u{fffd}");
    }

    #[test]
    fn a_stop_text_may_span_tokens_and_is_not_sent() {
        assert_eq!(run(&["END"], &[b"one E", b"N", b"D two"]), ("one ".into(), Some(0)));
        assert_eq!(run(&["END"], &[b"one E", b"N", b"TER"]), ("one ENTER".into(), None));
        assert_eq!(run(&["\n\n", "\n"], &[b"a\n", b"\nb"]), ("a".into(), Some(1)));
        assert_eq!(run(&[""], &[b"abc"]), ("abc".into(), None));
        assert_eq!(run(&["aab"], &[b"aa", b"aab"]), ("aa".into(), Some(0)));
    }

    proptest! {
        /// However the bytes are cut, the text is what the whole gives.
        #[test]
        fn pieces_do_not_matter(bytes in proptest::collection::vec(any::<u8>(), 0..80), cuts in proptest::collection::vec(1usize..9, 1..80)) {
            let mut pieces = Vec::new();
            let mut rest = bytes.as_slice();
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break; }
                let (piece, tail) = rest.split_at((*cut).min(rest.len()));
                pieces.push(piece);
                rest = tail;
            }
            prop_assert_eq!(run(&[], &pieces).0, String::from_utf8_lossy(&bytes));
        }

        /// What is sent is the text before the first stop text, and never contains one.
        #[test]
        fn stops_match_a_search_in_the_whole(text in "[abc]{0,40}", stops in proptest::collection::vec("[abc]{1,4}", 0..3), size in 1usize..5) {
            let stops: Vec<&str> = stops.iter().map(String::as_str).collect();
            let pieces: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
            let (sent, stopped) = run(&stops, &pieces);
            // A stop text that ends earlier may be found before a longer one that begins earlier is complete.
            match stopped {
                None => prop_assert!(sent == text && stops.iter().all(|stop| !text.contains(stop))),
                Some(index) => {
                    prop_assert!(text.starts_with(&sent));
                    prop_assert!(text[sent.len()..].starts_with(stops[index]));
                    prop_assert!(stops.iter().all(|stop| !sent.contains(stop)));
                }
            }
        }
    }
}
