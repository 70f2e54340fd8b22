//! Money, calls and bytes: set aside before a call leaves, and replaced by what was used when it has ended.
//!
//! Every outbound call of a target that has a price, or that a cap covers, has a reservation of its own. How it ends follows from what
//! is known of the call: a whole answer with token counts is settled, a call that cannot have cost anything is released, and what
//! nobody knows stays in doubt.

use std::sync::Arc;
use std::time::Duration;

use inshore_domain::cap::Shown;
use inshore_domain::{
    Amounts, BackendError, Billed, Cap, Closing, Currency, Delta, Event, Facts, Headroom, Measure, Money,
    Price, ReceiptId, Reservation, ReservationId, Target, Tier, Timestamp, Usage,
};
use inshore_policy::{claims, cost, worst_case};
use inshore_store::{ReserveError, Use};

use crate::Shared;
use crate::account::Account;
use crate::error::{RunError, RunErrorKind};

/// What may be spent.
#[derive(Debug, Clone, PartialEq)]
pub struct Spending {
    /// Of all caps and prices.
    pub currency: Currency,
    /// The caps there are.
    pub caps: Vec<Cap>,
}

impl Default for Spending {
    /// Without caps, in dollars.
    fn default() -> Self {
        Self { currency: Currency::USD, caps: Vec::new() }
    }
}

/// No text has more bytes than this for each of its tokens, taken over a whole answer: prose has 3 to 5, code less, and the
/// longest single tokens, runs of spaces, do not make up answers.
const TOKEN_BYTES: u64 = 16;

/// A call that something is set aside for.
#[derive(Debug)]
pub(crate) struct Held {
    id: ReservationId,
    target: Arc<Target>,
    amounts: Amounts,
    /// More tokens than these cannot come.
    most_output: u64,
    /// Bytes of answer that have come.
    received: u64,
    /// Bytes that had left for this target before this call.
    sent_before: u64,
    /// What the target says was used; `None`: it has not said.
    usage: Option<Usage>,
    /// The answer has come to its end.
    whole: bool,
    /// `None`: under way.
    closing: Option<Closing>,
}

/// What calls of a request have taken, for its receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) cost: Money,
    pub(crate) in_doubt: Money,
}

impl Shared {
    /// What is left of the caps that cover calls of this request, for each target away from this device.
    pub(crate) fn headroom(&self, facts: &Facts, targets: &[Arc<Target>], began: Began) -> Vec<Headroom> {
        let spending = self.spending.load();
        if spending.caps.is_empty() {
            return Vec::new();
        }
        let now = self.clock.now();
        let remote = targets.iter().filter(|target| target.tier != Tier::Device);
        remote
            .flat_map(|target| {
                let feature = facts.feature.as_deref();
                let claims = claims(&spending.caps, &facts.principal, feature, target, now, began);
                let left = self.store.headroom(&claims);
                claims.into_iter().zip(left).map(|(claim, left)| Headroom {
                    target: target.id.clone(),
                    claim,
                    left,
                })
            })
            .collect()
    }
}

/// The receipt of a request, and when it began: what caps of single requests go by.
pub(crate) type Began = (ReceiptId, Timestamp);

impl Account {
    /// Sets the worst case of an answer of this target aside, and names what was set aside. `None` where nothing is: on the device,
    /// and for what costs nothing and no cap covers.
    pub(crate) async fn set_aside(&self, target: &Arc<Target>) -> Result<Option<ReservationId>, RunError> {
        self.set_amounts_aside(target, worst_case(&self.facts, target)).await
    }

    /// Sets aside what it takes to have a prompt counted: a call and its bytes. Providers count for nothing.
    pub(crate) async fn set_aside_to_count(
        &self,
        target: &Arc<Target>,
    ) -> Result<Option<ReservationId>, RunError> {
        let amounts = Amounts { calls: 1, bytes_out: self.facts.bytes_at_most, ..Amounts::default() };
        self.set_amounts_aside(target, amounts).await
    }

    /// The call has counted a prompt.
    pub(crate) fn counted(&self, call: Option<ReservationId>) {
        self.with_call(call, |held, sent| {
            let bytes_out = sent.saturating_sub(held.sent_before);
            held.closing = Some(Closing::Settled(Amounts { calls: 1, bytes_out, ..Amounts::default() }));
        });
    }

