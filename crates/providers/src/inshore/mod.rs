//! Another Inshore, as a node of one's own: OpenAI's API, with the caller's hints handed on and the node's receipt named.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use inshore_domain::{BackendError, Call, Embeddings, Profile, ReceiptId, Tier};

use crate::openai::{Abilities, OpenAi};
use crate::protocol::{KeyNotSendable, ModelEntry, Prepared, Protocol, Question, Remote};
use crate::refusal::Refuser;
use crate::secret::Secret;

/// Longest name of a target that is taken over.
const MAX_NAME: usize = 200;

pub(crate) struct Inshore {
    openai: OpenAi,
}

impl Inshore {
    pub(crate) fn new(by: Arc<Refuser>) -> Self {
        let abilities = Abilities { responses_api: true, stream_usage: true, new_token_limit: false };
        Self { openai: OpenAi::new(by, abilities) }
    }
}

impl Protocol for Inshore {
    fn root(&self) -> &'static str {
        self.openai.root()
    }

    fn authorise(&self, key: Option<&Secret>, headers: &mut HeaderMap) -> Result<(), KeyNotSendable> {
        self.openai.authorise(key, headers)
    }

    /// The node decides once more, and should know what this side was told.
    fn tell(&self, call: &Call, headers: &mut HeaderMap) {
        let hints = &call.request.hints;
        let mut hint = |name, value: Option<&str>| {
            // Text that cannot stand in a header is only lost as a hint.
            if let Some(value) = value.and_then(|text| HeaderValue::from_bytes(text.as_bytes()).ok()) {
                headers.insert(HeaderName::from_static(name), value);
            }
        };
        hint("x-inshore-feature", hints.feature.as_deref());
        hint("x-inshore-sensitivity", hints.sensitivity.map(|level| level.as_str()));
        hint(
            "x-inshore-profile",
            match hints.profile {
                Profile::Realtime => None,
                Profile::Async => Some("async"),
                Profile::Batch => Some("batch"),
            },
        );
        let budget = hints.latency_budget.map(|budget| budget.as_millis().to_string());
        hint("x-inshore-latency-ms", budget.as_deref());
    }

    fn remote(&self, head: &HeaderMap) -> Remote {
        let text = |name: &str| head.get(name).and_then(|value| value.to_str().ok());
        let receipt = text("x-inshore-receipt").and_then(|id| id.parse::<ReceiptId>().ok());
        let target = text("x-inshore-target").filter(|name| !name.is_empty() && name.len() <= MAX_NAME);
        Remote {
            receipt: receipt.map(|id| id.to_string()),
            target: target.map(str::to_owned),
            tier: text("x-inshore-tier").and_then(|word| word.parse::<Tier>().ok()),
        }
    }

    fn generate(&self, call: &Call) -> Result<Prepared, BackendError> {
        self.openai.generate(call)
    }

    fn count(&self, call: &Call) -> Result<Question<u32>, BackendError> {
        self.openai.count(call)
    }

    fn embed(&self, call: &Call) -> Result<Question<Embeddings>, BackendError> {
        self.openai.embed(call)
    }

    fn models(&self) -> Question<Vec<ModelEntry>> {
        self.openai.models()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::tests::refuser;

    #[test]
    fn only_a_receipt_is_taken_for_one() {
        let node = Inshore::new(refuser());
        let remote = |headers: &[(&'static str, &str)]| {
            let pairs =
                headers.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
            node.remote(&pairs.collect())
        };
        let id = ReceiptId::from_bits(7).to_string();
        let whole = remote(&[
            ("x-inshore-receipt", &id),
            ("x-inshore-target", "device/qwen"),
            ("x-inshore-tier", "device"),
        ]);
        let (target, tier) = (Some("device/qwen".into()), Some(Tier::Device));
        assert_eq!(whole, Remote { receipt: Some(id), target, tier });
        let long = "x".repeat(MAX_NAME + 1);
        let nonsense = remote(&[
            ("x-inshore-receipt", "the prompt, perhaps"),
            ("x-inshore-target", &long),
            ("x-inshore-tier", "moon"),
        ]);
        assert_eq!(nonsense, Remote::default());
        assert_eq!(remote(&[]), Remote::default());
    }
}
