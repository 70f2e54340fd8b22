//! Strategy `split` with chunks: the device reads a document for a target that must not see it.
//!
//! The other target says what it needs to know, the device answers that for each chunk, and the answers go up in the place of the
//! document: [`inshore_policy::split::Reading`] says what leaves. Each call that leaves is set aside, masked and settled by itself, and all
//! work ends when the caller leaves.

use std::sync::Arc;

use futures_util::{StreamExt, stream};
use inshore_domain::{Capability, Request, Step, Target, Tier};
use inshore_policy::split::{Found, Reading, found};

use crate::account::Account;
use crate::cascade::whole;
use crate::error::{RunError, RunErrorKind};
use crate::execute::{self, Begun, StepFailed, call_with};
use crate::leg::Leg;
use crate::registry::{Registered, Registry};
use crate::settle::Running;

/// Calls of the device at a time: as many as the engine works on side by side with profit on a laptop; more would only wait, and keep
/// other requests waiting.
const AT_ONCE: usize = 4;

/// What came of reading.
#[derive(Default)]
struct Read {
    found: Vec<Found>,
    /// Chunks that could not be read, and what the last of them met with.
    unread: Vec<usize>,
    error: Option<RunError>,
}

/// Has the document read, and the answer made of what was found.
pub(crate) async fn begin(
    running: Running,
    registry: &Arc<Registry>,
    reading: &Reading,
) -> Result<Begun, RunError> {
    let account = running.account.clone();
    let entries = running.decision.steps.iter().filter_map(|step: &Step| registry.get(&step.target));
    let (near, away): (Vec<&Registered>, Vec<&Registered>) =
        entries.partition(|entry| entry.target.tier == Tier::Device);
    let Some(reader) = near.first() else {
        let message = "no model of the device can read the document, and nothing else of it may leave";
        return Err(execute::fail(running, RunError::new(RunErrorKind::NoTarget, message)).await);
    };
    let questions = plan(&account, reading, &away).await;
    let read = read(&account, reading, reader, &questions).await;
    match answer(&account, reading, &away, reader, read, questions.len()).await {
        Ok(leg) => Ok(Begun::new(running, leg)),
        Err(error) => Err(execute::fail(running, error).await),
    }
}

/// What the device is to find out: as the first target says that answers, or what the person asks.
async fn plan(account: &Arc<Account>, reading: &Reading, away: &[&Registered]) -> Vec<String> {
    let most = account.facts.max_output_tokens;
    for entry in away {
        let request = Arc::new(reading.plan(most, gives_json(&entry.target)));
        if !account.admit(&request) {
            break;
        }
        let Ok(leg) = call_with(account, entry, false, &request).await else { continue };
        let said = match whole(leg).await {
            Ok(half) => half.gathered.text,
            Err(error) => {
                account.step_failed(&entry.target.id, &error.message);
                continue;
            }
        };
        if let Some(questions) = reading.questions(&said) {
            return questions;
        }
        let name = &entry.target.id;
        account.note(format!("`{name}` did not say in the form asked for what it needs to know, so the question itself was asked"));
        break;
    }
    reading.usual_questions()
}

fn gives_json(target: &Target) -> bool {
    target.capabilities.has(Capability::JsonSchema)
}

/// Has each question answered for each chunk.
async fn read(account: &Arc<Account>, reading: &Reading, reader: &Registered, questions: &[String]) -> Read {
    let schema = gives_json(&reader.target);
    let mut calls = Vec::new();
    for (chunk, text) in reading.chunks.iter().enumerate() {
        for question in questions {
            let (account, reader) = (account.clone(), reader.clone());
            let (request, question) = (Arc::new(reading.ask(text, question, schema)), question.clone());
            calls.push(async move { (chunk, question, ask(&account, &reader, &request).await) });
        }
    }
    // In order, so that what is sent does not depend on which call was the fastest.
    let mut answers = stream::iter(calls).buffered(AT_ONCE);
    let mut read = Read::default();
    while let Some((chunk, question, answer)) = answers.next().await {
        match answer {
            Ok(Some(answer)) => read.found.push(Found { chunk, question, answer }),
            Ok(None) => {}
            Err(error) => {
                read.unread.push(chunk);
                read.error = Some(error);
            }
        }
    }
    read.unread.dedup();
    read
}

async fn ask(
    account: &Arc<Account>,
    reader: &Registered,
    request: &Arc<Request>,
) -> Result<Option<String>, RunError> {
    let leg = call_with(account, reader, false, request).await.map_err(|StepFailed { error, .. }| error)?;
    let half = whole(leg).await?;
    found(&half.gathered.text).map_err(|error| RunError::new(RunErrorKind::NoTarget, error.to_string()))
}

/// The answer of the first target that gives one from what was found; of the device where no other does.
async fn answer(
    account: &Arc<Account>,
    reading: &Reading,
    away: &[&Registered],
    reader: &Registered,
    read: Read,
    questions: usize,
) -> Result<Leg, RunError> {
    tell(account, reading, &read, questions);
    if read.unread.len() == reading.chunks.len() {
        let unread = || RunError::new(RunErrorKind::NoTarget, "the device could not read the document");
        return Err(read.error.unwrap_or_else(unread));
    }
    if let Some((request, told)) = report(account, reading, &read.found) {
        let (told, of) = (told, read.found.len());
        account.note(format!(
            "{told} of {of} answers of the device stood in the place of {} bytes",
            reading.of_bytes
        ));
        for (place, entry) in away.iter().enumerate() {
            let last = place + 1 == away.len();
            match call_with(account, entry, last, &request).await {
                Ok(leg) => return Ok(leg),
                Err(StepFailed { go_on: true, .. }) => {}
                Err(StepFailed { error, .. }) => return Err(error),
            }
        }
    }
    account.note(format!("no other target answered, so `{}` answers from what it found", reader.target.id));
    let request = Arc::new(reading.report(&read.found).0);
    call_with(account, reader, true, &request).await.map_err(|StepFailed { error, .. }| error)
}

/// The request with as many of the answers as may leave and have room.
fn report(account: &Account, reading: &Reading, found: &[Found]) -> Option<(Arc<Request>, usize)> {
    let mut most = found.len();
    loop {
        let (request, told) = reading.report(found.get(..most).unwrap_or(found));
        let request = Arc::new(request);
        if account.admit(&request) {
            return Some((request, told));
        }
        // Placeholders may be longer than what they stand for.
        most = told / 2;
        if told == 0 {
            return None;
        }
    }
}

fn tell(account: &Account, reading: &Reading, read: &Read, questions: usize) {
    let (chunks, of) = (reading.chunks.len(), reading.of_chunks);
    account
        .note(format!("the device read {chunks} of {of} chunks of the document, for {questions} questions"));
    if !read.unread.is_empty() {
        let places: Vec<String> = read.unread.iter().map(|place| (place + 1).to_string()).collect();
        let why = read.error.as_ref().map(|error| error.message.clone()).unwrap_or_default();
        account.note(format!("chunks that could not be read to the end: {} ({why})", places.join(", ")));
    }
}
