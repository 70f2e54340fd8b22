//! A small HTTP load generator over raw hyper connections, and what both benches need to start and watch a server.

#![allow(dead_code, reason = "each bench uses its own part of this module")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// A server under load: where it is and what every request to it carries.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) addr: SocketAddr,
    pub(crate) token: Option<String>,
}

/// The times of one request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sample {
    /// To the first piece of the body that holds a token.
    pub(crate) first: Duration,
    /// To its end.
    pub(crate) total: Duration,
    /// The whole body.
    pub(crate) body: Vec<u8>,
    /// When each piece of the body was there, with the bytes until then.
    pub(crate) pieces: Vec<(Duration, usize)>,
}

impl Sample {
    /// When these words were there.
    pub(crate) fn when(&self, words: &str) -> Duration {
        let body = String::from_utf8_lossy(&self.body);
        let end = body.find(words).map(|at| at + words.len()).expect("the words are in the answer");
        let piece = self.pieces.iter().find(|(_, bytes)| *bytes >= end);
        piece.expect("the pieces are the body").0
    }
}

pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    server: Server,
    /// A header that each request carries besides.
    pub(crate) header: Option<(&'static str, &'static str)>,
}

impl Connection {
    pub(crate) async fn open(server: &Server) -> Self {
        let stream = TcpStream::connect(server.addr).await.expect("the server accepts connections");
        stream.set_nodelay(true).expect("TCP_NODELAY can be set");
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.expect("the server speaks HTTP/1.1");
        #[expect(clippy::disallowed_methods, reason = "a bench has no shutdown to wait for the connection")]
        tokio::spawn(connection);
        Self { sender, server: server.clone(), header: None }
    }

    pub(crate) async fn post(&mut self, path: &str, body: &Bytes) -> Sample {
        let mut request = hyper::Request::post(path)
            .header("host", self.server.addr.to_string())
            .header("content-type", "application/json");
        if let Some(token) = &self.server.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if let Some((name, value)) = self.header {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(body.clone())).expect("the request is well formed");
        self.sender.ready().await.expect("the connection stays open");
        let start = Instant::now();
        let response = self.sender.send_request(request).await.expect("the server answers");
        let status = response.status();
        let mut sample = Sample::default();
        let mut stream = response.into_body();
        while let Some(frame) = stream.frame().await {
            if let Ok(data) = frame.expect("the answer arrives whole").into_data() {
                sample.body.extend_from_slice(&data);
                sample.pieces.push((start.elapsed(), sample.body.len()));
            }
            // The chunk that only names the role is no token yet.
            if sample.first.is_zero() && !role_only(&sample.body) {
                sample.first = start.elapsed();
            }
        }
        sample.total = start.elapsed();
        assert!(status.is_success(), "{status}: {}", String::from_utf8_lossy(&sample.body));
        sample
    }
}

/// Whether this is the beginning of a streamed chat answer that has no text yet.
fn role_only(body: &[u8]) -> bool {
    let has = |word: &str| body.windows(word.len()).any(|window| window == word.as_bytes());
    has("\"role\"") && !has("\"content\":\"w")
}

