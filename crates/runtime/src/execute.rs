//! Runs the steps of a Decision until one gives its first token.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use inshore_domain::{
    BackendError, BackendErrorKind, Call, Event, EventStream, Outcome, Target, Tier, Usage,
};

use crate::cache::Kept;
use crate::error::{RunError, RunErrorKind};
use crate::registry::{Registered, Registry};
use crate::retry::RetryPolicy;
use crate::settle::Running;

/// How long a target that has accepted is watched for a failure that another target could make good. Most fail at once;
/// thinking models say nothing for minutes, and the caller's head of the response must not wait for that.
const PEEK: Duration = Duration::from_secs(2);

/// A step that has begun to answer.
pub(crate) struct Begun {
    pub(crate) running: Running,
    /// What came before and with the first piece; still to be passed on.
    pub(crate) first: Option<Event>,
    pub(crate) rest: EventStream,
}

/// Gives an answer again that was given before.
pub(crate) fn replay(mut running: Running, kept: &Kept) -> Begun {
    running.answering = Some((kept.target.clone(), kept.model.clone()));
    running.queued = running.elapsed();
    let events: Vec<_> = kept.events.iter().cloned().map(Ok).collect();
    Begun { running, first: None, rest: Box::pin(futures_util::stream::iter(events)) }
}

/// Tries the steps in order. Nothing has been passed on to the caller while this runs, so each failure may consult the
/// next step; after it, none may.
pub(crate) async fn begin(mut running: Running, registry: &Registry) -> Result<Begun, RunError> {
    let mut last_error: Option<RunError> = None;
    let steps = running.decision.steps.clone();
    for (place, step) in steps.iter().enumerate() {
        let Some(entry) = registry.get(&step.target) else { continue };
        running.queued = running.elapsed();
        let in_work = (entry.target.tier == Tier::Device).then(|| running.shared.on_device.enter());
        match call_target(entry, &mut running, place + 1 == steps.len()).await {
            Ok((model, first, rest)) => {
                running.in_work = in_work;
                running.answering = Some((entry.target.clone(), model));
                return Ok(Begun { running, first, rest });
            }
            Err(StepFailed { error, go_on }) => {
                last_error = Some(error);
                if !go_on {
                    break;
                }
            }
        }
    }
    let error = last_error.unwrap_or_else(|| {
        let gone = "the target was removed while the request waited";
        BackendError::new(BackendErrorKind::ModelNotFound, gone).into()
    });
    Err(fail(running, error).await)
}

/// Settles a request that got no answer, and gives the error to hand to the caller.
pub(crate) async fn fail(running: Running, error: RunError) -> RunError {
    let error = error.with_receipt(running.id);
    let outcome = Outcome::Failed { code: error.kind.code().into(), message: error.message.clone() };
    match running.settle(outcome).await {
        Ok(()) => error,
        Err(store) => store,
    }
}

async fn note_failure(running: &mut Running, target: &Target, error: &BackendError) {
    running.give_back(error).await;
    if error.kind.counts_against_health() || error.retry_after.is_some() {
        running.shared.health.failed(&target.id, running.now(), error.retry_after);
    }
    tracing::debug!(target = %target.id, code = error.kind.code(), %error, "a step failed");
    running.failed_steps.push((target.id.clone(), error.message.clone()));
}

/// A step that gave no answer.
struct StepFailed {
    error: RunError,
    /// The next step may do better.
    go_on: bool,
}

