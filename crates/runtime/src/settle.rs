//! The last step of the road: what happened becomes a receipt.

use std::sync::Arc;
use std::time::Duration;

use inshore_domain::receipt::AnsweredBy;
use inshore_domain::{
    Closing, Decision, Event, FinishReason, Money, Outcome, Receipt, Replay, ReservationId, Target, Timings,
    Usage,
};

use inshore_store::Store;

use crate::account::Account;
use crate::cache::{Entered, Kept, Lead};
use crate::error::{RunError, RunErrorKind};
use crate::lesson::Lesson;

/// What is known of a request while it runs; becomes its receipt.
pub(crate) struct Running {
    /// What it shares with its calls.
    pub(crate) account: Arc<Account>,
    pub(crate) decision: Decision,
    pub(crate) answering: Option<(Arc<Target>, String)>,
    /// Of the answer that is given.
    pub(crate) usage: Usage,
    /// From admission until the work began at the target that answers.
    pub(crate) queued: Duration,
    pub(crate) first_token: Option<Duration>,
    /// The answer comes from the cache.
    pub(crate) replay: Option<Replay>,
    /// The answer will be kept there.
    pub(crate) lead: Option<Lead>,
    /// What there is to learn of it.
    pub(crate) lesson: Option<Lesson>,
    /// The receipt has been handed to the store, or none is due.
    pub(crate) settled: bool,
}

/// How a request ends that ended with this.
pub(crate) fn outcome(error: Option<&RunError>) -> Outcome {
    match error {
        None => Outcome::Answered,
        Some(error) => Outcome::Failed { code: error.kind.code().into(), message: error.message.clone() },
    }
}

impl Running {
    pub(crate) fn new(account: Account, decision: Decision) -> Self {
        Self {
            account: Arc::new(account),
            decision,
            answering: None,
            usage: Usage::default(),
            queued: Duration::ZERO,
            first_token: None,
            replay: None,
            lead: None,
            lesson: None,
            settled: false,
        }
    }

    /// Notes the first piece of the answer, once.
    pub(crate) fn note_first_token(&mut self) {
        if self.first_token.is_none() {
            self.first_token = Some(self.account.elapsed());
        }
    }

    /// The receipt, and how each reservation of the request ends.
    fn receipt(&mut self, outcome: Outcome) -> (Receipt, Vec<(ReservationId, Closing)>) {
        self.settled = true;
        let account = self.account.clone();
        let closings = account.closings();
        let taken = account.taken();
        self.keep_answer(&outcome, taken.cost);
        if let (Some((target, _)), None) = (&self.answering, self.replay) {
            account.tell_spared(target, &self.usage, taken.cost);
        }
        let timings =
            Timings { queued: self.queued, first_token: self.first_token, total: account.elapsed() };
        let answered_by = self.answering.take().map(|(target, model)| AnsweredBy {
            target: target.id.clone(),
            tier: target.tier,
            model,
        });
        let (request, facts) = (&account.request, &account.facts);
        let mut state = account.state();
        let receipt = Receipt {
            id: account.id,
            request: request.id,
            trace: request.trace,
            at: request.received_at,
            principal: request.principal.clone(),
            feature: request.hints.feature.clone(),
            profile: request.hints.profile,
            asked: request.model.clone(),
            answered_by,
            strategy: self.decision.strategy,
            sensitivity: facts.sensitivity,
            verdicts: std::mem::take(&mut self.decision.verdicts),
            failed_steps: std::mem::take(&mut state.failed_steps),
            usage: self.usage,
            timings,
            egress: account.egress.snapshot(),
            cost: taken.cost,
            in_doubt: taken.in_doubt,
            replay: self.replay,
            notes: std::mem::take(&mut state.notes),
            outcome,
        };
        (receipt, closings)
    }

    /// Keeps a whole answer for those who ask the same; whatever else came of it is made anew for the next.
    fn keep_answer(&mut self, outcome: &Outcome, cost: Money) {
        let (Some(lead), Some((target, model))) = (self.lead.take(), &self.answering) else { return };
        if *outcome == Outcome::Answered {
            lead.keep(target.clone(), model.clone(), self.account.id, cost, self.account.now());
        }
    }

    /// Looks whether the answer has been given before; if not, and it is to be kept, it will be.
    pub(crate) async fn look_in_cache(&mut self) -> Option<Arc<Kept>> {
        let account = &self.account;
        let key = account.shared.cache.key(&account.request, &account.facts)?;
        let cache = account.shared.cache.clone();
        match cache.enter(key, account.now()).await? {
            Entered::Hit(kept) => {
                self.replay = Some(Replay { of: kept.receipt, saved: kept.cost });
                Some(kept)
            }
            Entered::Lead(lead) => {
                self.lead = Some(lead);
                None
            }
        }
    }

    /// Notes an event that is passed on.
    pub(crate) fn note(&mut self, event: &Event) {
        if let Some(lead) = &mut self.lead {
            lead.record(event);
        }
        if let Some(lesson) = &mut self.lesson {
            lesson.take(event);
        }
        match event {
            Event::Delta { .. } | Event::Wire(_) => self.note_first_token(),
            Event::Finished { reason, .. } if *reason != FinishReason::Length => self.note_first_token(),
            // What was used for a replayed answer was used, and paid, then.
            Event::Usage(usage) if self.replay.is_none() => {
                self.usage = *usage;
            }
            Event::Usage(_) | Event::Finished { .. } | Event::Started { .. } => {}
        }
    }

    /// Writes the receipt; returns when it is committed.
    pub(crate) async fn settle(mut self, outcome: Outcome) -> Result<(), RunError> {
        let learnt = self.lesson.take().and_then(|lesson| lesson.end(&self, &outcome));
        let (receipt, closings) = self.receipt(outcome);
        commit(self.account.shared.store.clone(), receipt, closings).await?;
        if let Some(learnt) = learnt {
            learnt.keep(&self.account);
        }
        Ok(())
    }

    /// Ends without a receipt: nothing was answered and nothing left the device.
    pub(crate) fn forget(mut self) {
        self.settled = true;
    }
}

async fn commit(
    store: Store,
    receipt: Receipt,
    closings: Vec<(ReservationId, Closing)>,
) -> Result<(), RunError> {
    let id = receipt.id;
    let settled = store.settle(receipt, closings).await;
    settled.map(|_| ()).map_err(|error| {
        tracing::error!(receipt = %id, %error, "a receipt could not be written");
        RunError::new(RunErrorKind::Store, format!("the receipt `{id}` could not be written: {error}"))
            .with_receipt(id)
    })
}

impl Drop for Running {
    /// The caller went away, at whatever point: what left the device until then is on the receipt all the same.
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        let (receipt, closings) = self.receipt(Outcome::Cancelled);
        if tokio::runtime::Handle::try_current().is_ok() {
            // `commit` has logged the error, and there is nobody left to tell.
            drop(self.account.shared.tasks.spawn(commit(
                self.account.shared.store.clone(),
                receipt,
                closings,
            )));
        } else {
            tracing::error!(receipt = %receipt.id, "a cancelled request ended outside the daemon; its receipt is lost");
        }
    }
}
