//! Fields that several OpenAI routes share, and their bounds.

use std::fmt;

use inshore_domain::request::{OutputFormat, Sampling, Tool};
use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};

use crate::fault::Fault;
use crate::json::{OnlyFalse, Pairs, TextOr, within};

/// Answers to one prompt. Each holds a sequence of the engine's memory while it is made.
const ANSWERS: u32 = 16;
/// Stop texts. OpenAI takes 4; agents with many tool formats want more, and each is searched for in every token.
const STOPS: usize = 16;
/// Bytes of a stop text: that much of the answer is held back while it might still become one.
const STOP_BYTES: usize = 1024;
/// Tokens with a bias, as in OpenAI's API.
const BIASES: usize = 1024;
/// Adapters at once. Each adds its matrices to every step.
const ADAPTERS: usize = 8;
/// Functions on offer: all of their schemas are read into every prompt.
pub(crate) const TOOLS: usize = 512;
/// Longest name of a function: Anthropic's limit, the more generous one.
const TOOL_NAME: usize = 128;

/// A wire struct of a route that samples: the route's own fields, then those that all such routes know.
///
/// Every field is in one of three groups: honoured, [`crate::json::Ignored`] because it cannot change the answer (where it
/// runs, how it is stored or billed, what may be cached), or [`crate::json::Refused`].
macro_rules! sampled_request {
    ($(#[$meta:meta])* struct $name:ident<$life:lifetime> { $($(#[$field_meta:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(super) struct $name<$life> {
            $($(#[$field_meta])* $field: $type,)*
            // Honoured.
            pub(super) model: String,
            pub(super) stream: Option<bool>,
            pub(super) user: Option<String>,
            pub(super) safety_identifier: Option<String>,
            #[serde(borrow)]
            pub(super) metadata: Option<&$life serde_json::value::RawValue>,
            temperature: Option<f32>,
            top_p: Option<f32>,
            // Honoured, by the names that llama.cpp and vLLM gave them.
            top_k: Option<i64>,
            min_p: Option<f32>,
            #[serde(alias = "repeat_penalty")]
            repetition_penalty: Option<f32>,
            ignore_eos: Option<bool>,
            truncate_prompt: Option<bool>,
            grammar: Option<String>,
            guided_regex: Option<String>,
            adapters: Option<Vec<$crate::openai::fields::Adapter>>,
            pin: Option<$crate::openai::fields::Pin>,
            // Ignored: caching never changes an answer here, and nothing is stored or billed by these.
            #[expect(dead_code, reason = "ignored")]
            cache_prompt: $crate::json::Ignored,
            #[expect(dead_code, reason = "ignored")]
            prompt_cache_key: $crate::json::Ignored,
            #[expect(dead_code, reason = "ignored")]
            prompt_cache_retention: $crate::json::Ignored,
            #[expect(dead_code, reason = "only checked")]
            prompt_cache_options: Option<$crate::openai::fields::CacheOptions>,
            #[expect(dead_code, reason = "ignored")]
            store: $crate::json::Ignored,
            #[expect(dead_code, reason = "ignored")]
            service_tier: $crate::json::Ignored,
            // Refused: nothing here judges texts or belongs to a provider's programs.
            #[expect(dead_code, reason = "refused while parsing")]
            moderation: $crate::json::Refused,
            #[expect(dead_code, reason = "refused while parsing")]
            access_programs: $crate::json::Refused,
        }

        impl $name<'_> {
            /// The part of the sampling parameters that all routes have.
            fn common_sampling(&mut self) -> Result<inshore_domain::request::Sampling, $crate::fault::Fault> {
                $crate::openai::fields::common_sampling($crate::openai::fields::Common {
                    temperature: self.temperature,
                    top_p: self.top_p,
                    top_k: self.top_k,
                    min_p: self.min_p,
                    repetition_penalty: self.repetition_penalty,
                    ignore_eos: self.ignore_eos,
                    truncate_prompt: self.truncate_prompt,
                    adapters: self.adapters.take().unwrap_or_default(),
                })
            }

            /// The end user, by the newer of OpenAI's two names first.
            pub(super) fn end_user(&mut self) -> Option<String> {
                self.safety_identifier.take().or_else(|| self.user.take())
            }
        }
    };
}
pub(super) use sampled_request;

/// The parameters that all routes have.
pub(super) struct Common {
    pub(super) temperature: Option<f32>,
    pub(super) top_p: Option<f32>,
    pub(super) top_k: Option<i64>,
    pub(super) min_p: Option<f32>,
    pub(super) repetition_penalty: Option<f32>,
    pub(super) ignore_eos: Option<bool>,
    pub(super) truncate_prompt: Option<bool>,
    pub(super) adapters: Vec<Adapter>,
}

pub(super) fn common_sampling(common: Common) -> Result<Sampling, Fault> {
    let top_k = within("top_k", common.top_k, -1, i64::from(u32::MAX))?;
    if common.adapters.len() > ADAPTERS {
        return Err(Fault::value("adapters", format!("`adapters` holds more than {ADAPTERS}")));
    }
    let mut adapters = Vec::with_capacity(common.adapters.len());
    for adapter in common.adapters {
        within("adapters.scale", Some(adapter.scale), -16.0, 16.0)?;
        adapters.push((adapter.name, adapter.scale));
    }
    Ok(Sampling {
        temperature: within("temperature", common.temperature, 0.0, 2.0)?,
        top_p: within("top_p", common.top_p, 0.0, 1.0)?,
        // vLLM says "off" by -1, llama.cpp by 0.
        top_k: top_k.map(|k| u32::try_from(k).unwrap_or(0)),
        min_p: within("min_p", common.min_p, 0.0, 1.0)?,
        repetition_penalty: within("repetition_penalty", common.repetition_penalty, 0.01, 10.0)?,
        ignore_eos: common.ignore_eos.unwrap_or(false),
        truncate_prompt: common.truncate_prompt.unwrap_or(false),
        adapters,
        n: 1,
        ..Sampling::default()
    })
}

/// A LoRA adapter by name.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Adapter {
    name: String,
    #[serde(default = "full_strength")]
    scale: f32,
}

