//! Runs the steps of a Decision until one gives its first token.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use inshore_domain::{
    BackendError, BackendErrorKind, Event, Request, ReservationId, Step, Target, Tier, Usage,
};

use crate::account::Account;
use crate::cache::Kept;
use crate::error::{RunError, RunErrorKind};
use crate::hedge::{first_of_two, hedged};
use crate::leg::{Accepted, Leg};
use crate::registry::{Registered, Registry};
use crate::retry::RetryPolicy;
use crate::settle::{Running, outcome};

/// How long a target that has accepted is watched for a failure that another target could make good. Most fail at once;
/// thinking models say nothing for minutes, and the caller's head of the response must not wait for that.
const PEEK: Duration = Duration::from_secs(2);

/// A request whose answer has begun.
pub(crate) struct Begun {
    /// The answer. It comes first, so that the work has ended when the receipt is made.
    pub(crate) leg: Leg,
    pub(crate) running: Running,
}

impl Begun {
    pub(crate) fn new(mut running: Running, leg: Leg) -> Self {
        running.queued = leg.queued;
        running.answering = Some((leg.target.clone(), leg.model.clone()));
        Self { leg, running }
    }
}

/// Gives an answer again that was given before.
pub(crate) fn replay(running: Running, kept: &Kept) -> Begun {
    let events = kept.events.clone();
    let leg = Leg::given(running.account.clone(), kept.target.clone(), kept.model.clone(), events);
    Begun::new(running, leg)
}

/// Tries the steps in order.
pub(crate) async fn begin(running: Running, registry: &Registry) -> Result<Begun, RunError> {
    match first_leg(&running.account, &running.decision.steps, registry).await {
        Ok(leg) => Ok(Begun::new(running, leg)),
        Err(error) => Err(fail(running, error).await),
    }
}

/// The first of these steps that begins to answer. Nothing has been passed on to the caller while this runs, so each failure may
/// consult the next step; after it, none may.
pub(crate) async fn first_leg(
    account: &Arc<Account>,
    steps: &[Step],
    registry: &Registry,
) -> Result<Leg, RunError> {
    let mut last_error: Option<RunError> = None;
    let mut passed = 0;
    if let Some(pair) = hedged(account, steps, registry) {
        match first_of_two(account, pair).await {
            Ok(leg) => return Ok(leg),
            Err(StepFailed { error, go_on: false }) => return Err(error),
            Err(StepFailed { error, .. }) => (last_error, passed) = (Some(error), 2),
        }
    }
    for (place, step) in steps.iter().enumerate().skip(passed) {
        let Some(entry) = registry.get(&step.target) else { continue };
        match call_target(account, entry, place + 1 == steps.len()).await {
            Ok(leg) => return Ok(leg),
            Err(StepFailed { error, go_on }) => {
                last_error = Some(error);
                if !go_on {
                    break;
                }
            }
        }
    }
    Err(last_error.unwrap_or_else(|| {
        let gone = "the target was removed while the request waited";
        BackendError::new(BackendErrorKind::ModelNotFound, gone).into()
    }))
}

/// Settles a request that got no answer, and gives the error to hand to the caller.
pub(crate) async fn fail(running: Running, error: RunError) -> RunError {
    let error = error.with_receipt(running.account.id);
    match running.settle(outcome(Some(&error))).await {
        Ok(()) => error,
        Err(store) => store,
    }
}

async fn note_failure(account: &Account, target: &Target, held: Option<ReservationId>, error: &BackendError) {
    account.give_back(held, error).await;
    if error.kind.counts_against_health() || error.retry_after.is_some() {
        account.shared.health.failed(&target.id, account.now(), error.retry_after);
    }
    tracing::debug!(target = %target.id, code = error.kind.code(), %error, "a step failed");
    account.step_failed(&target.id, &error.message);
}

/// A step that gave no answer.
pub(crate) struct StepFailed {
    pub(crate) error: RunError,
    /// The next step may do better.
    pub(crate) go_on: bool,
}

/// Calls one target, again where that is safe and useful: with nothing else left to try, or where the target asks for a short while.
/// Something is set aside for each call by itself.
pub(crate) async fn call_target(
    account: &Arc<Account>,
    entry: &Registered,
    last: bool,
) -> Result<Leg, StepFailed> {
    call_with(account, entry, last, &account.request).await
}

