//! What all calls of one request share: what is asked, what was found of it, and what has been set aside, sent and said so far.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use inshore_domain::{
    BackendError, BackendErrorKind, Call, EgressLog, EventStream, Facts, Money, ReceiptId, Request, Target,
    TargetId, Tier, Usage,
};

use inshore_policy::split::Reading;

use crate::Shared;
use crate::masked::Stand;
use crate::spend::Held;

/// The account of one request. Calls that run side by side share it; whoever settles the request closes it.
pub(crate) struct Account {
    pub(crate) shared: Arc<Shared>,
    pub(crate) id: ReceiptId,
    pub(crate) request: Arc<Request>,
    pub(crate) facts: Facts,
    pub(crate) egress: EgressLog,
    /// What leaves in place of the request, where values are masked.
    stand: Option<Arc<Stand>>,
    /// What leaves in place of others that are made of it.
    others: Mutex<Vec<(Arc<Request>, Arc<Stand>)>>,
    state: Mutex<State>,
}

/// What changes while the request runs.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// What is set aside for calls of this request.
    pub(crate) held: Vec<Held>,
    /// Steps that gave no answer: target and what it said.
    pub(crate) failed_steps: Vec<(TargetId, String)>,
    /// For the receipt.
    pub(crate) notes: Vec<String>,
}

impl Account {
    pub(crate) fn new(
        shared: Arc<Shared>,
        id: ReceiptId,
        request: Request,
        facts: Facts,
        stand: Option<Stand>,
    ) -> Self {
        let (request, egress) = (Arc::new(request), EgressLog::default());
        let notes = stand.as_ref().and_then(Stand::stays).into_iter().collect();
        let state = Mutex::new(State { notes, ..State::default() });
        let stand = stand.map(Arc::new);
        Self { shared, id, request, facts, egress, stand, others: Mutex::default(), state }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Time since the request was admitted.
    pub(crate) fn elapsed(&self) -> Duration {
        self.now().saturating_duration_since(self.request.admitted)
    }

    /// The present moment of the monotonic clock.
    pub(crate) fn now(&self) -> Instant {
        self.shared.clock.monotonic()
    }

    /// Says something on the receipt.
    pub(crate) fn note(&self, note: String) {
        self.state().notes.push(note);
    }

    /// What has been said for the receipt so far.
    pub(crate) fn notes(&self) -> Vec<String> {
        self.state().notes.clone()
    }

    /// A step gave no answer.
    pub(crate) fn step_failed(&self, target: &TargetId, said: &str) {
        self.state().failed_steps.push((target.clone(), said.to_owned()));
    }

    /// A target has given its first token; its work began so long after admission.
    pub(crate) fn began(&self, target: &TargetId, queued: Duration) {
        let (feature, took) = (self.request.hints.feature.as_deref(), self.elapsed().saturating_sub(queued));
        self.shared.health.answered(target, feature, took, self.now());
    }

    /// A target has given its whole answer, of so many tokens.
    pub(crate) fn ended(&self, target: &TargetId, queued: Duration, tokens: u32) {
        let (feature, took) = (self.request.hints.feature.as_deref(), self.elapsed().saturating_sub(queued));
        self.shared.health.ended(target, feature, took, tokens, self.now());
    }

    /// The call of a target for this request, or for one that differs from it a little. What leaves the device is masked and shortened
    /// first, where the feature asks for it.
    ///
    /// # Errors
    /// When it is not known what of it may leave.
    pub(crate) fn call(&self, target: &Arc<Target>, request: &Arc<Request>) -> Result<Call, BackendError> {
        let request = match self.stand_for(target, request)? {
            None => request.clone(),
            Some(stand) => stand.request()?,
        };
        Ok(Call { request, target: target.clone(), egress: self.egress.clone() })
    }

    /// The answer of a target to a request as the caller gets it: with the values in it that were masked.
    pub(crate) fn answer(
        self: &Arc<Self>,
        target: &Target,
        request: &Arc<Request>,
        answer: EventStream,
    ) -> EventStream {
        match self.stand_for(target, request) {
            Ok(Some(stand)) => stand.restored(self.clone(), answer),
            Ok(None) | Err(_) => answer,
        }
    }

    /// Says on the receipt what was left out and masked for this target, once.
    pub(crate) fn tell_masked(&self, target: &Target, request: &Arc<Request>) {
        let Ok(Some(stand)) = self.stand_for(target, request) else { return };
        for told in stand.told() {
            let mut state = self.state();
            if !state.notes.contains(&told) {
                state.notes.push(told);
            }
        }
    }

    /// Lets another request leave that is made of this one: masked, where this one is. `false`: it may not.
    pub(crate) fn admit(&self, request: &Arc<Request>) -> bool {
        let Some(stand) = &self.stand else { return true };
        match stand.beside(&self.request, request).filter(|stand| stand.within(&self.facts)) {
            Some(stand) => {
                self.others().push((request.clone(), Arc::new(stand)));
                true
            }
            None => false,
        }
    }

    /// What the device is to read for others, where it is.
    pub(crate) fn reading(&self) -> Option<Arc<Reading>> {
        self.stand.as_ref()?.sent.as_ref()?.reading.clone()
    }

    fn others(&self) -> MutexGuard<'_, Vec<(Arc<Request>, Arc<Stand>)>> {
        self.others.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says on the receipt of a request of which only a part left what the whole would have cost at the target that answered.
    pub(crate) fn tell_spared(&self, target: &Target, usage: &Usage, cost: Money) {
        let sent = self.stand_at(target).and_then(|stand| stand.sent.as_ref());
        if let Some(told) = sent.and_then(|sent| sent.spared(target, usage, cost)) {
            self.note(told);
        }
    }

    fn stand_at(&self, target: &Target) -> Option<&Arc<Stand>> {
        self.stand.as_ref().filter(|_| target.tier != Tier::Device)
    }

    /// What leaves for this target in place of a request; `None`: the request itself.
    fn stand_for(&self, target: &Target, request: &Arc<Request>) -> Result<Option<Arc<Stand>>, BackendError> {
        let Some(stand) = self.stand_at(target) else { return Ok(None) };
        if Arc::ptr_eq(&self.request, request) {
            return Ok(Some(stand.clone()));
        }
        let others = self.others();
        let other = others.iter().find(|(other, _)| Arc::ptr_eq(other, request));
        other.map(|(_, stand)| Some(stand.clone())).ok_or_else(|| {
            let message = "the request differs from the one that was masked, and does not leave";
            BackendError::new(BackendErrorKind::Unsupported, message)
        })
    }
}