    async fn set_amounts_aside(
        &self,
        target: &Arc<Target>,
        amounts: Amounts,
    ) -> Result<Option<ReservationId>, RunError> {
        if target.tier == Tier::Device {
            return Ok(None);
        }
        let spending = self.shared.spending.load_full();
        let now = self.shared.clock.now();
        let began = (self.id, self.request.received_at);
        let feature = self.request.hints.feature.as_deref();
        let claims = claims(&spending.caps, &self.request.principal, feature, target, now, began);
        if amounts.money == 0 && claims.is_empty() {
            return Ok(None);
        }
        let id = ReservationId::new(now, self.shared.clock.random());
        let reservation =
            Reservation { id, receipt: self.id, target: target.id.clone(), at: now, amounts, claims };
        let reserving = self.shared.store.reserve(reservation, &self.request.principal, feature);
        let reserved = reserving.await.map_err(refused(now))?;
        let sent_before = self.sent(target);
        self.state().held.push(Held {
            id,
            target: target.clone(),
            amounts,
            most_output: amounts.tokens.saturating_sub(u64::from(self.facts.prompt_tokens_at_most)),
            received: 0,
            sent_before,
            usage: None,
            whole: false,
            closing: None,
        });
        for use_ in reserved.uses.into_iter().filter(|use_| use_.crossed) {
            self.warn(&use_);
        }
        Ok(Some(id))
    }

    fn warn(&self, use_: &Use) {
        let percent = use_.used.saturating_mul(100).checked_div(use_.claim.limit).unwrap_or(100);
        tracing::warn!(cap = use_.claim.cap, percent, "a cap is nearly used up");
        self.note(format!("the cap `{}` is used to {percent} %", use_.claim.cap));
    }

    /// The call has failed. What cannot have cost anything is free again at once: the next try may need the room.
    pub(crate) async fn give_back(&self, call: Option<ReservationId>, error: &BackendError) {
        let Some(id) = call else { return };
        let closing = match error.billed {
            Billed::No => Closing::Released,
            Billed::Maybe => Closing::InDoubt,
        };
        let open = self.with_call(call, |held, _| held.closing.get_or_insert(closing) == &closing);
        if closing == Closing::Released && open == Some(true) {
            self.state().held.retain(|held| held.id != id);
            let now = self.shared.clock.now();
            if let Err(error) = self.shared.store.close_reservation(id, closing, now).await {
                tracing::error!(reservation = %id, %error, "what was set aside could not be released");
            }
        }
    }

    /// Works on a call that something is set aside for, with the bytes that have left for its target so far.
    fn with_call<T>(
        &self,
        call: Option<ReservationId>,
        change: impl FnOnce(&mut Held, u64) -> T,
    ) -> Option<T> {
        let id = call?;
        let mut state = self.state();
        let held = state.held.iter_mut().find(|held| held.id == id)?;
        let sent = self.sent(&held.target);
        Some(change(held, sent))
    }

    /// Bytes that have left for this target so far, in this request.
    fn sent(&self, target: &Target) -> u64 {
        let records = self.egress.snapshot();
        records.iter().filter(|record| record.target == target.id).map(|record| record.bytes_out).sum()
    }

    /// The target has said what was used. The last one counts.
    pub(crate) fn used_so_far(&self, call: Option<ReservationId>, usage: Usage) {
        self.with_call(call, |held, _| held.usage = Some(usage));
    }

    /// The answer has come to its end: what was used is known, if the target has said so.
    pub(crate) fn came_to_its_end(&self, call: Option<ReservationId>) {
        self.with_call(call, |held, _| held.whole = true);
    }

