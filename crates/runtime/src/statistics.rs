//! Signals as bytes, in the form in which they are stored.
//!
//! The version of the list (two bytes), whether the answer failed (one), how many numbers there are (two), the numbers, and the words,
//! two bytes each; all little-endian. What is of another version, or is not of this form, cannot be read, and is no label any more.

use inshore_policy::router::Signals;
use inshore_policy::router::signals::VERSION;

/// The bytes of signals.
pub(crate) fn written(signals: &Signals) -> Vec<u8> {
    let numbers = signals.numbers();
    let mut bytes = Vec::with_capacity(5 + numbers.len() * 4 + signals.words().len() * 2);
    bytes.extend(VERSION.to_le_bytes());
    bytes.push(u8::from(signals.failed()));
    bytes.extend(u16::try_from(numbers.len()).unwrap_or(u16::MAX).to_le_bytes());
    bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
    bytes.extend(signals.words().iter().flat_map(|word| word.to_le_bytes()));
    bytes
}

/// The signals that these bytes say; `None` where they say none of this version.
pub(crate) fn read(bytes: &[u8]) -> Option<Signals> {
    let (version, rest) = bytes.split_first_chunk::<2>()?;
    let (&[failed], rest) = rest.split_first_chunk::<1>()?;
    let (count, rest) = rest.split_first_chunk::<2>()?;
    let (numbers, words) = rest.split_at_checked(usize::from(u16::from_le_bytes(*count)) * 4)?;
    if u16::from_le_bytes(*version) != VERSION || failed > 1 || words.len() % 2 != 0 {
        return None;
    }
    let number = |bytes: &[u8]| bytes.first_chunk().map(|bytes| f32::from_le_bytes(*bytes));
    let word = |bytes: &[u8]| bytes.first_chunk().map(|bytes| u16::from_le_bytes(*bytes));
    let numbers: Vec<f32> = numbers.chunks_exact(4).filter_map(number).collect();
    let words: Vec<u16> = words.chunks_exact(2).filter_map(word).collect();
    Signals::from_parts(numbers, words, failed == 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use inshore_policy::router::{Answer, Prompt};
    use proptest::prelude::*;

    fn signals(prompt: &str, answer: &str) -> Signals {
        let prompt = Prompt { text: prompt, ..Prompt::default() };
        Signals::read(prompt, Some(Answer::text(answer)))
    }

    #[test]
    fn other_versions_and_bytes_that_are_cut_say_nothing() {
        let bytes = written(&signals("How many are 3 and 4?", "The answer is 7."));
        assert!(read(&bytes).is_some());
        let mut other = bytes.clone();
        other[0] ^= 1;
        assert_eq!(read(&other), None);
        for end in 0..bytes.len() {
            let cut = read(bytes.get(..end).unwrap());
            assert!(
                cut.is_none_or(|cut| cut.words().len()
                    < signals("How many are 3 and 4?", "The answer is 7.").words().len())
            );
        }
    }

    proptest! {
        #[test]
        fn signals_come_back(prompt in "\\PC{0,200}", answer in "\\PC{0,200}") {
            let signals = signals(&prompt, &answer);
            prop_assert_eq!(read(&written(&signals)), Some(signals));
        }

        #[test]
        fn foreign_bytes_are_never_worse_than_nothing(mut bytes in proptest::collection::vec(any::<u8>(), 0..600), ours: bool) {
            if ours && bytes.len() > 5 {
                // Far enough to get past the head.
                bytes[..2].copy_from_slice(&VERSION.to_le_bytes());
                bytes[2] &= 1;
                let numbers = signals("", "").numbers().len() as u16;
                bytes[3..5].copy_from_slice(&numbers.to_le_bytes());
            }
            if let Some(signals) = read(&bytes) {
                prop_assert_eq!(written(&signals), bytes);
            }
        }
    }
}
