//! Log-probabilities, in the shape of chat completions and in the older one of completions.

use std::collections::BTreeMap;

use inshore_domain::TokenLogprob;
use serde::Deserialize;

/// What both shapes may hold.
#[derive(Debug, Default, Deserialize)]
pub(super) struct WireLogprobs {
    /// Chat completions.
    #[serde(default)]
    content: Option<Vec<WireToken>>,
    /// Completions.
    #[serde(default)]
    tokens: Option<Vec<String>>,
    #[serde(default)]
    token_logprobs: Option<Vec<Option<f32>>>,
    #[serde(default)]
    top_logprobs: Option<Vec<Option<BTreeMap<String, f32>>>>,
}

#[derive(Debug, Deserialize)]
struct WireToken {
    token: String,
    logprob: f32,
    #[serde(default)]
    bytes: Option<Vec<u8>>,
    #[serde(default)]
    top_logprobs: Vec<WireToken>,
}

impl WireToken {
    fn bytes(self) -> (Vec<u8>, f32) {
        (self.bytes.unwrap_or_else(|| self.token.into_bytes()), self.logprob)
    }
}

impl WireLogprobs {
    pub(super) fn read(self) -> Vec<TokenLogprob> {
        match self.content {
            Some(content) => content.into_iter().map(chat_token).collect(),
            None => self.completion_tokens(),
        }
    }

    fn completion_tokens(self) -> Vec<TokenLogprob> {
        let mut logprobs = self.token_logprobs.unwrap_or_default().into_iter();
        let mut tops = self.top_logprobs.unwrap_or_default().into_iter();
        let tokens = self.tokens.unwrap_or_default();
        tokens
            .into_iter()
            .map(|token| {
                let mut top: Vec<(Vec<u8>, f32)> = tops
                    .next()
                    .flatten()
                    .unwrap_or_default()
                    .into_iter()
                    .map(|(text, p)| (text.into_bytes(), p))
                    .collect();
                top.sort_by(|a, b| b.1.total_cmp(&a.1));
                // The first token of an echoed prompt has no probability.
                let logprob = logprobs.next().flatten().unwrap_or(0.0);
                TokenLogprob { bytes: token.into_bytes(), id: None, logprob, top }
            })
            .collect()
    }
}

fn chat_token(mut token: WireToken) -> TokenLogprob {
    let top = std::mem::take(&mut token.top_logprobs).into_iter().map(WireToken::bytes).collect();
    let (bytes, logprob) = token.bytes();
    TokenLogprob { bytes, id: None, logprob, top }
}
