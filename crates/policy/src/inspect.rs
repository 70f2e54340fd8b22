//! What can be found out about a request by looking at it.

mod outbound;
mod texts;

use inshore_domain::request::{
    Chat, Completion, Embedding, OutputFormat, Part, PromptText, Sampling, ToolChoice,
};
use inshore_domain::{
    Capabilities, Capability, DeviceState, Facts, Finding, Hybrid, Request, Sensitivity, Task,
};

use crate::sensitivity::Detector;

/// Bytes of prompt for one token. English averages about 4 and other scripts 2 to 3; this estimate is only used to leave
/// out targets that are clearly too small, the target itself counts exactly. So it errs towards few tokens.
pub(crate) const BYTES_PER_TOKEN: usize = 5;
/// Tokens that a chat template adds to each message.
const TOKENS_PER_MESSAGE: usize = 4;

/// Findings that are passed on. Policies ask for kinds, of which there are a few dozen; all findings count for the level.
const MAX_FINDINGS: usize = 64;

/// Everything that the request itself tells. The caller adds what only it knows: health and measured latencies.
pub fn inspect(request: &Request) -> Facts {
    let (found, findings) = sensitive(&request.task);
    Facts {
        model: request.model.clone(),
        feature: request.hints.feature.clone(),
        principal: request.principal.clone(),
        groups: Vec::new(),
        profile: request.hints.profile,
        // A hint can raise what inspection found, never lower it; text that nobody has judged counts as internal.
        sensitivity: request.hints.sensitivity.unwrap_or_default().max(found),
        leaving: None,
        findings,
        prompt_tokens: estimate_prompt_tokens(&request.task),
        prompt_tokens_at_most: prompt_tokens_at_most(&request.task),
        max_output_tokens: request.task.sampling().and_then(|sampling| sampling.max_tokens),
        answers: answers(&request.task),
        bytes_at_most: bytes_at_most(request),
        needs: needs(&request.task),
        latency_budget: request.hints.latency_budget,
        quality_floor: None,
        regions: request.hints.regions.clone(),
        egress: true,
        prefer: None,
        strategy: request.hints.strategy,
        hybrid: Hybrid::default(),
        down: Vec::new(),
        failing: Vec::new(),
        first_token: Vec::new(),
        headroom: Vec::new(),
        device: DeviceState::default(),
    }
}

pub use outbound::bytes_at_most;

/// How sensitive the texts of a task are, internal at least, and the first of what makes them so. The span of a finding is one in its
/// own text, whichever of the task's that is.
fn sensitive(task: &Task) -> (Sensitivity, Vec<Finding>) {
    let detector = Detector::default();
    let mut level = Sensitivity::default();
    let mut findings = Vec::new();
    texts::each(task, |text| {
        let found = detector.find(text);
        level = level.max(detector.label(&found));
        // One of each kind says as much as all to a policy; further ones are kept while there is room.
        for finding in found {
            if findings.len() < MAX_FINDINGS
                || findings.iter().all(|other: &Finding| other.kind != finding.kind)
            {
                findings.push(finding);
            }
        }
    });
    (level, findings)
}

/// What a target must be able to do to take this task.
pub fn needs(task: &Task) -> Capabilities {
    match task {
        Task::Chat(chat) => chat_needs(chat),
        Task::Completion(completion) => completion_needs(completion),
        Task::Embedding(embedding) => embedding_needs(embedding),
    }
}

fn chat_needs(chat: &Chat) -> Capabilities {
    let mut needs = sampling_needs(&chat.sampling, &chat.output).with(Capability::Chat);
    let uses_tools = !chat.tools.is_empty() && chat.tool_choice != ToolChoice::None;
    if uses_tools || chat.messages.iter().any(|message| !message.tool_calls.is_empty()) {
        needs = needs.with(Capability::Tools);
    }
    let has_image = |part: &Part| matches!(part, Part::Image { .. });
    if chat.messages.iter().any(|message| message.content.iter().any(has_image)) {
        needs = needs.with(Capability::Vision);
    }
    needs
}

fn completion_needs(completion: &Completion) -> Capabilities {
    let mut needs = sampling_needs(&completion.sampling, &completion.output).with(Capability::Completion);
    if completion.suffix.is_some() {
        needs = needs.with(Capability::Infill);
    }
    with_token_prompts(needs, &completion.prompts)
}

