//! From a domain request to the work frames of a child.

use inshore_domain::request::{
    Chat, Completion, OutputFormat, Part, PromptText, Sampling as Asked, ToolChoice,
};
use inshore_domain::{BackendError, BackendErrorKind, Request, Task};

use super::Inner;
use super::prefixes::PrefixStore;
use super::slot::{Known, Slot};
use crate::frames::conversation::Rendered;
use crate::frames::{self, Constraint, Generate, Piece, Prompt, SavePrefix};
use crate::tools::{self, Format, Parser, Wanted};

/// Answers to one request, over all prompts: more than the child has sequences for would only wait in line.
const MAX_ANSWERS: u32 = 128;
/// llama.cpp's own default; a longer window costs time for each token.
const REPETITION_WINDOW: u32 = 64;

/// One prompt's work, and how its answers are read.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) generate: Generate,
    pub(super) reading: Reading,
}

/// How answers are read.
#[derive(Debug, Clone, Default)]
pub(super) struct Reading {
    /// Where calls are to be found.
    pub(super) format: Option<(Format, Vec<String>)>,
    /// The model thinks aloud.
    pub(super) thinks: bool,
    /// The prompt ended in a thought.
    pub(super) thinking: bool,
    /// Only the first call counts.
    pub(super) one_call: bool,
    /// Given back in front of each answer.
    pub(super) echo: Option<String>,
}

impl Reading {
    /// A parser for one answer.
    pub(super) fn parser(&self) -> Parser {
        Parser::new(self.format.clone(), self.thinks, self.thinking)
    }
}

fn invalid(field: &str, message: impl Into<String>) -> BackendError {
    BackendError::new(BackendErrorKind::InvalidRequest { field: Some(field.to_owned()) }, message)
}

fn unsupported(message: impl Into<String>) -> BackendError {
    BackendError::new(BackendErrorKind::Unsupported, message)
}