fn full_strength() -> f32 {
    1.0
}

/// The parameters that chat and completions have and responses do not.
pub(super) struct Drawn {
    pub(super) n: Option<u32>,
    pub(super) stop: Option<TextOr<String>>,
    pub(super) presence_penalty: Option<f32>,
    pub(super) frequency_penalty: Option<f32>,
    pub(super) logit_bias: Option<Pairs<f32>>,
    pub(super) seed: Option<i64>,
}

impl Drawn {
    pub(super) fn into_sampling(self, sampling: &mut Sampling) -> Result<(), Fault> {
        sampling.n = within("n", self.n, 1, ANSWERS)?.unwrap_or(1);
        sampling.presence_penalty = within("presence_penalty", self.presence_penalty, -2.0, 2.0)?;
        sampling.frequency_penalty = within("frequency_penalty", self.frequency_penalty, -2.0, 2.0)?;
        // The same 64 bits, whatever their sign.
        sampling.seed = self.seed.map(i64::cast_unsigned);
        sampling.stop = match self.stop {
            None => Vec::new(),
            Some(TextOr::Text(one)) => stops("stop", vec![one])?,
            Some(TextOr::List(many)) => stops("stop", many)?,
        };
        sampling.logit_bias = biases(self.logit_bias)?;
        Ok(())
    }
}

/// Stop texts within their bounds.
pub(crate) fn stops(field: &str, stops: Vec<String>) -> Result<Vec<String>, Fault> {
    if stops.len() > STOPS {
        return Err(Fault::value(field, format!("`{field}` holds more than {STOPS} texts")));
    }
    if stops.iter().any(|stop| stop.is_empty() || stop.len() > STOP_BYTES) {
        return Err(Fault::value(field, format!("each text of `{field}` must have 1 to {STOP_BYTES} bytes")));
    }
    Ok(stops)
}

