//! `POST /v1/completions`: continuing a text, and filling a gap in one.
//!
//! Source: OpenAI API reference, "Create completion" and "The completion object".

use std::collections::HashMap;

use inshore_domain::request::{Completion, PromptText};
use inshore_domain::{Delta, Event, FinishReason, TokenLogprob, Usage};
use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::chat::usage_wanted;
use super::fields::{self, Drawn, Pin, StreamOptions, sampled_request};
use super::shapes::{Stamp, WireUsage, finish_word, finite, lossy};
use crate::answer::{Collected, Encode, One, data};
use crate::fault::{Fault, json};
use crate::json::{Pairs, TextOr, push, within};

/// Prompts of one request, as for embeddings in OpenAI's API; each is an answer of its own.
const PROMPTS: usize = 2_048;
/// Answers of one request over all prompts: each may hold a sequence of the engine's memory.
const ANSWERS: u64 = 4_096;
/// Alternatives for each token. OpenAI's own limit here is 5; chat's is taken.
const TOP_LOGPROBS: u8 = 20;
/// The value both official clients' documentation gives for an answer without `max_tokens`.
const DEFAULT_MAX_TOKENS: u32 = 16;

sampled_request! {
    /// The body.
    struct CompletionRequest<'a> {
        // Honoured.
        prompt: Option<Prompts>,
        suffix: Option<String>,
        echo: Option<bool>,
        stream_options: Option<StreamOptions>,
        max_tokens: Option<u32>,
        n: Option<u32>,
        stop: Option<TextOr<String>>,
        presence_penalty: Option<f32>,
        frequency_penalty: Option<f32>,
        logit_bias: Option<Pairs<f32>>,
        seed: Option<i64>,
        logprobs: Option<u8>,
        // Refused where it asks for more answers than are given.
        best_of: Option<u32>,
    }
}

/// One or more prompts, each text or tokens.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Prompts(pub(super) Vec<PromptText>);

impl<'de> Deserialize<'de> for Prompts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PromptsVisitor;
        impl<'de> Visitor<'de> for PromptsVisitor {
            type Value = Prompts;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a string, an array of strings, of token ids, or of arrays of token ids")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Prompts, E> {
                Ok(Prompts(vec![PromptText::Text(text.to_owned())]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Prompts, A::Error> {
                let mut prompts = Vec::new();
                let mut tokens = Vec::new();
                while let Some(element) = list.next_element::<Element>()? {
                    match element {
                        Element::Token(token) if prompts.is_empty() => tokens.push(token),
                        Element::Prompt(prompt) if tokens.is_empty() => push(&mut prompts, prompt)?,
                        _ => return Err(de::Error::custom("token ids and prompts cannot be mixed")),
                    }
                }
                if !tokens.is_empty() {
                    prompts.push(PromptText::Tokens(tokens));
                }
                Ok(Prompts(prompts))
            }
        }
        deserializer.deserialize_any(PromptsVisitor)
    }
}

/// An element of an array of prompts.
enum Element {
    Token(u32),
    Prompt(PromptText),
}

impl<'de> Deserialize<'de> for Element {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ElementVisitor;
        impl<'de> Visitor<'de> for ElementVisitor {
            type Value = Element;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a string, a token id, or an array of token ids")
            }
            fn visit_u64<E: de::Error>(self, token: u64) -> Result<Element, E> {
                u32::try_from(token).map(Element::Token).map_err(|_| E::custom("a token id has 32 bits"))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Element, E> {
                Ok(Element::Prompt(PromptText::Text(text.to_owned())))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Element, A::Error> {
                let tokens = Vec::deserialize(de::value::SeqAccessDeserializer::new(list))?;
                Ok(Element::Prompt(PromptText::Tokens(tokens)))
            }
        }
        deserializer.deserialize_any(ElementVisitor)
    }
}

