//! Names of people and firms, and postal addresses.
//!
//! A compact method: runs of capitalised words, judged by lists of names, by titles and labels in front, and by what firms and streets are
//! called. It needs no model and a few nanoseconds a word; it misses names that are in no list and have nothing in front.

use super::kinds;
use super::scan::{Scan, Word};
use super::vocabulary::{Context, Meaning};

/// Words of the longest name: `Maria del Carmen Fernandez de la Cruz`.
const MOST_WORDS: u8 = 7;
/// How far behind a street its town may reach, in bytes.
const TOWN: usize = 80;

/// Capitalised words in a row.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Run {
    start: usize,
    end: usize,
    /// Capitalised words; initials count.
    words: u8,
    /// The first is a given name, and no ordinary word.
    given: bool,
    /// The first is a given name.
    maybe_given: bool,
    /// The last is a surname.
    surname: bool,
    /// The last is a surname and no ordinary word.
    sure_surname: bool,
    /// A title stands in front.
    titled: bool,
    /// A label stands in front: `Name:`.
    labelled: bool,
    /// A label of a firm stands in front.
    firm: bool,
    /// Every word is in capitals.
    shouted: bool,
    /// Where a title in front of the next word ends.
    title_end: usize,
}

/// What is between two words keeps them together: a space, a hyphen, an apostrophe, the dot of an initial.
fn joined(scan: &Scan<'_>, from: usize, to: usize) -> bool {
    matches!(scan.slice(from..to), b" " | b"-" | b"'" | b". " | b".")
}

pub(super) fn word(scan: &mut Scan<'_>, word: &Word) {
    let run = scan.people;
    let together = run.words > 0 && joined(scan, run.end, word.start);
    if run.words > 0 && !together {
        end(scan);
    }
    let meaning = word.meaning;
    if meaning.has(Meaning::TITLE) && word.capital {
        end(scan);
        scan.people.title_end = word.end;
        return;
    }
    if street(scan, word, together) {
        return;
    }
    // `AG` and `SA` are firms in capitals only.
    let firm = meaning.has(Meaning::FIRM) && word.capital && (word.len() > 2 || !word.small);
    if together && firm && scan.byte_before(word.start) == b' ' {
        let dot = usize::from(scan.byte(word.end) == b'.' && word.len() <= 4);
        let start = scan.people.start;
        scan.people = Run::default();
        scan.add(kinds::ORGANISATION, start..word.end + dot, 76);
        return;
    }
    if !word.capital || word.digits > 0 {
        // `de la Cruz` goes on; other small words end the run.
        let particle = together && meaning.has(Meaning::PARTICLE) && run.words < MOST_WORDS;
        if particle {
            scan.people.end = word.end;
        } else {
            end(scan);
        }
        return;
    }
    if meaning.has(Meaning::PLAIN.or(Meaning::MONTH)) && !(together && meaning.has(Meaning::SURNAME)) {
        end(scan);
        return;
    }
    if together && run.words >= MOST_WORDS {
        end(scan);
    }
    extend(scan, word, together);
}

fn extend(scan: &mut Scan<'_>, word: &Word, together: bool) {
    let meaning = word.meaning;
    let sure = !meaning.has(Meaning::ORDINARY);
    if !together {
        let gap_of_title = scan.people.title_end;
        let titled = gap_of_title > 0 && matches!(scan.slice(gap_of_title..word.start), b" " | b". " | b".");
        scan.people = Run {
            start: word.start,
            titled,
            given: meaning.has(Meaning::GIVEN) && sure,
            maybe_given: meaning.has(Meaning::GIVEN),
            labelled: labelled(scan, word.start, Context::PersonLabel),
            firm: labelled(scan, word.start, Context::FirmLabel),
            shouted: true,
            ..Run::default()
        };
    }
    let run = &mut scan.people;
    run.end = word.end;
    run.words += 1;
    run.shouted &= !word.small && word.len() > 1;
    run.surname = meaning.has(Meaning::SURNAME.or(Meaning::GIVEN));
    run.sure_surname = meaning.has(Meaning::SURNAME) && sure;
}

