//! Answers of `/chat/completions` and `/completions`, streamed and whole.

use std::collections::VecDeque;
use std::sync::Arc;

use inshore_domain::{BackendError, Delta, Event, FinishReason, Usage};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::logprobs::WireLogprobs;
use crate::answer::{MAX_BEGUN, Reader, Verdict};
use crate::json::{Count, if_right};
use crate::protocol::ModelEntry;
use crate::refusal::{Refuser, Said};

/// Reads the answers of one call.
pub(crate) struct OpenAiReader {
    by: Arc<Refuser>,
    /// Drop the chunk that only carries token counts: the caller did not ask for it.
    withhold_usage: bool,
    /// Answers that were asked for.
    asked: usize,
    started: bool,
    /// Answers that have begun, and whether each has ended.
    choices: Vec<(u32, bool)>,
    calls: Vec<SeenCall>,
}

/// A tool call that has begun.
struct SeenCall {
    choice: u32,
    /// The provider's index, which some imitators leave at 0 for every call.
    index: u32,
    id: String,
    /// Ours: position among the calls of this answer.
    call: u32,
}

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(default)]
    model: Option<String>,
    /// Some imitators write `null` where there are none.
    #[serde(default, borrow)]
    choices: Option<Vec<Choice<'a>>>,
    #[serde(default, deserialize_with = "if_right")]
    usage: Option<WireUsage>,
    #[serde(default, borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(default)]
    index: u32,
    #[serde(default, borrow, alias = "message")]
    delta: Option<WireDelta<'a>>,
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    finish_reason: Option<String>,
    #[serde(default, borrow)]
    logprobs: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct WireDelta<'a> {
    #[serde(default)]
    content: Option<String>,
    #[serde(default)]
    refusal: Option<String>,
    /// DeepSeek's name, which vLLM and llama.cpp took over.
    #[serde(default)]
    reasoning_content: Option<String>,
    /// Ollama's and OpenRouter's name. Some give an object here, which is not read.
    #[serde(default, borrow)]
    reasoning: Option<&'a RawValue>,
    #[serde(default)]
    tool_calls: Option<Vec<WireCall>>,
}

#[derive(Deserialize)]
struct WireCall {
    #[serde(default)]
    index: Option<u32>,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    function: Option<WireFunction>,
}

#[derive(Deserialize)]
struct WireFunction {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    arguments: Option<String>,
}

/// Token counts as both APIs of OpenAI write them; some imitators write both.
#[derive(Deserialize)]
pub(super) struct WireUsage {
    #[serde(default)]
    prompt_tokens: Count,
    #[serde(default)]
    input_tokens: Count,
    #[serde(default)]
    completion_tokens: Count,
    #[serde(default)]
    output_tokens: Count,
    #[serde(default, deserialize_with = "if_right")]
    prompt_tokens_details: Option<Details>,
    #[serde(default, deserialize_with = "if_right")]
    input_tokens_details: Option<Details>,
    #[serde(default, deserialize_with = "if_right")]
    completion_tokens_details: Option<Details>,
    #[serde(default, deserialize_with = "if_right")]
    output_tokens_details: Option<Details>,
}

#[derive(Deserialize, Default)]
struct Details {
    #[serde(default)]
    cached_tokens: Count,
    #[serde(default)]
    reasoning_tokens: Count,
}

impl WireUsage {
    /// The tokens of the prompt, where they are reported.
    pub(super) fn prompt(&self) -> Option<u32> {
        self.prompt_tokens.0.or(self.input_tokens.0)
    }

    /// `None` unless both prompt and answer are counted.
    pub(super) fn usage(self) -> Option<Usage> {
        let prompt_tokens = self.prompt()?;
        let output_tokens = self.completion_tokens.0.or(self.output_tokens.0)?;
        let of_prompt = self.prompt_tokens_details.or(self.input_tokens_details).unwrap_or_default();
        let of_output = self.completion_tokens_details.or(self.output_tokens_details).unwrap_or_default();
        Some(Usage {
            prompt_tokens,
            cached_tokens: of_prompt.cached_tokens.or_zero(),
            cache_write_tokens: 0,
            output_tokens,
            reasoning_tokens: of_output.reasoning_tokens.or_zero(),
        })
    }
}

