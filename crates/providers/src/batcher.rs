//! Several small requests for vectors as one outbound call.
//!
//! Requests that come within a few milliseconds of each other wait for each other and are sent together; each gets its own
//! vectors, and its share of the tokens and bytes. There is no task behind it: the callers that wait drive the call, and it ends
//! with the last of them.
//!
//! Invariants: shares add up exactly. A caller that goes away takes its texts along if they are not yet sent, and harms no
//! other. Requests for different dimensions are never joined, nor, unless that is allowed, requests of different apps.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{Shared, WeakShared};
use inshore_domain::receipt::EgressRecord;
use inshore_domain::request::{Embedding, PromptText, Task};
use inshore_domain::{
    BackendError, BackendErrorKind, Billed, BoxFuture, Call, EgressLog, Embedder, Embeddings, Request, Usage,
};
use tokio::sync::Notify;

/// A request with more text than this is sent by itself: joining saves round trips, and its own is short beside its work.
const SMALL: usize = 32 << 10;
/// Most text of one call; some 60,000 tokens, a fifth of what providers take in one call.
const MOST_TEXT: usize = 256 << 10;

/// When requests are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchOptions {
    /// How long the first request waits for others.
    pub window: Duration,
    /// Most inputs of one call; a call that has them is sent at once.
    pub inputs: usize,
    /// Requests of different apps may share a call.
    pub across_apps: bool,
}

/// Joins requests in front of another embedder, all for one target.
pub struct Batcher {
    inner: Arc<dyn Embedder>,
    options: BatchOptions,
    open: Mutex<HashMap<Key, Open>>,
}

/// What requests must have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    dimensions: Option<u32>,
    /// Text and token ids do not go into one call.
    tokens: bool,
    app: Option<String>,
}

type Outcome = Result<Arc<Done>, BackendError>;
type Running = BoxFuture<'static, Outcome>;

/// A batch that still takes members. It lives as long as a member waits for it.
struct Open {
    batch: Arc<Batch>,
    running: WeakShared<Running>,
}

/// Requests that are sent together.
struct Batch {
    members: Mutex<Members>,
    /// There is no room for more: send it.
    full: Notify,
    /// What the call itself sent and received.
    egress: EgressLog,
}

#[derive(Default)]
struct Members {
    /// In the order they came; `None` went away before the batch was sent.
    list: Vec<Option<Member>>,
    sent: bool,
}

struct Member {
    request: Arc<Request>,
    inputs: Vec<PromptText>,
    size: usize,
}

/// A batch that has been answered.
struct Done {
    vectors: Vec<Vec<f32>>,
    usage: Usage,
}

