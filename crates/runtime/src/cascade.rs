//! Strategy `cascade`: the smallest target answers first, and its answer is kept if it stands up to checks; else the next one is asked.
//!
//! Cheap checks come first, and one that says enough spares the dearer ones. What only a model can tell, a second answer or the model's
//! own judgement, is asked only of targets that cost nothing.

use std::sync::Arc;

use inshore_domain::request::{Chat, Message, Role};
use inshore_domain::{Capability, Delta, Event, FinishReason, Request, Step, Strategy, Target, Task};
use inshore_policy::router::Agreement;
use inshore_policy::verify::{self, Check, Failure, Seen};

use crate::account::Account;
use crate::error::{RunError, RunErrorKind};
use crate::execute::{self, Begun, StepFailed, call_with};
use crate::half::{Gathered, Half, Happened};
use crate::learn::{self, told};
use crate::leg::Leg;
use crate::lesson::{Found, Known, Lesson, family};
use crate::registry::{Registered, Registry};
use crate::settle::Running;

/// Answers that are drawn again are drawn at least this freely: the likeliest answer drawn twice always agrees with itself.
const SECOND_TEMPERATURE: f32 = 0.7;
/// Characters of question and answer that a model judges: what is longer does not fit the small models that are asked.
const JUDGED: usize = 6_000;

/// Has the steps answer in order until one answer is kept. The last one is not checked: there is no other.
pub(crate) async fn begin(mut running: Running, registry: &Registry) -> Result<Begun, RunError> {
    let account = running.account.clone();
    let steps = running.decision.steps.clone();
    let checks = checks(&account, registry);
    let mut last_error = None;
    let mut spare: Option<(Half, Option<Known>, String)> = None;
    for (place, step) in steps.iter().enumerate() {
        let Some(entry) = registry.get(&step.target) else { continue };
        let others = steps.get(place + 1..).unwrap_or_default();
        let request =
            if others.is_empty() { account.request.clone() } else { asked(&account, &entry.target, &checks) };
        let leg = match call_with(&account, entry, others.is_empty(), &request).await {
            Ok(leg) if others.is_empty() => {
                running.lesson = spare.and_then(|(_, known, _)| Some(escalated(known?)));
                return Ok(Begun::new(running, leg));
            }
            Ok(leg) => leg,
            Err(StepFailed { error, go_on }) => {
                last_error = Some(error);
                if go_on { continue } else { break }
            }
        };
        let half = match whole(leg).await {
            Ok(half) => half,
            Err(error) => {
                account.step_failed(&step.target, &error.message);
                last_error = Some(error);
                continue;
            }
        };
        match weigh(&account, registry, entry, others, &checks, &half.gathered).await {
            Ok(known) => {
                running.lesson = known.map(|known| Lesson::Kept(Box::new(known)));
                return kept(running, half).await;
            }
            Err((known, why)) => {
                account.step_failed(&step.target, &format!("its answer was not kept: {why}"));
                spare = Some((half, known, why));
            }
        }
    }
    // A doubtful answer that says so is more than none.
    if let Some((half, known, why)) = spare {
        account.note(format!("no other target answered, so this answer is given although {why}"));
        running.lesson = known.map(|known| Lesson::Kept(Box::new(known)));
        return kept(running, half).await;
    }
    let gone = || RunError::new(RunErrorKind::NoTarget, "no target answered");
    Err(execute::fail(running, last_error.unwrap_or_else(gone)).await)
}

fn escalated(known: Known) -> Lesson {
    Lesson::Escalated(Box::new(known), Default::default())
}

