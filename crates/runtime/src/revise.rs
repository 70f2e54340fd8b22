//! Writes the log of an answer that may be revised.
//!
//! While there is a draft, its text grows. The better answer is held back until it is as long as what is shown or has ended: so what
//! the reader sees never shrinks under its eyes and changes once. From then on the better answer grows. The draft goes on unseen, and
//! takes its place again if the better answer breaks off.

use std::sync::Arc;

use inshore_domain::revision::Part;
use inshore_domain::{BlockKind, Delta, Event, FinishReason, Revision};

use crate::draft::{self, Pair};
use crate::error::{RunError, RunErrorKind};
use crate::execute::{self, Begun};
use crate::half::{Gathered, Half, Happened};
use crate::log::Log;
use crate::patch::{self, changes};
use crate::settle::{Running, outcome};

/// What the log is written of.
#[expect(clippy::large_enum_variant, reason = "one for each request, moved once")]
pub(crate) enum Source {
    /// A draft, and a better answer that takes its place.
    Pair(Pair),
    /// One answer.
    One(Half),
}

impl Source {
    pub(crate) fn one(begun: Begun) -> (Running, Self) {
        (begun.running, Self::One(Half::of(begun.leg)))
    }
}

/// Writes the log to its end; then the receipt is written too. An answer that nobody reads any more is cancelled.
pub(crate) async fn write(running: Running, source: Source, log: Arc<Log>) {
    let account = running.account.clone();
    let mut writer = Writer { running, log: log.clone(), shown: Shown::default() };
    let written = tokio::select! {
        written = writer.write(source) => Some(written),
        () = log.abandoned() => None,
    };
    let error = match written {
        None => {
            drop(writer);
            Some(RunError::new(RunErrorKind::Abandoned, "nobody read the answer any more"))
        }
        Some(Err(error)) => Some(execute::fail(writer.running, error).await),
        Some(Ok(())) => writer.running.settle(outcome(None)).await.err(),
    };
    log.end(error.map(|error| error.with_receipt(account.id)), account.now());
}

/// What a reader sees at this point.
#[derive(Debug, Default)]
struct Shown {
    /// The text block, and what it holds.
    text: Option<(u32, String)>,
    reasoning: Option<u32>,
    /// The block of the tool call that is open, with its place among the calls.
    call: Option<(u32, u32)>,
    blocks: u32,
}

struct Writer {
    running: Running,
    log: Arc<Log>,
    shown: Shown,
}

impl Writer {
    async fn write(&mut self, source: Source) -> Result<(), RunError> {
        match source {
            Source::One(half) => self.write_one(half).await,
            Source::Pair(pair) => self.write_pair(pair).await,
        }
    }

    async fn write_one(&mut self, mut half: Half) -> Result<(), RunError> {
        self.begun(&half, Part::Final)?;
        loop {
            match half.next().await {
                Happened::Accepted => {}
                Happened::Came => self.pass_last(&half.gathered)?,
                Happened::Complete => return self.finalise(&half, None),
                Happened::Failed => return Err(failure(&half)),
            }
        }
    }

    async fn write_pair(&mut self, mut pair: Pair) -> Result<(), RunError> {
        let account = self.running.account.clone();
        let patience = draft::patience(&account);
        tokio::pin!(patience);
        let mut patient = true;
        if pair.draft.leg().is_some() {
            self.begun(&pair.draft, Part::Draft)?;
        }
        loop {
            tokio::select! {
                biased;
                happened = pair.better.next() => match happened {
                    Happened::Came if self.overtaken(&pair.better.gathered) => return self.take_over(pair).await,
                    Happened::Complete => return self.take_over(pair).await,
                    Happened::Accepted | Happened::Came | Happened::Failed => {}
                },
                happened = pair.draft.next() => match happened {
                    Happened::Accepted => self.begun(&pair.draft, Part::Draft)?,
                    Happened::Came => self.show_last(&pair.draft.gathered)?,
                    Happened::Complete | Happened::Failed => {}
                },
                () = &mut patience, if patient => patient = false,
            }
            if let Some(error) = pair.failure() {
                return Err(error);
            }
            pair.weigh(&account);
            // With no draft to fall back on, the other answer is waited for as any answer is.
            if !patient && pair.draft.leg().is_some() && pair.better.failure().is_none() {
                pair.better.give_up(draft::too_late(account.facts.hybrid.patience));
            }
            if pair.draft.complete() && pair.better.failure().is_some() {
                return self.keep_draft(&mut pair);
            }
        }
    }

    /// Whether the better answer has so much that it can be shown in place of the draft.
    fn overtaken(&self, better: &Gathered) -> bool {
        let shown = self.shown.text.as_ref().map_or(0, |(_, text)| text.len());
        better.calls || (better.begun && !better.text.is_empty() && better.text.len() >= shown)
    }

    /// The better answer is shown from here on. If it breaks off, the draft takes its place again.
    async fn take_over(&mut self, mut pair: Pair) -> Result<(), RunError> {
        self.begun(&pair.better, Part::Final)?;
        self.replace_text(&pair.better.gathered.text)?;
        for event in &pair.better.gathered.events {
            if !matches!(event, Event::Delta { delta: Delta::Text { .. }, .. }) {
                self.pass(event)?;
            }
        }
        while !pair.better.complete() {
            let happened = tokio::select! {
                biased;
                happened = pair.better.next() => happened,
                _ = pair.draft.next() => continue,
            };
            match happened {
                Happened::Came => self.pass_last(&pair.better.gathered)?,
                Happened::Failed => return self.fall_back(pair).await,
                Happened::Accepted | Happened::Complete => {}
            }
        }
        draft::replace_draft(&self.running, &pair);
        self.running.lesson = pair.lesson(false);
        self.finalise(&pair.better, None)
    }

