//! The process that writes one model's conversations, as the daemon sees it.
//!
//! Started when it is first needed, one for each model, and kept until the model is unloaded. Guaranteed: whatever the template
//! does, the one who asked gets an error that names it, within [`TIME`] and a little; nobody else notices; and the next
//! conversation gets a process that works.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use inshore_domain::request::Chat;
use inshore_domain::{BackendError, BackendErrorKind};
use tokio::io::{ReadHalf, WriteHalf};
use tokio::sync::Mutex;

use super::Inner;
use super::answer::short;
use super::slot::Known;
use crate::frames::ToChild;
use crate::frames::conversation::{Conversation, MEMORY, Rendered, TemplateError, Written};
use crate::gguf::show_bytes;
use crate::host::Process;
use crate::host::wire::{FrameReader, FrameWriter};

/// How long one conversation may take. Ten thousand messages take a second on a slow machine; more is a template that does
/// something else.
const TIME: Duration = Duration::from_secs(10);
/// How long a process that is told to end, or has closed its socket, may take to be gone.
const EXIT_GRACE: Duration = Duration::from_secs(2);
/// Bytes of text in a conversation: as many as may be written of one.
const MAX_TEXT: usize = 16 << 20;

#[cfg(unix)]
type Stream = tokio::net::UnixStream;
#[cfg(not(unix))]
type Stream = tokio::net::TcpStream;

/// Writes one model's conversations, one after the other.
#[derive(Debug, Default)]
pub(super) struct Writer {
    running: Mutex<Option<Running>>,
    /// It has been said that the template cannot be used.
    warned: AtomicBool,
}

impl Writer {
    /// Writes a conversation.
    pub(super) async fn write(
        &self,
        inner: &Inner,
        known: &Known,
        chat: &Chat,
    ) -> Result<Rendered, BackendError> {
        let id = &known.model.id;
        let conversation = Conversation::of(chat, inner.options.clock.now());
        let bytes = conversation.bytes();
        if bytes > MAX_TEXT {
            return Err(invalid(
                "messages",
                format!("the conversation has {bytes} bytes, the limit is {MAX_TEXT}"),
            ));
        }
        let mut place = self.running.lock().await;
        if inner.closing.is_cancelled() {
            return Err(BackendError::new(BackendErrorKind::ShuttingDown, "the daemon is shutting down"));
        }
        // Out of its place while it works: it ends with this future when anything is wrong, or when nobody waits any more.
        let kept = place.take().and_then(Running::if_alive);
        let mut running = match kept {
            Some(running) => running,
            None => Running::start(inner, known)?,
        };
        let written = match tokio::time::timeout(TIME, running.exchange(&conversation)).await {
            Ok(Ok(written)) => written,
            Ok(Err(wrong)) => return Err(lost(id, &running.how_it_ended(&wrong).await)),
            Err(_) => {
                running.end().await;
                return Err(failed(id, &TemplateError::Limit(format!("{} s", TIME.as_secs()))));
            }
        };
        *place = Some(running);
        match written {
            Written::Prompt(rendered) => {
                self.warn(id, &rendered);
                Ok(rendered)
            }
            Written::Failed(error) => Err(failed(id, &error)),
        }
    }

    /// Ends the process, if there is one, as soon as it is not at work.
    pub(super) async fn end(&self) {
        if let Some(running) = self.running.lock().await.take() {
            running.end().await;
        }
    }

    fn warn(&self, id: &str, rendered: &Rendered) {
        if let Some(reason) = &rendered.without_template
            && !self.warned.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(model = id, reason = %short(reason), "the chat template cannot be used");
        }
    }
}

fn invalid(field: &str, message: String) -> BackendError {
    BackendError::new(BackendErrorKind::InvalidRequest { field: Some(field.to_owned()) }, message)
}

fn failed(id: &str, error: &TemplateError) -> BackendError {
    let message = short(&format!("the chat template of `{id}` {error}"));
    match error {
        TemplateError::Refused(_) | TemplateError::Limit(_) => invalid("messages", message),
        TemplateError::Broken(_) => {
            BackendError::new(BackendErrorKind::InvalidRequest { field: None }, message)
        }
        TemplateError::NotRun(_) => BackendError::new(BackendErrorKind::Failed, message),
    }
}

/// The template was too much for its process. Not counted against the health of the model: what needs no template goes on.
fn lost(id: &str, how: &str) -> BackendError {
    let message = format!("the chat template of `{id}` ended the process that runs it: {how}");
    BackendError::new(BackendErrorKind::InvalidRequest { field: None }, message).with_hint(format!(
        "a template may take {} of memory; `template` in `[models.{id}]` names another one",
        show_bytes(MEMORY)
    ))
}

/// A process that writes conversations. Dropping it ends it.
struct Running {
    process: Box<dyn Process>,
    frames_in: FrameReader<ReadHalf<Stream>>,
    frames_out: FrameWriter<WriteHalf<Stream>>,
    /// The first frame, until it is sent.
    introduction: Option<ToChild>,
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("pid", &self.process.pid()).finish_non_exhaustive()
    }
}

impl Running {
    fn start(inner: &Inner, known: &Known) -> Result<Self, BackendError> {
        let launched = inner.options.launcher.launch_writer().map_err(|error| {
            let message = format!(
                "the process that runs the chat template of `{}` cannot be started: {error}",
                known.model.id
            );
            BackendError::new(BackendErrorKind::Failed, message)
        })?;
        let (read, write) = tokio::io::split(launched.stream);
        let template = Box::new(known.template.frame().clone());
        let require_sandbox = inner.options.require_sandbox;
        Ok(Self {
            process: launched.process,
            frames_in: FrameReader::new(read),
            frames_out: FrameWriter::new(write),
            introduction: Some(ToChild::Write { template, require_sandbox }),
        })
    }

    /// Somebody may have killed it while it had nothing to do.
    fn if_alive(mut self) -> Option<Self> {
        (!self.process.has_ended()).then_some(self)
    }

    /// Hands a conversation over and waits for what becomes of it; what is wrong where nothing does.
    async fn exchange(&mut self, conversation: &Conversation) -> Result<Written, String> {
        if let Some(introduction) = self.introduction.take() {
            self.frames_out.write(&introduction).await.map_err(|error| error.to_string())?;
        }
        self.frames_out.write(conversation).await.map_err(|error| error.to_string())?;
        match self.frames_in.read().await {
            Ok(Some((written, _))) => Ok(written),
            Ok(None) => Err("it closed its socket".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// How it ended and what it said last; or what was wrong, when it has to be ended.
    async fn how_it_ended(mut self, wrong: &str) -> String {
        let Ok(how) = tokio::time::timeout(EXIT_GRACE, self.process.wait()).await else {
            self.end().await;
            return wrong.to_owned();
        };
        match self.process.last_words() {
            Some(words) => format!("{how}, {}", short(&words)),
            None => how,
        }
    }

    /// Ends it and waits until it is gone.
    async fn end(mut self) {
        self.process.kill();
        let _ = tokio::time::timeout(EXIT_GRACE, self.process.wait()).await;
    }
}
