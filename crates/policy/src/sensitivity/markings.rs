//! Markings that somebody put on a document: `CONFIDENTIAL`, `Attorney-Client Privileged`, `TLP:AMBER`.
//!
//! Prose speaks of confidential things all the time; a marking is in capitals, stands alone, or is a set phrase.

use super::kinds;
use super::scan::{Scan, Word};
use super::vocabulary::Meaning;

/// A line with a marking on it is short: longer ones are sentences.
const LINE: usize = 60;

/// How a word is written and where it stands.
struct Place {
    /// In capitals.
    shouted: bool,
    /// Its line begins with it and holds little else.
    alone: bool,
    /// Every letter of its line is a capital.
    shouted_line: bool,
}

pub(super) fn word(scan: &mut Scan<'_>, word: &Word) {
    if !word.meaning.has(Meaning::MARKING) {
        return;
    }
    let mut folded = [0_u8; 20];
    let text = scan.slice(word.start..word.end);
    for (to, from) in folded.iter_mut().zip(text) {
        *to = from.to_ascii_lowercase();
    }
    let place = place(scan, word);
    let found = match folded.get(..text.len()).unwrap_or_default() {
        b"tlp" => traffic_light(scan, word),
        b"confidential" | b"vertraulich" | b"confidentiel" | b"confidencial" | b"riservato"
        | b"vertrouwelijk" => confidential(scan, word, &place),
        b"secret" => secret(scan, word, &place),
        b"restricted" => restricted(scan, word, &place),
        b"privileged" => privileged(scan, word, &place),
        b"embargoed" | b"proprietary" if place.shouted && place.alone => {
            Some((kinds::MARKED_CONFIDENTIAL, word.end, 75))
        }
        b"eyes" => (place.shouted && follows(scan, word.end, b" only")).then_some((
            kinds::MARKED_RESTRICTED,
            word.end + 5,
            85,
        )),
        b"work" => (capital(scan, word)
            && follows(scan, word.end, b" product")
            && preceded(scan, word, &[b"attorney"]))
        .then_some((kinds::MARKED_CONFIDENTIAL, word.end + 8, 80)),
        _ => None,
    };
    if let Some((kind, end, confidence)) = found {
        scan.add(kind, word.start..end, confidence);
    }
}

type Marking = Option<(&'static str, usize, u8)>;

fn place(scan: &Scan<'_>, word: &Word) -> Place {
    let mut begin = word.start;
    while begin > 0 && scan.byte(begin - 1) != b'\n' && word.start - begin < LINE {
        begin -= 1;
    }
    let end = scan.run_of(word.end, |byte| byte != b'\n').min(word.end + LINE);
    let (ahead, behind) = (scan.slice(begin..word.start), scan.slice(word.end..end));
    let letters = |bytes: &[u8]| bytes.iter().filter(|byte| byte.is_ascii_alphanumeric()).count();
    let line = scan.slice(begin..end);
    Place {
        shouted: !word.small,
        alone: letters(ahead) == 0
            && (letters(behind) == 0 || matches!(behind.first(), Some(b':' | b'|')) && letters(behind) < 30)
            && end - word.end < LINE,
        shouted_line: line.len() < 2 * LINE && !line.iter().any(u8::is_ascii_lowercase),
    }
}

fn follows(scan: &Scan<'_>, at: usize, text: &[u8]) -> bool {
    scan.slice(at..(at + text.len()).min(scan.text.len())).eq_ignore_ascii_case(text)
}

/// Whether the word before is one of these, in any case.
fn preceded(scan: &Scan<'_>, word: &Word, by: &[&[u8]]) -> bool {
    let Some(before) = scan.before.filter(|before| word.start - before.end <= 2) else { return false };
    by.iter().any(|other| scan.slice(before.start..before.end).eq_ignore_ascii_case(other))
}

fn capital(scan: &Scan<'_>, word: &Word) -> bool {
    scan.byte(word.start).is_ascii_uppercase()
}

/// `TLP:AMBER+STRICT` (FIRST, Traffic Light Protocol 2.0).
fn traffic_light(scan: &Scan<'_>, word: &Word) -> Marking {
    let gap = scan.run_of(word.end, |byte| matches!(byte, b':' | b' ' | b'-'));
    let end = scan.run_of(gap, |byte| byte.is_ascii_alphabetic() || byte == b'+');
    if gap == word.end || gap - word.end > 2 || word.small {
        return None;
    }
    match scan.slice(gap..end).to_ascii_uppercase().as_slice() {
        b"RED" => Some((kinds::MARKED_RESTRICTED, end, 95)),
        b"AMBER" | b"AMBER+STRICT" => Some((kinds::MARKED_CONFIDENTIAL, end, 95)),
        _ => None,
    }
}

fn confidential(scan: &Scan<'_>, word: &Word, place: &Place) -> Marking {
    const LEADS: [&[u8]; 6] =
        [b"strictly", b"streng", b"strictement", b"estrictamente", b"strettamente", b"strikt"];
    let phrase = preceded(scan, word, &LEADS) && (capital(scan, word) || preceded_capital(scan));
    let proprietary =
        follows(scan, word.end, b" and proprietary") || follows(scan, word.end, b" & proprietary");
    let confidence = match () {
        () if place.shouted => 88,
        () if classified(scan, word) => 88,
        () if phrase => 82,
        () if proprietary && capital(scan, word) => 82,
        () if place.alone && capital(scan, word) => 78,
        () => return None,
    };
    Some((kinds::MARKED_CONFIDENTIAL, word.end, confidence))
}

fn preceded_capital(scan: &Scan<'_>) -> bool {
    scan.before.is_some_and(|before| before.capital)
}

/// `Classification: …`, `Sensitivity: …` on the same line.
fn classified(scan: &Scan<'_>, word: &Word) -> bool {
    const LABELS: [&[u8]; 5] =
        [b"classification", b"sensitivity", b"klassifizierung", b"vertraulichkeit", b"confidentiality"];
    scan.before.is_some_and(|before| {
        let gap = scan.slice(before.end..word.start);
        gap.len() <= 4
            && gap.contains(&b':')
            && LABELS.iter().any(|label| scan.slice(before.start..before.end).eq_ignore_ascii_case(label))
    })
}

fn secret(scan: &Scan<'_>, word: &Word, place: &Place) -> Marking {
    let top = preceded(scan, word, &[b"top"]) && place.shouted;
    let portion = place.shouted && scan.byte(word.end) == b'/' && scan.byte(word.end + 1) == b'/';
    let found =
        top || portion || classified(scan, word) || (place.shouted && place.alone && place.shouted_line);
    found.then_some((kinds::MARKED_RESTRICTED, word.end, 85))
}

fn restricted(scan: &Scan<'_>, word: &Word, place: &Place) -> Marking {
    let found = classified(scan, word) || (place.shouted && place.alone && place.shouted_line);
    found.then_some((kinds::MARKED_RESTRICTED, word.end, 80))
}

/// `Attorney-Client Privileged`, `Privileged and Confidential`.
fn privileged(scan: &Scan<'_>, word: &Word, place: &Place) -> Marking {
    let client = preceded(scan, word, &[b"client"]) || preceded(scan, word, &[b"legally"]) && place.shouted;
    let both = follows(scan, word.end, b" and confidential") || follows(scan, word.end, b" & confidential");
    ((client || both) && capital(scan, word)).then_some((kinds::MARKED_CONFIDENTIAL, word.end, 88))
}
