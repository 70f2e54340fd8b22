//! From a child's frames to the events of an answer.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::StreamExt;
use inshore_domain::{
    BackendError, BackendErrorKind, Clock, Delta, Event, EventStream, FinishReason, TokenLogprob, Usage,
};

use super::prefixes::PrefixStore;
use super::request::{Job, Reading};
use super::slot::Lease;
use crate::frames::{Finish, FromChild, ToChild, Token, WorkError};
use crate::host::{Reply, Work};
use crate::tools::{Parser, Part};

/// The error for work whose child went away, or that was not read.
pub(super) fn lost(model: &str, reply: &Reply) -> BackendError {
    match reply {
        Reply::Gone(death) if death.expected => {
            BackendError::new(BackendErrorKind::ShuttingDown, format!("`{model}` was unloaded"))
        }
        Reply::Gone(death) => {
            BackendError::new(BackendErrorKind::Failed, format!("the engine for `{model}` crashed: {death}"))
                .with_hint("ask again: a new engine is started")
        }
        Reply::Overflow => BackendError::new(
            BackendErrorKind::Overloaded,
            "the answer was not read in time and was given up",
        ),
        Reply::Frame(_) => {
            BackendError::new(BackendErrorKind::Protocol, "the engine answered something else")
        }
    }
}

/// The error for work that failed.
pub(super) fn failed(model: &str, error: WorkError) -> BackendError {
    let make = BackendError::new;
    match error {
        WorkError::PromptTooLong { prompt, context } => make(
            BackendErrorKind::ContextExceeded { prompt, window: context },
            format!("the prompt has {prompt} tokens and the context window of `{model}` holds {context}"),
        )
        .with_hint("shorten the prompt, or ask for truncation with `truncate_prompt`"),
        WorkError::BadParameter { field, message } => {
            let shown = format!("`{}`: {}", short(&field), short(&message));
            make(BackendErrorKind::InvalidRequest { field: Some(short(&field)) }, shown)
        }
        WorkError::BadConstraint { message } => make(
            BackendErrorKind::InvalidRequest { field: Some("response_format".into()) },
            format!("the form demanded of the answer cannot be kept: {}", short(&message)),
        ),
        WorkError::Unsupported { message } => make(BackendErrorKind::Unsupported, short(&message)),
        WorkError::Cancelled => make(BackendErrorKind::Failed, "the engine stopped the work".to_owned()),
        WorkError::Internal { message } => {
            make(BackendErrorKind::Failed, format!("the engine for `{model}` failed: {}", short(&message)))
        }
    }
}