impl OpenAiReader {
    pub(crate) fn new(by: Arc<Refuser>, withhold_usage: bool, asked: usize) -> Self {
        Self { by, withhold_usage, asked, started: false, choices: Vec::new(), calls: Vec::new() }
    }

    fn chunk(&mut self, data: &[u8], out: &mut VecDeque<Event>) -> Result<Verdict, BackendError> {
        let chunk: Chunk<'_> = serde_json::from_slice(data).map_err(|_| self.by.unreadable(data))?;
        if chunk.error.is_some_and(|error| error.get() != "null") {
            return Err(self.by.in_stream(&Said::in_body(data)));
        }
        if !self.started {
            self.started = true;
            let model = chunk
                .model
                .filter(|model| !model.is_empty())
                .unwrap_or_else(|| self.by.target().model.clone());
            out.push_back(Event::Started { model });
        }
        let choices = chunk.choices.unwrap_or_default();
        let only_usage = choices.is_empty() && chunk.usage.is_some();
        for choice in choices {
            self.choice(choice, out)?;
        }
        // Counts before the end say what was used so far, and less than what will be charged.
        if self.is_complete() {
            out.extend(chunk.usage.and_then(WireUsage::usage).map(Event::Usage));
        }
        Ok(if only_usage && self.withhold_usage { Verdict::Withhold } else { Verdict::Forward })
    }

    fn choice(&mut self, choice: Choice<'_>, out: &mut VecDeque<Event>) -> Result<(), BackendError> {
        let index = choice.index;
        let place = match self.choices.iter().position(|(known, _)| *known == index) {
            Some(place) => place,
            None if self.choices.len() == MAX_BEGUN => {
                return Err(self.by.broken(format_args!("more than {MAX_BEGUN} answers at once")));
            }
            None => {
                self.choices.push((index, false));
                self.choices.len() - 1
            }
        };
        let ended = self.choices.get(place).is_some_and(|(_, ended)| *ended);
        let before = out.len();
        let mut text = choice.text;
        let mut tool_calls = Vec::new();
        if let Some(delta) = choice.delta {
            let reasoning =
                delta.reasoning_content.or_else(|| serde_json::from_str(delta.reasoning?.get()).ok());
            if let Some(thought) = reasoning.filter(|thought| !thought.is_empty()) {
                out.push_back(Event::Delta { index, delta: Delta::Reasoning(thought) });
            }
            text = delta.content.filter(|content| !content.is_empty()).or(delta.refusal);
            tool_calls = delta.tool_calls.unwrap_or_default();
        }
        let logprobs = match choice.logprobs.filter(|raw| raw.get() != "null") {
            None => Vec::new(),
            Some(raw) => serde_json::from_str::<WireLogprobs>(raw.get())
                .map_err(|_| self.by.broken("log-probabilities of another shape"))?
                .read(),
        };
        let text = text.unwrap_or_default();
        if !text.is_empty() || !logprobs.is_empty() {
            out.push_back(Event::Delta { index, delta: Delta::Text { text, logprobs } });
        }
        for (position, call) in (0u32..).zip(tool_calls) {
            self.tool_call(index, position, call, out)?;
        }
        if ended && out.len() > before {
            return Err(self.by.broken("more of an answer after its end"));
        }
        // Some imitators repeat the reason, or give an empty one until the end.
        if let Some(reason) = choice.finish_reason.filter(|reason| !reason.is_empty() && !ended) {
            if let Some((_, ended)) = self.choices.get_mut(place) {
                *ended = true;
            }
            out.push_back(Event::Finished { index, reason: finish_reason(&reason) });
        }
        Ok(())
    }

