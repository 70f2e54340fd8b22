//! The texts of a task, to be looked at.

use inshore_domain::Task;
use inshore_domain::request::{Chat, OutputFormat, Part, PromptText, Sampling};

/// Calls for each text that leaves the device with the task. Images and prompts of token ids have none.
pub(super) fn each(task: &Task, mut look: impl FnMut(&str)) {
    match task {
        Task::Chat(chat) => each_of_chat(chat, &mut look),
        Task::Completion(completion) => {
            prompts(&completion.prompts, &mut look);
            completion.suffix.iter().for_each(|suffix| look(suffix));
            settings(&completion.output, &completion.sampling, &mut look);
        }
        Task::Embedding(embedding) => prompts(&embedding.inputs, &mut look),
    }
}

fn each_of_chat(chat: &Chat, look: &mut impl FnMut(&str)) {
    for message in &chat.messages {
        for part in &message.content {
            if let Part::Text(text) = part {
                look(text);
            }
        }
        message.tool_calls.iter().for_each(|call| look(&call.arguments));
        message.name.iter().for_each(|name| look(name));
    }
    for tool in &chat.tools {
        tool.description.iter().for_each(|text| look(text));
        tool.parameters.iter().for_each(|schema| look(&schema.0));
    }
    settings(&chat.output, &chat.sampling, look);
}

fn settings(output: &OutputFormat, sampling: &Sampling, look: &mut impl FnMut(&str)) {
    match output {
        OutputFormat::JsonSchema { schema, .. } => look(&schema.0),
        OutputFormat::Grammar(text) | OutputFormat::Regex(text) => look(text),
        OutputFormat::Text | OutputFormat::JsonObject => {}
    }
    sampling.stop.iter().for_each(|stop| look(stop));
}

fn prompts(prompts: &[PromptText], look: &mut impl FnMut(&str)) {
    for prompt in prompts {
        if let PromptText::Text(text) = prompt {
            look(text);
        }
    }
}