    /// The better answer broke off after it was shown. A tool call of it may have been seen, and nothing unsays that.
    async fn fall_back(&mut self, mut pair: Pair) -> Result<(), RunError> {
        while !pair.draft.complete() {
            if pair.draft.failure().is_some() || pair.better.gathered.calls {
                return Err(failure(&pair.better));
            }
            pair.draft.next().await;
        }
        if pair.better.gathered.calls {
            return Err(failure(&pair.better));
        }
        self.begun(&pair.draft, Part::Draft)?;
        self.replace_text(&pair.draft.gathered.text)?;
        self.keep_draft(&mut pair)
    }

    /// The draft is the answer: what it held back, because a draft may not do it, is done now.
    fn keep_draft(&mut self, pair: &mut Pair) -> Result<(), RunError> {
        for event in &pair.draft.gathered.events {
            if let Event::Delta { delta: Delta::ToolCall { .. } | Delta::ToolArguments { .. }, .. } = event {
                self.pass(event)?;
            }
        }
        self.running.lesson = pair.lesson(true);
        let why = draft::keep_draft(&self.running, pair);
        self.finalise(&pair.draft, Some(why))
    }

    fn begun(&mut self, half: &Half, part: Part) -> Result<(), RunError> {
        let Some(leg) = half.leg() else { return Ok(()) };
        let (target, tier, model) = (leg.target.id.clone(), leg.target.tier, leg.model.clone());
        self.log.push(Revision::Begun { target, tier, model, part })
    }

    /// A piece of a draft: its text is shown, and nothing else of it.
    fn show_last(&mut self, draft: &Gathered) -> Result<(), RunError> {
        match draft.events.last() {
            Some(Event::Delta { index: 0, delta: Delta::Text { text, .. } }) => self.append_text(text),
            _ => Ok(()),
        }
    }

    fn pass_last(&mut self, gathered: &Gathered) -> Result<(), RunError> {
        gathered.events.last().map_or(Ok(()), |event| self.pass(event))
    }

    /// A piece of the answer that stays.
    fn pass(&mut self, event: &Event) -> Result<(), RunError> {
        let Event::Delta { index: 0, delta } = event else { return Ok(()) };
        match delta {
            Delta::Text { text, .. } => self.append_text(text),
            Delta::Reasoning(text) => {
                let block = match self.shown.reasoning {
                    Some(block) => block,
                    None => self.open(BlockKind::Reasoning)?,
                };
                self.shown.reasoning = Some(block);
                self.append(block, text)
            }
            Delta::ToolCall { call, id, name } => {
                let block = self.open(BlockKind::ToolCall { id: id.clone(), name: name.clone() })?;
                self.shown.call = Some((*call, block));
                Ok(())
            }
            Delta::ToolArguments { call, fragment } => match self.shown.call {
                Some((open, block)) if open == *call => self.append(block, fragment),
                _ => Ok(()),
            },
        }
    }

    fn open(&mut self, kind: BlockKind) -> Result<u32, RunError> {
        let block = self.shown.blocks;
        self.shown.blocks += 1;
        self.log.push(Revision::Opened { block, kind })?;
        Ok(block)
    }

    fn append(&mut self, block: u32, text: &str) -> Result<(), RunError> {
        if text.is_empty() {
            return Ok(());
        }
        self.running.note_first_token();
        self.log.push(Revision::Appended { block, text: text.to_owned() })
    }

    fn text_block(&mut self) -> Result<u32, RunError> {
        if let Some((block, _)) = self.shown.text {
            return Ok(block);
        }
        let block = self.open(BlockKind::Text)?;
        self.shown.text = Some((block, String::new()));
        Ok(block)
    }

    fn append_text(&mut self, text: &str) -> Result<(), RunError> {
        if text.is_empty() {
            return Ok(());
        }
        let block = self.text_block()?;
        if let Some((_, shown)) = &mut self.shown.text {
            shown.push_str(text);
        }
        self.append(block, text)
    }

    /// Makes the text that is shown this one.
    fn replace_text(&mut self, text: &str) -> Result<(), RunError> {
        let Some((block, mut shown)) = self.shown.text.take() else { return self.append_text(text) };
        for change in changes(&shown, text) {
            patch::apply(&mut shown, &change);
            let (span, text) = change;
            self.log.push(Revision::Replaced { block, span, text })?;
        }
        self.shown.text = Some((block, shown));
        Ok(())
    }

    /// Nothing changes any more. What this answer took is what the receipt says, and it is what the cache keeps.
    fn finalise(&mut self, half: &Half, kept_draft: Option<String>) -> Result<(), RunError> {
        if let Some(leg) = half.leg() {
            self.running.queued = leg.queued;
            self.running.answering = Some((leg.target.clone(), leg.model.clone()));
        }
        for event in &half.gathered.events {
            self.running.note(event);
        }
        let reason = half.gathered.reason.unwrap_or(FinishReason::Stop);
        self.log.push(Revision::Finalised { reason, kept_draft, usage: half.gathered.usage })
    }
}

fn failure(half: &Half) -> RunError {
    let gone = || RunError::new(RunErrorKind::NoTarget, "no target answered");
    half.failure().cloned().unwrap_or_else(gone)
}
