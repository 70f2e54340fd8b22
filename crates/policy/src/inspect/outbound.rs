//! How many bytes a call can send.

use inshore_domain::request::{Chat, Completion, Embedding, OutputFormat, Part, PromptText, Sampling};
use inshore_domain::{Request, Task};

/// Request line, headers with the key, and the fields that every body has. The heads of the known providers stay below 2 KiB.
const HEAD: usize = 16 << 10;
/// Field names and braces around one message, part, call, tool or prompt: the wordiest dialect needs 90 bytes.
const AROUND: usize = 128;
/// A token id or a bias: ten digits, the id in quotes, a float of up to 24 characters.
const NUMBER: usize = 40;

/// A call made for this request sends no more bytes than this, whatever dialect the target speaks.
///
/// The body goes out as it came in, or as JSON made from what the domain knows of it: whichever is longer.
pub fn bytes_at_most(request: &Request) -> u64 {
    let body = match &request.task {
        Task::Chat(chat) => chat_bytes(chat),
        Task::Completion(completion) => completion_bytes(completion),
        Task::Embedding(embedding) => embedding_bytes(embedding),
    };
    let original = request.original.as_ref().map_or(0, |original| original.body.len());
    u64::try_from(body.max(original).saturating_add(HEAD)).unwrap_or(u64::MAX)
}

fn chat_bytes(chat: &Chat) -> usize {
    let mut bytes = sampling_bytes(&chat.sampling, &chat.output);
    for message in &chat.messages {
        bytes = bytes.saturating_add(AROUND + message.name.as_deref().map_or(0, quoted));
        bytes = bytes.saturating_add(message.tool_call_id.as_deref().map_or(0, quoted));
        for part in &message.content {
            let text = match part {
                Part::Text(text) => text,
                Part::Image { url } => url,
            };
            bytes = bytes.saturating_add(AROUND).saturating_add(quoted(text));
        }
        for call in &message.tool_calls {
            let names = quoted(&call.name).saturating_add(quoted(&call.id));
            bytes = bytes.saturating_add(AROUND + names).saturating_add(quoted(&call.arguments));
        }
    }
    for tool in &chat.tools {
        let description = tool.description.as_deref().map_or(0, quoted);
        let parameters = tool.parameters.as_ref().map_or(0, |schema| quoted(&schema.0));
        bytes = bytes.saturating_add(AROUND + quoted(&tool.name)).saturating_add(description);
        bytes = bytes.saturating_add(parameters);
    }
    bytes
}

fn completion_bytes(completion: &Completion) -> usize {
    let suffix = completion.suffix.as_deref().map_or(0, quoted);
    sampling_bytes(&completion.sampling, &completion.output)
        .saturating_add(prompts(&completion.prompts))
        .saturating_add(suffix)
}

fn embedding_bytes(embedding: &Embedding) -> usize {
    prompts(&embedding.inputs)
}

fn prompts(prompts: &[PromptText]) -> usize {
    let one = |prompt: &PromptText| match prompt {
        PromptText::Text(text) => quoted(text),
        PromptText::Tokens(tokens) => tokens.len().saturating_mul(NUMBER),
    };
    prompts.iter().map(|prompt| one(prompt).saturating_add(AROUND)).fold(0, usize::saturating_add)
}

fn sampling_bytes(sampling: &Sampling, output: &OutputFormat) -> usize {
    let form = match output {
        OutputFormat::Text | OutputFormat::JsonObject => 0,
        OutputFormat::JsonSchema { name, schema } => quoted(name).saturating_add(quoted(&schema.0)),
        OutputFormat::Grammar(text) | OutputFormat::Regex(text) => quoted(text),
    };
    let stops = sampling.stop.iter().map(|stop| quoted(stop)).fold(0, usize::saturating_add);
    let adapters = sampling.adapters.iter().map(|(name, _)| quoted(name) + NUMBER);
    let biases = sampling.logit_bias.len().saturating_mul(NUMBER);
    form.saturating_add(stops).saturating_add(biases).saturating_add(adapters.fold(0, usize::saturating_add))
}

/// The length as a JSON string: control characters take six bytes, quotes and backslashes two. So it is also a bound for JSON
/// that a dialect carries inside a string.
fn quoted(text: &str) -> usize {
    let extra = |byte: u8| match byte {
        0..=0x1f => 5,
        b'"' | b'\\' => 1,
        _ => 0,
    };
    text.bytes().map(extra).fold(text.len().saturating_add(2), usize::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use inshore_domain::request::{Dialect, Hints, Message, Original, Principal, Role, ToolCall};
    use inshore_domain::{RequestId, Timestamp, TraceId};
    use std::time::Instant;

    fn request(task: Task, original: Option<&'static str>) -> Request {
        Request {
            id: RequestId::new(Timestamp::default(), 1),
            trace: TraceId::new(1),
            received_at: Timestamp::default(),
            admitted: Instant::now(),
            principal: Principal::default(),
            hints: Hints::default(),
            model: "auto".into(),
            task,
            stream: false,
            original: original.map(|body| Original {
                dialect: Dialect::OpenAiChat,
                body: Bytes::from_static(body.as_bytes()),
            }),
        }
    }

    #[test]
    fn what_json_escapes_counts_with_its_escapes() {
        assert_eq!(quoted("a\u{1}\"\\é"), 2 + 1 + 6 + 2 + 2 + 2);
        let prompt = |text: &str| {
            let prompts = vec![PromptText::Text(text.into())];
            bytes_at_most(&request(Task::Completion(Completion { prompts, ..Completion::default() }), None))
        };
        assert_eq!(prompt("aaaa") + 20, prompt("\u{1}\u{1}\u{1}\u{1}"));
    }

    #[test]
    fn the_longer_of_what_came_in_and_what_would_be_made_counts() {
        let task = || Task::Chat(Chat { messages: vec![Message::text(Role::User, "hi")], ..Chat::default() });
        let made = bytes_at_most(&request(task(), None));
        assert_eq!(bytes_at_most(&request(task(), Some("{}"))), made);
        let long: &'static str = Box::leak(" ".repeat(9_000).into_boxed_str());
        assert_eq!(bytes_at_most(&request(task(), Some(long))), (9_000 + HEAD) as u64);
    }

    #[test]
    fn images_calls_and_tools_count_in_full() {
        let mut message = Message::text(Role::Assistant, "");
        message.content.push(Part::Image { url: "A".repeat(1 << 20) });
        message.tool_calls.push(ToolCall { id: "1".into(), name: "f".into(), arguments: "\"".repeat(1000) });
        let chat = Chat { messages: vec![message], ..Chat::default() };
        let bytes = bytes_at_most(&request(Task::Chat(chat), None));
        assert!(bytes > (1 << 20) + 2000 + HEAD as u64, "{bytes}");
    }
}