/// A child's text for people.
pub(super) fn short(text: &str) -> String {
    text.chars().take(500).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// One prompt under way.
struct Prompt {
    work: Work,
    reading: Reading,
    /// The number of its first answer among all.
    first: u32,
    answers: Vec<One>,
    usage: Usage,
    open: u32,
    /// The child has read it.
    started: bool,
    saving: Option<String>,
}

/// One answer under way.
struct One {
    parser: Parser,
    calls: u32,
    logprobs: Vec<TokenLogprob>,
    finished: bool,
}

/// All prompts of a request, as one stream of events.
struct Answer {
    model: String,
    clock: Arc<dyn Clock>,
    prompts: Vec<Prompt>,
    ready: VecDeque<Event>,
    over: bool,
    store: Option<Arc<PrefixStore>>,
    /// Keeps the model in memory.
    _lease: Lease,
}

/// Starts the jobs and waits until the child has read the first prompt, so that what is wrong with it is an error here.
pub(super) async fn start(
    model: String,
    lease: Lease,
    jobs: Vec<Job>,
    clock: Arc<dyn Clock>,
    store: Option<Arc<PrefixStore>>,
) -> Result<EventStream, BackendError> {
    let mut first = 0;
    let mut prompts = Vec::new();
    for Job { mut generate, reading } in jobs {
        let count = generate.answers;
        let saving = generate.save.as_ref().map(|save| save.key.clone());
        let work = lease.host.submit(|id| {
            generate.id = id;
            ToChild::Generate(Box::new(generate))
        });
        let one = |_| One { parser: reading.parser(), calls: 0, logprobs: Vec::new(), finished: false };
        let answers = (0..count).map(one).collect();
        let usage = Usage::default();
        prompts.push(Prompt { work, reading, first, answers, usage, open: count, started: false, saving });
        first += count;
    }
    let started = Event::Started { model: model.clone() };
    let mut answer =
        Answer { model, clock, prompts, ready: VecDeque::from([started]), over: false, store, _lease: lease };
    // `Started` is in line already; wait for what the child says first.
    answer.step().await?;
    let events = futures_util::stream::unfold(answer, |mut answer| async move {
        let event = answer.next().await?;
        Some((event, answer))
    });
    Ok(events.boxed())
}

impl Answer {
    async fn next(&mut self) -> Option<Result<Event, BackendError>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(Ok(event));
            }
            if self.over {
                return None;
            }
            if let Err(error) = self.step().await {
                self.over = true;
                return Some(Err(error));
            }
        }
    }

    /// Takes one reply, of whichever prompt has one.
    async fn step(&mut self) -> Result<(), BackendError> {
        if self.prompts.iter().all(|prompt| prompt.open == 0) {
            self.end();
            return Ok(());
        }
        let waiting = self.prompts.iter_mut().enumerate().filter(|(_, prompt)| prompt.open > 0);
        let waiting: Vec<_> =
            waiting.map(|(nth, prompt)| Box::pin(async move { (nth, prompt.work.next().await) })).collect();
        let ((nth, reply), ..) = futures_util::future::select_all(waiting).await;
        let frame = match reply {
            Reply::Frame(frame) => frame,
            reply => return Err(self.fail(nth, lost(&self.model, &reply))),
        };
        if let FromChild::Failed { error, .. } = frame {
            if let Some(prompt) = self.prompts.get_mut(nth) {
                prompt.work.finish();
            }
            return Err(self.fail(nth, failed(&self.model, error)));
        }
        let Some(prompt) = self.prompts.get_mut(nth) else { return Ok(()) };
        let started = matches!(frame, FromChild::Started { .. });
        prompt.take(frame, &mut self.ready, self.clock.as_ref())?;
        // Known before the first text, and wanted there by clients that show it at the start.
        if started && self.prompts.iter().all(|prompt| prompt.usage.prompt_tokens > 0) {
            let usage = self.usage();
            self.ready.push_back(Event::Usage(usage));
        }
        if self.prompts.iter().all(|prompt| prompt.open == 0) {
            self.end();
        }
        Ok(())
    }

    fn fail(&self, nth: usize, error: BackendError) -> BackendError {
        if let (Some(store), Some(key)) =
            (&self.store, self.prompts.get(nth).and_then(|prompt| prompt.saving.as_ref()))
        {
            store.forget(key);
        }
        error
    }

    fn end(&mut self) {
        if self.over {
            return;
        }
        self.over = true;
        let usage = self.usage();
        self.ready.push_back(Event::Usage(usage));
    }

    /// The counts of all prompts together.
    fn usage(&self) -> Usage {
        let mut usage = Usage::default();
        for prompt in &self.prompts {
            usage.prompt_tokens = usage.prompt_tokens.saturating_add(prompt.usage.prompt_tokens);
            usage.cached_tokens = usage.cached_tokens.saturating_add(prompt.usage.cached_tokens);
            usage.output_tokens = usage.output_tokens.saturating_add(prompt.usage.output_tokens);
            usage.reasoning_tokens = usage.reasoning_tokens.saturating_add(prompt.usage.reasoning_tokens);
        }
        usage
    }
}

impl Prompt {
    fn take(
        &mut self,
        frame: FromChild,
        out: &mut VecDeque<Event>,
        clock: &dyn Clock,
    ) -> Result<(), BackendError> {
        match frame {
            // Once: an echo is given back for each.
            FromChild::Started { prompt_tokens, cached_tokens, .. } if !self.started => {
                self.started = true;
                self.usage.prompt_tokens = prompt_tokens;
                // What a child says is not believed beyond reason.
                self.usage.cached_tokens = cached_tokens.min(prompt_tokens);
                if let Some(echo) = &self.reading.echo {
                    let indices = self.first..self.first.saturating_add(self.open);
                    out.extend(
                        indices.map(|index| {
                            delta(index, Delta::Text { text: echo.clone(), logprobs: Vec::new() })
                        }),
                    );
                }
            }
            FromChild::Text { answer, text, tokens, .. } => self.text(answer, &text, tokens, out, clock)?,
            FromChild::Finished { answer, reason, output_tokens, .. } => {
                self.finish(answer, reason, output_tokens, out, clock)?
            }
            _ => {
                return Err(BackendError::new(
                    BackendErrorKind::Protocol,
                    "the engine answered something else",
                ));
            }
        }
        Ok(())
    }

