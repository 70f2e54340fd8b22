//! Strategy `draft`: the device answers at once, a better target works beside it, and its answer takes the draft's place.
//!
//! The two begin together. What becomes of them depends on the caller: one that takes revisions sees the draft grow and then change
//! ([`crate::revise`]); any other gets one of the two and never a mixture ([`begin_plain`]).

use std::sync::Arc;
use std::time::Duration;

use inshore_domain::{Plain, TargetId};

use crate::account::Account;
use crate::cascade;
use crate::error::{RunError, RunErrorKind};
use crate::execute::{self, Begun};
use crate::half::{Half, Happened};
use crate::lesson::{Known, Lesson, Said};
use crate::registry::Registry;
use crate::settle::Running;

/// A draft and the better answer that is to take its place.
pub(crate) struct Pair {
    pub(crate) draft: Half,
    pub(crate) better: Half,
    registry: Arc<Registry>,
    /// Who the better answer is asked of first.
    next: Option<TargetId>,
    /// What is known of the draft, once it is whole.
    known: Option<Known>,
    weighed: bool,
}

impl Pair {
    /// Begins both.
    pub(crate) fn begin(running: &Running, registry: &Arc<Registry>) -> Self {
        let (first, others) = running.decision.steps.split_at(running.decision.steps.len().min(1));
        let account = &running.account;
        let draft = Half::begin(account, first, registry);
        let better = Half::begin(account, others, registry);
        let next = others.first().map(|step| step.target.clone());
        Self { draft, better, registry: registry.clone(), next, known: None, weighed: false }
    }

    /// Why neither will answer, where that is so: what the better one said, for it was the last hope.
    pub(crate) fn failure(&self) -> Option<RunError> {
        self.draft.failure().and_then(|_| self.better.failure()).cloned()
    }

    /// Looks at the draft once it is whole. Where the feature declares a risk and the draft is within it, the better answer is given up,
    /// unless it has begun.
    pub(crate) fn weigh(&mut self, account: &Account) {
        if self.weighed || !self.draft.complete() || self.better.failure().is_some() {
            return;
        }
        self.weighed = true;
        let registry = &*self.registry;
        let checks = cascade::checks(account, registry);
        let Ok(found) = cascade::look(account, &checks, &self.draft.gathered) else { return };
        let (Some(leg), Some(next)) = (self.draft.leg(), &self.next) else { return };
        let pair = (&leg.target.id, next);
        let Some(known) = Known::of(account, registry, pair, &self.draft.gathered, &found) else { return };
        if let Some(Ok(reason)) = known.judged(account, registry)
            && !self.better.gathered.begun
        {
            let message = format!("it was there first, and {reason}");
            self.better.give_up(RunError::new(RunErrorKind::OutOfPatience, message));
        }
        self.known = Some(known);
    }

    /// What can be learned of the draft, if it is the answer and if it is not.
    pub(crate) fn lesson(&mut self, kept: bool) -> Option<Lesson> {
        let known = Box::new(self.known.take()?);
        Some(if kept { Lesson::Kept(known) } else { Lesson::Escalated(known, Said::default()) })
    }

    /// Waits until one of the two has been accepted.
    ///
    /// # Errors
    /// When neither is.
    pub(crate) async fn accepted(&mut self) -> Result<(), RunError> {
        loop {
            let happened = tokio::select! {
                biased;
                happened = self.draft.next() => happened,
                happened = self.better.next() => happened,
            };
            match self.failure() {
                Some(error) => return Err(error),
                None if happened != Happened::Failed => return Ok(()),
                None => {}
            }
        }
    }
}

/// Returns when the better answer has taken too long.
pub(crate) async fn patience(account: &Account) {
    let left = account.facts.hybrid.patience.saturating_sub(account.elapsed());
    tokio::time::sleep(left).await;
}

/// Why the better answer is not waited for any longer.
pub(crate) fn too_late(patience: Duration) -> RunError {
    let message = format!("it had not answered after {} ms", patience.as_millis());
    RunError::new(RunErrorKind::OutOfPatience, message)
}

/// Says on the receipt that the draft is the answer, and gives the reason.
pub(crate) fn keep_draft(running: &Running, pair: &Pair) -> String {
    let why = pair.better.failure().map(|error| error.message.clone()).unwrap_or_default();
    let name = pair.draft.leg().map(|leg| leg.target.id.to_string()).unwrap_or_default();
    running.account.note(format!("the draft of `{name}` is the answer: {why}"));
    why
}

/// Says on the receipt that the draft has been replaced, where there was one.
pub(crate) fn replace_draft(running: &Running, pair: &Pair) {
    if let (Some(draft), Some(better)) = (pair.draft.leg(), pair.better.leg()) {
        let (draft, better) = (&draft.target.id, &better.target.id);
        running.account.note(format!("the draft of `{draft}` made way for the answer of `{better}`"));
    }
}

/// The answer for a caller that can take only one text: the better one from its first piece on, or the draft where the feature says so
/// or there is no better one.
pub(crate) async fn begin_plain(mut running: Running, registry: &Arc<Registry>) -> Result<Begun, RunError> {
    if running.account.facts.hybrid.plain == Plain::Draft {
        return execute::begin(running, registry).await;
    }
    let mut pair = Pair::begin(&running, registry);
    match settle_on_one(&running, &mut pair).await {
        Ok(()) => {}
        Err(error) => {
            drop(pair);
            return Err(execute::fail(running, error).await);
        }
    }
    let better = pair.better.failure().is_none();
    if better {
        replace_draft(&running, &pair)
    } else {
        drop(keep_draft(&running, &pair))
    }
    running.lesson = pair.lesson(!better);
    let leg = if better { pair.better.into_leg() } else { pair.draft.into_leg() };
    match leg {
        Some(leg) => Ok(Begun::new(running, leg)),
        None => {
            Err(execute::fail(running, RunError::new(RunErrorKind::NoTarget, "no target answered")).await)
        }
    }
}

/// Returns when it is clear which of the two is the answer: the better one, unless it has failed.
async fn settle_on_one(running: &Running, pair: &mut Pair) -> Result<(), RunError> {
    let account = running.account.clone();
    let patience = patience(&account);
    tokio::pin!(patience);
    let mut patient = true;
    loop {
        tokio::select! {
            biased;
            happened = pair.better.next() => match happened {
                Happened::Came if pair.better.gathered.begun => return Ok(()),
                Happened::Complete => return Ok(()),
                Happened::Accepted | Happened::Came => {}
                Happened::Failed if pair.draft.leg().is_some() => return Ok(()),
                Happened::Failed => {}
            },
            _ = pair.draft.next() => {}
            () = &mut patience, if patient => patient = false,
        }
        if let Some(error) = pair.failure() {
            return Err(error);
        }
        pair.weigh(&account);
        let draft_there = pair.draft.leg().is_some();
        if draft_there && !patient {
            pair.better.give_up(too_late(account.facts.hybrid.patience));
        }
        if draft_there && pair.better.failure().is_some() {
            return Ok(());
        }
    }
}
