//! Keeps what people write from being read as markup, whatever a template does with it.
//!
//! Before rendering, a mark (a noncharacter that no text may hold) is put into every spelling of a special token in people's text, behind
//! its first character, and at those ends of a text where it could become one together with its neighbours. Templates trim, split, join and
//! test text freely, and the marks travel along. Afterwards the marks are taken out, and a special token that held one is
//! cut out as a text of its own. Texts that spell no markup, nearly all, are not changed at all, so a template sees exactly what
//! was written and the prompt is tokenised in one piece, as the model was trained.

use std::collections::BTreeMap;

use crate::frames::Piece;
use crate::frames::conversation::Spelling;
use crate::gguf::{Special, SpecialToken};

/// U+FDD0 is a noncharacter: Unicode keeps it for use inside a program, and it is not white space to any template.
pub(super) const MARK: char = '\u{fdd0}';

/// What people must not be able to write: all control tokens, and of the user-defined ones (which are often mere white space or
/// HTML) those that the template uses.
pub(super) fn spellings(tokens: &[SpecialToken], template: &str) -> Vec<Spelling> {
    let spelling = |token: &SpecialToken| {
        let everywhere = token.special == Special::UserDefined;
        let used = !everywhere || (token.text.chars().count() > 2 && template.contains(&token.text));
        (used && token.text.chars().count() > 1).then(|| Spelling { text: token.text.clone(), everywhere })
    };
    tokens.iter().filter_map(spelling).collect()
}

/// The special tokens of a model, for finding them in text.
#[derive(Debug, Clone, Default)]
pub(super) struct Markup {
    /// Spellings by their first byte, longest first.
    by_first: BTreeMap<u8, Vec<Spelling>>,
    /// The last characters of all spellings.
    last: Vec<char>,
    longest: usize,
}

impl Markup {
    pub(super) fn new(spellings: Vec<Spelling>) -> Self {
        let mut markup = Self::default();
        for spelling in spellings {
            let Some(first) = spelling.text.bytes().next() else { continue };
            markup.longest = markup.longest.max(spelling.text.len());
            markup.last.extend(spelling.text.chars().next_back());
            markup.by_first.entry(first).or_default().push(spelling);
        }
        for spellings in markup.by_first.values_mut() {
            spellings.sort_by_key(|spelling| std::cmp::Reverse(spelling.text.len()));
        }
        markup.last.sort_unstable();
        markup.last.dedup();
        markup
    }

