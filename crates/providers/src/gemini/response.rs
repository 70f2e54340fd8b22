//! Answers of `:generateContent`, streamed and whole: a stream is a row of whole responses that each hold the next parts.

use std::collections::VecDeque;
use std::sync::Arc;

use inshore_domain::{BackendError, BackendErrorKind, Delta, Event, FinishReason, TokenLogprob, Usage};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::signatures::Signatures;
use crate::answer::{MAX_BEGUN, Reader, Verdict};
use crate::json::{Count, if_right};
use crate::protocol::ModelEntry;
use crate::refusal::{Refuser, Said};

/// Reads the answers of one call.
pub(crate) struct GeminiReader {
    by: Arc<Refuser>,
    signatures: Arc<Signatures>,
    /// Names the calls that the API gives no id.
    call_ids: u64,
    /// Candidates that were asked for.
    asked: usize,
    started: bool,
    /// Something was said or called, which cannot have taken no tokens.
    spoke: bool,
    candidates: Vec<Seen>,
}

/// A candidate that has begun.
struct Seen {
    index: u32,
    calls: u32,
    finished: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Chunk<'a> {
    #[serde(default, borrow)]
    candidates: Vec<Candidate<'a>>,
    #[serde(default)]
    prompt_feedback: Option<Feedback>,
    #[serde(default, deserialize_with = "if_right")]
    usage_metadata: Option<WireUsage>,
    #[serde(default)]
    model_version: Option<String>,
    #[serde(default, borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Feedback {
    #[serde(default)]
    block_reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Candidate<'a> {
    #[serde(default)]
    index: u32,
    #[serde(default, borrow)]
    content: Option<Content<'a>>,
    #[serde(default)]
    finish_reason: Option<String>,
    #[serde(default)]
    logprobs_result: Option<Logprobs>,
}

#[derive(Deserialize)]
struct Content<'a> {
    #[serde(default, borrow)]
    parts: Vec<Part<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Part<'a> {
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    thought: bool,
    #[serde(default)]
    thought_signature: Option<String>,
    #[serde(default, borrow)]
    function_call: Option<FunctionCall<'a>>,
}

#[derive(Deserialize)]
struct FunctionCall<'a> {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    name: String,
    #[serde(default, borrow)]
    args: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Logprobs {
    #[serde(default)]
    chosen_candidates: Vec<Token>,
    #[serde(default)]
    top_candidates: Vec<TopTokens>,
}

#[derive(Deserialize)]
struct TopTokens {
    #[serde(default)]
    candidates: Vec<Token>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Token {
    #[serde(default)]
    token: String,
    #[serde(default)]
    token_id: Option<u32>,
    #[serde(default)]
    log_probability: f32,
}

impl Logprobs {
    fn read(self) -> Vec<TokenLogprob> {
        let mut tops = self.top_candidates.into_iter();
        self.chosen_candidates
            .into_iter()
            .map(|chosen| TokenLogprob {
                bytes: chosen.token.into_bytes(),
                id: chosen.token_id,
                logprob: chosen.log_probability,
                top: tops.next().map_or_else(Vec::new, |top| {
                    top.candidates
                        .into_iter()
                        .map(|token| (token.token.into_bytes(), token.log_probability))
                        .collect()
                }),
            })
            .collect()
    }
}

/// Counts so far. A count of 0 is left out, as always in this encoding of protocol buffers.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireUsage {
    /// Cached tokens included. Early chunks of a stream have no count at all.
    #[serde(default)]
    prompt_token_count: Count,
    #[serde(default)]
    cached_content_token_count: Count,
    #[serde(default)]
    candidates_token_count: Option<Count>,
    #[serde(default)]
    thoughts_token_count: Option<Count>,
    /// What tools that Google runs put into the prompt.
    #[serde(default)]
    tool_use_prompt_token_count: Count,
}

impl WireUsage {
    /// `None` unless both prompt and answer are counted.
    fn usage(&self, spoke: bool) -> Option<Usage> {
        // A count that is there and is none is another matter than one that is left out.
        let output = |count: Option<Count>| count.map_or(Some(0), |count| count.0);
        let thoughts = output(self.thoughts_token_count)?;
        let said = output(self.candidates_token_count).filter(|said| *said > 0 || !spoke)?;
        let of_tools = self.tool_use_prompt_token_count.or_zero();
        Some(Usage {
            prompt_tokens: self.prompt_token_count.0?.saturating_add(of_tools),
            cached_tokens: self.cached_content_token_count.or_zero(),
            cache_write_tokens: 0,
            output_tokens: said.saturating_add(thoughts),
            reasoning_tokens: thoughts,
        })
    }
}

