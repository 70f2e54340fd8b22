//! Parts of masked values: every five characters in a row, so that no such part of a value leaves with another text.

use zeroize::Zeroize;

use crate::sensitivity::normal::Normal;

/// Characters of the shortest part that must not leave: shorter ones are in every text.
pub(super) const PART: usize = 5;
/// The base of the rolling hash, odd so that no character is lost.
const BASE: u64 = 0x9e37_79b9_7f4a_7c15;
/// Bits of the quick answer "no": two kilobytes, which stay in the first cache.
const BITS: usize = 1 << 14;

/// Which parts there are, and of which value each is.
#[derive(Default)]
pub(super) struct Parts {
    /// Open-addressed; 0 is free. Hashes of five characters can be tried out, so they are wiped like the values.
    keys: Vec<u64>,
    owners: Vec<u32>,
    used: usize,
    maybe: Vec<u64>,
}

impl Drop for Parts {
    fn drop(&mut self) {
        self.keys.zeroize();
        self.maybe.zeroize();
    }
}

/// A run of a text that is a part of a masked value.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Hit {
    /// Where, in the text that was looked at.
    pub(super) start: usize,
    pub(super) end: usize,
    /// The value whose part it is.
    pub(super) owner: u32,
}

impl Parts {
    /// Adds the parts of a value. With `words`, also its short words that begin with a capital, to be found alone.
    pub(super) fn add(&mut self, value: &str, owner: u32, words: bool) {
        let normal = Normal::of(value);
        let mut keys = Vec::new();
        walk(&normal.text, &[], |unit| match unit {
            Unit::Window(window) => keys.push(window.key),
            Unit::Word(word) if words && word.is_short() => keys.push(word.key),
            Unit::Word(_) => {}
        });
        for key in keys {
            self.insert(key, owner);
        }
    }

    fn insert(&mut self, key: u64, owner: u32) {
        if (self.used + 1) * 2 > self.keys.len() {
            self.grow();
        }
        let slot = self.slot(key);
        let (Some(place), Some(of)) = (self.keys.get_mut(slot), self.owners.get_mut(slot)) else { return };
        if *place == 0 {
            (*place, *of) = (key, owner);
            self.used += 1;
            if let Some(bits) = self.maybe.get_mut(bit(key) / 64) {
                *bits |= 1 << (bit(key) % 64);
            }
        }
    }

    fn grow(&mut self) {
        let size = (self.keys.len() * 2).max(1024);
        let mut old = std::mem::replace(&mut self.keys, vec![0; size]);
        let owners = std::mem::replace(&mut self.owners, vec![0; size]);
        self.used = 0;
        self.maybe.resize(BITS / 64, 0);
        for (key, owner) in old.iter().zip(owners).filter(|(key, _)| **key != 0) {
            self.insert(*key, owner);
        }
        old.zeroize();
    }

    fn slot(&self, key: u64) -> usize {
        let mask = self.keys.len() - 1;
        let mut slot = key as usize & mask;
        while self.keys.get(slot).is_some_and(|other| *other != 0 && *other != key) {
            slot = (slot + 1) & mask;
        }
        slot
    }

    fn owner(&self, key: u64) -> Option<u32> {
        let maybe = self.maybe.get(bit(key) / 64).is_some_and(|bits| bits >> (bit(key) % 64) & 1 == 1);
        if !maybe {
            return None;
        }
        let slot = self.slot(key);
        self.keys.get(slot).filter(|found| **found == key).and_then(|_| self.owners.get(slot).copied())
    }

    /// The parts of masked values in a text, outside `taken`: runs of it that are in order and apart.
    pub(super) fn find(&self, text: &str, taken: &[(usize, usize)]) -> Vec<Hit> {
        let mut hits: Vec<Hit> = Vec::new();
        if self.used == 0 {
            return hits;
        }
        let mut short: Vec<Hit> = Vec::new();
        // Where the window before began, if it was a hit: only windows one after the other make a longer part.
        let mut last_second = None;
        walk(text, taken, |unit| match unit {
            Unit::Window(window) => {
                let Some(owner) = self.owner(window.key) else { return };
                let begin = hits.last().map_or(window.start, |hit| hit.end.max(window.start));
                match hits.last_mut() {
                    Some(hit) if last_second == Some(window.start) => hit.end = window.end,
                    _ => hits.push(Hit { start: begin, end: window.end, owner }),
                }
                last_second = Some(window.second);
            }
            Unit::Word(word) if word.is_short() => {
                let owner = self.owner(word.key);
                short.extend(owner.map(|owner| Hit { start: word.start, end: word.end, owner }));
            }
            Unit::Word(_) => {}
        });
        // Signs and spaces at the ends stay: without the letters between them they are nobody's.
        for hit in &mut hits {
            let part = text.get(hit.start..hit.end).unwrap_or_default();
            let begin = part.trim_start_matches(|character: char| !character.is_alphanumeric());
            hit.start = hit.end - begin.len();
            hit.end =
                hit.start + begin.trim_end_matches(|character: char| !character.is_alphanumeric()).len();
        }
        hits.retain(|hit| hit.start < hit.end);
        for hit in short {
            let place = hits.partition_point(|other| other.start < hit.start);
            let free = place
                .checked_sub(1)
                .and_then(|before| hits.get(before))
                .is_none_or(|other| other.end <= hit.start)
                && hits.get(place).is_none_or(|other| hit.end <= other.start);
            if free {
                hits.insert(place, hit);
            }
        }
        hits
    }
}

#[inline]
fn bit(key: u64) -> usize {
    (key >> 50) as usize % BITS
}

/// Five characters in a row.
struct Window {
    key: u64,
    start: usize,
    /// Where its second character begins.
    second: usize,
    end: usize,
}

