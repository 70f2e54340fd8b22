//! Signatures of thoughts.
//!
//! With a tool call the newer models send an encrypted record of their thinking (`thoughtSignature`), and refuse the
//! conversation when the call comes back without it (`ai.google.dev/gemini-api/docs/thought-signatures`). No other protocol
//! has a place for it, so it is remembered here under the id of its call, which the app sends back with the result.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

/// Calls remembered for one target. An agent makes some ten calls in one turn, and only those of the running turn are
/// looked at, so this is enough for hundreds of conversations at once.
const MAX_CALLS: usize = 4096;
/// Longest signature kept. They grow with the thinking, to some ten kilobytes; a longer one is sent without, see [`SKIP`].
const MAX_SIGNATURE: usize = 64 << 10;
/// Most text kept.
const MAX_TEXT: usize = 16 << 20;

/// What may stand in place of a signature for a call that this model did not make, or whose signature was forgotten (the
/// daemon was restarted): the documented way, at the cost of some quality. Base 64 of `skip_thought_signature_validator`.
pub(super) const SKIP: &str = "c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I=";

/// Signatures by the id of their call, the oldest forgotten first.
#[derive(Debug, Default)]
pub(crate) struct Signatures(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    by_call: HashMap<String, String>,
    /// Oldest first.
    order: VecDeque<String>,
    text: usize,
}

impl Signatures {
    /// The signature of a call.
    pub(super) fn of(&self, call: &str) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).by_call.get(call).cloned()
    }

    pub(super) fn keep(&self, call: &str, signature: String) {
        if signature.len() > MAX_SIGNATURE {
            return;
        }
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.text += call.len() + signature.len();
        match kept.by_call.insert(call.to_owned(), signature) {
            Some(before) => kept.text -= call.len() + before.len(),
            None => kept.order.push_back(call.to_owned()),
        }
        while kept.order.len() > MAX_CALLS || kept.text > MAX_TEXT {
            let Some(oldest) = kept.order.pop_front() else { break };
            let signature = kept.by_call.remove(&oldest).unwrap_or_default();
            kept.text -= oldest.len() + signature.len();
        }
    }
}

/// Whether a model wants signatures: those of Gemini 3 and later do, as may those whose generation the name does not tell
/// (`gemini-flash-latest`).
pub(super) fn wanted(model: &str) -> bool {
    let name = model.rsplit('/').next().unwrap_or(model);
    let Some(rest) = name.strip_prefix("gemini-") else { return false };
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    rest.get(..digits).and_then(|number| number.parse::<u32>().ok()).is_none_or(|generation| generation >= 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_are_forgotten_first() {
        let signatures = Signatures::default();
        for call in 0..=MAX_CALLS {
            signatures.keep(&format!("call_{call}"), format!("s{call}"));
        }
        signatures.keep("call_7", "new".into());
        signatures.keep("long", "x".repeat(MAX_SIGNATURE + 1));
        assert_eq!(signatures.of("call_0"), None);
        assert_eq!(signatures.of("call_1").as_deref(), Some("s1"));
        assert_eq!(signatures.of("call_7").as_deref(), Some("new"));
        assert_eq!(signatures.of("long"), None);
        for call in 0..300 {
            signatures.keep(&format!("big_{call}"), "x".repeat(MAX_SIGNATURE));
        }
        assert_eq!(signatures.of("call_9"), None);
        assert!(signatures.of("big_299").is_some());
        let kept = signatures.0.lock().unwrap();
        let text: usize = kept.by_call.iter().map(|(call, signature)| call.len() + signature.len()).sum();
        assert_eq!((kept.text, kept.order.len()), (text, kept.by_call.len()));
        assert!(text <= MAX_TEXT);
    }

    #[test]
    fn newer_models_want_signatures() {
        for (model, expected) in [
            ("gemini-2.5-flash", false),
            ("models/gemini-1.5-pro", false),
            ("gemma-3-27b-it", false),
            ("gemini-3-flash-preview", true),
            ("models/gemini-4-argon", true),
            ("gemini-flash-latest", true),
        ] {
            assert_eq!(wanted(model), expected, "{model}");
        }
    }
}