impl Batch {
    fn members(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Members {
    fn living(&self) -> impl Iterator<Item = &Member> {
        self.list.iter().flatten()
    }

    fn inputs(&self) -> usize {
        self.living().map(|member| member.inputs.len()).sum()
    }

    fn size(&self) -> usize {
        self.living().map(|member| member.size).sum()
    }

    /// The sizes of members in front of one, of itself, and of all.
    fn weight(&self, place: usize) -> Weight {
        let size = |member: &Option<Member>| member.as_ref().map_or(0, |member| member.size as u64);
        let before = self.list.iter().take(place).map(size).sum();
        let own = self.list.get(place).map_or(0, size);
        let ahead = self.list.iter().take(place).flatten().count() as u64;
        Weight { before, own, all: self.size() as u64, ahead, members: self.living().count() as u64 }
    }
}

/// What part of a whole belongs to a member.
#[derive(Debug, Clone, Copy)]
struct Weight {
    before: u64,
    own: u64,
    all: u64,
    /// Members in front of it.
    ahead: u64,
    members: u64,
}

impl Weight {
    /// The member's share of `total`, by the size of its texts; the shares of all members add up to `total`.
    fn share(self, total: u64) -> u64 {
        let up_to = |weight: u64| {
            let part = u128::from(total) * u128::from(weight) / u128::from(self.all.max(1));
            u64::try_from(part).unwrap_or(u64::MAX)
        };
        up_to(self.before + self.own) - up_to(self.before)
    }

    /// The same, at least 1 for each member where there is enough: 0 tokens would say that none were reported.
    fn share_of_tokens(self, total: u32) -> u32 {
        let total = u64::from(total);
        let share = match total.checked_sub(self.members) {
            Some(rest) => 1 + self.share(rest),
            None => u64::from(self.ahead < total),
        };
        u32::try_from(share).unwrap_or(u32::MAX)
    }
}

impl Batcher {
    /// Joins requests to `inner`.
    pub fn new(inner: Arc<dyn Embedder>, options: BatchOptions) -> Self {
        Self { inner, options, open: Mutex::default() }
    }

    /// A place in a batch that is still open, or in a new one; `None` for a request that is better sent by itself.
    fn join(&self, call: &Call) -> Option<(Seat, Shared<Running>)> {
        let Task::Embedding(task) = &call.request.task else { return None };
        let size = task.inputs.iter().map(size_of).sum();
        let tokens = task.inputs.iter().any(|input| matches!(input, PromptText::Tokens(_)));
        let mixed = tokens && !task.inputs.iter().all(|input| matches!(input, PromptText::Tokens(_)));
        if size > SMALL || mixed || task.inputs.is_empty() || task.inputs.len() >= self.options.inputs {
            return None;
        }
        let app = (!self.options.across_apps).then(|| call.request.principal.app.clone());
        let key = Key { dimensions: task.dimensions, tokens, app };
        let member = Member { request: call.request.clone(), inputs: task.inputs.clone(), size };
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        // Batches that were sent, or that nobody waits for any more.
        open.retain(|_, open| open.running.upgrade().is_some() && !open.batch.members().sent);
        let known = open.get(&key).and_then(|open| Some((open.batch.clone(), open.running.upgrade()?)));
        if let Some((batch, running)) = known
            && let Some(place) = self.add(&batch, &member)
        {
            return Some((Seat { batch, place, egress: call.egress.clone(), call: call.clone() }, running));
        }
        let batch = Arc::new(Batch {
            members: Mutex::new(Members { list: vec![Some(member)], sent: false }),
            full: Notify::new(),
            egress: EgressLog::default(),
        });
        let running =
            run(self.inner.clone(), batch.clone(), call.clone(), self.options.window).boxed().shared();
        if let Some(weak) = running.downgrade() {
            open.insert(key, Open { batch: batch.clone(), running: weak });
        }
        Some((Seat { batch, place: 0, egress: call.egress.clone(), call: call.clone() }, running))
    }

    /// The place that a member got. A batch without room for it is sent.
    fn add(&self, batch: &Batch, member: &Member) -> Option<usize> {
        let mut members = batch.members();
        let inputs = members.inputs() + member.inputs.len();
        if members.sent || inputs > self.options.inputs || members.size() + member.size > MOST_TEXT {
            batch.full.notify_one();
            return None;
        }
        let Member { request, inputs: texts, size } = member;
        members.list.push(Some(Member { request: request.clone(), inputs: texts.clone(), size: *size }));
        if inputs == self.options.inputs {
            batch.full.notify_one();
        }
        Some(members.list.len() - 1)
    }

    async fn embed_now(&self, call: Call) -> Result<Embeddings, BackendError> {
        let Some((seat, running)) = self.join(&call) else { return self.inner.embed(call).await };
        let done = running.await?;
        seat.take(&done)
    }
}

impl Embedder for Batcher {
    fn embed(&self, call: Call) -> BoxFuture<'_, Result<Embeddings, BackendError>> {
        self.embed_now(call).boxed()
    }
}

fn size_of(input: &PromptText) -> usize {
    match input {
        PromptText::Text(text) => text.len(),
        PromptText::Tokens(tokens) => tokens.len() * 4,
    }
    // An empty text is still a text.
    .max(1)
}

/// Waits for members, and makes the call for all of them.
async fn run(inner: Arc<dyn Embedder>, batch: Arc<Batch>, first: Call, window: Duration) -> Outcome {
    // Either is the end of waiting.
    let _ = tokio::time::timeout(window, batch.full.notified()).await;
    let request = {
        let mut members = batch.members();
        members.sent = true;
        let inputs = members.living().flat_map(|member| member.inputs.iter().cloned()).collect();
        // The first that still waits stands for all: its id and trace go along.
        let request = members.living().next().map(|member| member.request.clone());
        let Task::Embedding(task) = &first.request.task else { return Err(nothing_there(&first)) };
        let task = Embedding { inputs, dimensions: task.dimensions };
        request.map(|request| Request { task: Task::Embedding(task), original: None, ..(*request).clone() })
    };
    let request = Arc::new(request.ok_or_else(|| nothing_there(&first))?);
    let call = Call { request, target: first.target, egress: batch.egress.clone() };
    let (vectors, usage) = inner.embed(call).await?;
    Ok(Arc::new(Done { vectors, usage }))
}

/// The error of a batch that lost a part of itself, which would be a mistake in here.
fn nothing_there(call: &Call) -> BackendError {
    let message = format!("a joint call to `{}` lost its texts", call.target.id);
    BackendError::new(BackendErrorKind::Failed, message).with_billed(Billed::No)
}

/// A member's place in a batch. However the member leaves, what the call sent by then is noted for it in part.
struct Seat {
    batch: Arc<Batch>,
    place: usize,
    egress: EgressLog,
    call: Call,
}

impl Seat {
    /// The member's own vectors, and its share of the tokens.
    fn take(&self, done: &Done) -> Result<Embeddings, BackendError> {
        let members = self.batch.members();
        let before: usize =
            members.list.iter().take(self.place).flatten().map(|member| member.inputs.len()).sum();
        let own =
            members.list.get(self.place).and_then(Option::as_ref).map_or(0, |member| member.inputs.len());
        let vectors = done.vectors.get(before..before + own).ok_or_else(|| nothing_there(&self.call))?;
        let weight = members.weight(self.place);
        let share = |total: u32| u32::try_from(weight.share(u64::from(total))).unwrap_or(u32::MAX);
        let usage = Usage {
            prompt_tokens: weight.share_of_tokens(done.usage.prompt_tokens),
            cached_tokens: share(done.usage.cached_tokens),
            cache_write_tokens: share(done.usage.cache_write_tokens),
            output_tokens: share(done.usage.output_tokens),
            reasoning_tokens: share(done.usage.reasoning_tokens),
        };
        Ok((vectors.to_vec(), usage))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut members = self.batch.members();
        if !members.sent {
            if let Some(member) = members.list.get_mut(self.place) {
                *member = None;
            }
            return;
        }
        let weight = members.weight(self.place);
        for record in self.batch.egress.snapshot() {
            self.egress.open(EgressRecord {
                bytes_out: weight.share(record.bytes_out),
                bytes_in: weight.share(record.bytes_in),
                ..record
            });
        }
    }
}

#[cfg(test)]
mod tests;