/// A run of letters and digits.
struct Word {
    key: u64,
    start: usize,
    end: usize,
    characters: usize,
    capital: bool,
}

impl Word {
    /// A name that is too short to have a part of five characters.
    fn is_short(&self) -> bool {
        self.capital && (2..PART).contains(&self.characters)
    }
}

/// What a text is made of here.
enum Unit {
    Window(Window),
    Word(Word),
}

/// Calls for each window and each word outside `taken`. Windows within a word are the same in capitals and small letters; others are
/// exact. A window without a letter or digit is nobody's.
fn walk(text: &str, taken: &[(usize, usize)], mut each: impl FnMut(Unit)) {
    let mut spans = taken.iter().peekable();
    let mut ring = Ring::default();
    let mut run: Option<Word> = None;
    let mut at = 0;
    loop {
        let character = text.get(at..).and_then(|rest| rest.chars().next());
        let covered = spans.peek().filter(|(start, end)| *start <= at && at < *end).map(|(_, end)| *end);
        let letter = character.filter(|c| covered.is_none() && c.is_alphanumeric());
        if letter.is_none()
            && let Some(done) = run.take()
        {
            each(Unit::Word(done));
        }
        if let Some(end) = covered {
            ring = Ring::default();
            at = end;
            spans.next();
            continue;
        }
        let Some(character) = character else { return };
        let end = at + character.len_utf8();
        ring.push(character);
        if let Some(key) = ring.key() {
            let (start, second) = ring.starts(end);
            each(Unit::Window(Window { key, start, second, end }));
        }
        if letter.is_some() {
            let word = run.get_or_insert(Word {
                key: BASE,
                start: at,
                end,
                characters: 0,
                capital: character.is_uppercase(),
            });
            word.key = mix(word.key ^ u64::from(u32::from(character)));
            (word.end, word.characters) = (end, word.characters + 1);
        }
        while spans.peek().is_some_and(|(_, until)| *until <= end) {
            spans.next();
        }
        at = end;
    }
}

/// The last five characters, each in 21 bits.
#[derive(Default)]
struct Ring {
    exact: u128,
    folded: u128,
    /// A bit for each: it is a letter or digit.
    letters: u8,
    /// How many bytes each has, in four bits.
    lengths: u32,
    count: usize,
}

impl Ring {
    #[inline]
    fn push(&mut self, character: char) {
        const FIVE: u128 = (1 << (21 * PART)) - 1;
        let small = if character.is_ascii() {
            character.to_ascii_lowercase()
        } else {
            character.to_lowercase().next().unwrap_or(character)
        };
        self.exact = (self.exact << 21 | u128::from(u32::from(character))) & FIVE;
        self.folded = (self.folded << 21 | u128::from(u32::from(small))) & FIVE;
        self.letters = (self.letters << 1 | u8::from(character.is_alphanumeric())) & 0b1_1111;
        self.lengths = (self.lengths << 4 | character.len_utf8() as u32) & 0xf_ffff;
        self.count += 1;
    }

    /// Where the first and the second of the five begin, if the last ends here.
    #[inline]
    fn starts(&self, end: usize) -> (usize, usize) {
        let all: u32 = (0..5).map(|place| self.lengths >> (4 * place) & 15).sum();
        let first = end - all as usize;
        (first, first + (self.lengths >> 16) as usize)
    }

    #[inline]
    fn key(&self) -> Option<u64> {
        if self.count < PART || self.letters == 0 {
            return None;
        }
        let (five, seed) = if self.letters == 0b1_1111 { (self.folded, 1) } else { (self.exact, 2) };
        // Two windows with the same key only mask more than they must.
        Some(mix(five as u64 ^ ((five >> 64) as u64 | seed << 62).wrapping_mul(BASE)))
    }
}

/// Spreads a key over all bits; never 0.
#[inline]
fn mix(key: u64) -> u64 {
    let key = (key ^ (key >> 32)).wrapping_mul(BASE);
    let key = (key ^ (key >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (key ^ (key >> 32)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(values: &[&str], text: &str) -> Vec<String> {
        let mut parts = Parts::default();
        for (value, owner) in values.iter().zip(0..) {
            parts.add(value, owner, true);
        }
        parts.find(text, &[]).iter().map(|hit| text[hit.start..hit.end].to_owned()).collect()
    }

    #[test]
    fn every_part_of_five_characters_is_found_in_any_case_within_words() {
        assert_eq!(
            found(&["Anna Mustermann"], "MUSTERMANN, mustermen and Muster"),
            ["MUSTERMANN", "musterm", "Muster"]
        );
        assert_eq!(found(&["anna@example.org"], "an example by anna@home"), ["example", "anna"]);
        assert_eq!(found(&["Иван Петров"], "петрова"), ["петров"]);
    }

    #[test]
    fn what_spans_words_is_exact_and_spaces_are_nobodys() {
        assert_eq!(found(&["Will  Smith"], "I will go      and Will stays"), ["Will"]);
        assert_eq!(found(&["a     b"], "x     y"), [] as [&str; 0]);
    }

    #[test]
    fn parts_that_touch_are_two() {
        assert_eq!(found(&["abcde", "fghij"], "abcdefghij"), ["abcde", "fghij"]);
    }

    #[test]
    fn short_words_of_names_are_found_alone() {
        assert_eq!(found(&["Lee Ho"], "Lee met Ho; sleep, Leek, lee"), ["Lee", "Ho"]);
    }

    #[test]
    fn what_is_taken_is_not_looked_at() {
        let mut parts = Parts::default();
        parts.add("example", 0, false);
        assert_eq!(parts.find("example example", &[(0, 7)]), [Hit { start: 8, end: 15, owner: 0 }]);
    }
}