    /// Notes a piece of answer. With an error more has come than was set aside for, and the answer must end here.
    ///
    /// Bytes are counted, for nothing else is sure: some servers send a token in several pieces, others several in one. Whoever sends
    /// more than [`TOKEN_BYTES`] for each token that was asked for does not keep to the limit, and would go on at the caller's
    /// expense. An answer that is not streamed is there, and paid, when it comes.
    pub(crate) fn count_piece(&self, call: Option<ReservationId>, event: &Event) -> Option<RunError> {
        let (Some(id), Event::Delta { delta, .. }, true) = (call, event, self.request.stream) else {
            return None;
        };
        let mut state = self.state();
        let held = state.held.iter_mut().find(|held| held.id == id && held.closing.is_none())?;
        let bytes = match delta {
            Delta::Text { text, .. } | Delta::Reasoning(text) => text.len(),
            Delta::ToolArguments { fragment, .. } => fragment.len(),
            Delta::ToolCall { .. } => 0,
        };
        held.received = held.received.saturating_add(bytes as u64);
        if held.received <= held.most_output.saturating_mul(TOKEN_BYTES) {
            return None;
        }
        // What was set aside is what this can have cost at most, and likely did.
        held.closing = Some(Closing::Settled(held.amounts));
        let set_aside = Shown { measure: Measure::Money, amount: held.amounts.money };
        let message = format!(
            "the answer of `{}` was cut: it has reached what was set aside for it ({set_aside}, {} tokens of answer); \
             what came before is incomplete",
            held.target.id, held.most_output
        );
        Some(RunError::new(RunErrorKind::ReservationUsedUp, message))
    }

    /// Whether something is set aside for this request, or was.
    pub(crate) fn holds_something(&self) -> bool {
        !self.state().held.is_empty()
    }

    /// How each reservation of this request ends; none of its calls goes on. A call whose answer is whole and whose tokens are
    /// known is settled, one for which not one byte has left is released, and any other is in doubt.
    pub(crate) fn closings(&self) -> Vec<(ReservationId, Closing)> {
        let mut state = self.state();
        let mut silent = Vec::new();
        for held in state.held.iter_mut().filter(|held| held.closing.is_none()) {
            let sent = self.sent(&held.target);
            held.closing = Some(match held.usage {
                Some(usage) if held.whole => Closing::Settled(used(held, &usage, sent)),
                _ if sent == held.sent_before => Closing::Released,
                _ => {
                    if held.whole {
                        silent.push(format!("`{}` did not say how many tokens were used", held.target.id));
                    }
                    Closing::InDoubt
                }
            });
        }
        state.notes.append(&mut silent);
        state.held.iter().filter_map(|held| Some((held.id, held.closing?))).collect()
    }

    /// What calls have taken, once they are closed.
    pub(crate) fn taken(&self) -> Taken {
        let currency = self.shared.spending.load().currency;
        let (mut cost, mut in_doubt) = (0_u64, 0_u64);
        let mut impossible = Vec::new();
        let mut state = self.state();
        for held in &state.held {
            match held.closing {
                // A cap never counts more than was set aside, and neither does the receipt.
                Some(Closing::Settled(used)) => {
                    cost = cost.saturating_add(used.money.min(held.amounts.money))
                }
                Some(Closing::InDoubt) | None => in_doubt = in_doubt.saturating_add(held.amounts.money),
                Some(Closing::Released) => {}
            }
            if let Some(Closing::Settled(used)) = held.closing
                && used.money > held.amounts.money
            {
                let more = Shown { measure: Measure::Money, amount: used.money };
                impossible.push(format!(
                    "`{}` reports tokens for {more}, which is more than this call can have cost",
                    held.target.id
                ));
            }
        }
        state.notes.append(&mut impossible);
        let money = |micros| Money { micros: i64::try_from(micros).unwrap_or(i64::MAX), currency };
        Taken { cost: money(cost), in_doubt: money(in_doubt) }
    }
}

fn used(held: &Held, usage: &Usage, sent: u64) -> Amounts {
    Amounts {
        money: held.target.price.map_or(0, |price| money(&price, usage)),
        tokens: u64::from(usage.prompt_tokens) + u64::from(usage.output_tokens),
        calls: 1,
        bytes_out: sent.saturating_sub(held.sent_before),
    }
}

fn money(price: &Price, usage: &Usage) -> u64 {
    u64::try_from(cost(price, usage).micros).unwrap_or(0)
}

/// The error of a request for which nothing could be set aside.
fn refused(now: Timestamp) -> impl FnOnce(ReserveError) -> RunError {
    move |error| {
        let hint = error.hint().map(str::to_owned);
        let (kind, retry_after) = match &error {
            ReserveError::OverCap(over) => {
                let wait = over.claim.renews.map(|renews| {
                    Duration::from_millis(renews.unix_millis().saturating_sub(now.unix_millis()))
                });
                (RunErrorKind::OverCap, wait)
            }
            ReserveError::Store(_) => (RunErrorKind::Store, None),
            _ => (RunErrorKind::OverCap, None),
        };
        RunError { hint, retry_after, ..RunError::new(kind, error.to_string()) }
    }
}
