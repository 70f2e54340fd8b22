//! The traits of the domain, for one model of the pool.

use std::sync::Arc;

use inshore_domain::request::{Embedding, PromptText};
use inshore_domain::{
    Backend, BackendError, BackendErrorKind, BoxFuture, Call, Embedder, EventStream, Task, Usage,
};

use super::answer::{failed, lost, start};
use super::slot::Slot;
use super::{Inner, load, request};
use crate::frames::{Embed, FromChild, MAX_FRAME, Prompt, ToChild};
use crate::host::{Host, Reply};

/// Inputs of one embedding request: as many as OpenAI takes.
const MAX_INPUTS: usize = 2048;
/// Bytes of vectors that are asked of the child at once: half of what a frame holds.
const VECTOR_BYTES: usize = MAX_FRAME / 2;

/// One model.
#[derive(Debug)]
pub(super) struct DeviceBackend {
    pub(super) inner: Arc<Inner>,
    pub(super) slot: Arc<Slot>,
}

impl Backend for DeviceBackend {
    fn generate(&self, call: Call) -> BoxFuture<'_, Result<EventStream, BackendError>> {
        Box::pin(async move {
            let options = &self.inner.options;
            #[expect(clippy::cast_possible_truncation, reason = "64 of the 128 random bits are enough")]
            let seed = options.clock.random() as u64;
            let store = self.inner.prefixes.clone();
            // Rendered before loading, so that what is wrong with a request costs nothing.
            let jobs = request::jobs(&self.inner, &self.slot, &call.request, seed, store.as_deref()).await?;
            let lease = load::acquire(&self.inner, &self.slot).await?;
            start(self.slot.id().to_owned(), lease, jobs, Arc::clone(&options.clock), store).await
        })
    }

    fn count_tokens(&self, call: Call) -> BoxFuture<'_, Result<u32, BackendError>> {
        Box::pin(async move {
            let prompts = self.prompts(&call.request.task).await?;
            let lease = load::acquire(&self.inner, &self.slot).await?;
            let mut count: u32 = 0;
            for prompt in prompts {
                let tokens = self.tokenize(&lease.host, prompt).await?;
                count = count.saturating_add(tokens);
            }
            Ok(count)
        })
    }
}

impl DeviceBackend {
    async fn prompts(&self, task: &Task) -> Result<Vec<Prompt>, BackendError> {
        let known = &self.slot.known;
        match task {
            Task::Chat(chat) => {
                let rendered = request::write(&self.inner, &self.slot, chat).await?;
                Ok(vec![Prompt::Pieces(rendered.pieces)])
            }
            Task::Completion(completion) => {
                let suffix = completion.suffix.as_deref();
                completion
                    .prompts
                    .iter()
                    .map(|prompt| request::completion_prompt(known, prompt, suffix))
                    .collect()
            }
            Task::Embedding(embedding) => self.inputs(embedding),
        }
    }

    fn inputs(&self, embedding: &Embedding) -> Result<Vec<Prompt>, BackendError> {
        let input = |input: &PromptText| request::completion_prompt(&self.slot.known, input, None);
        embedding.inputs.iter().map(input).collect()
    }

    /// One vector for each input, and the tokens of all.
    async fn vectors(
        &self,
        host: &Arc<Host>,
        inputs: Vec<Prompt>,
    ) -> Result<(Vec<Vec<f32>>, u32), BackendError> {
        let asked = inputs.len();
        let mut work = host.submit(|id| ToChild::Embed(Embed { id, inputs }));
        match work.next().await {
            Reply::Frame(FromChild::Embedded { vectors, tokens, .. }) if vectors.len() == asked => {
                work.finish();
                Ok((vectors, tokens))
            }
            Reply::Frame(FromChild::Failed { error, .. }) => {
                work.finish();
                Err(failed(self.slot.id(), error))
            }
            reply => Err(lost(self.slot.id(), &reply)),
        }
    }

    async fn tokenize(&self, host: &Arc<Host>, prompt: Prompt) -> Result<u32, BackendError> {
        let mut work = host.submit(|id| ToChild::Tokenize { id, prompt });
        match work.next().await {
            Reply::Frame(FromChild::Tokens { tokens, .. }) => {
                work.finish();
                Ok(u32::try_from(tokens.len()).unwrap_or(u32::MAX))
            }
            Reply::Frame(FromChild::Failed { error, .. }) => {
                work.finish();
                Err(failed(self.slot.id(), error))
            }
            reply => Err(lost(self.slot.id(), &reply)),
        }
    }
}

impl Embedder for DeviceBackend {
    fn embed(&self, call: Call) -> BoxFuture<'_, Result<(Vec<Vec<f32>>, Usage), BackendError>> {
        Box::pin(async move {
            let Task::Embedding(embedding) = &call.request.task else {
                return Err(BackendError::new(
                    BackendErrorKind::Unsupported,
                    "only embedding requests make vectors",
                ));
            };
            let asked = embedding.inputs.len();
            if !(1..=MAX_INPUTS).contains(&asked) {
                let kind = BackendErrorKind::InvalidRequest { field: Some("input".into()) };
                return Err(BackendError::new(
                    kind,
                    format!("there are {asked} inputs, expected 1 to {MAX_INPUTS}"),
                ));
            }
            let mut inputs = self.inputs(embedding)?;
            let lease = load::acquire(&self.inner, &self.slot).await?;
            let width = usize::try_from(lease.host.loaded().embedding_width).unwrap_or(usize::MAX);
            let at_once = (VECTOR_BYTES / width.saturating_mul(4).max(1)).max(1);
            let (mut all, mut prompt_tokens) = (Vec::with_capacity(asked), 0_u32);
            while !inputs.is_empty() {
                let later = inputs.split_off(at_once.min(inputs.len()));
                let (vectors, tokens) =
                    self.vectors(&lease.host, std::mem::replace(&mut inputs, later)).await?;
                for vector in vectors {
                    all.push(shortened(vector, embedding.dimensions)?);
                }
                prompt_tokens = prompt_tokens.saturating_add(tokens);
            }
            Ok((all, Usage { prompt_tokens, ..Usage::default() }))
        })
    }
}

/// The first dimensions, normalised again, as Matryoshka models are meant to be used (arXiv:2205.13147).
fn shortened(mut vector: Vec<f32>, dimensions: Option<u32>) -> Result<Vec<f32>, BackendError> {
    let Some(wanted) = dimensions else { return Ok(vector) };
    let width = vector.len();
    let wanted_len = usize::try_from(wanted).unwrap_or(usize::MAX);
    if wanted_len == 0 || wanted_len > width {
        let kind = BackendErrorKind::InvalidRequest { field: Some("dimensions".into()) };
        return Err(BackendError::new(kind, format!("`dimensions` is {wanted}, expected 1 to {width}")));
    }
    vector.truncate(wanted_len);
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|x| *x /= length);
    }
    Ok(vector)
}
