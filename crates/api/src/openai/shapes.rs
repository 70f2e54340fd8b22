//! What answers of several OpenAI routes share.

use inshore_domain::{FinishReason, RequestId, Target, TokenLogprob, Usage};
use serde::Serialize;

use crate::gate::Caller;

/// What OpenAI writes for a token that is all but impossible; JSON has no infinity.
const LEAST_LOGPROB: f32 = -9999.0;

/// What every object of one answer repeats.
#[derive(Debug, Clone)]
pub(super) struct Stamp {
    pub(super) id: String,
    pub(super) created: u64,
    pub(super) model: String,
    pub(super) fingerprint: String,
}

impl Stamp {
    /// Of an answer of which it is not yet known who gives it.
    pub(super) fn open(prefix: &str, caller: &Caller, model: String) -> Self {
        let id = format!("{prefix}{}", tail(caller.id));
        Self { id, created: caller.at.unix_secs(), model, fingerprint: String::new() }
    }

    pub(super) fn new(prefix: &str, caller: &Caller, model: String, target: &Target) -> Self {
        Self {
            id: format!("{prefix}{}", tail(caller.id)),
            created: caller.at.unix_secs(),
            model,
            fingerprint: fingerprint(target),
        }
    }
}

/// A request's id without its prefix, for ids that derive from it.
pub(crate) fn tail(id: RequestId) -> String {
    let id = id.to_string();
    id.strip_prefix("req_").map(str::to_owned).unwrap_or(id)
}

/// Changes when the target or the version of this program does: what OpenAI promises of its `system_fingerprint`.
fn fingerprint(target: &Target) -> String {
    // FNV-1a, 64 bits: a name, not a secret.
    let bytes = target.id.0.bytes().chain(target.model.bytes()).chain(env!("CARGO_PKG_VERSION").bytes());
    let hash = bytes
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    format!("fp_{:010x}", hash & 0xff_ffff_ffff)
}

pub(crate) fn finish_word(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop | FinishReason::StopText(_) => "stop",
        FinishReason::Length => "length",
        FinishReason::ToolCalls => "tool_calls",
        FinishReason::ContentFilter => "content_filter",
    }
}

/// `usage` of chat and completions.
#[derive(Serialize)]
pub(super) struct WireUsage {
    prompt_tokens: u32,
    completion_tokens: u32,
    total_tokens: u32,
    prompt_tokens_details: PromptDetails,
    completion_tokens_details: CompletionDetails,
}

#[derive(Serialize)]
struct PromptDetails {
    cached_tokens: u32,
    audio_tokens: u32,
}

#[derive(Serialize)]
struct CompletionDetails {
    reasoning_tokens: u32,
    audio_tokens: u32,
    accepted_prediction_tokens: u32,
    rejected_prediction_tokens: u32,
}

impl From<Usage> for WireUsage {
    fn from(usage: Usage) -> Self {
        Self {
            prompt_tokens: usage.prompt_tokens,
            completion_tokens: usage.output_tokens,
            total_tokens: usage.prompt_tokens.saturating_add(usage.output_tokens),
            prompt_tokens_details: PromptDetails { cached_tokens: usage.cached_tokens, audio_tokens: 0 },
            completion_tokens_details: CompletionDetails {
                reasoning_tokens: usage.reasoning_tokens,
                audio_tokens: 0,
                accepted_prediction_tokens: 0,
                rejected_prediction_tokens: 0,
            },
        }
    }
}

/// A token with its log-probability, as chat and responses show it.
#[derive(Serialize, Clone, Debug)]
pub(super) struct WireLogprob {
    token: String,
    logprob: f32,
    bytes: Vec<u8>,
    top_logprobs: Vec<WireTop>,
}

#[derive(Serialize, Clone, Debug)]
struct WireTop {
    token: String,
    logprob: f32,
    bytes: Vec<u8>,
}

impl From<TokenLogprob> for WireLogprob {
    fn from(token: TokenLogprob) -> Self {
        let top = |(bytes, logprob): (Vec<u8>, f32)| WireTop {
            token: lossy(&bytes),
            logprob: finite(logprob),
            bytes,
        };
        Self {
            token: lossy(&token.bytes),
            logprob: finite(token.logprob),
            top_logprobs: token.top.into_iter().map(top).collect(),
            bytes: token.bytes,
        }
    }
}

pub(super) fn logprobs(tokens: Vec<TokenLogprob>) -> Vec<WireLogprob> {
    tokens.into_iter().map(WireLogprob::from).collect()
}

/// A token's text; a token that is half a character shows as `�`, and its bytes tell the rest.
pub(super) fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub(super) fn finite(logprob: f32) -> f32 {
    if logprob.is_finite() { logprob.max(LEAST_LOGPROB) } else { LEAST_LOGPROB }
}
