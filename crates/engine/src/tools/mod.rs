//! Tools: which way of calling them a model was trained for, how its answer is taken apart as it comes, and how an answer is held to
//! that way when a call is demanded.
//!
//! The ways known: Hermes and Qwen (`<tool_call>{…}</tool_call>`), Llama 3 (a bare JSON object, behind `<|python_tag|>` or not, and
//! `<function=name>{…}</function>`), Mistral (`[TOOL_CALLS] [{…}]` and `[TOOL_CALLS]name[ARGS]{…}`), and Phi 4 (`<|tool_call|>[{…}]<|/tool_call|>`).

mod calls;
mod grammar;
mod parser;

use crate::gguf::{Model, Special, SpecialToken};
pub(crate) use grammar::{Wanted, after_thought, constraint};
pub(crate) use parser::{Parser, Part};

/// A model's way of calling tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `<tool_call>{"name": …, "arguments": …}</tool_call>`, once for each call.
    Hermes,
    /// `{"name": …, "parameters": …}` as the whole answer.
    Llama,
    /// `[TOOL_CALLS] [{"name": …, "arguments": …}, …]`.
    Mistral,
    /// `[TOOL_CALLS]name[ARGS]{…}`, once for each call.
    MistralNamed,
    /// `<|tool_call|>[{"name": …, "arguments": …}, …]<|/tool_call|>`.
    Phi,
}

impl Format {
    /// Finds the way from the template. A template that takes tools in a way that is not known is read as Hermes', which is
    /// what models write that were tuned on mixed data.
    pub fn of(template: &str) -> Self {
        let has = |text: &str| template.contains(text);
        if has("[TOOL_CALLS]") {
            if has("[ARGS]") { Self::MistralNamed } else { Self::Mistral }
        } else if has("<|tool_call|>") {
            Self::Phi
        } else if has("<tool_call>") {
            Self::Hermes
        } else if has("<|python_tag|>") || has("<|start_header_id|>") || has("<function=") {
            Self::Llama
        } else {
            Self::Hermes
        }
    }

    /// What the name of the arguments is in this way's objects.
    fn arguments_key(self) -> &'static str {
        match self {
            Self::Llama => "parameters",
            _ => "arguments",
        }
    }

    /// Texts that can mark the beginning of a call in the middle of an answer.
    fn triggers(self) -> &'static [&'static str] {
        match self {
            Self::Hermes => &["<tool_call>", "<function="],
            Self::Llama => &["<|python_tag|>", "<function=", "<tool_call>"],
            Self::Mistral | Self::MistralNamed => &["[TOOL_CALLS]"],
            Self::Phi => &["<|tool_call|>"],
        }
    }

    /// Whether the child must send special tokens as text, because one of them marks calls.
    pub(crate) fn shows_special(self, model: &Model) -> bool {
        self.triggers().iter().any(|trigger| control_token(&model.special_tokens, trigger).is_some())
    }
}

/// The id of a text that is a control token.
fn control_token(tokens: &[SpecialToken], text: &str) -> Option<u32> {
    tokens.iter().find(|token| token.text == text && token.special == Special::Control).map(|token| token.id)
}
