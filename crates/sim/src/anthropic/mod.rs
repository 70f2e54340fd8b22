//! A provider that speaks Anthropic's Messages API.
//!
//! Layout: [`check`] what the real one refuses; [`frames`] what it answers.

mod check;
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
    /// Models that it has.
    pub models: Vec<String>,
    /// The key it wants.
    pub key: String,
    /// Longest prompt in tokens (words).
    pub context_window: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { port: 0, models: vec!["sim-claude".into()], key: "sk-ant-sim".into(), context_window: 4096 }
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
        let site = Arc::new(Anthropic { options, script: script.clone() });
        Ok(Self { http: HttpServer::start(site, port).await?, script })
    }

    /// Where the API is, as clients want it: without `/v1`.
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

struct Anthropic {
    options: Options,
    script: Arc<Script>,
}

impl Site for Anthropic {
    fn answer(&self, seen: Seen, notes: &Notes) -> BoxFuture<'_, Deed> {
        let notes = notes.clone();
        async move { self.answer_now(&seen, &notes).await }.boxed()
    }
}

impl Anthropic {
    async fn answer_now(&self, seen: &Seen, notes: &Notes) -> Deed {
        if let Err(refused) = check::caller(seen, &self.options) {
            return refused.deed();
        }
        let counting = match (seen.method.as_str(), seen.path.as_str()) {
            ("GET", "/v1/models") => return self.models(),
            ("POST", "/v1/messages") => false,
            ("POST", "/v1/messages/count_tokens") => true,
            _ => return Refused::not_found("Not found").deed(),
        };
        let body = match check::body(seen, counting, &self.options) {
            Ok(body) => body,
            Err(refused) => return refused.deed(),
        };
        if counting {
            return json_deed(200, &json!({ "input_tokens": check::prompt_tokens(&body) }), None);
        }
        self.carry_out(&body, notes).await
    }

    async fn carry_out(&self, body: &Value, notes: &Notes) -> Deed {
        let turn = self.script.next();
        if turn.fault == Some(Fault::RequestLost) {
            return Deed::Break;
        }
        if !turn.head_delay.is_zero() {
            tokio::time::sleep(turn.head_delay).await;
        }
        match &turn.reply {
            Reply::Refusal { status, kind, message, headers, .. } => {
                let error = json!({ "type": "error", "error": { "type": kind, "message": message }, "request_id": "req_sim" });
                return exact(*status, headers, error.to_string().into());
            }
            Reply::Exact { status, headers, body } => return exact(*status, headers, body.clone()),
            _ => {}
        }
        notes.carried_out();
        match turn.fault {
            Some(Fault::ResponseLost) => return Deed::Break,
            Some(Fault::NeverAnswer) => return std::future::pending().await,
            _ => {}
        }
        let answer = frames::Answer::new(body, &turn);
        if body["stream"] == true {
            streamed(answer.stream(), &turn)
        } else {
            json_deed(200, &answer.whole(), turn.fault.as_ref())
        }
    }

    fn models(&self) -> Deed {
        let list: Vec<Value> = self
            .options
            .models
            .iter()
            .map(|id| json!({ "type": "model", "id": id, "display_name": id, "created_at": "2025-01-01T00:00:00Z" }))
            .collect();
        json_deed(200, &json!({ "data": list, "has_more": false, "first_id": null, "last_id": null }), None)
    }
}
