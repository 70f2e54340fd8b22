//! An index of the passages of one document, made for one request and dropped with it.

use std::collections::{BTreeMap, BTreeSet};

use unicode_normalization::UnicodeNormalization;

/// How soon more of the same word says no more, and how much long passages are held back: the values that Robertson and Zaragoza
/// recommend where nothing was measured.
const K1: f64 = 1.2;
const B: f64 = 0.75;

/// Ranks passages by BM25: S. Robertson and H. Zaragoza, The Probabilistic Relevance Framework: BM25 and Beyond, 2009, with the weight
/// of a word by S. Robertson and K. Spärck Jones, Relevance weighting of search terms, 1976: `ln((N - n + 0.5) / (n + 0.5))` for a word
/// that is in `n` of `N` passages. A word that is in half of the passages or more tells nothing and weighs nothing. In a document of very
/// few passages that would be every word, so the document counts as having 8 passages at least.
///
/// Words are runs of letters and digits, in compatibility form (NFKC) and lower case; nothing is cut off them, so this works for
/// every language alike. Scripts that are written without spaces give each two neighbouring characters as a word.
#[derive(Debug)]
pub struct Index {
    /// For each word the passages that it is in, in order, and how often.
    words: BTreeMap<String, Vec<(usize, u32)>>,
    /// Words of each passage.
    lengths: Vec<u32>,
}

impl Index {
    /// Reads the passages.
    pub fn of(passages: &[&str]) -> Self {
        let mut index = Self { words: BTreeMap::new(), lengths: Vec::with_capacity(passages.len()) };
        for (place, passage) in passages.iter().enumerate() {
            let mut length = 0;
            each_word(passage, |word| {
                length += 1;
                let seen = match index.words.get_mut(word) {
                    Some(seen) => seen,
                    None => index.words.entry(word.to_owned()).or_default(),
                };
                match seen.last_mut() {
                    Some((last, count)) if *last == place => *count += 1,
                    _ => seen.push((place, 1)),
                }
            });
            index.lengths.push(length);
        }
        index
    }

    /// How well each passage fits the question, in their order; 0: it has nothing to do with it.
    pub fn scores(&self, question: &str) -> Vec<f64> {
        let mut scores = vec![0.0; self.lengths.len()];
        let total: f64 = self.lengths.iter().map(|length| f64::from(*length)).sum();
        let mean = (total / scores.len().max(1) as f64).max(1.0);
        let mut asked = BTreeSet::new();
        each_word(question, |word| {
            asked.insert(word.to_owned());
        });
        for word in &asked {
            let Some(seen) = self.words.get(word) else { continue };
            let weight = weight(seen.len(), scores.len());
            for (place, count) in seen {
                let length = self.lengths.get(*place).map_or(0.0, |length| f64::from(*length));
                let often = f64::from(*count);
                let tempered = often * (K1 + 1.0) / (often + K1 * (1.0 - B + B * length / mean));
                if let Some(score) = scores.get_mut(*place) {
                    *score += weight * tempered;
                }
            }
        }
        scores
    }
}

fn weight(with: usize, all: usize) -> f64 {
    let (with, all) = (with as f64, all.max(8) as f64);
    ((all - with + 0.5) / (with + 0.5)).ln().max(0.0)
}

fn each_word(text: &str, take: impl FnMut(&str)) {
    if text.is_ascii() {
        words_of(text.chars().map(|character| character.to_ascii_lowercase()), take);
    } else {
        words_of(text.nfkc().flat_map(char::to_lowercase), take);
    }
}

fn words_of(characters: impl Iterator<Item = char>, mut take: impl FnMut(&str)) {
    let mut word = String::new();
    let mut before = None;
    let mut end = |word: &mut String| {
        if !word.is_empty() {
            take(word);
            word.clear();
        }
    };
    for character in characters {
        if unspaced(character) {
            end(&mut word);
            // Each pair of neighbours is a word.
            if let Some(before) = before.replace(character) {
                word.extend([before, character]);
                end(&mut word);
            }
        } else {
            before = None;
            if character.is_alphanumeric() {
                word.push(character);
            } else {
                end(&mut word);
            }
        }
    }
    end(&mut word);
}

/// Whether it is of a script that puts no spaces between words: Thai, Lao, Burmese, Khmer, kana and Han.
fn unspaced(character: char) -> bool {
    let blocks =
        ['\u{e00}'..='\u{eff}', '\u{1000}'..='\u{109f}', '\u{1780}'..='\u{17ff}', '\u{3040}'..='\u{30ff}'];
    let han = ['\u{3400}'..='\u{4dbf}', '\u{4e00}'..='\u{9fff}', '\u{20000}'..='\u{3134f}'];
    character >= '\u{e00}' && blocks.iter().chain(&han).any(|block| block.contains(&character))
}