/// The value below which this share of the samples lies.
pub(crate) fn percentile(samples: &mut [Duration], share: f64) -> Duration {
    samples.sort_unstable();
    let place = ((samples.len() as f64 - 1.0) * share).round() as usize;
    samples[place]
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// A server process that ends with the bench.
pub(crate) struct Process {
    pub(crate) child: Child,
    pub(crate) ready_after: Duration,
    /// Kept until the process has ended.
    pub(crate) home: Option<tempfile::TempDir>,
}

impl Process {
    /// Starts the command and waits until the path answers 200, or without a path until connections are accepted.
    pub(crate) fn start(command: &mut Command, addr: SocketAddr, ready_path: Option<&str>) -> Self {
        let start = Instant::now();
        let child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("the server can be started");
        let mut process = Self { child, ready_after: Duration::ZERO, home: None };
        let deadline = start + Duration::from_secs(120);
        while !ready(addr, ready_path) {
            assert!(Instant::now() < deadline, "the server was not ready within two minutes");
            assert!(
                process.child.try_wait().expect("the process can be asked").is_none(),
                "the server ended at once"
            );
            std::thread::yield_now();
        }
        process.ready_after = start.elapsed();
        process
    }

    /// User and system time so far, of the process without its children.
    pub(crate) fn cpu(&self) -> Duration {
        let stat =
            std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("/proc is there");
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        // Fields 14 and 15 of proc(5), in ticks of 1/100 second; the slice begins at field 3.
        let ticks: u64 = [11, 12].iter().map(|&i| fields[i].parse::<u64>().expect("a number")).sum();
        Duration::from_millis(ticks * 10)
    }

    /// Resident memory now and at its highest, in MB.
    pub(crate) fn memory(&self) -> (f64, f64) {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("/proc is there");
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).expect("the field is there");
            line.split_whitespace().nth(1).expect("a number").parse::<f64>().expect("a number") / 1024.0
        };
        (field("VmRSS:"), field("VmHWM:"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ready(addr: SocketAddr, path: Option<&str>) -> bool {
    use std::io::{Read, Write};
    let Ok(mut stream) = std::net::TcpStream::connect_timeout(&addr, Duration::from_millis(200)) else {
        return false;
    };
    let Some(path) = path else { return true };
    let request = format!("GET {path} HTTP/1.1\r\nhost: {addr}\r\nconnection: close\r\n\r\n");
    let mut answer = [0; 16];
    stream.write_all(request.as_bytes()).is_ok()
        && stream.read(&mut answer).is_ok_and(|n| answer[..n].starts_with(b"HTTP/1.1 200"))
}

/// A port that was free a moment ago.
pub(crate) fn free_addr() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback is there");
    listener.local_addr().expect("the listener has an address")
}

/// The release build of the daemon, or the one named by `INSHORE_BIN`.
pub(crate) fn inshore_bin() -> PathBuf {
    #[expect(clippy::disallowed_methods, reason = "a bench is a program of its own")]
    let named = std::env::var_os("INSHORE_BIN").map(PathBuf::from);
    let target = Path::new(env!("CARGO_BIN_EXE_inshore-sim")).parent().expect("a folder").join("inshore");
    let bin = named.unwrap_or(target);
    assert!(bin.exists(), "{} is not there: run `cargo build --release -p inshore` first", bin.display());
    bin
}

/// Starts the daemon in a home of its own, with this config and, by reference, this model.
pub(crate) fn start_inshore(config: &str, model: Option<&Path>) -> (Process, Server) {
    let home = tempfile::tempdir().expect("a temporary folder");
    let addr = free_addr();
    let config =
        format!("[server]\nlisten = \"{addr}\"\nunix_socket = \"off\"\n[store]\nkey = \"file\"\n{config}");
    std::fs::write(home.path().join("config.toml"), config).expect("the config can be written");
    if let Some(model) = model {
        let status = inshore(home.path()).args(["model", "import"]).arg(model).status();
        let status = status.expect("the model can be imported");
        assert!(status.success(), "importing {} failed", model.display());
    }
    let mut process = Process::start(inshore(home.path()).arg("serve"), addr, Some("/readyz"));
    let token = find_token(home.path());
    process.home = Some(home);
    (process, Server { addr, token: Some(token) })
}

/// The command line in this home.
fn inshore(home: &Path) -> Command {
    let mut command = Command::new(inshore_bin());
    command.env_clear().env("PATH", "/usr/bin:/bin").env("INSHORE_HOME", home).env("SIM_KEY", "sk-sim");
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Ends the daemon in order and starts it again in the same home.
pub(crate) fn restart_inshore(mut process: Process, addr: SocketAddr) -> Process {
    let home = process.home.take().expect("it has a home");
    let stopped = inshore(home.path()).arg("stop").status().expect("the daemon can be stopped");
    assert!(stopped.success(), "the daemon did not stop");
    process.child.wait().expect("it ends");
    let mut process = Process::start(inshore(home.path()).arg("serve"), addr, Some("/readyz"));
    process.home = Some(home);
    process
}

/// The token that the daemon made at its first start, wherever in its home that is.
fn find_token(home: &Path) -> String {
    let mut folders = vec![home.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("the folder can be read").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name().is_some_and(|name| name == "token") {
                return std::fs::read_to_string(path).expect("the token can be read").trim().to_owned();
            }
        }
    }
    panic!("the daemon made no token");
}
