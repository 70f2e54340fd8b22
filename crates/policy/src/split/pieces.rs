//! A text cut at the borders that it has itself.

/// The borders of a text, the strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Border {
    /// Paragraphs, headings and blocks of code.
    Block,
    Line,
    Sentence,
    Word,
}

/// Cuts a text into pieces of `most` bytes at most: at paragraphs, headings and blocks of code where that is possible, else at lines,
/// sentences and words, and inside of a word only where it is longer than a piece. Neighbours that fit into one piece are one.
///
/// The pieces joined are the text. None is empty; one is longer than `most` only where a single character is. No tokenizer in use makes
/// more tokens of a text than it has bytes, so `most` bounds tokens too.
pub fn pieces(text: &str, most: usize) -> Vec<&str> {
    let mut found = Vec::new();
    cut(text, most, Some(Border::Block), &mut found);
    found
}

fn cut<'a>(text: &'a str, most: usize, border: Option<Border>, found: &mut Vec<&'a str>) {
    let between = |start: usize, end: usize| text.get(start..end).unwrap_or_default();
    let Some(border) = border else { return cut_anywhere(text, most, found) };
    let (mut start, mut end) = (0, 0);
    for next in border.ends(text) {
        if next - start > most && end > start {
            found.push(between(start, end));
            start = end;
        }
        if next - start > most {
            cut(between(start, next), most, border.weaker(), found);
            start = next;
        }
        end = next;
    }
    if end > start {
        found.push(between(start, end));
    }
}

fn cut_anywhere<'a>(mut text: &'a str, most: usize, found: &mut Vec<&'a str>) {
    while !text.is_empty() {
        let first = text.chars().next().map_or(0, char::len_utf8);
        let (piece, rest) = text.split_at(text.floor_char_boundary(most).max(first));
        found.push(piece);
        text = rest;
    }
}

impl Border {
    fn weaker(self) -> Option<Self> {
        match self {
            Self::Block => Some(Self::Line),
            Self::Line => Some(Self::Sentence),
            Self::Sentence => Some(Self::Word),
            Self::Word => None,
        }
    }

    /// Where the parts of a text between such borders end, each after the one before; the last is the end of the text.
    fn ends(self, text: &str) -> Vec<usize> {
        let mut ends = match self {
            Self::Block => blocks(text),
            Self::Line => text.match_indices('\n').map(|(at, _)| at + 1).collect(),
            Self::Sentence => after(text, |sign, next| match sign {
                '.' | '!' | '?' | '…' | ':' | ';' => next.is_whitespace(),
                _ => matches!(sign, '。' | '！' | '？' | '；'),
            }),
            Self::Word => after(text, |sign, next| sign.is_whitespace() && !next.is_whitespace()),
        };
        if ends.last().is_none_or(|end| *end < text.len()) && !text.is_empty() {
            ends.push(text.len());
        }
        ends
    }
}

/// The places between two characters of which this is true; white space after a sentence belongs to it.
fn after(text: &str, border: impl Fn(char, char) -> bool) -> Vec<usize> {
    let mut places = Vec::new();
    let mut open = false;
    let mut before = None;
    for (at, next) in text.char_indices() {
        open |= before.is_some_and(|before| border(before, next));
        if open && !next.is_whitespace() {
            places.push(at);
            open = false;
        }
        before = Some(next);
    }
    places
}

/// Where paragraphs, headings with what follows them, and blocks of code end.
fn blocks(text: &str) -> Vec<usize> {
    let mut ends = Vec::new();
    let (mut at, mut fence, mut blank, mut heading) = (0, None::<&str>, false, false);
    for line in text.split_inclusive('\n') {
        let shown = line.trim();
        let sign = ["```", "~~~"].into_iter().find(|sign| shown.starts_with(sign));
        let title = fence.is_none() && is_heading(shown);
        let opens = fence.is_none() && sign.is_some();
        let begins = fence.is_none() && ((blank && !shown.is_empty()) || title || opens) && !heading;
        if begins && at > 0 {
            ends.push(at);
        }
        if !shown.is_empty() {
            heading = title;
        }
        fence = match fence {
            Some(open) if shown == open => None,
            Some(open) => Some(open),
            None => sign,
        };
        blank = shown.is_empty();
        at += line.len();
    }
    ends
}

/// Whether a line is a heading of Markdown.
pub(super) fn is_heading(line: &str) -> bool {
    let rest = line.trim_start_matches('#');
    (1..=6).contains(&(line.len() - rest.len())) && rest.starts_with(' ')
}