    fn tool_call(
        &mut self,
        choice: u32,
        position: u32,
        wire: WireCall,
        out: &mut VecDeque<Event>,
    ) -> Result<(), BackendError> {
        let index = wire.index.unwrap_or(position);
        let id = wire.id.filter(|id| !id.is_empty());
        let known = self.calls.iter().rfind(|seen| {
            seen.choice == choice && seen.index == index && id.as_ref().is_none_or(|id| *id == seen.id)
        });
        let function = wire.function.unwrap_or(WireFunction { name: None, arguments: None });
        let call = match known {
            Some(seen) => seen.call,
            None if self.calls.len() == MAX_BEGUN => {
                return Err(self.by.broken(format_args!("more than {MAX_BEGUN} calls of tools")));
            }
            None => {
                let call = self.calls.iter().filter(|seen| seen.choice == choice).count();
                let call = u32::try_from(call).unwrap_or(u32::MAX);
                // Some imitators leave the id out; the caller needs one to join the result to the call.
                let id = id.unwrap_or_else(|| format!("call_{choice}_{call}"));
                let name = function.name.unwrap_or_default();
                self.calls.push(SeenCall { choice, index, id: id.clone(), call });
                out.push_back(Event::Delta { index: choice, delta: Delta::ToolCall { call, id, name } });
                call
            }
        };
        if let Some(fragment) = function.arguments.filter(|fragment| !fragment.is_empty()) {
            out.push_back(Event::Delta { index: choice, delta: Delta::ToolArguments { call, fragment } });
        }
        Ok(())
    }
}

impl Reader for OpenAiReader {
    fn event(&mut self, data: &[u8], out: &mut VecDeque<Event>) -> Result<Verdict, BackendError> {
        if data == b"[DONE]" {
            return if self.is_complete() {
                Ok(Verdict::Last)
            } else {
                Err(self.by.broken("the end of the stream before the end of an answer"))
            };
        }
        self.chunk(data, out)
    }

    fn whole(&mut self, body: &[u8], out: &mut VecDeque<Event>) -> Result<(), BackendError> {
        self.chunk(body, out)?;
        if self.is_complete() { Ok(()) } else { Err(self.by.broken("an answer without an end")) }
    }

    fn is_complete(&self) -> bool {
        !self.choices.is_empty() && self.choices.iter().all(|(_, ended)| *ended)
    }

    fn has_all(&self) -> bool {
        self.is_complete() && self.choices.len() >= self.asked
    }
}

/// The list of models, as Anthropic writes it too.
pub(crate) fn models(body: &[u8], by: &Refuser) -> Result<Vec<ModelEntry>, BackendError> {
    #[derive(Deserialize)]
    struct Models {
        #[serde(default)]
        data: Vec<Model>,
    }
    #[derive(Deserialize)]
    struct Model {
        id: String,
        #[serde(default, deserialize_with = "if_right")]
        owned_by: Option<String>,
        /// OpenRouter's.
        #[serde(default, deserialize_with = "if_right")]
        pricing: Option<serde_json::Map<String, serde_json::Value>>,
    }
    let models: Models = serde_json::from_slice(body).map_err(|_| by.unreadable(body))?;
    let entry = |model: Model| ModelEntry {
        name: model.id,
        owner: model.owned_by,
        priced: model.pricing.is_some_and(|pricing| !pricing.is_empty()),
    };
    Ok(models.data.into_iter().map(entry).collect())
}

/// A reason that is not known is taken as an ordinary end: new words appear without notice.
pub(super) fn finish_reason(word: &str) -> FinishReason {
    match word {
        "length" | "max_output_tokens" => FinishReason::Length,
        "tool_calls" | "function_call" => FinishReason::ToolCalls,
        "content_filter" => FinishReason::ContentFilter,
        _ => FinishReason::Stop,
    }
}