/// Calls one target, again where that is safe and useful: with nothing else left to try, or where the target asks for a short while.
/// Something is set aside for each call by itself.
async fn call_target(
    entry: &Registered,
    running: &mut Running,
    last: bool,
) -> Result<(String, Option<Event>, EventStream), StepFailed> {
    let mut retry = RetryPolicy::new(**running.shared.retry.load());
    loop {
        if let Err(error) = running.set_aside(&entry.target).await {
            running.failed_steps.push((entry.target.id.clone(), error.message.clone()));
            return Err(StepFailed { error, go_on: true });
        }
        let error = match begin_step(entry, running).await {
            Ok(begun) => return Ok(begun),
            Err(error) => error,
        };
        let again = entry.target.tier != Tier::Device && (last || error.retry_after.is_some());
        let left = running.facts.latency_budget.map(|budget| budget.saturating_sub(running.elapsed()));
        let random = running.shared.clock.random() as u64;
        let wait = retry.next(&error, random, left).filter(|_| again);
        note_failure(running, &entry.target, &error).await;
        let Some(wait) = wait else {
            return Err(StepFailed { go_on: error.kind.another_target_may_do(), error: error.into() });
        };
        tokio::time::sleep(wait).await;
    }
}

async fn begin_step(
    entry: &Registered,
    running: &Running,
) -> Result<(String, Option<Event>, EventStream), BackendError> {
    let mut events = entry.backend.generate(call(entry, running)).await?;
    let model = match events.next().await {
        Some(Ok(Event::Started { model })) => model,
        Some(Err(error)) => return Err(error),
        other => return Err(unexpected(&entry.target, other.is_some())),
    };
    // A target that accepts and then fails at once must not count as chosen: look at one event more.
    match tokio::time::timeout(PEEK, events.next()).await {
        Ok(Some(Ok(first))) => Ok((model, Some(first), events)),
        Ok(Some(Err(error))) => Err(error),
        Ok(None) => Err(unexpected(&entry.target, false)),
        Err(_still_silent) => Ok((model, None, events)),
    }
}

fn unexpected(target: &Target, spoke: bool) -> BackendError {
    let what = if spoke { "did not begin its answer properly" } else { "ended before it answered" };
    BackendError::new(BackendErrorKind::Protocol, format!("`{}` {what}", target.id))
}

fn call(entry: &Registered, running: &Running) -> Call {
    Call { request: running.request.clone(), target: entry.target.clone(), egress: running.egress.clone() }
}

/// Tries the steps in order until one gives vectors.
pub(crate) async fn embed(
    mut running: Running,
    registry: &Registry,
) -> Result<(Running, Arc<Target>, Vec<Vec<f32>>), RunError> {
    let mut last_error: Option<RunError> = None;
    for step in running.decision.steps.clone() {
        let Some(entry) = registry.get(&step.target) else { continue };
        let Some(embedder) = &entry.embedder else { continue };
        running.queued = running.elapsed();
        if let Err(error) = running.set_aside(&entry.target).await {
            running.failed_steps.push((entry.target.id.clone(), error.message.clone()));
            last_error = Some(error);
            continue;
        }
        match embedder.embed(call(entry, &running)).await {
            Ok((vectors, usage)) => {
                running.answering = Some((entry.target.clone(), entry.target.model.clone()));
                running.usage = usage;
                running.usage_reported = usage.prompt_tokens > 0;
                running.note_first_token();
                return Ok((running, entry.target.clone(), vectors));
            }
            Err(error) => {
                let go_on = error.kind.another_target_may_do();
                note_failure(&mut running, &entry.target, &error).await;
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
    for step in running.decision.steps.clone() {
        let Some(entry) = registry.get(&step.target) else { continue };
        if let Err(error) = running.set_aside_to_count(&entry.target).await {
            running.failed_steps.push((entry.target.id.clone(), error.message.clone()));
            result = Err(error);
            continue;
        }
        match entry.backend.count_tokens(call(entry, &running)).await {
            Ok(tokens) => {
                running.counted();
                running.answering = Some((entry.target.clone(), entry.target.model.clone()));
                running.usage = Usage::default();
                return (running, Ok(tokens));
            }
            Err(error) => {
                let go_on = error.kind.another_target_may_do();
                note_failure(&mut running, &entry.target, &error).await;
                result = Err(error.into());
                if !go_on {
                    break;
                }
            }
        }
    }
    (running, result)
}
