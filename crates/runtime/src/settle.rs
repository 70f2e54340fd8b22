//! The last step of the road: what happened becomes a receipt.

use std::sync::Arc;
use std::time::{Duration, Instant};

use inshore_domain::receipt::AnsweredBy;
use inshore_domain::{
    Closing, Decision, EgressLog, Event, Facts, FinishReason, Money, Outcome, Receipt, ReceiptId, Replay,
    Request, ReservationId, Target, TargetId, Timings, Usage,
};

use inshore_store::Store;

use crate::Shared;
use crate::cache::{Entered, Kept, Lead};
use crate::error::{RunError, RunErrorKind};
use crate::sensor::Counted;
use crate::spend::Held;

/// What is known of a request while it runs; becomes its receipt.
pub(crate) struct Running {
    pub(crate) shared: Arc<Shared>,
    pub(crate) id: ReceiptId,
    pub(crate) request: Arc<Request>,
    pub(crate) facts: Facts,
    pub(crate) decision: Decision,
    pub(crate) egress: EgressLog,
    pub(crate) failed_steps: Vec<(TargetId, String)>,
    pub(crate) answering: Option<(Arc<Target>, String)>,
    pub(crate) usage: Usage,
    /// The target has said how many tokens were used.
    pub(crate) usage_reported: bool,
    /// What is set aside for calls of this request.
    pub(crate) held: Vec<Held>,
    pub(crate) queued: Duration,
    pub(crate) first_token: Option<Duration>,
    /// The request is in work on the device.
    pub(crate) in_work: Option<Counted>,
    /// The answer comes from the cache.
    pub(crate) replay: Option<Replay>,
    /// The answer will be kept there.
    pub(crate) lead: Option<Lead>,
    /// For the receipt.
    pub(crate) notes: Vec<String>,
    /// The receipt has been handed to the store, or none is due.
    pub(crate) settled: bool,
}

impl Running {
    /// Time since the request was admitted.
    pub(crate) fn elapsed(&self) -> Duration {
        self.shared.clock.monotonic().saturating_duration_since(self.request.admitted)
    }

    /// The present moment of the monotonic clock.
    pub(crate) fn now(&self) -> Instant {
        self.shared.clock.monotonic()
    }

    /// Notes the first piece of the answer, once.
    pub(crate) fn note_first_token(&mut self) {
        if self.first_token.is_none() {
            let elapsed = self.elapsed();
            self.first_token = Some(elapsed);
            // What the cache gives says nothing about the target.
            if let Some((target, _)) = self.answering.as_ref().filter(|_| self.replay.is_none()) {
                self.shared.health.answered(&target.id, elapsed.saturating_sub(self.queued));
            }
        }
    }

    /// The receipt, and how each reservation of the request ends.
    fn receipt(&mut self, outcome: Outcome) -> (Receipt, Vec<(ReservationId, Closing)>) {
        self.settled = true;
        let closings = self.closings(outcome == Outcome::Answered);
        let taken = self.taken();
        self.keep_answer(&outcome, taken.cost);
        let timings = Timings { queued: self.queued, first_token: self.first_token, total: self.elapsed() };
        let answered_by = self.answering.take().map(|(target, model)| AnsweredBy {
            target: target.id.clone(),
            tier: target.tier,
            model,
        });
        let request = &self.request;
        let receipt = Receipt {
            id: self.id,
            request: request.id,
            trace: request.trace,
            at: request.received_at,
            principal: request.principal.clone(),
            feature: request.hints.feature.clone(),
            profile: request.hints.profile,
            asked: request.model.clone(),
            answered_by,
            strategy: self.decision.strategy,
            sensitivity: self.facts.sensitivity,
            verdicts: std::mem::take(&mut self.decision.verdicts),
            failed_steps: std::mem::take(&mut self.failed_steps),
            usage: self.usage,
            timings,
            egress: self.egress.snapshot(),
            cost: taken.cost,
            in_doubt: taken.in_doubt,
            replay: self.replay,
            notes: std::mem::take(&mut self.notes),
            outcome,
        };
        (receipt, closings)
    }

    /// Keeps a whole answer for those who ask the same; whatever else came of it is made anew for the next.
    fn keep_answer(&mut self, outcome: &Outcome, cost: Money) {
        let (Some(lead), Some((target, model))) = (self.lead.take(), &self.answering) else { return };
        if *outcome == Outcome::Answered {
            lead.keep(target.clone(), model.clone(), self.id, cost, self.now());
        }
    }

    /// Looks whether the answer has been given before; if not, and it is to be kept, it will be.
    pub(crate) async fn look_in_cache(&mut self) -> Option<Arc<Kept>> {
        let key = self.shared.cache.key(&self.request, &self.facts)?;
        let cache = self.shared.cache.clone();
        match cache.enter(key, self.now()).await? {
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
        match event {
            Event::Delta { .. } | Event::Wire(_) => self.note_first_token(),
            Event::Finished { reason, .. } if *reason != FinishReason::Length => self.note_first_token(),
            // What was used for a replayed answer was used, and paid, then.
            Event::Usage(usage) if self.replay.is_none() => {
                self.usage = *usage;
                self.usage_reported = true;
            }
            Event::Usage(_) | Event::Finished { .. } | Event::Started { .. } => {}
        }
    }

    /// Writes the receipt; returns when it is committed.
    pub(crate) async fn settle(mut self, outcome: Outcome) -> Result<(), RunError> {
        let (receipt, closings) = self.receipt(outcome);
        commit(self.shared.store.clone(), receipt, closings).await
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
            drop(self.shared.tasks.spawn(commit(self.shared.store.clone(), receipt, closings)));
        } else {
            tracing::error!(receipt = %receipt.id, "a cancelled request ended outside the daemon; its receipt is lost");
        }
    }
}