fn embedding_needs(embedding: &Embedding) -> Capabilities {
    with_token_prompts(Capabilities::NONE.with(Capability::Embeddings), &embedding.inputs)
}

fn with_token_prompts(needs: Capabilities, prompts: &[PromptText]) -> Capabilities {
    if prompts.iter().any(|prompt| matches!(prompt, PromptText::Tokens(_))) {
        needs.with(Capability::TokenPrompts)
    } else {
        needs
    }
}

fn sampling_needs(sampling: &Sampling, output: &OutputFormat) -> Capabilities {
    let mut needs = Capabilities::NONE;
    let extended = sampling.top_k.is_some()
        || sampling.min_p.is_some()
        || sampling.repetition_penalty.is_some()
        || sampling.ignore_eos
        || sampling.truncate_prompt;
    if extended {
        needs = needs.with(Capability::ExtendedSampling);
    }
    if sampling.logprobs.is_some() {
        needs = needs.with(Capability::Logprobs);
    }
    if sampling.n > 1 {
        needs = needs.with(Capability::ManyAnswers);
    }
    if !sampling.adapters.is_empty() {
        needs = needs.with(Capability::Adapters);
    }
    match output {
        OutputFormat::Text => needs,
        OutputFormat::JsonObject | OutputFormat::JsonSchema { .. } => needs.with(Capability::JsonSchema),
        OutputFormat::Grammar(_) | OutputFormat::Regex(_) => needs.with(Capability::Grammar),
    }
}

/// A rough lower estimate of the prompt's tokens, without a tokenizer: enough to leave out targets whose window is
/// clearly too small. Images count as nothing.
pub fn estimate_prompt_tokens(task: &Task) -> u32 {
    let tokens = match task {
        Task::Chat(chat) => chat_tokens(chat),
        Task::Completion(completion) => {
            let suffix = completion.suffix.as_deref().map_or(0, text_tokens);
            completion.prompts.iter().map(prompt_tokens).max().unwrap_or(0) + suffix
        }
        Task::Embedding(embedding) => embedding.inputs.iter().map(prompt_tokens).max().unwrap_or(0),
    };
    u32::try_from(tokens).unwrap_or(u32::MAX)
}

/// How many answers are asked for, over all prompts.
fn answers(task: &Task) -> u32 {
    let prompts = match task {
        Task::Completion(completion) => u32::try_from(completion.prompts.len()).unwrap_or(u32::MAX),
        Task::Chat(_) | Task::Embedding(_) => 1,
    };
    let each = task.sampling().map_or(1, |sampling| sampling.n.max(1));
    prompts.max(1).saturating_mul(each)
}

/// No tokenizer in use makes more tokens of a text than it has bytes (byte-level BPE and SentencePiece with byte fallback
/// alike), so the bytes, and an allowance for what a provider puts around them, are an upper bound of the prompt's tokens.
pub fn prompt_tokens_at_most(task: &Task) -> u32 {
    let prompts = |prompts: &[PromptText]| {
        let bytes = |prompt: &PromptText| match prompt {
            PromptText::Text(text) => text.len(),
            PromptText::Tokens(tokens) => tokens.len(),
        };
        prompts.iter().map(|prompt| bytes(prompt).saturating_add(MARKUP)).fold(0, usize::saturating_add)
    };
    let tokens = match task {
        Task::Chat(chat) => chat_bytes(chat),
        Task::Completion(completion) => {
            let suffix = completion.suffix.as_deref().map_or(0, str::len);
            prompts(&completion.prompts).saturating_add(suffix)
        }
        Task::Embedding(embedding) => prompts(&embedding.inputs),
    };
    u32::try_from(tokens.saturating_add(ADDED)).unwrap_or(u32::MAX)
}

/// System texts that providers add by themselves: Anthropic's for tools has up to 530 tokens.
pub(crate) const ADDED: usize = 1024;
/// Tokens of markup around one message, call, tool or prompt: templates in use need under a dozen.
const MARKUP: usize = 32;
/// The most that a picture is known to count for: 2833 + 6 × 5667 for OpenAI's mini models at high detail.
const IMAGE: usize = 40_000;