    fn one(&mut self, answer: u32) -> Result<&mut One, BackendError> {
        let one = usize::try_from(answer)
            .ok()
            .and_then(|answer| self.answers.get_mut(answer))
            .filter(|one| !one.finished);
        one.ok_or_else(|| {
            BackendError::new(
                BackendErrorKind::Protocol,
                "the engine answered for an answer that is not open",
            )
        })
    }

    fn text(
        &mut self,
        answer: u32,
        text: &str,
        tokens: Vec<Token>,
        out: &mut VecDeque<Event>,
        clock: &dyn Clock,
    ) -> Result<(), BackendError> {
        let (index, one_call) = (self.first.saturating_add(answer), self.reading.one_call);
        let one = self.one(answer)?;
        let thinking = one.parser.is_thinking();
        one.logprobs.extend(tokens.into_iter().map(logprob));
        let parts = one.parser.feed(text);
        one.emit(index, parts, one_call, out, clock);
        self.usage.reasoning_tokens += u32::from(thinking);
        Ok(())
    }

    fn finish(
        &mut self,
        answer: u32,
        reason: Finish,
        tokens: u32,
        out: &mut VecDeque<Event>,
        clock: &dyn Clock,
    ) -> Result<(), BackendError> {
        let (index, one_call) = (self.first.saturating_add(answer), self.reading.one_call);
        let one = self.one(answer)?;
        let parts = one.parser.finish();
        one.emit(index, parts, one_call, out, clock);
        one.finished = true;
        // Log-probabilities of tokens without text, such as the last.
        if !one.logprobs.is_empty() && one.calls == 0 {
            let logprobs = std::mem::take(&mut one.logprobs);
            out.push_back(delta(index, Delta::Text { text: String::new(), logprobs }));
        }
        let reason = match reason {
            Finish::Stop if one.parser.calls() > 0 => FinishReason::ToolCalls,
            Finish::Stop => FinishReason::Stop,
            Finish::StopText(which) => FinishReason::StopText(which),
            Finish::MaxTokens | Finish::ContextFull => FinishReason::Length,
            Finish::Cancelled => {
                return Err(BackendError::new(BackendErrorKind::Failed, "the engine stopped the work"));
            }
        };
        out.push_back(Event::Finished { index, reason });
        self.usage.output_tokens = self.usage.output_tokens.saturating_add(tokens);
        self.usage.reasoning_tokens = self.usage.reasoning_tokens.min(self.usage.output_tokens);
        self.open = self.open.saturating_sub(1);
        if self.open == 0 {
            self.work.finish();
        }
        Ok(())
    }
}

impl One {
    fn emit(
        &mut self,
        index: u32,
        parts: Vec<Part>,
        one_call: bool,
        out: &mut VecDeque<Event>,
        clock: &dyn Clock,
    ) {
        for part in parts {
            match part {
                Part::Text(text) => {
                    let logprobs = std::mem::take(&mut self.logprobs);
                    out.push_back(delta(index, Delta::Text { text, logprobs }));
                }
                Part::Reasoning(text) => {
                    self.logprobs.clear();
                    out.push_back(delta(index, Delta::Reasoning(text)));
                }
                Part::Call { .. } if one_call && self.calls > 0 => {}
                Part::Call { name, arguments } => {
                    self.logprobs.clear();
                    let call = self.calls;
                    self.calls += 1;
                    out.push_back(delta(index, Delta::ToolCall { call, id: call_id(clock.random()), name }));
                    out.push_back(delta(index, Delta::ToolArguments { call, fragment: arguments }));
                }
            }
        }
    }
}

/// `call_` and 24 letters and digits, as OpenAI's look.
fn call_id(random: u128) -> String {
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let letters =
        (0..24).map(|nth| LETTERS.get((random >> (nth * 5) & 31) as usize).copied().unwrap_or(b'a') as char);
    format!("call_{}", letters.collect::<String>())
}

fn delta(index: u32, delta: Delta) -> Event {
    Event::Delta { index, delta }
}

fn logprob(token: Token) -> TokenLogprob {
    let top = token.top.into_iter().map(|(_, bytes, logprob)| (bytes, logprob)).collect();
    TokenLogprob { bytes: token.bytes, id: Some(token.id), logprob: token.logprob, top }
}
