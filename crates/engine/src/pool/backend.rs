//! The traits of the domain, for one model of the pool.

use std::sync::Arc;

use inshore_domain::request::{Embedding, PromptText};
use inshore_domain::{
    Backend, BackendError, BackendErrorKind, BoxFuture, Call, Embedder, EventStream, Task, Usage,
};

use super::answer::{failed, lost, start};
use super::slot::Slot;
use super::{Inner, load, request};
use crate::frames::{Embed, FromChild, Prompt, ToChild};
use crate::host::{Host, Reply};

/// Inputs of one embedding request: as many as OpenAI takes.
const MAX_INPUTS: usize = 2048;

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
            let inputs = self.inputs(embedding)?;
            let lease = load::acquire(&self.inner, &self.slot).await?;
            let mut work = lease.host.submit(|id| ToChild::Embed(Embed { id, inputs }));
            let (vectors, tokens) = match work.next().await {
                Reply::Frame(FromChild::Embedded { vectors, tokens, .. }) if vectors.len() == asked => {
                    (vectors, tokens)
                }
                Reply::Frame(FromChild::Failed { error, .. }) => {
                    work.finish();
                    return Err(failed(self.slot.id(), error));
                }
                reply => return Err(lost(self.slot.id(), &reply)),
            };
            work.finish();
            let vectors = vectors
                .into_iter()
                .map(|vector| shortened(vector, embedding.dimensions))
                .collect::<Result<_, _>>()?;
            Ok((vectors, Usage { prompt_tokens: tokens, ..Usage::default() }))
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