fn chat_bytes(chat: &Chat) -> usize {
    let part = |part: &Part| match part {
        Part::Text(text) => text.len(),
        Part::Image { .. } => IMAGE,
    };
    let mut bytes = 0_usize;
    for message in &chat.messages {
        let content = message.content.iter().map(part).fold(0, usize::saturating_add);
        let calls = message.tool_calls.iter().map(|call| {
            MARKUP.saturating_add(call.arguments.len()).saturating_add(call.name.len() + call.id.len())
        });
        let name = message.name.as_deref().map_or(0, str::len);
        bytes = bytes.saturating_add(content).saturating_add(calls.fold(0, usize::saturating_add));
        bytes = bytes.saturating_add(MARKUP + name);
    }
    for tool in &chat.tools {
        let parameters = tool.parameters.as_ref().map_or(0, |schema| schema.0.len());
        let description = tool.description.as_deref().map_or(0, str::len);
        bytes = bytes.saturating_add(parameters).saturating_add(description + tool.name.len() + MARKUP);
    }
    if let OutputFormat::JsonSchema { name, schema } = &chat.output {
        bytes = bytes.saturating_add(schema.0.len()).saturating_add(name.len() + MARKUP);
    }
    bytes
}

fn chat_tokens(chat: &Chat) -> usize {
    let messages: usize = chat
        .messages
        .iter()
        .map(|message| {
            let content: usize = message
                .content
                .iter()
                .map(|part| match part {
                    Part::Text(text) => text_tokens(text),
                    Part::Image { .. } => 0,
                })
                .sum();
            let calls: usize = message.tool_calls.iter().map(|call| text_tokens(&call.arguments)).sum();
            content + calls + TOKENS_PER_MESSAGE
        })
        .sum();
    let tools: usize = chat
        .tools
        .iter()
        .map(|tool| {
            tool.parameters.as_ref().map_or(0, |schema| text_tokens(&schema.0)) + text_tokens(&tool.name)
        })
        .sum();
    messages + tools
}

fn prompt_tokens(prompt: &PromptText) -> usize {
    match prompt {
        PromptText::Text(text) => text_tokens(text),
        PromptText::Tokens(tokens) => tokens.len(),
    }
}