impl GeminiReader {
    pub(crate) fn new(by: Arc<Refuser>, signatures: Arc<Signatures>, asked: usize) -> Self {
        let call_ids = by.clock().random() as u64;
        Self { by, signatures, call_ids, asked, started: false, spoke: false, candidates: Vec::new() }
    }

    fn chunk(&mut self, data: &[u8], out: &mut VecDeque<Event>) -> Result<(), BackendError> {
        let chunk: Chunk<'_> = serde_json::from_slice(data).map_err(|_| self.by.unreadable(data))?;
        if chunk.error.is_some_and(|error| error.get() != "null") {
            return Err(self.by.in_stream(&Said::in_body(data)));
        }
        if !self.started {
            self.started = true;
            let named = chunk.model_version.filter(|model| !model.is_empty());
            let model = named.unwrap_or_else(|| self.by.target().model.clone());
            out.push_back(Event::Started { model });
        }
        for candidate in chunk.candidates {
            self.candidate(candidate, out)?;
        }
        // The prompt itself was refused, and there are no candidates.
        let blocked = chunk.prompt_feedback.is_some_and(|feedback| feedback.block_reason.is_some());
        if blocked && !self.is_complete() {
            let place = self.place(0)?;
            self.asked = 1;
            self.finish(place, FinishReason::ContentFilter, out);
        }
        // Counts before the end say what was used so far, and less than what will be charged.
        if self.is_complete() {
            out.extend(chunk.usage_metadata.and_then(|usage| usage.usage(self.spoke)).map(Event::Usage));
        }
        Ok(())
    }

    fn candidate(&mut self, candidate: Candidate<'_>, out: &mut VecDeque<Event>) -> Result<(), BackendError> {
        let index = candidate.index;
        let place = self.place(index)?;
        let (ended, before) = (self.candidates.get(place).is_some_and(|seen| seen.finished), out.len());
        let mut logprobs = candidate.logprobs_result.map_or_else(Vec::new, Logprobs::read);
        for part in candidate.content.map_or_else(Vec::new, |content| content.parts) {
            let text = part.text.filter(|text| !text.is_empty());
            match (text, part.function_call) {
                (Some(thought), None) if part.thought => {
                    out.push_back(Event::Delta { index, delta: Delta::Reasoning(thought) });
                }
                (Some(text), None) => {
                    self.spoke = true;
                    let logprobs = std::mem::take(&mut logprobs);
                    out.push_back(Event::Delta { index, delta: Delta::Text { text, logprobs } });
                }
                (_, Some(call)) => self.call(place, index, call, part.thought_signature, out),
                // What tools that Google runs have to say, and whatever comes later.
                (None, None) => {}
            }
        }
        if !logprobs.is_empty() {
            let delta = Delta::Text { text: String::new(), logprobs };
            out.push_back(Event::Delta { index, delta });
        }
        if ended && out.len() > before {
            return Err(self.by.broken("more of an answer after its end"));
        }
        match candidate.finish_reason.as_deref() {
            None | Some("" | "FINISH_REASON_UNSPECIFIED") => {}
            Some(word) => {
                let reason = self.finish_reason(word, place)?;
                self.finish(place, reason, out);
            }
        }
        Ok(())
    }

    /// Where a candidate stands among those that have begun.
    fn place(&mut self, index: u32) -> Result<usize, BackendError> {
        if let Some(place) = self.candidates.iter().position(|seen| seen.index == index) {
            return Ok(place);
        }
        if self.candidates.len() == MAX_BEGUN {
            return Err(self.by.broken(format_args!("more than {MAX_BEGUN} candidates")));
        }
        self.candidates.push(Seen { index, calls: 0, finished: false });
        Ok(self.candidates.len() - 1)
    }

