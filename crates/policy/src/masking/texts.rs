//! Every text of a request that leaves the device with it.

use inshore_domain::request::{OutputFormat, Part, PromptText, Sampling, ToolChoice};
use inshore_domain::{Request, Task};

/// How a text is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// As it is.
    Plain,
    /// As JSON, or what was meant to be.
    Json,
    /// As the name of a tool or speaker, which must stay one.
    Name,
}

/// Calls for each text, always in the same order. Returns how many parts there are that no text can be read from: images, and prompts
/// of token ids.
pub(super) fn each(request: &mut Request, visit: &mut impl FnMut(&mut String, Form)) -> u32 {
    let mut opaque = 0;
    let mut prompts = |prompts: &mut [PromptText], visit: &mut dyn FnMut(&mut String, Form)| {
        for prompt in prompts {
            match prompt {
                PromptText::Text(text) => visit(text, Form::Plain),
                PromptText::Tokens(_) => opaque += 1,
            }
        }
    };
    match &mut request.task {
        Task::Chat(chat) => {
            for message in &mut chat.messages {
                for part in &mut message.content {
                    match part {
                        Part::Text(text) => visit(text, Form::Plain),
                        Part::Image { .. } => opaque += 1,
                    }
                }
                for call in &mut message.tool_calls {
                    visit(&mut call.name, Form::Name);
                    visit(&mut call.arguments, Form::Json);
                }
                if let Some(name) = &mut message.name {
                    visit(name, Form::Name);
                }
            }
            for tool in &mut chat.tools {
                visit(&mut tool.name, Form::Name);
                if let Some(description) = &mut tool.description {
                    visit(description, Form::Plain);
                }
                if let Some(parameters) = &mut tool.parameters {
                    visit(&mut parameters.0, Form::Json);
                }
            }
            if let ToolChoice::Function(name) = &mut chat.tool_choice {
                visit(name, Form::Name);
            }
            output(&mut chat.output, visit);
            stops(&mut chat.sampling, visit);
        }
        Task::Completion(completion) => {
            prompts(&mut completion.prompts, visit);
            if let Some(suffix) = &mut completion.suffix {
                visit(suffix, Form::Plain);
            }
            output(&mut completion.output, visit);
            stops(&mut completion.sampling, visit);
        }
        Task::Embedding(embedding) => prompts(&mut embedding.inputs, visit),
    }
    opaque
}

fn output(output: &mut OutputFormat, visit: &mut impl FnMut(&mut String, Form)) {
    match output {
        OutputFormat::JsonSchema { name, schema } => {
            visit(name, Form::Name);
            visit(&mut schema.0, Form::Json);
        }
        OutputFormat::Grammar(text) | OutputFormat::Regex(text) => visit(text, Form::Plain),
        OutputFormat::Text | OutputFormat::JsonObject => {}
    }
}

fn stops(sampling: &mut Sampling, visit: &mut impl FnMut(&mut String, Form)) {
    for stop in &mut sampling.stop {
        visit(stop, Form::Plain);
    }
}
