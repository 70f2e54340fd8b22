//! The last step of the road: what happened becomes a receipt.

use std::sync::Arc;
use std::time::{Duration, Instant};

use inshore_domain::receipt::AnsweredBy;
use inshore_domain::{
    Decision, EgressLog, Event, Facts, FinishReason, Money, Outcome, Price, Receipt, ReceiptId, Replay,
    Request, Target, TargetId, Timings, Usage,
};

use inshore_store::Store;

use crate::Shared;
use crate::cache::{Entered, Kept, Lead};
use crate::error::{RunError, RunErrorKind};
use crate::sensor::Counted;

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

    fn receipt(&mut self, outcome: Outcome) -> Receipt {
        self.settled = true;
        self.keep_answer(&outcome);
        let timings = Timings { queued: self.queued, first_token: self.first_token, total: self.elapsed() };
        let price = self.answering.as_ref().and_then(|(target, _)| target.price);
        let answered_by = self.answering.take().map(|(target, model)| AnsweredBy {
            target: target.id.clone(),
            tier: target.tier,
            model,
        });
        let request = &self.request;
        Receipt {
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
            cost: price.map_or(Money::ZERO, |price| cost(&price, &self.usage)),
            in_doubt: Money::ZERO,
            replay: self.replay,
            notes: std::mem::take(&mut self.notes),
            outcome,
        }
    }

    /// Keeps a whole answer for those who ask the same; whatever else came of it is made anew for the next.
    fn keep_answer(&mut self, outcome: &Outcome) {
        let (Some(lead), Some((target, model))) = (self.lead.take(), &self.answering) else { return };
        if *outcome == Outcome::Answered {
            let cost = target.price.map_or(Money::ZERO, |price| cost(&price, &self.usage));
            lead.keep(target.clone(), model.clone(), self.id, cost, self.now());
        }
    }

    /// Looks whether the answer has been given before; if not, and it is to be kept, it will be.
    pub(crate) async fn from_cache(&mut self) -> Option<Arc<Kept>> {
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
            Event::Usage(usage) if self.replay.is_none() => self.usage = *usage,
            Event::Usage(_) | Event::Finished { .. } | Event::Started { .. } => {}
        }
    }

    /// Writes the receipt; returns when it is committed.
    pub(crate) async fn settle(mut self, outcome: Outcome) -> Result<(), RunError> {
        let receipt = self.receipt(outcome);
        commit(self.shared.store.clone(), receipt).await
    }

    /// Ends without a receipt: nothing was answered and nothing left the device.
    pub(crate) fn forget(mut self) {
        self.settled = true;
    }
}

async fn commit(store: Store, receipt: Receipt) -> Result<(), RunError> {
    let id = receipt.id;
    let settled = store.settle(receipt, Vec::new()).await;
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
        let receipt = self.receipt(Outcome::Cancelled);
        if tokio::runtime::Handle::try_current().is_ok() {
            // `commit` has logged the error, and there is nobody left to tell.
            drop(self.shared.tasks.spawn(commit(self.shared.store.clone(), receipt)));
        } else {
            tracing::error!(receipt = %receipt.id, "a cancelled request ended outside the daemon; its receipt is lost");
        }
    }
}

/// What the tokens cost, rounded up to a whole micro-unit.
fn cost(price: &Price, usage: &Usage) -> Money {
    let fresh = usage.prompt_tokens.saturating_sub(usage.cached_tokens);
    let amount = u128::from(fresh) * u128::from(price.input)
        + u128::from(usage.cached_tokens) * u128::from(price.cached_input)
        + u128::from(usage.output_tokens) * u128::from(price.output);
    Money { micros: i64::try_from(amount.div_ceil(1_000_000)).unwrap_or(i64::MAX), currency: price.currency }
}

#[cfg(test)]
mod tests {
    use super::*;
    use inshore_domain::Currency;

    #[test]
    fn cached_tokens_have_their_own_price_and_fractions_round_up() {
        let price = Price { cached_input: 200_000, ..Price::flat(Currency::USD, 2_000_000, 8_000_000) };
        let usage = Usage { prompt_tokens: 1_000, cached_tokens: 600, output_tokens: 50, ..Usage::default() };
        assert_eq!(cost(&price, &usage).micros, 800 + 120 + 400);
        let one = Usage { prompt_tokens: 1, cached_tokens: 1, ..Usage::default() };
        assert_eq!(cost(&price, &one).micros, 1);
        assert_eq!(cost(&price, &Usage::default()).micros, 0);
    }
}