impl Prompts {
    /// Few enough, and none of them empty where `filled`.
    pub(super) fn checked(self, field: &str, filled: bool) -> Result<Vec<PromptText>, Fault> {
        if self.0.is_empty() || self.0.len() > PROMPTS {
            return Err(Fault::value(field, format!("`{field}` must hold 1 to {PROMPTS} texts")));
        }
        let empty = |prompt: &PromptText| match prompt {
            PromptText::Text(text) => filled && text.is_empty(),
            PromptText::Tokens(tokens) => tokens.is_empty(),
        };
        if self.0.iter().any(empty) {
            return Err(Fault::value(field, format!("`{field}` holds an empty text")));
        }
        Ok(self.0)
    }
}

impl CompletionRequest<'_> {
    pub(super) fn include_usage(&self) -> Result<bool, Fault> {
        usage_wanted(self.stream, self.stream_options.as_ref())
    }

    /// The completion in domain words.
    pub(super) fn completion(&mut self) -> Result<Completion, Fault> {
        let mut sampling = self.common_sampling()?;
        Drawn {
            n: self.n,
            stop: self.stop.take(),
            presence_penalty: self.presence_penalty,
            frequency_penalty: self.frequency_penalty,
            logit_bias: self.logit_bias.take(),
            seed: self.seed,
        }
        .into_sampling(&mut sampling)?;
        let echo = self.echo.unwrap_or(false);
        // Nothing but the prompt's own log-probabilities is a sensible wish where the prompt is given back.
        let least = if echo { 0 } else { 1 };
        let most = within("max_tokens", self.max_tokens, least, u32::MAX)?;
        sampling.max_tokens = Some(most.unwrap_or(DEFAULT_MAX_TOKENS));
        sampling.logprobs = within("logprobs", self.logprobs, 0, TOP_LOGPROBS)?;
        if self.best_of.is_some_and(|best_of| best_of != sampling.n) {
            return Err(Fault::unsupported(
                "best_of",
                "`best_of` must equal `n`: all answers made are given",
            ));
        }
        if self.suffix.is_some() && echo {
            return Err(Fault::value("echo", "`echo` cannot be combined with `suffix`"));
        }
        // Without a prompt, OpenAI continues the beginning of a document; an empty text is just that.
        let prompts = match self.prompt.take() {
            None => vec![PromptText::Text(String::new())],
            Some(prompts) => prompts.checked("prompt", false)?,
        };
        if prompts.len() as u64 * u64::from(sampling.n) > ANSWERS {
            return Err(Fault::value("n", format!("`n` times the number of prompts is more than {ANSWERS}")));
        }
        Ok(Completion {
            prompts,
            suffix: self.suffix.take(),
            echo,
            output: fields::output(None, self.grammar.take(), self.guided_regex.take())?,
            sampling,
            pin: !matches!(self.pin, None | Some(Pin::No)),
        })
    }
}

#[derive(Serialize)]
struct Body<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    choices: &'a [Choice],
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Option<WireUsage>>,
    system_fingerprint: &'a str,
}

#[derive(Serialize)]
struct Choice {
    text: String,
    index: u32,
    logprobs: Option<Logprobs>,
    finish_reason: Option<&'static str>,
}

/// The older form of log-probabilities, in columns.
#[derive(Serialize, Default)]
struct Logprobs {
    tokens: Vec<String>,
    token_logprobs: Vec<f32>,
    top_logprobs: Vec<Tops>,
    /// In characters, from the beginning of this answer's text.
    text_offset: Vec<usize>,
}

/// The alternatives of a token, likeliest first.
struct Tops(Vec<(String, f32)>);

impl Serialize for Tops {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(token, logprob)| (token, logprob)))
    }
}

impl Logprobs {
    fn new(tokens: Vec<TokenLogprob>, mut offset: usize) -> Self {
        let mut columns = Self::default();
        for token in tokens {
            let text = lossy(&token.bytes);
            columns.text_offset.push(offset);
            offset += text.chars().count();
            columns.tokens.push(text);
            columns.token_logprobs.push(finite(token.logprob));
            columns.top_logprobs.push(tops(token.top));
        }
        columns
    }
}