    /// The longest special token that the text begins with.
    fn at_start<'a>(&'a self, text: &str) -> Option<&'a Spelling> {
        self.by_first.get(text.as_bytes().first()?)?.iter().find(|spelling| text.starts_with(&spelling.text))
    }

    fn mark_where(&self, text: &str, counts: impl Fn(&Spelling) -> bool) -> String {
        let mut out = String::with_capacity(text.len() + 8);
        let clean: String;
        // A mark that people wrote themselves is dropped.
        let text = if text.contains(MARK) {
            clean = text.replace(MARK, "");
            clean.as_str()
        } else {
            text
        };
        let (core_start, core_end) = core(text);
        let (opens, closes) = (self.could_end_one(text), self.could_begin_one(text));
        for (place, letter) in text.char_indices() {
            if place == core_start && opens {
                out.push(MARK);
            }
            out.push(letter);
            let spelled = text.get(place..).and_then(|rest| self.at_start(rest)).is_some_and(&counts);
            if spelled || (closes && place + letter.len_utf8() == core_end) {
                out.push(MARK);
            }
        }
        out
    }

    /// Puts marks into what people wrote.
    pub(super) fn mark(&self, text: &str) -> String {
        self.mark_where(text, |_| true)
    }

    /// Puts marks into what the model wrote earlier: its own thoughts and calls are markup again, control tokens are not.
    pub(super) fn mark_model(&self, text: &str) -> String {
        self.mark_where(text, |spelling| !spelling.everywhere)
    }

    /// Whether the end of the text is the beginning of a special token.
    fn could_begin_one(&self, text: &str) -> bool {
        let text = text.trim_end();
        let from = text.len().saturating_sub(self.longest);
        text.char_indices().filter(|(place, _)| *place >= from).any(|(place, _)| {
            let tail = text.get(place..).unwrap_or_default();
            let spellings = tail.bytes().next().and_then(|first| self.by_first.get(&first));
            spellings.is_some_and(|list| {
                list.iter()
                    .any(|spelling| spelling.text.len() > tail.len() && spelling.text.starts_with(tail))
            })
        })
    }

    /// Whether the beginning of the text is the end of a special token.
    fn could_end_one(&self, text: &str) -> bool {
        let text = text.trim_start();
        text.char_indices().take_while(|(place, _)| *place < self.longest).any(|(place, letter)| {
            if self.last.binary_search(&letter).is_err() {
                return false;
            }
            let head = text.get(..place + letter.len_utf8()).unwrap_or_default();
            self.by_first
                .values()
                .flatten()
                .any(|spelling| spelling.text.len() > head.len() && spelling.text.ends_with(head))
        })
    }

    /// Takes the marks out of a rendering and cuts it into pieces. `pinned` is another rendering, of the leading messages: how many pieces
    /// the two have in common comes back. The cut is made behind a special token, so that tokens end there too.
    pub(super) fn cut(&self, rendered: &str, pinned: Option<&str>) -> (Vec<Piece>, Option<u32>) {
        let (clean, marks) = without_marks(rendered);
        let common = pinned.map(|pinned| common_prefix(&clean, &without_marks(pinned).0));
        let mut pieces = Pieces { clean: &clean, pieces: Vec::new(), from: 0 };
        let (mut place, mut hard_end) = (0, 0);
        let mut marks = marks.into_iter().peekable();
        let mut spans: Vec<(usize, usize, bool)> = Vec::new();
        while let Some(rest) = clean.get(place..).filter(|rest| !rest.is_empty()) {
            let Some(spelling) = self.at_start(rest) else {
                place += rest.chars().next().map_or(1, char::len_utf8);
                continue;
            };
            let end = place + spelling.text.len();
            while marks.next_if(|mark| *mark <= place).is_some() {}
            if marks.next_if(|mark| *mark < end).is_some() {
                spans.push((place, end, spelling.everywhere));
            } else if common.is_some_and(|common| end <= common) {
                hard_end = end;
            }
            place = end;
        }
        // Without any special token in it the cut is where the two part.
        let cut = common.map(|common| if hard_end == 0 || common == clean.len() { common } else { hard_end });
        let mut pinned = None;
        for (start, end, everywhere) in spans {
            if let Some(cut) = cut.filter(|cut| pinned.is_none() && *cut <= start) {
                pinned = pieces.cut_at(cut);
            }
            pieces.text(start, end, everywhere);
        }
        if let Some(cut) = cut.filter(|_| pinned.is_none()) {
            pinned = pieces.cut_at(cut);
        }
        pieces.markup_up_to(clean.len());
        (pieces.pieces, pinned)
    }
}

/// Where the text without white space at its ends begins and ends.
fn core(text: &str) -> (usize, usize) {
    (text.len() - text.trim_start().len(), text.trim_end().len())
}

/// The text, and the places in it where marks were.
fn without_marks(text: &str) -> (String, Vec<usize>) {
    let mut clean = String::with_capacity(text.len());
    let mut marks = Vec::new();
    for (nth, part) in text.split(MARK).enumerate() {
        if nth > 0 {
            marks.push(clean.len());
        }
        clean.push_str(part);
    }
    (clean, marks)
}

fn common_prefix(a: &str, b: &str) -> usize {
    a.chars().zip(b.chars()).take_while(|(a, b)| a == b).map(|(a, _)| a.len_utf8()).sum()
}

struct Pieces<'a> {
    clean: &'a str,
    pieces: Vec<Piece>,
    from: usize,
}

impl Pieces<'_> {
    fn markup_up_to(&mut self, end: usize) {
        if let Some(text) = self.clean.get(self.from..end).filter(|text| !text.is_empty()) {
            self.pieces.push(Piece::Markup(text.to_owned()));
        }
        self.from = self.from.max(end);
    }

    fn text(&mut self, start: usize, end: usize, in_two: bool) {
        self.markup_up_to(start);
        let text = self.clean.get(start..end).unwrap_or_default();
        let first = if in_two { text.chars().next().map_or(0, char::len_utf8) } else { 0 };
        let (head, tail) = text.split_at_checked(first).unwrap_or(("", text));
        self.pieces.extend(
            [head, tail].into_iter().filter(|part| !part.is_empty()).map(|part| Piece::Text(part.to_owned())),
        );
        self.from = end;
    }

    /// Ends a piece here; how many there are now.
    fn cut_at(&mut self, place: usize) -> Option<u32> {
        self.markup_up_to(place);
        u32::try_from(self.pieces.len()).ok().filter(|count| *count > 0)
    }
}