/// Whether an answer is kept: checks first, then what was learned, where the feature declares a risk. With what can be learned of it.
///
/// # Errors
/// Why it is not kept. Of an answer that failed a check nothing can be learned: none like it is ever judged.
async fn weigh(
    account: &Arc<Account>,
    registry: &Registry,
    entry: &Registered,
    others: &[Step],
    checks: &[Check],
    gathered: &Gathered,
) -> Result<Option<Known>, (Option<Known>, String)> {
    let found = judge(account, registry, entry, others, checks, gathered)
        .await
        .map_err(|failure| (None, failure.to_string()))?;
    let Some(next) = others.first() else { return Ok(None) };
    let pair = (&entry.target.id, &next.target);
    let Some(known) = Known::of(account, registry, pair, gathered, &found) else { return Ok(None) };
    match known.judged(account, registry) {
        None => Ok(Some(known)),
        Some(Ok(reason)) => {
            account.note(format!("the answer of `{}` was kept: {reason}", entry.target.id));
            Ok(Some(known))
        }
        Some(Err(reason)) => Err((Some(known), told(reason))),
    }
}

/// Says that an answer is not judged, where its feature declares a risk and there is nobody else to ask.
pub(crate) fn note_unjudged(running: &Running, registry: &Registry) {
    let (account, steps) = (&running.account, &running.decision.steps);
    let Some(risk) = learn::risk(account, registry) else { return };
    let ([step], Some(Strategy::Cascade)) = (steps.as_slice(), account.facts.strategy) else { return };
    let Some(family) = family(&account.request) else { return };
    let (labels, needed) = account.shared.learning.labels(risk, family, &step.target);
    let few = match labels < needed {
        true => format!("; there are too few labels: {labels} of {needed}"),
        false => String::new(),
    };
    let target = &step.target;
    account.note(format!(
        "no other target may be asked, so the answer of `{target}` is given without being held to a risk of {risk}{few}"
    ));
}

/// What the answers must stand up to: as the feature declares, or what is usual.
pub(crate) fn checks(account: &Account, registry: &Registry) -> Vec<Check> {
    let features = &registry.prepared().rules().settings().features;
    let feature = account.request.hints.feature.as_deref().and_then(|name| features.get(name));
    feature.and_then(|feature| feature.checks.clone()).unwrap_or_else(|| verify::usual(&account.request))
}

/// The request as this target gets it: with log-probabilities, where a check reads them and the target has them.
fn asked(account: &Account, target: &Target, checks: &[Check]) -> Arc<Request> {
    let able = costs_nothing(target) && target.capabilities.has(Capability::Logprobs);
    let wanted = able && checks.iter().any(Check::needs_logprobs);
    let has = account.request.task.sampling().is_some_and(|sampling| sampling.logprobs.is_some());
    if !wanted || has {
        return account.request.clone();
    }
    changed(&account.request, |request| {
        if let Some(sampling) = request.task.sampling_mut() {
            sampling.logprobs = Some(0);
        }
    })
}

/// The same request with a change; the caller's own bytes then no longer say what is asked.
fn changed(request: &Request, change: impl FnOnce(&mut Request)) -> Arc<Request> {
    let mut request = request.clone();
    request.original = None;
    change(&mut request);
    Arc::new(request)
}

/// Waits for the whole answer.
pub(crate) async fn whole(leg: Leg) -> Result<Half, RunError> {
    let mut half = Half::of(leg);
    loop {
        match half.next().await {
            Happened::Complete => return Ok(half),
            Happened::Failed => {
                let gone = || RunError::new(RunErrorKind::NoTarget, "the answer broke off");
                return Err(half.failure().cloned().unwrap_or_else(gone));
            }
            Happened::Accepted | Happened::Came => {}
        }
    }
}

async fn kept(running: Running, half: Half) -> Result<Begun, RunError> {
    let asked_for =
        running.account.request.task.sampling().is_some_and(|sampling| sampling.logprobs.is_some());
    match half.into_leg() {
        Some(mut leg) => {
            if !asked_for {
                leg.forget_logprobs();
            }
            Ok(Begun::new(running, leg))
        }
        None => {
            Err(execute::fail(running, RunError::new(RunErrorKind::NoTarget, "no target answered")).await)
        }
    }
}

