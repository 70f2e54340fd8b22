//! A provider that speaks Google's Gemini API, `v1beta`.
//!
//! Layout: [`fields`] the messages and their fields; [`check`] what the real one refuses; [`frames`] what it answers.

mod check;
mod fields;
mod frames;

use std::io;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use crate::openai::{exact, json_deed, streamed};
use crate::script::{Fault, Reply, Script, Turn};
use crate::server::{Deed, Notes, Seen, Server as HttpServer, Site, Stats};
use check::Refused;

/// What the provider is.
#[derive(Debug, Clone)]
pub struct Options {
    /// Port; 0 lets the system choose.
    pub port: u16,
    /// Models that it has. Those with `gemini-3` in their names sign their calls and want the signatures back.
    pub models: Vec<String>,
    /// The key it wants.
    pub key: String,
    /// Longest prompt in tokens (words).
    pub context_window: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            port: 0,
            models: vec!["gemini-2.5-sim".into(), "gemini-3-sim".into()],
            key: "AIza-sim".into(),
            context_window: 4096,
        }
    }
}

/// A running provider.
#[derive(Debug)]
pub struct Server {
    http: HttpServer,
    script: Arc<Script>,
}

impl Server {
    /// Starts on loopback. `turn` is the answer until told otherwise.
    pub async fn start(options: Options, turn: Turn) -> io::Result<Self> {
        let script = Arc::new(Script::always(turn));
        let port = options.port;
        let site = Arc::new(Gemini { options, script: script.clone() });
        Ok(Self { http: HttpServer::start(site, port).await?, script })
    }

    /// Where the API is, as clients want it: without `/v1beta`.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.http.address())
    }

    /// What it answers.
    pub fn script(&self) -> &Script {
        &self.script
    }

    /// The server below: requests seen, counts, shutdown.
    pub fn http(&self) -> &HttpServer {
        &self.http
    }

    /// Counts so far.
    pub fn stats(&self) -> Stats {
        self.http.stats()
    }
}

struct Gemini {
    options: Options,
    script: Arc<Script>,
}

impl Site for Gemini {
    fn answer(&self, seen: Seen, notes: &Notes) -> BoxFuture<'_, Deed> {
        let notes = notes.clone();
        async move { self.answer_now(&seen, &notes).await.unwrap_or_else(Refused::deed) }.boxed()
    }
}

impl Gemini {
    async fn answer_now(&self, seen: &Seen, notes: &Notes) -> Result<Deed, Refused> {
        check::caller(seen, &self.options)?;
        let path = seen.path.strip_prefix("/v1beta/").unwrap_or_default();
        if seen.method == "GET" && path == "models" {
            return Ok(self.models());
        }
        let unknown = || Refused::not_found("Requested entity was not found.");
        let (model, method) = path.split_once(':').ok_or_else(unknown)?;
        let name = model.strip_prefix("models/").unwrap_or_default();
        if seen.method != "POST" || !self.options.models.iter().any(|known| known == name) {
            let method = method.split('?').next().unwrap_or_default();
            return Err(Refused::not_found(format!(
                "{model} is not found for API version v1beta, or is not supported for {method}. Call ListModels to see the list of available models and their supported methods."
            )));
        }
        match method {
            "countTokens" => {
                let body = check::body(seen, &fields::COUNT)?;
                let counted = check::count(&body, model)?;
                Ok(json_deed(200, &json!({ "totalTokens": check::prompt_tokens(counted) }), None))
            }
            "batchEmbedContents" => {
                let body = check::body(seen, &fields::BATCH_EMBED)?;
                check::embed(&body, model)?;
                Ok(self
                    .carry_out(notes, |turn| json_deed(200, &frames::embeddings(&body), turn.fault.as_ref()))
                    .await)
            }
            "generateContent" | "streamGenerateContent?alt=sse" => {
                let body = check::body(seen, &fields::GENERATE)?;
                check::generate(&body, name, &self.options)?;
                let stream = method != "generateContent";
                Ok(self.carry_out(notes, |turn| said(name, &body, stream, turn)).await)
            }
            _ => Err(unknown()),
        }
    }

    async fn carry_out(&self, notes: &Notes, answer: impl FnOnce(&Turn) -> Deed) -> Deed {
        let turn = self.script.next();
        if turn.fault == Some(Fault::RequestLost) {
            return Deed::Break;
        }
        if !turn.head_delay.is_zero() {
            tokio::time::sleep(turn.head_delay).await;
        }
        match &turn.reply {
            Reply::Refusal { status, kind, message, headers, .. } => {
                let error = json!({ "code": status, "message": message, "status": kind });
                return exact(*status, headers, json!({ "error": error }).to_string().into());
            }
            Reply::Exact { status, headers, body } => return exact(*status, headers, body.clone()),
            _ => {}
        }
        notes.carried_out();
        match turn.fault {
            Some(Fault::ResponseLost) => Deed::Break,
            Some(Fault::NeverAnswer) => std::future::pending().await,
            _ => answer(&turn),
        }
    }

    fn models(&self) -> Deed {
        let list: Vec<Value> = self
            .options
            .models
            .iter()
            .map(|name| {
                json!({
                    "name": format!("models/{name}"), "version": "001", "displayName": name,
                    "inputTokenLimit": self.options.context_window, "outputTokenLimit": 8192,
                    "supportedGenerationMethods": ["generateContent", "countTokens"],
                })
            })
            .collect();
        json_deed(200, &json!({ "models": list }), None)
    }
}

fn said(model: &str, body: &Value, stream: bool, turn: &Turn) -> Deed {
    let answer = frames::Answer::new(model, body, turn);
    if stream {
        streamed(answer.stream(), turn)
    } else {
        json_deed(200, &answer.whole(), turn.fault.as_ref())
    }
}