/// A label with a colon, a quote or a comma directly in front: `Name: `, `"name": "`, `Dear `.
fn labelled(scan: &Scan<'_>, start: usize, context: Context) -> bool {
    let mut at = start;
    while at > 0
        && start - at < 8
        && matches!(scan.byte(at - 1), b' ' | b':' | b'"' | b'\'' | b'=' | b'|' | b'<' | b'>' | b'*' | b'\n')
    {
        at -= 1;
    }
    at < start && scan.near(context, at, 0)
}

/// Something that is no word of a name stands here.
pub(super) fn other(scan: &mut Scan<'_>, _word: &Word) {
    end(scan);
}

/// Judges the run and begins anew.
pub(super) fn end(scan: &mut Scan<'_>) {
    let run = std::mem::take(&mut scan.people);
    if run.words == 0 {
        return;
    }
    // A particle at the end belongs to what follows.
    let text = scan.str(run.start..run.end);
    let last = text.rfind(' ').map_or(text, |space| text.get(space + 1..).unwrap_or_default());
    let span_end =
        if last.chars().next().is_some_and(char::is_uppercase) || run.words == 1 && !text.contains(' ') {
            run.end
        } else {
            run.start
                + text
                    .rfind(|c: char| c.is_uppercase())
                    .and_then(|at| text.get(at..)?.find(' ').map(|gap| at + gap))
                    .unwrap_or(text.len())
        };
    if run.firm && run.words <= 4 {
        scan.add(kinds::ORGANISATION, run.start..span_end, 68);
        return;
    }
    let several = run.words >= 2;
    let known = run.maybe_given || run.sure_surname;
    let confidence = match () {
        () if run.titled => 88,
        () if run.labelled && (several || run.given) => 82,
        () if run.shouted && !(several && run.given && run.surname) => return,
        () if run.given && several => 84,
        () if run.maybe_given && several && run.surname => 74,
        () if several && run.words <= 3 && run.sure_surname && known => 64,
        () if !several && run.given => 62,
        () => return,
    };
    scan.add(kinds::PERSON, run.start..span_end, confidence);
}

/// Endings of names of streets that are written in one word.
const ENDINGS: [&[u8]; 12] = [
    b"strasse",
    b"stra\xc3\x9fe",
    b"gasse",
    b"weg",
    b"platz",
    b"straat",
    b"laan",
    b"gatan",
    b"gate",
    b"vej",
    b"katu",
    b"vegen",
];

/// Whether a street with a number stands here: `12 Elm Street, Dover, TX 36591`, `Hauptstrasse 5`, `29 Rue de Tanger`, `P.O. Box 104`.
fn street(scan: &mut Scan<'_>, word: &Word, together: bool) -> bool {
    let ending = word.capital && word.len() > 6 && {
        let text = scan.slice(word.start..word.end);
        ENDINGS.iter().any(|ending| text.ends_with(ending))
    };
    let named = word.meaning.has(Meaning::STREET) && word.capital;
    let post = word.meaning.has(Meaning::UNIT) && word.capital && word.len() == 3 && {
        let before = scan.slice(word.start.saturating_sub(5)..word.start);
        before.ends_with(b"P.O. ") || before.ends_with(b"PO ")
    };
    if !(ending || named || post) {
        return false;
    }
    let behind = number_behind(scan, word.end);
    if post {
        let Some(end) = behind else { return false };
        let lead = if scan.byte(word.start.saturating_sub(2)) == b'.' { 5 } else { 3 };
        scan.add(kinds::ADDRESS, word.start - lead..end, 85);
        scan.people = Run::default();
        return true;
    }
    let first = if together { scan.people.start } else { word.start };
    let ahead = number_ahead(scan, first);
    let (start, end) = match (ahead, behind) {
        (Some(start), _) if together || ending || !word.meaning.has(Meaning::PLAIN) => (start, word.end),
        (None, Some(end)) if ending || together => (first, end),
        _ => return false,
    };
    // `29 Rue de Tanger`: the name comes behind.
    let end = if ahead.is_some() && !together && !ending { name_behind(scan, word.end) } else { Some(end) };
    let Some(end) = end else { return false };
    let end = town(scan, end);
    scan.people = Run::default();
    scan.add(kinds::ADDRESS, start..end, 80);
    scan.done_until(end);
    true
}