/// Whether an answer stands up to the checks.
async fn judge(
    account: &Arc<Account>,
    registry: &Registry,
    entry: &Registered,
    others: &[Step],
    checks: &[Check],
    gathered: &Gathered,
) -> Result<Found, Failure> {
    let mut found = look(account, checks, gathered)?;
    if found.sound {
        return Ok(found);
    }
    for check in checks.iter().filter(|check| check.needs_model()) {
        let why = match check {
            Check::Agreement => {
                let agreed = agrees(account, registry, entry, others, gathered).await;
                agreed.map(|second| found.others.extend(second))
            }
            Check::SelfJudged(percent) => finds_itself_right(account, entry, *percent, gathered).await,
            _ => Ok(()),
        };
        why.map_err(|why| Failure { check: check.clone(), why })?;
    }
    Ok(found)
}

/// What the checks say that ask nobody.
pub(crate) fn look(account: &Account, checks: &[Check], gathered: &Gathered) -> Result<Found, Failure> {
    let (calls, logprobs) = (calls(gathered), logprobs(gathered));
    let reason = gathered.reason.unwrap_or(FinishReason::Stop);
    let seen = Seen { text: &gathered.text, calls: &calls, reason, logprobs: &logprobs };
    let sound = verify::verify(checks, &account.request, &seen)?;
    Ok(Found { sound, others: Vec::new() })
}

/// Tools that an answer calls.
pub(crate) fn calls(gathered: &Gathered) -> Vec<(String, String)> {
    let mut calls: Vec<(String, String)> = Vec::new();
    for event in &gathered.events {
        match event {
            Event::Delta { index: 0, delta: Delta::ToolCall { name, .. } } => {
                calls.push((name.clone(), String::new()));
            }
            Event::Delta { index: 0, delta: Delta::ToolArguments { call, fragment } } => {
                if let Some((_, arguments)) = calls.get_mut(*call as usize) {
                    arguments.push_str(fragment);
                }
            }
            _ => {}
        }
    }
    calls
}

/// The log-probabilities of its tokens, as far as they were told.
pub(crate) fn logprobs(gathered: &Gathered) -> Vec<f32> {
    let of = |event: &Event| match event {
        Event::Delta { index: 0, delta: Delta::Text { logprobs, .. } } => {
            logprobs.iter().map(|token| token.logprob).collect()
        }
        _ => Vec::new(),
    };
    gathered.events.iter().flat_map(of).collect()
}

/// Whether a call of this target costs nothing, and nothing leaves with it.
fn costs_nothing(target: &Target) -> bool {
    target.tier == inshore_domain::Tier::Device
}

/// Has another model of the device answer too, or this one again, and compares. Where a second answer would cost something, or cannot
/// be had, nothing is found. Gives the second answer.
async fn agrees(
    account: &Arc<Account>,
    registry: &Registry,
    entry: &Registered,
    others: &[Step],
    gathered: &Gathered,
) -> Result<Option<String>, String> {
    let free = |step: &&Step| registry.get(&step.target).is_some_and(|entry| costs_nothing(&entry.target));
    let other = others.iter().find(free).and_then(|step| registry.get(&step.target));
    let (second, request) = match other {
        Some(other) => (other, account.request.clone()),
        None if costs_nothing(&entry.target) => (entry, drawn_again(account)),
        None => return Ok(None),
    };
    let called = call_with(account, second, false, &request).await;
    let Ok(leg) = called else { return Ok(None) };
    let Ok(again) = whole(leg).await else { return Ok(None) };
    let agreement = Agreement::of(&gathered.text, &[again.gathered.text.as_str()]);
    if agreement.confirmed_by(1) {
        return Ok(Some(again.gathered.text));
    }
    Err(format!("a second answer, of `{}`, comes to something else", second.target.id))
}

fn drawn_again(account: &Account) -> Arc<Request> {
    let seed = account.shared.clock.random() as u64;
    changed(&account.request, |request| {
        if let Some(sampling) = request.task.sampling_mut() {
            let given = sampling.temperature.unwrap_or(1.0);
            sampling.temperature = Some(given.max(SECOND_TEMPERATURE));
            sampling.seed = Some(seed);
        }
    })
}