fn biases(pairs: Option<Pairs<f32>>) -> Result<Vec<(u32, f32)>, Fault> {
    let pairs = pairs.map_or_else(Vec::new, |pairs| pairs.0);
    if pairs.len() > BIASES {
        return Err(Fault::value("logit_bias", format!("`logit_bias` holds more than {BIASES} tokens")));
    }
    let bias = |(token, bias): (String, f32)| {
        let id = token.parse().map_err(|_| {
            let shown: String = token.chars().take(32).collect();
            Fault::value("logit_bias", format!("`logit_bias` is wrong: `{shown}` is not a token id"))
        })?;
        within("logit_bias", Some(bias), -100.0, 100.0)?;
        Ok((id, bias))
    };
    pairs.into_iter().map(bias).collect()
}

/// How much of a prompt to keep: all of its leading instructions (`true`), or the messages up to an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pin {
    No,
    Instructions,
    Through(usize),
}

impl<'de> Deserialize<'de> for Pin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PinVisitor;
        impl Visitor<'_> for PinVisitor {
            type Value = Pin;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false, or the index of a message")
            }
            fn visit_bool<E>(self, pin: bool) -> Result<Pin, E> {
                Ok(if pin { Pin::Instructions } else { Pin::No })
            }
            fn visit_u64<E: de::Error>(self, index: u64) -> Result<Pin, E> {
                usize::try_from(index).map(Pin::Through).map_err(|_| E::custom("no such message"))
            }
        }
        deserializer.deserialize_any(PinVisitor)
    }
}

/// At most one form can be asked for.
pub(super) fn output(
    format: Option<OutputFormat>,
    grammar: Option<String>,
    regex: Option<String>,
) -> Result<OutputFormat, Fault> {
    let format = format.filter(|format| *format != OutputFormat::Text);
    let asked = usize::from(format.is_some()) + usize::from(grammar.is_some()) + usize::from(regex.is_some());
    if asked > 1 {
        let field = if grammar.is_some() { "grammar" } else { "guided_regex" };
        let message = format!("`{field}` cannot be combined with another form of the answer");
        return Err(Fault::value(field, message));
    }
    for (field, text) in [("grammar", &grammar), ("guided_regex", &regex)] {
        if text.as_ref().is_some_and(String::is_empty) {
            return Err(Fault::value(field, format!("`{field}` is empty")));
        }
    }
    Ok(grammar.map(OutputFormat::Grammar).or(regex.map(OutputFormat::Regex)).or(format).unwrap_or_default())
}

/// A function's name within the pattern that models are trained on.
pub(crate) fn tool_name(field: &str, name: &str) -> Result<(), Fault> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    if !name.is_empty() && name.len() <= TOOL_NAME && name.bytes().all(good) {
        return Ok(());
    }
    let message = format!("`{field}` is wrong: expected 1 to {TOOL_NAME} letters, digits, `_`, `-` or `.`");
    Err(Fault::value(field, message))
}

/// Few enough functions, each with a name of its own.
pub(crate) fn distinct_tools(tools: &[Tool]) -> Result<(), Fault> {
    if tools.len() > TOOLS {
        return Err(Fault::value("tools", format!("`tools` holds more than {TOOLS}")));
    }
    let mut names: Vec<&str> = tools.iter().map(|tool| tool.name.as_str()).collect();
    names.sort_unstable();
    match names.array_windows().find(|[a, b]| a == b) {
        Some([twice, _]) => Err(Fault::value("tools", format!("`tools` holds `{twice}` twice"))),
        None => Ok(()),
    }
}

/// `prompt_cache_options`. Everything is cached here anyway; but a request for nothing but caching has no answer.
#[derive(Deserialize)]
pub(super) struct CacheOptions {
    #[expect(dead_code, reason = "only checked")]
    prewarm: OnlyFalse,
}

/// Who may call a function: the model itself, or (what this server does not have) programs that it writes.
#[derive(Deserialize)]
pub(crate) enum Callers {
    /// The model itself.
    #[serde(rename = "direct")]
    Direct,
}

/// `stream_options`. Obfuscation pads chunks against eavesdroppers on a network; there is none here.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct StreamOptions {
    #[serde(default)]
    pub(super) include_usage: bool,
    #[expect(dead_code, reason = "ignored")]
    include_obfuscation: Option<bool>,
}