/// Of tokens that look the same the likeliest stays: an object has each key once.
fn tops(top: Vec<(Vec<u8>, f32)>) -> Tops {
    let mut tops: Vec<(String, f32)> = Vec::with_capacity(top.len());
    for (bytes, logprob) in top {
        let token = lossy(&bytes);
        if !tops.iter().any(|(known, _)| *known == token) {
            tops.push((token, finite(logprob)));
        }
    }
    Tops(tops)
}

fn body(stamp: &Stamp, choices: &[Choice], usage: Option<Option<WireUsage>>) -> Vec<u8> {
    json(&shaped(stamp, choices, usage))
}

fn shaped<'a>(stamp: &'a Stamp, choices: &'a [Choice], usage: Option<Option<WireUsage>>) -> Body<'a> {
    Body {
        id: &stamp.id,
        object: "text_completion",
        created: stamp.created,
        model: &stamp.model,
        choices,
        usage,
        system_fingerprint: &stamp.fingerprint,
    }
}

/// The whole answer.
pub(super) fn whole(stamp: &Stamp, collected: Collected, with_logprobs: bool) -> Vec<u8> {
    let choice = |(index, one): (u32, One)| Choice {
        text: one.text,
        index,
        logprobs: with_logprobs.then(|| Logprobs::new(one.logprobs, 0)),
        finish_reason: Some(word(one.reason.unwrap_or(FinishReason::Stop))),
    };
    let choices: Vec<Choice> = (0..).zip(collected.answers).map(choice).collect();
    body(stamp, &choices, Some(Some(collected.usage.into())))
}

/// Completions know no tool calls.
fn word(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::ToolCalls => "stop",
        other => finish_word(other),
    }
}

/// Writes chunks.
pub(super) struct Chunks {
    stamp: Stamp,
    include_usage: bool,
    with_logprobs: bool,
    usage: Usage,
    /// Characters of each answer so far, where log-probabilities need them.
    offsets: HashMap<u32, usize>,
}

impl Chunks {
    pub(super) fn new(stamp: Stamp, include_usage: bool, with_logprobs: bool) -> Self {
        Self { stamp, include_usage, with_logprobs, usage: Usage::default(), offsets: HashMap::new() }
    }

    fn chunk(&self, choices: &[Choice], usage: Option<WireUsage>, out: &mut Vec<u8>) {
        data(out, &shaped(&self.stamp, choices, self.include_usage.then_some(usage)));
    }

    fn logprobs(&mut self, index: u32, tokens: Vec<TokenLogprob>) -> Option<Logprobs> {
        if !self.with_logprobs {
            return None;
        }
        let offset = self.offsets.entry(index).or_default();
        let columns = Logprobs::new(tokens, *offset);
        *offset += columns.tokens.iter().map(|token| token.chars().count()).sum::<usize>();
        Some(columns)
    }
}

impl Encode for Chunks {
    fn event(&mut self, event: Event, out: &mut Vec<u8>) {
        match event {
            Event::Delta { index, delta: Delta::Text { text, logprobs } } => {
                if text.is_empty() && logprobs.is_empty() {
                    return;
                }
                let logprobs = self.logprobs(index, logprobs);
                self.chunk(&[Choice { text, index, logprobs, finish_reason: None }], None, out);
            }
            Event::Finished { index, reason } => {
                let choice =
                    Choice { text: String::new(), index, logprobs: None, finish_reason: Some(word(reason)) };
                self.chunk(&[choice], None, out);
            }
            Event::Usage(usage) => self.usage = usage,
            Event::Started { .. } | Event::Wire(_) | Event::Delta { .. } => {}
        }
    }

    fn fail(&mut self, fault: &Fault, out: &mut Vec<u8>) {
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(&fault.openai_json());
        out.extend_from_slice(b"\n\n");
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        if self.include_usage {
            self.chunk(&[], Some(self.usage.into()), out);
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }
}
