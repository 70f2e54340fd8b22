//! Words and pairs of words, hashed into a fixed number of buckets (Weinberger and others, "Feature Hashing for Large Scale Multitask
//! Learning", arXiv:0902.2206).

/// Buckets. The pairs of words of ten thousand requests collide in a few per cent, and a model takes 512 KiB at most.
pub const BUCKETS: u32 = 1 << 16;

/// Buckets of one request and its answer together: what is longer says no more by its words.
const MOST: usize = 1_024;

/// Begins the hashes of words of a request: the offset of FNV-1a (64 bits).
pub(super) const REQUEST: u64 = 0xcbf2_9ce4_8422_2325;
/// Begins those of an answer, so that the same word is another one.
pub(super) const ANSWER: u64 = 0x8422_2325_cbf2_9ce4;

/// The buckets of the words and pairs of neighbouring words.
pub(super) fn hashed(text: &str, seed: u64) -> Vec<u16> {
    let mut buckets = Vec::new();
    let mut before = None;
    for word in words(text) {
        let hash = fnv(seed, word);
        buckets.push(bucket(hash));
        if let Some(before) = before {
            buckets.push(bucket(fnv(before, word)));
        }
        before = Some(fnv(hash, " "));
        if buckets.len() >= MOST / 2 {
            break;
        }
    }
    buckets
}

/// Runs of letters, and runs of digits, without anything between them.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|character: char| !character.is_alphanumeric()).filter(|word| !word.is_empty())
}

/// How many words fit, in lower case.
pub(super) fn count(text: &str, fits: impl Fn(&str) -> bool) -> usize {
    words(text).filter(|word| fits(&word.to_ascii_lowercase())).count()
}

/// FNV-1a of a word in lower case (ASCII: other scripts keep their case).
fn fnv(seed: u64, word: &str) -> u64 {
    word.bytes()
        .fold(seed, |hash, byte| (hash ^ u64::from(byte.to_ascii_lowercase())).wrapping_mul(0x0100_0000_01b3))
}

fn bucket(hash: u64) -> u16 {
    // The high bits of FNV are the better mixed ones; folding brings them down.
    let folded = hash ^ (hash >> 32);
    let folded = folded ^ (folded >> 16);
    (folded % u64::from(BUCKETS)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_their_pairs_have_buckets_whatever_their_case() {
        assert_eq!(hashed("How many, how much?", REQUEST).len(), 7);
        assert_eq!(hashed("HOW MANY", REQUEST), hashed("how many", REQUEST));
        assert_ne!(hashed("how many", REQUEST), hashed("how many", ANSWER));
        assert_ne!(hashed("a bc", REQUEST), hashed("ab c", REQUEST));
        assert!(hashed(&"word ".repeat(9_999), REQUEST).len() <= MOST / 2 + 1);
        assert_eq!(fnv(REQUEST, "foobar"), 0x8594_4171_f739_67e8, "the published value of FNV-1a");
    }
}