/// Asks the model whether its own answer is right: the probability of yes against that of no, as the first word of its reply. Where
/// that cannot be had, nothing is found.
async fn finds_itself_right(
    account: &Arc<Account>,
    entry: &Registered,
    percent: u8,
    gathered: &Gathered,
) -> Result<(), String> {
    let able = entry.target.capabilities;
    if !costs_nothing(&entry.target) || !able.has(Capability::Chat) || !able.has(Capability::Logprobs) {
        return Ok(());
    }
    let Some(request) = self_question(account, &gathered.text) else { return Ok(()) };
    let Ok(leg) = call_with(account, entry, false, &request).await else { return Ok(()) };
    let Ok(reply) = whole(leg).await else { return Ok(()) };
    match probability_of_yes(&reply.gathered) {
        Some(yes) if yes * 100.0 < f32::from(percent) => {
            Err(format!("the model finds its answer right with {:.0} %", yes * 100.0))
        }
        _ => Ok(()),
    }
}

fn self_question(account: &Account, answer: &str) -> Option<Arc<Request>> {
    let Task::Chat(chat) = &account.request.task else { return None };
    let question = chat.messages.iter().rev().find(|message| message.role == Role::User)?.joined_text();
    let cut = |text: &str| text.chars().take(JUDGED).collect::<String>();
    let text = format!(
        "Question: {}\nProposed answer: {}\nIs the proposed answer correct? Reply with one word, yes or no.",
        cut(&question),
        cut(answer)
    );
    let mut judged = Chat { messages: vec![Message::text(Role::User, text)], ..Chat::default() };
    judged.sampling.max_tokens = Some(2);
    judged.sampling.temperature = Some(0.0);
    judged.sampling.logprobs = Some(10);
    Some(changed(&account.request, |request| request.task = Task::Chat(judged)))
}

fn probability_of_yes(reply: &Gathered) -> Option<f32> {
    let tokens = reply.events.iter().find_map(|event| match event {
        Event::Delta { delta: Delta::Text { logprobs, .. }, .. } if !logprobs.is_empty() => logprobs.first(),
        _ => None,
    })?;
    let drawn = std::iter::once((tokens.bytes.as_slice(), tokens.logprob));
    let others = tokens.top.iter().map(|(bytes, logprob)| (bytes.as_slice(), *logprob));
    let mut seen: Vec<&[u8]> = Vec::new();
    let (mut yes, mut no) = (0.0, 0.0);
    for (bytes, logprob) in drawn.chain(others) {
        // The token that was drawn is mostly among the likeliest as well.
        if seen.contains(&bytes) {
            continue;
        }
        seen.push(bytes);
        let word = String::from_utf8_lossy(bytes).trim().to_lowercase();
        if word.starts_with("yes") || word == "y" {
            yes += logprob.exp();
        } else if word == "no" || word == "n" || word.starts_with("no,") || word.starts_with("no.") {
            no += logprob.exp();
        }
    }
    (yes + no > 0.0).then(|| yes / (yes + no))
}

#[cfg(test)]
mod tests {
    use super::*;
    use inshore_domain::TokenLogprob;

    fn reply(tokens: &[(&str, f32)]) -> Option<f32> {
        let bytes = |text: &str| text.as_bytes().to_vec();
        let (first, rest) = tokens.split_first().expect("a token");
        let top = rest.iter().map(|(text, logprob)| (bytes(text), *logprob)).collect();
        let token = TokenLogprob { bytes: bytes(first.0), id: None, logprob: first.1, top };
        let delta = Delta::Text { text: first.0.into(), logprobs: vec![token] };
        let gathered = Gathered { events: vec![Event::Delta { index: 0, delta }], ..Gathered::default() };
        probability_of_yes(&gathered)
    }

    #[test]
    fn yes_is_weighed_against_no_and_other_words_do_not_count() {
        let half = 0.5_f32.ln();
        assert_eq!(reply(&[("Yes", half), ("Yes", half), (" no", half)]), Some(0.5));
        assert_eq!(reply(&[(" yes", 0.25_f32.ln()), ("The", half)]), Some(1.0));
        assert_eq!(reply(&[("Nothing", half), ("now", half)]), None);
    }
}