fn text_tokens(text: &str) -> usize {
    text.len().div_ceil(BYTES_PER_TOKEN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use inshore_domain::request::{Message, Role, Tool};

    fn words(capabilities: Capabilities) -> Vec<&'static str> {
        capabilities.iter().map(Capability::as_str).collect()
    }

    fn found(text: &str) -> (Sensitivity, Vec<&'static str>) {
        let chat = Chat { messages: vec![Message::text(Role::User, text)], ..Chat::default() };
        let (level, findings) = sensitive(&Task::Chat(chat));
        (level, findings.into_iter().map(|finding| finding.kind).collect())
    }

    #[test]
    fn what_is_found_raises_the_level() {
        assert_eq!(found("Pay DE89 3704 0044 0532 0130 00."), (Sensitivity::Confidential, vec!["iban"]));
        let key = format!("use {}{}", "ghp_", "a8Kd03LmQz91XvBn27RtYpWc64HsJf5EgUo0");
        assert_eq!(found(&key), (Sensitivity::Confidential, vec!["api-key"]));
        assert_eq!(found("TLP:RED"), (Sensitivity::Restricted, vec!["marked-restricted"]));
        assert_eq!(found("Write to anna@example.org"), (Sensitivity::Internal, vec!["email"]));
        assert_eq!(found("Nothing of the kind."), (Sensitivity::Internal, vec![]));
    }

    #[test]
    fn every_text_of_a_task_is_looked_at() {
        let iban = "DE89 3704 0044 0532 0130 00";
        let mut message = Message::text(Role::Assistant, "");
        message.tool_calls.push(inshore_domain::request::ToolCall {
            id: "1".into(),
            name: "f".into(),
            arguments: format!("{{\"to\":\"{iban}\"}}"),
        });
        let in_arguments = Task::Chat(Chat { messages: vec![message], ..Chat::default() });
        let description = Some(iban.into());
        let tool = Tool { name: "f".into(), description, parameters: None, strict: false };
        let in_a_tool = Task::Chat(Chat { tools: vec![tool], ..Chat::default() });
        let prompts = vec![PromptText::Text(iban.into())];
        let in_a_prompt = Task::Completion(Completion { prompts, ..Completion::default() });
        let in_a_suffix = Task::Completion(Completion { suffix: Some(iban.into()), ..Completion::default() });
        let inputs = vec![PromptText::Text(iban.into())];
        let in_an_input = Task::Embedding(Embedding { inputs, ..Embedding::default() });
        for task in [in_arguments, in_a_tool, in_a_prompt, in_a_suffix, in_an_input] {
            assert_eq!(sensitive(&task).0, Sensitivity::Confidential, "{task:?}");
        }
    }

    #[test]
    fn many_findings_are_counted_and_not_kept() {
        let text = (0..500).map(|n| format!("u{n}@example.org ")).collect::<String>()
            + "DE89 3704 0044 0532 0130 00";
        let (level, kinds) = found(&text);
        assert_eq!(
            (level, kinds.len(), kinds.last()),
            (Sensitivity::Confidential, MAX_FINDINGS + 1, Some(&"iban"))
        );
    }

    #[test]
    fn a_plain_chat_needs_only_chat() {
        let chat = Chat { messages: vec![Message::text(Role::User, "hello")], ..Chat::default() };
        assert_eq!(words(needs(&Task::Chat(chat))), ["chat"]);
    }

    #[test]
    fn each_wish_becomes_a_need() {
        let tool = Tool { name: "f".into(), description: None, parameters: None, strict: false };
        let image = Part::Image { url: "https://example.test/cat.png".into() };
        let mut message = Message::text(Role::User, "look");
        message.content.push(image);
        let chat = Chat {
            messages: vec![message],
            tools: vec![tool.clone()],
            output: OutputFormat::JsonObject,
            sampling: Sampling { logprobs: Some(0), n: 2, min_p: Some(0.1), ..Sampling::default() },
            ..Chat::default()
        };
        let expected =
            ["chat", "tools", "json-schema", "vision", "logprobs", "extended-sampling", "many-answers"];
        assert_eq!(words(needs(&Task::Chat(chat))), expected);

        let unused = Chat { tools: vec![tool], tool_choice: ToolChoice::None, ..Chat::default() };
        assert_eq!(words(needs(&Task::Chat(unused))), ["chat"]);

        let infill = Completion {
            prompts: vec![PromptText::Tokens(vec![1, 2])],
            suffix: Some("end".into()),
            output: OutputFormat::Grammar("root ::= \"a\"".into()),
            ..Completion::default()
        };
        let expected = ["completion", "infill", "grammar", "token-prompts"];
        assert_eq!(words(needs(&Task::Completion(infill))), expected);
    }

    #[test]
    fn the_bound_counts_everything_that_is_sent() {
        let completion = Completion {
            prompts: vec![PromptText::Text("a".repeat(50)), PromptText::Tokens(vec![0; 30])],
            suffix: Some("b".repeat(10)),
            sampling: Sampling { n: 3, ..Sampling::default() },
            ..Completion::default()
        };
        let task = Task::Completion(completion);
        assert_eq!(prompt_tokens_at_most(&task), 1024 + 50 + 30 + 10 + 2 * 32);
        assert_eq!(answers(&task), 6);

        let tool = Tool {
            name: "f".into(),
            description: Some("does it".into()),
            parameters: Some(inshore_domain::request::Json("{}".into())),
            strict: false,
        };
        let mut message = Message::text(Role::User, "é");
        message.content.push(Part::Image { url: "data:image/png;base64,".to_owned() + &"A".repeat(1 << 20) });
        let chat = Chat { messages: vec![message], tools: vec![tool], ..Chat::default() };
        assert_eq!(prompt_tokens_at_most(&Task::Chat(chat)), 1024 + 2 + 40_000 + 32 + 2 + 7 + 1 + 32);
    }

    #[test]
    fn the_estimate_counts_the_longest_prompt() {
        let completion = Completion {
            prompts: vec![PromptText::Text("a".repeat(50)), PromptText::Tokens(vec![0; 30])],
            suffix: Some("b".repeat(10)),
            ..Completion::default()
        };
        assert_eq!(estimate_prompt_tokens(&Task::Completion(completion)), 32);
    }
}
