//! What a protocol is: how requests are written and how answers are read.
//!
//! Each protocol is a folder of the same shape: its `mod.rs` implements [`Protocol`], `request` goes from the domain to
//! JSON, `response` back, and `embeddings` both ways where the protocol has them. A protocol sends nothing itself.

use std::borrow::Cow;

use http::{HeaderMap, Method};
use inshore_domain::request::{Chat, Dialect, Original, Task};
use inshore_domain::{BackendError, BackendErrorKind, Call, Embeddings, Target, Tier};

use crate::answer::Reader;
use crate::gate::Pieces;
use crate::secret::Secret;

/// One protocol at one endpoint.
pub(crate) trait Protocol: Send + Sync {
    /// The path that is added to a base URL without one.
    fn root(&self) -> &'static str;

    /// Adds the headers that every call has, the key among them.
    fn authorise(&self, key: Option<&Secret>, headers: &mut HeaderMap) -> Result<(), KeyNotSendable>;

    /// Adds headers that tell the other side of one call.
    fn tell(&self, _call: &Call, _headers: &mut HeaderMap) {}

    /// What the head of a response says of who did the work.
    fn remote(&self, _head: &HeaderMap) -> Remote {
        Remote::default()
    }

    /// Writes a conversation or completion.
    fn generate(&self, call: &Call) -> Result<Prepared, BackendError>;

    /// Asks how many tokens the prompt has.
    fn count(&self, call: &Call) -> Result<Question<u32>, BackendError>;

    /// Asks for vectors.
    fn embed(&self, call: &Call) -> Result<Question<Embeddings>, BackendError>;

    /// Asks for the list of models, the cheapest question that needs both the endpoint and the key.
    fn models(&self) -> Question<Vec<ModelEntry>>;
}

/// The key holds characters that cannot stand in a header.
#[derive(Debug)]
pub(crate) struct KeyNotSendable;

/// A model in a list of models.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ModelEntry {
    pub(crate) name: String,
    /// Whose it is, as the server says.
    pub(crate) owner: Option<String>,
    /// The server names a price for it.
    pub(crate) priced: bool,
}

/// What another Inshore says of a call.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Remote {
    /// The id of its receipt.
    pub(crate) receipt: Option<String>,
    /// The target that it took.
    pub(crate) target: Option<String>,
    /// How far away that is from it.
    pub(crate) tier: Option<Tier>,
}

/// A request whose answer is a stream of events, streamed or not.
pub(crate) struct Prepared {
    /// Below the root of the API.
    pub(crate) path: Cow<'static, str>,
    pub(crate) body: Pieces,
    pub(crate) reader: Box<dyn Reader>,
    /// The answer is in the caller's own dialect.
    pub(crate) wire: bool,
}

/// Reads an answer's body.
type Read<T> = Box<dyn FnOnce(&[u8]) -> Result<T, BackendError> + Send>;

/// A request with one answer.
pub(crate) struct Question<T> {
    pub(crate) method: Method,
    /// Below the root of the API.
    pub(crate) path: Cow<'static, str>,
    pub(crate) body: Pieces,
    pub(crate) read: Read<T>,
}

impl<T> Question<T> {
    pub(crate) fn post(
        path: impl Into<Cow<'static, str>>,
        body: Vec<u8>,
        read: impl FnOnce(&[u8]) -> Result<T, BackendError> + Send + 'static,
    ) -> Self {
        Self { method: Method::POST, path: path.into(), body: body.into(), read: Box::new(read) }
    }

    pub(crate) fn get(
        path: impl Into<Cow<'static, str>>,
        read: impl FnOnce(&[u8]) -> Result<T, BackendError> + Send + 'static,
    ) -> Self {
        Self { method: Method::GET, path: path.into(), body: Pieces::default(), read: Box::new(read) }
    }
}

/// Refuses by name a parameter that the target does not know and that would change the answer.
pub(crate) fn refuse(target: &Target, parameter: &str) -> BackendError {
    BackendError::new(BackendErrorKind::Unsupported, format!("`{}` does not know `{parameter}`", target.id))
}

/// Refuses what only the device can do, whichever way the body is made.
pub(crate) fn refuse_ours(task: &Task, target: &Target) -> Result<(), BackendError> {
    let Some(sampling) = task.sampling() else { return Ok(()) };
    if !sampling.adapters.is_empty() {
        return Err(refuse(target, "adapters"));
    }
    if sampling.truncate_prompt {
        return Err(refuse(target, "truncate_prompt"));
    }
    Ok(())
}

/// The conversation, for protocols that know nothing else.
pub(crate) fn chat<'a>(task: &'a Task, target: &Target) -> Result<&'a Chat, BackendError> {
    match task {
        Task::Chat(chat) => Ok(chat),
        Task::Completion(_) => Err(refuse(target, "prompt")),
        Task::Embedding(_) => Err(refuse(target, "input")),
    }
}

/// Whether the caller's own body is in this dialect.
pub(crate) fn is(original: Option<&Original>, dialect: Dialect) -> bool {
    original.is_some_and(|original| original.dialect == dialect)
}

/// A picture as callers name it.
pub(crate) enum Picture<'a> {
    /// Base 64 in a `data:` URL.
    Inline { media_type: &'a str, data: &'a str },
    /// An address.
    At(&'a str),
}

/// `None` for a `data:` URL that is not base 64.
pub(crate) fn picture(url: &str) -> Option<Picture<'_>> {
    let Some(rest) = url.strip_prefix("data:") else { return Some(Picture::At(url)) };
    let (head, data) = rest.split_once(',')?;
    Some(Picture::Inline { media_type: head.strip_suffix(";base64")?, data })
}