/// A number of up to five digits behind the street.
fn number_behind(scan: &Scan<'_>, end: usize) -> Option<usize> {
    let at = scan.run_of(end, |byte| matches!(byte, b' ' | b'.')).min(end + 2);
    let last = scan.run_of(at, |byte| byte.is_ascii_digit());
    (at > end && (1..=5).contains(&(last - at))).then_some(last)
}

/// Where the number in front of the street begins: `12 `, `12B `.
fn number_ahead(scan: &Scan<'_>, start: usize) -> Option<usize> {
    let mut at = start.checked_sub(1).filter(|at| scan.byte(*at) == b' ')?;
    if at > 0 && scan.byte(at - 1).is_ascii_uppercase() {
        at -= 1;
    }
    let end = at;
    while at > 0 && scan.byte(at - 1).is_ascii_digit() && end - at < 6 {
        at -= 1;
    }
    (at < end && !scan.byte_before(at).is_ascii_alphanumeric()).then_some(at)
}

/// Capitalised words and particles behind `Rue`.
fn name_behind(scan: &Scan<'_>, end: usize) -> Option<usize> {
    let (mut at, mut named) = (end, None);
    for _ in 0..5 {
        if scan.byte(at) != b' ' {
            break;
        }
        let last = scan.run_of(at + 1, |byte| {
            byte.is_ascii_alphabetic() || byte >= 0x80 || byte == b'\'' || byte == b'-'
        });
        let part = scan.slice(at + 1..last);
        let capital = part.first().is_some_and(|first| first.is_ascii_uppercase() || *first >= 0x80);
        if part.is_empty() || (!capital && part.len() > 3) {
            break;
        }
        at = last;
        if capital {
            named = Some(at);
        }
    }
    named
}

/// The end of flat, town, state and postal code behind a street: capitalised words, two capitals and numbers with commas between them.
fn town(scan: &Scan<'_>, end: usize) -> usize {
    let (mut at, mut good) = (end, end);
    while at - end < TOWN {
        let next = scan.run_of(at, |byte| matches!(byte, b' ' | b',' | b'.' | b'#')).min(at + 2);
        let line = matches!(scan.byte(next), b'\n')
            && scan.run_of(next, |byte| matches!(byte, b'\n' | b' ')) - next <= 6;
        let next = if line { scan.run_of(next, |byte| matches!(byte, b'\n' | b' ')) } else { next };
        if next == at {
            break;
        }
        let last = scan.run_of(next, |byte| byte.is_ascii_alphanumeric() || byte >= 0x80 || byte == b'-');
        let part = scan.slice(next..last);
        let number = part.first().is_some_and(u8::is_ascii_digit) && part.len() <= 10;
        let capital = part.first().is_some_and(|first| first.is_ascii_uppercase() || *first >= 0x80);
        // A label on the next line is no town, nor is a sentence.
        let label = matches!(scan.byte(last), b':' | b'=');
        let comma = scan.slice(at..next).contains(&b',');
        if part.is_empty() || label || !(number || capital) || (capital && !comma && !line && good == end) {
            break;
        }
        at = last;
        good = last;
        // A postal code ends the address.
        if number && part.len() >= 4 {
            break;
        }
    }
    good
}