    /// A call comes whole.
    fn call(
        &mut self,
        place: usize,
        index: u32,
        call: FunctionCall<'_>,
        signature: Option<String>,
        out: &mut VecDeque<Event>,
    ) {
        let Some(seen) = self.candidates.get_mut(place) else { return };
        let number = seen.calls;
        seen.calls += 1;
        self.spoke = true;
        let named = call.id.filter(|id| !id.is_empty());
        let id = named.unwrap_or_else(|| format!("call_{:016x}_{index}_{number}", self.call_ids));
        if let Some(signature) = signature.filter(|signature| !signature.is_empty()) {
            self.signatures.keep(&id, signature);
        }
        let arguments = call.args.map_or("{}", RawValue::get).to_owned();
        let begin = Delta::ToolCall { call: number, id, name: call.name };
        out.push_back(Event::Delta { index, delta: begin });
        let delta = Delta::ToolArguments { call: number, fragment: arguments };
        out.push_back(Event::Delta { index, delta });
    }

    fn finish(&mut self, place: usize, reason: FinishReason, out: &mut VecDeque<Event>) {
        if let Some(seen) = self.candidates.get_mut(place)
            && !seen.finished
        {
            seen.finished = true;
            out.push_back(Event::Finished { index: seen.index, reason });
        }
    }

    /// A reason that is not known is taken as an ordinary end: new words appear without notice.
    fn finish_reason(&self, word: &str, place: usize) -> Result<FinishReason, BackendError> {
        let called = self.candidates.get(place).is_some_and(|seen| seen.calls > 0);
        Ok(match word {
            "MAX_TOKENS" => FinishReason::Length,
            "SAFETY"
            | "RECITATION"
            | "LANGUAGE"
            | "BLOCKLIST"
            | "PROHIBITED_CONTENT"
            | "SPII"
            | "IMAGE_SAFETY"
            | "IMAGE_PROHIBITED_CONTENT"
            | "IMAGE_RECITATION" => FinishReason::ContentFilter,
            "MALFORMED_FUNCTION_CALL"
            | "UNEXPECTED_TOOL_CALL"
            | "TOO_MANY_TOOL_CALLS"
            | "MALFORMED_RESPONSE" => {
                let message = format!(
                    "`{}` gave up: its model made a call that is not valid ({word})",
                    self.by.target().id
                );
                return Err(BackendError::new(BackendErrorKind::Failed, message));
            }
            // The API says `STOP` also after calls.
            _ if called => FinishReason::ToolCalls,
            _ => FinishReason::Stop,
        })
    }
}

impl Reader for GeminiReader {
    fn event(&mut self, data: &[u8], out: &mut VecDeque<Event>) -> Result<Verdict, BackendError> {
        // Which response is the last only the end of the stream tells: counts may come behind the reason of the end.
        self.chunk(data, out).map(|()| Verdict::Forward)
    }

    fn whole(&mut self, body: &[u8], out: &mut VecDeque<Event>) -> Result<(), BackendError> {
        self.chunk(body, out)?;
        if self.is_complete() { Ok(()) } else { Err(self.by.broken("an answer without an end")) }
    }

    fn is_complete(&self) -> bool {
        !self.candidates.is_empty() && self.candidates.iter().all(|seen| seen.finished)
    }

    fn has_all(&self) -> bool {
        self.is_complete() && self.candidates.len() >= self.asked
    }
}

/// The answer of `:countTokens`.
pub(super) fn count(body: &[u8], by: &Refuser) -> Result<u32, BackendError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Counted {
        #[serde(default)]
        total_tokens: Count,
    }
    let counted: Counted = serde_json::from_slice(body).map_err(|_| by.unreadable(body))?;
    counted.total_tokens.0.ok_or_else(|| by.broken("no count of tokens"))
}

/// The list of models, without the collection they are in.
pub(super) fn models(body: &[u8], by: &Refuser) -> Result<Vec<ModelEntry>, BackendError> {
    #[derive(Deserialize)]
    struct Models {
        #[serde(default)]
        models: Vec<Model>,
    }
    #[derive(Deserialize)]
    struct Model {
        name: String,
    }
    let models: Models = serde_json::from_slice(body).map_err(|_| by.unreadable(body))?;
    let entry = |model: Model| ModelEntry {
        name: model.name.strip_prefix("models/").unwrap_or(&model.name).to_owned(),
        owner: None,
        priced: false,
    };
    Ok(models.models.into_iter().map(entry).collect())
}
