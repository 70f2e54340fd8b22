//! The changes that make one text of another.

use std::ops::Range;

use similar::{Algorithm, DiffOp, TextDiff};

/// Words beyond which two texts are not compared word by word: comparing takes a time that grows with words times changes, 2,000
/// words are some pages, and the reader of a longer text sees no small change in it anyway.
const MOST_WORDS: usize = 2_000;

/// A part of a text, in characters, and what takes its place.
pub(crate) type Change = (Range<usize>, String);

/// What to do to `old`, in this order, to make it `new`: the changed words alone where most of the text stays, and one replacement of
/// all that differs where it does not. Each span is of the text as the changes before it have left it.
pub(crate) fn changes(old: &str, new: &str) -> Vec<Change> {
    let same = common(old.chars(), new.chars());
    let (before, old, new) = (same.chars, skip(old, same.bytes), skip(new, same.bytes));
    let tail = common(old.chars().rev(), new.chars().rev());
    let (old, new) = (cut(old, tail.bytes), cut(new, tail.bytes));
    if old.is_empty() && new.is_empty() {
        return Vec::new();
    }
    let at = |span: Range<usize>| before + span.start..before + span.end;
    let whole = || vec![(at(0..old.chars().count()), new.to_owned())];
    let words = |text: &str| text.split_whitespace().count();
    if words(old) > MOST_WORDS || words(new) > MOST_WORDS {
        return whole();
    }
    let found = word_by_word(old, new);
    let sent: usize = found.iter().map(|(_, text)| text.len()).sum();
    // A patch of many pieces is worth it only where it spares most of the text. And a text that came out wrong would be believed.
    let mut made = old.to_owned();
    found.iter().for_each(|change| apply(&mut made, change));
    if sent * 2 > new.len() || made != new {
        return whole();
    }
    found.into_iter().map(|(span, text)| (at(span), text)).collect()
}

/// The last change first: so the spans before it stay where they are.
fn word_by_word(old: &str, new: &str) -> Vec<Change> {
    let diff = TextDiff::configure().algorithm(Algorithm::Patience).diff_words(old, new);
    let mut starts = vec![0];
    for word in diff.old_slices() {
        starts.push(starts.last().copied().unwrap_or(0) + word.chars().count());
    }
    let start = |word: usize| starts.get(word).copied().unwrap_or(0);
    let text = |range: Range<usize>| diff.new_slices().get(range).unwrap_or_default().concat();
    // Only how far each step goes is relied on: where an insertion is said to be is not always where it belongs.
    let (mut place, mut changes) = (0, Vec::new());
    for op in diff.ops() {
        let (from, words) = (place, op.old_range().len());
        place += words;
        if !matches!(op, DiffOp::Equal { .. }) {
            changes.push((start(from)..start(place), text(op.new_range())));
        }
    }
    changes.reverse();
    changes
}

#[derive(Default)]
struct Same {
    chars: usize,
    bytes: usize,
}

/// How much the two have in common from where they begin.
fn common(a: impl Iterator<Item = char>, b: impl Iterator<Item = char>) -> Same {
    a.zip(b).take_while(|(a, b)| a == b).fold(Same::default(), |same, (letter, _)| Same {
        chars: same.chars + 1,
        bytes: same.bytes + letter.len_utf8(),
    })
}

fn skip(text: &str, bytes: usize) -> &str {
    text.get(bytes..).unwrap_or_default()
}

fn cut(text: &str, bytes: usize) -> &str {
    text.get(..text.len().saturating_sub(bytes)).unwrap_or_default()
}

/// Does one change to a text. A span that is not in the text changes nothing.
pub(crate) fn apply(text: &mut String, (span, new): &Change) {
    let byte = |place: usize| text.char_indices().map(|(byte, _)| byte).chain([text.len()]).nth(place);
    if let (Some(from), Some(to)) = (byte(span.start), byte(span.end))
        && from <= to
    {
        text.replace_range(from..to, new);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn applied(old: &str, changes: &[Change]) -> String {
        let mut text = old.to_owned();
        changes.iter().for_each(|change| apply(&mut text, change));
        text
    }

    #[test]
    fn a_few_words_are_a_few_changes_and_another_text_is_one() {
        let old = "Thanks for the note. We meet on Tuesday at ten, as we did last week.";
        let new = "Thanks for your note. We meet on Wednesday at ten, as we did last week.";
        let found = changes(old, new);
        assert_eq!(found, [(32..34, "Wedn".into()), (11..14, "your".into())]);
        assert_eq!(applied(old, &found), new);

        let other = "I am afraid that this is not possible.";
        let found = changes(old, other);
        assert_eq!(found.len(), 1);
        assert_eq!(applied(old, &found), other);
        assert_eq!(changes(old, old), []);
        assert_eq!(changes("Good", "Good day"), [(4..4, " day".into())]);
        assert_eq!(changes("Grüße, Jörg", "Grüße, Jürg"), [(8..9, "ü".into())]);
    }

    #[test]
    fn words_that_move_end_up_in_their_new_places() {
        for (old, new) in
            [("a bd ", " b bd"), (" b bd", "a bd "), ("a b c b a", "b a c a b"), ("  a ", " a  b ")]
        {
            assert_eq!(applied(old, &changes(old, new)), new, "{old:?} {:?}", changes(old, new));
        }
    }

    #[test]
    fn a_long_text_is_replaced_where_it_differs() {
        let text = |word: &str| format!("Begin {}end", format!("{word} x ").repeat(MOST_WORDS));
        let (old, new) = (text("old"), text("new"));
        let found = changes(&old, &new);
        assert_eq!(found.len(), 1);
        assert_eq!(applied(&old, &found), new);
    }

    proptest! {
        #[test]
        fn the_changes_make_the_new_text_of_the_old(
            old in "([a-c]{1,3}|ü|[ .\n]){0,40}", new in "([a-c]{1,3}|ü|[ .\n]){0,40}",
        ) {
            prop_assert_eq!(applied(&old, &changes(&old, &new)), new);
        }
    }
}