/// A stable number for an app. FNV-1a, 64 bits: the same after a restart, so that saved prefixes find their owner.
pub(super) fn scope(app: &str) -> u64 {
    app.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The work for a request; the seed is used where the request names none.
pub(super) async fn jobs(
    inner: &Inner,
    slot: &Slot,
    request: &Request,
    seed: u64,
    store: Option<&PrefixStore>,
) -> Result<Vec<Job>, BackendError> {
    let known = &slot.known;
    if known.embeddings {
        return Err(unsupported(format!("`{}` makes embeddings and no text", known.model.id)));
    }
    let scope = scope(&request.principal.app);
    match &request.task {
        Task::Chat(chat) => {
            let rendered = write(inner, slot, chat).await?;
            chat_job(known, chat, rendered, (seed, scope), store).map(|job| vec![job])
        }
        Task::Completion(completion) => completion_jobs(known, completion, seed, scope, store),
        Task::Embedding(_) => Err(unsupported("embeddings are not made by generating")),
    }
}

fn chat_job(
    known: &Known,
    chat: &Chat,
    Rendered { pieces, pinned, thinking, .. }: Rendered,
    (seed, scope): (u64, u64),
    store: Option<&PrefixStore>,
) -> Result<Job, BackendError> {
    let calls = !chat.tools.is_empty() && chat.tool_choice != ToolChoice::None;
    let format = calls.then(|| (known.format, chat.tools.iter().map(|tool| tool.name.clone()).collect()));
    let mut reading = Reading {
        format,
        thinks: known.template.thinks(),
        thinking,
        one_call: chat.parallel_tool_calls == Some(false),
        echo: None,
    };
    let constraint = chat_constraint(known, chat, &mut reading)?;
    let mut generate = generate(known, &chat.sampling, seed, scope)?;
    generate.constraint = constraint;
    generate.show_special = calls && known.format.shows_special(&known.about);
    generate.save = pinned.and_then(|pinned| save(known, &pieces, Some(pinned), scope, store, &generate));
    generate.prompt = Prompt::Pieces(pieces);
    Ok(Job { generate, reading })
}

/// Has the conversation written, after the refusals for which nothing needs to be tried.
pub(super) async fn write(inner: &Inner, slot: &Slot, chat: &Chat) -> Result<Rendered, BackendError> {
    let known = &slot.known;
    if chat.messages.is_empty() {
        return Err(invalid("messages", "there are no messages"));
    }
    let has_image = chat
        .messages
        .iter()
        .flat_map(|message| &message.content)
        .any(|part| matches!(part, Part::Image { .. }));
    if has_image {
        return Err(unsupported(format!("`{}` cannot look at images", known.model.id)));
    }
    if !chat.tools.is_empty() && !known.template.takes_tools() {
        return Err(unsupported(format!("the chat template of `{}` has no place for tools", known.model.id)));
    }
    if let ToolChoice::Function(name) = &chat.tool_choice
        && !chat.tools.iter().any(|tool| tool.name == *name)
    {
        return Err(invalid("tool_choice", format!("there is no tool `{name}`")));
    }
    if chat.tool_choice == ToolChoice::Required && chat.tools.is_empty() {
        return Err(invalid("tool_choice", "a tool must be called, and there are no tools"));
    }
    slot.writer.write(inner, known, chat).await
}

fn chat_constraint(
    known: &Known,
    chat: &Chat,
    reading: &mut Reading,
) -> Result<Option<Constraint>, BackendError> {
    let demanded = matches!(chat.tool_choice, ToolChoice::Required | ToolChoice::Function(_));
    if demanded && chat.output != OutputFormat::Text {
        return Err(invalid(
            "response_format",
            "an answer cannot be both a demanded tool call and of another form",
        ));
    }
    let tokens = &known.about.special_tokens;
    let wanted = Wanted {
        format: known.format,
        tools: &chat.tools,
        choice: &chat.tool_choice,
        parallel: chat.parallel_tool_calls != Some(false),
        tokens,
        thinking: reading.thinking,
        thinks: reading.thinks,
    };
    if let Some(constraint) = tools::constraint(wanted)
        .map_err(|message| invalid("tools", message))?
        .filter(|_| chat.output == OutputFormat::Text)
    {
        return Ok(Some(constraint));
    }
    let constraint = output_constraint(&chat.output);
    if constraint.is_none() {
        return Ok(None);
    }
    match (&constraint, reading.thinking) {
        // The thought that the prompt began comes first.
        (Some(Constraint::JsonSchema(schema)), true) => Ok(Some(tools::after_thought(schema, tokens))),
        // A grammar rules the whole answer: there are no thoughts in it.
        _ => {
            (reading.thinks, reading.thinking) = (false, false);
            Ok(constraint)
        }
    }
}

fn output_constraint(output: &OutputFormat) -> Option<Constraint> {
    match output {
        OutputFormat::Text => None,
        OutputFormat::JsonObject => Some(Constraint::JsonSchema("{\"type\":\"object\"}".to_owned())),
        OutputFormat::JsonSchema { schema, .. } => Some(Constraint::JsonSchema(schema.0.clone())),
        OutputFormat::Grammar(grammar) => Some(Constraint::Gbnf(grammar.clone())),
        OutputFormat::Regex(regex) => Some(Constraint::Regex(regex.clone())),
    }
}

fn completion_jobs(
    known: &Known,
    completion: &Completion,
    seed: u64,
    scope: u64,
    store: Option<&PrefixStore>,
) -> Result<Vec<Job>, BackendError> {
    if completion.prompts.is_empty() {
        return Err(invalid("prompt", "there is no prompt"));
    }
    if completion.echo && completion.sampling.logprobs.is_some() {
        return Err(unsupported(
            "`echo` together with `logprobs` is not supported: prompts have no log-probabilities here",
        ));
    }
    let answers = completion.sampling.n.max(1);
    let prompts = u32::try_from(completion.prompts.len()).unwrap_or(u32::MAX);
    if answers.saturating_mul(prompts) > MAX_ANSWERS {
        return Err(invalid(
            "n",
            format!("{} answers are asked for, the limit is {MAX_ANSWERS}", answers.saturating_mul(prompts)),
        ));
    }
    let mut jobs = Vec::new();
    for (nth, prompt) in (0u64..).zip(&completion.prompts) {
        let mut generate = generate(known, &completion.sampling, seed, scope)?;
        generate.sampling.seed = generate.sampling.seed.wrapping_add(nth.saturating_mul(answers.into()));
        generate.constraint = output_constraint(&completion.output);
        generate.prompt = completion_prompt(known, prompt, completion.suffix.as_deref())?;
        if completion.pin {
            generate.save = save_prompt(known, &generate.prompt, scope, store, &generate);
        }
        let echo = match prompt {
            _ if !completion.echo => None,
            PromptText::Text(text) => Some(text.clone()),
            PromptText::Tokens(_) => {
                return Err(unsupported("`echo` of a prompt of token ids is not supported"));
            }
        };
        jobs.push(Job { generate, reading: Reading { echo, ..Reading::default() } });
    }
    Ok(jobs)
}

pub(super) fn completion_prompt(
    known: &Known,
    prompt: &PromptText,
    suffix: Option<&str>,
) -> Result<Prompt, BackendError> {
    match (prompt, suffix) {
        (PromptText::Text(text), None) => Ok(Prompt::Text(text.clone())),
        (PromptText::Tokens(tokens), None) => known_tokens(known, tokens),
        (PromptText::Text(text), Some(suffix)) if known.about.infill => {
            Ok(Prompt::Infill { prefix: text.clone(), suffix: suffix.to_owned() })
        }
        (PromptText::Text(_), Some(_)) => {
            Err(unsupported(format!("`{}` cannot fill a gap: it knows no `suffix`", known.model.id)))
        }
        (PromptText::Tokens(_), Some(_)) => {
            Err(unsupported("`suffix` with a prompt of token ids is not supported"))
        }
    }
}

/// Token ids as a prompt, checked against the vocabulary.
pub(super) fn known_tokens(known: &Known, tokens: &[u32]) -> Result<Prompt, BackendError> {
    let vocabulary = known.about.vocabulary.unwrap_or(u32::MAX);
    match tokens.iter().find(|token| **token >= vocabulary) {
        Some(token) => {
            Err(invalid("prompt", format!("token {token} is not in the vocabulary of {vocabulary}")))
        }
        None => Ok(Prompt::Tokens(tokens.to_vec())),
    }
}

/// Everything but prompt and form.
fn generate(known: &Known, asked: &Asked, seed: u64, scope: u64) -> Result<Generate, BackendError> {
    let answers = asked.n.max(1);
    if answers > MAX_ANSWERS {
        return Err(invalid("n", format!("{answers} answers are asked for, the limit is {MAX_ANSWERS}")));
    }
    if let Some((index, _)) = asked.stop.iter().enumerate().find(|(_, stop)| stop.is_empty()) {
        return Err(invalid("stop", format!("stop text {index} is empty")));
    }
    Ok(Generate {
        id: 0,
        prompt: Prompt::Text(String::new()),
        scope,
        sampling: sampling(known, asked, seed)?,
        constraint: None,
        max_tokens: asked.max_tokens,
        stop: asked.stop.clone(),
        logprobs: asked.logprobs,
        answers,
        adapters: adapters(known, &asked.adapters)?,
        truncate_prompt: asked.truncate_prompt,
        ignore_eos: asked.ignore_eos,
        show_special: false,
        save: None,
    })
}

fn adapters(known: &Known, asked: &[(String, f32)]) -> Result<Vec<(u32, f32)>, BackendError> {
    let place = |name: &str| {
        known
            .model
            .adapters
            .iter()
            .position(|(known, _)| known == name)
            .and_then(|place| u32::try_from(place).ok())
    };
    let find = |(name, scale): &(String, f32)| {
        let place = place(name)
            .ok_or_else(|| invalid("adapters", format!("`{}` has no adapter `{name}`", known.model.id)))?;
        if scale.is_finite() {
            Ok((place, *scale))
        } else {
            Err(invalid("adapters", "a scale is not a number"))
        }
    };
    asked.iter().map(find).collect()
}

/// What the request says, else what the model's makers recommend, else values that suit most models: llama.cpp's, a little
/// cooler because answers at work should not surprise.
fn sampling(known: &Known, asked: &Asked, seed: u64) -> Result<frames::Sampling, BackendError> {
    let recommended = known.about.sampling;
    let sampling = frames::Sampling {
        temperature: asked.temperature.or(recommended.temperature).unwrap_or(0.7),
        top_k: asked.top_k.or(recommended.top_k).unwrap_or(40),
        top_p: asked.top_p.or(recommended.top_p).unwrap_or(0.95),
        min_p: asked.min_p.or(recommended.min_p).unwrap_or(0.05),
        repetition_penalty: asked.repetition_penalty.or(recommended.repetition_penalty).unwrap_or(1.0),
        presence_penalty: asked.presence_penalty.unwrap_or(0.0),
        frequency_penalty: asked.frequency_penalty.unwrap_or(0.0),
        repetition_window: recommended.repetition_window.unwrap_or(REPETITION_WINDOW).min(4096),
        seed: asked.seed.unwrap_or(seed),
        logit_bias: asked.logit_bias.clone(),
    };
    let within = |field: &str, value: f32, from: f32, to: f32| match value.is_finite()
        && (from..=to).contains(&value)
    {
        true => Ok(()),
        false => Err(invalid(field, format!("`{field}` is {value}, expected {from} to {to}"))),
    };
    within("temperature", sampling.temperature, 0.0, 100.0)?;
    within("top_p", sampling.top_p, 0.0, 1.0)?;
    within("min_p", sampling.min_p, 0.0, 1.0)?;
    within("repetition_penalty", sampling.repetition_penalty, f32::MIN_POSITIVE, 100.0)?;
    within("presence_penalty", sampling.presence_penalty, -100.0, 100.0)?;
    within("frequency_penalty", sampling.frequency_penalty, -100.0, 100.0)?;
    let vocabulary = known.about.vocabulary.unwrap_or(u32::MAX);
    match sampling.logit_bias.iter().find(|(token, bias)| *token >= vocabulary || bias.is_nan()) {
        Some((token, _)) => Err(invalid(
            "logit_bias",
            format!("token {token} is not in the vocabulary of {vocabulary}, or its bias is not a number"),
        )),
        None => Ok(sampling),
    }
}

/// Whether and as what the pinned pieces are saved. State under adapters is not: it is only good with the same adapters.
fn save(
    known: &Known,
    pieces: &[Piece],
    count: Option<u32>,
    scope: u64,
    store: Option<&PrefixStore>,
    generate: &Generate,
) -> Option<SavePrefix> {
    let store = store.filter(|_| generate.adapters.is_empty() && !generate.truncate_prompt)?;
    let pinned = usize::try_from(count.unwrap_or(u32::MAX)).unwrap_or(usize::MAX);
    let mut bytes = Vec::new();
    for piece in pieces.iter().take(pinned) {
        let (kind, text) = match piece {
            Piece::Markup(text) => (b'm', text),
            Piece::Text(text) => (b't', text),
        };
        bytes.push(kind);
        bytes.extend((text.len() as u64).to_le_bytes());
        bytes.extend(text.as_bytes());
    }
    let key = known.identity.key(scope, &bytes);
    store.wants(&key, scope).then_some(SavePrefix { key, pieces: count })
}

fn save_prompt(
    known: &Known,
    prompt: &Prompt,
    scope: u64,
    store: Option<&PrefixStore>,
    generate: &Generate,
) -> Option<SavePrefix> {
    let as_text = match prompt {
        Prompt::Text(text) => text.clone(),
        other => format!("{other:?}"),
    };
    save(known, &[Piece::Text(as_text)], None, scope, store, generate)
}