/// The same for a request that differs from the caller's.
pub(crate) async fn call_with(
    account: &Arc<Account>,
    entry: &Registered,
    last: bool,
    request: &Arc<Request>,
) -> Result<Leg, StepFailed> {
    let mut retry = RetryPolicy::new(**account.shared.retry.load());
    let target = &entry.target;
    let queued = account.elapsed();
    let in_work = (target.tier == Tier::Device).then(|| account.shared.on_device.enter());
    loop {
        let held = match account.set_aside(target).await {
            Ok(held) => held,
            Err(error) => {
                account.step_failed(&target.id, &error.message);
                return Err(StepFailed { error, go_on: true });
            }
        };
        let error = match accept(account, entry, request).await {
            Ok(accepted) => {
                return Ok(Leg::new(account.clone(), target.clone(), accepted, held, (queued, in_work)));
            }
            Err(error) => error,
        };
        let again = target.tier != Tier::Device && (last || error.retry_after.is_some());
        let left = account.facts.latency_budget.map(|budget| budget.saturating_sub(account.elapsed()));
        let random = account.shared.clock.random() as u64;
        let wait = retry.next(&error, random, left).filter(|_| again);
        note_failure(account, target, held, &error).await;
        let Some(wait) = wait else {
            return Err(StepFailed { go_on: error.kind.another_target_may_do(), error: error.into() });
        };
        tokio::time::sleep(wait).await;
    }
}

async fn accept(
    account: &Arc<Account>,
    entry: &Registered,
    request: &Arc<Request>,
) -> Result<Accepted, BackendError> {
    let call = account.call(&entry.target, request)?;
    account.tell_masked(&entry.target, request);
    let mut events = entry.backend.generate(call).await?;
    let model = match events.next().await {
        Some(Ok(Event::Started { model })) => model,
        Some(Err(error)) => return Err(error),
        other => return Err(unexpected(&entry.target, other.is_some())),
    };
    let mut events = account.answer(&entry.target, request, events);
    // A target that accepts and then fails at once must not count as chosen: look at one event more.
    match tokio::time::timeout(PEEK, events.next()).await {
        Ok(Some(Ok(first))) => Ok(Accepted { model, first: Some(first), rest: events }),
        Ok(Some(Err(error))) => Err(error),
        Ok(None) => Err(unexpected(&entry.target, false)),
        Err(_still_silent) => Ok(Accepted { model, first: None, rest: events }),
    }
}

fn unexpected(target: &Target, spoke: bool) -> BackendError {
    let what = if spoke { "did not begin its answer properly" } else { "ended before it answered" };
    BackendError::new(BackendErrorKind::Protocol, format!("`{}` {what}", target.id))
}

/// Tries the steps in order until one gives vectors.
pub(crate) async fn embed(
    mut running: Running,
    registry: &Registry,
) -> Result<(Running, Arc<Target>, Vec<Vec<f32>>), RunError> {
    let mut last_error: Option<RunError> = None;
    let account = running.account.clone();
    for step in running.decision.steps.clone() {
        let Some(entry) = registry.get(&step.target) else { continue };
        let Some(embedder) = &entry.embedder else { continue };
        running.queued = account.elapsed();
        let held = match account.set_aside(&entry.target).await {
            Ok(held) => held,
            Err(error) => {
                account.step_failed(&entry.target.id, &error.message);
                last_error = Some(error);
                continue;
            }
        };
        account.tell_masked(&entry.target, &account.request);
        let embedding = async { embedder.embed(account.call(&entry.target, &account.request)?).await };
        match embedding.await {
            Ok((vectors, usage)) => {
                if usage.prompt_tokens > 0 {
                    account.used_so_far(held, usage);
                }
                account.came_to_its_end(held);
                account.began(&entry.target.id, running.queued);
                account.ended(&entry.target.id, running.queued, usage.output_tokens);
                running.answering = Some((entry.target.clone(), entry.target.model.clone()));
                running.usage = usage;
                running.note_first_token();
                return Ok((running, entry.target.clone(), vectors));
            }
            Err(error) => {
                let go_on = error.kind.another_target_may_do();
                note_failure(&account, &entry.target, held, &error).await;
                last_error = Some(error.into());
                if !go_on {
                    break;
                }
            }
        }
    }
    let error = last_error.unwrap_or_else(|| {
        RunError::new(RunErrorKind::NoTarget, "no target that is permitted makes embeddings")
    });
    Err(fail(running, error).await)
}

/// Counts tokens at the first step that can.
pub(crate) async fn count_tokens(
    mut running: Running,
    registry: &Registry,
) -> (Running, Result<u32, RunError>) {
    let mut result =
        Err(RunError::new(RunErrorKind::NoTarget, "no target that is permitted can count tokens"));
    let account = running.account.clone();
    for step in running.decision.steps.clone() {
        let Some(entry) = registry.get(&step.target) else { continue };
        let held = match account.set_aside_to_count(&entry.target).await {
            Ok(held) => held,
            Err(error) => {
                account.step_failed(&entry.target.id, &error.message);
                result = Err(error);
                continue;
            }
        };
        let counting =
            async { entry.backend.count_tokens(account.call(&entry.target, &account.request)?).await };
        match counting.await {
            Ok(tokens) => {
                account.counted(held);
                running.answering = Some((entry.target.clone(), entry.target.model.clone()));
                running.usage = Usage::default();
                return (running, Ok(tokens));
            }
            Err(error) => {
                let go_on = error.kind.another_target_may_do();
                note_failure(&account, &entry.target, held, &error).await;
                result = Err(error.into());
                if !go_on {
                    break;
                }
            }
        }
    }
    (running, result)
}
