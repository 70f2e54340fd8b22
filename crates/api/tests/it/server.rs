//! A running server, and a client that sees every byte.

use std::net::SocketAddr;
use std::sync::Arc;

use inshore_api::{ApiOptions, AppToken, Listeners, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::scripted::{Daemon, Script, ScriptedBackend, TestControl, daemon};

pub(crate) const TOKEN: &str = "secret";

pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) backend: Arc<ScriptedBackend>,
    pub(crate) control: Arc<TestControl>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) tasks: TaskTracker,
    daemon: Daemon,
}

/// One token, and whatever else is asked for.
pub(crate) fn options() -> ApiOptions {
    ApiOptions { tokens: vec![AppToken::new("test", TOKEN)].into(), ..ApiOptions::default() }
}

pub(crate) async fn start(script: Script) -> Running {
    start_with(script, options()).await
}

pub(crate) async fn start_with(script: Script, options: ApiOptions) -> Running {
    let daemon = daemon(script);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let shutdown = CancellationToken::new();
    let tasks = TaskTracker::new();
    let listeners = Listeners { tcp: vec![listener], ..Listeners::default() };
    let serving = serve(listeners, daemon.parts.clone(), options, shutdown.clone());
    tasks.spawn(async move { serving.await.expect("no listener failed") });
    tasks.close();
    Running {
        address,
        backend: daemon.backend.clone(),
        control: daemon.control.clone(),
        shutdown,
        tasks,
        daemon,
    }
}

/// A response, taken apart.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

impl Running {
    pub(crate) fn store(&self) -> &inshore_store::Store {
        &self.daemon.parts.store
    }

    pub(crate) fn runtime(&self) -> &inshore_runtime::Runtime {
        &self.daemon.parts.runtime
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("a connection")
    }

    /// Sends these bytes and reads the response to the end of the connection.
    pub(crate) async fn raw(&self, request: &[u8]) -> Reply {
        let mut socket = self.connect().await;
        // A server that refuses half way through may close before it has read everything.
        let _ = socket.write_all(request).await;
        let mut response = Vec::new();
        let _ = socket.read_to_end(&mut response).await;
        parse(&response)
    }

    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Reply {
        let mut request =
            format!("{method} {path} HTTP/1.1\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
        let has = |name: &str| headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
        if !has("host") {
            request.push_str(&format!("host: {}\r\n", self.address));
        }
        if !has("authorization") && !has("x-api-key") {
            request.push_str(&format!("authorization: Bearer {TOKEN}\r\n"));
        }
        for (name, value) in headers.iter().filter(|(name, _)| !name.is_empty()) {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        let mut request = request.into_bytes();
        request.extend_from_slice(body);
        self.raw(&request).await
    }

    pub(crate) async fn post(&self, path: &str, body: &str) -> Reply {
        self.send("POST", path, &[], body.as_bytes()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], b"").await
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.tasks.wait().await;
    }
}

pub(crate) fn parse(response: &[u8]) -> Reply {
    let response = String::from_utf8(response.to_vec()).expect("text");
    let (head, body) =
        response.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no response in {response:?}"));
    let mut lines = head.lines();
    let status =
        lines.next().expect("a status line").split(' ').nth(1).expect("a status").parse().expect("a number");
    let headers: Vec<(String, String)> = lines
        .map(|line| line.split_once(':').expect("a header"))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let chunked = headers.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked");
    let body = if chunked { dechunk(body) } else { body.to_owned() };
    Reply { status, headers, body }
}

fn dechunk(mut body: &str) -> String {
    let mut whole = String::new();
    loop {
        let (size, rest) = body.split_once("\r\n").expect("a chunk size");
        let size = usize::from_str_radix(size, 16).expect("hexadecimal");
        if size == 0 {
            return whole;
        }
        let (chunk, rest) = rest.split_at(size);
        whole.push_str(chunk);
        body = rest.strip_prefix("\r\n").expect("the end of a chunk");
    }
}

/// Ids differ from run to run; their form does not.
pub(crate) fn settings() -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"\b(req|rcpt|msg|resp|rs|fc|cmpl|chatcmpl)([_-])[0-9a-hjkmnp-tv-z]{26}", "$1$2[id]");
    settings.add_filter(r"fp_[0-9a-f]{10}", "fp_[hash]");
    settings.set_prepend_module_to_snapshot(false);
    settings
}
