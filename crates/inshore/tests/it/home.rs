//! A home for one test: its own config, data, state and daemon.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

/// The binary under test.
pub(crate) const INSHORE: &str = env!("CARGO_BIN_EXE_inshore");

/// A temporary `INSHORE_HOME`. Its daemon is ended when it is dropped.
pub(crate) struct Home {
    dir: tempfile::TempDir,
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Done {
    fn of(output: &Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The result of a command that must have worked.
    #[track_caller]
    pub(crate) fn good(self) -> Self {
        assert_eq!(self.code, Some(0), "{}\n{}", self.out, self.err);
        self
    }

    /// The result as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }
}

impl Home {
    pub(crate) fn new() -> Self {
        // Short, because a Unix socket's path must be.
        Self { dir: tempfile::Builder::new().prefix("ins").tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Writes the user's config file.
    pub(crate) fn config(&self, text: &str) {
        std::fs::write(self.path().join("config.toml"), text).unwrap();
    }

    /// The binary with a clean environment; any port is fine.
    pub(crate) fn command<I: AsRef<std::ffi::OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = I>,
    ) -> Command {
        self.command_of(INSHORE, arguments)
    }

    /// Another program in the same environment.
    #[expect(clippy::disallowed_methods, reason = "programs are found where the test run finds them")]
    pub(crate) fn command_of<I: AsRef<std::ffi::OsStr>>(
        &self,
        program: &str,
        arguments: impl IntoIterator<Item = I>,
    ) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.path()).env("INSHORE_HOME", self.path());
        command.env("INSHORE_SERVER__LISTEN", "127.0.0.1:0");
        command.args(arguments).stdin(Stdio::null());
        command
    }

    /// Runs the binary to its end.
    pub(crate) fn run<I: AsRef<std::ffi::OsStr>>(&self, arguments: impl IntoIterator<Item = I>) -> Done {
        Done::of(&self.command(arguments).output().unwrap())
    }

    /// The same with text on stdin.
    pub(crate) fn run_with<I: AsRef<std::ffi::OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = I>,
        stdin: &str,
    ) -> Done {
        let mut command = self.command(arguments);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
        Done::of(&child.wait_with_output().unwrap())
    }

    /// A daemon in the foreground; returns when it is ready.
    pub(crate) fn serve(&self) -> Served {
        let mut child = self
            .command(["serve", "--announce"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        if line.is_empty() {
            let mut err = String::new();
            child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
            panic!("the daemon did not start: {err}");
        }
        Served(child)
    }

    /// Where the daemon is, from its own file.
    pub(crate) fn address(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.path().join("state/daemon.json")).unwrap()).unwrap()
    }

    pub(crate) fn token(&self) -> String {
        std::fs::read_to_string(self.path().join("data/token")).unwrap().trim().to_owned()
    }

    /// The receipt of the last request.
    pub(crate) fn last_receipt(&self) -> Value {
        self.run(["receipt", "--last", "--json"]).good().json()
    }

    /// The engine child of a loaded model.
    pub(crate) fn engine_pid(&self) -> u32 {
        let status = self.run(["status", "--json"]).good().json();
        let detail = status["targets"][0]["detail"].as_array().unwrap().clone();
        let pid = detail
            .iter()
            .find(|pair| pair["name"] == "pid")
            .unwrap_or_else(|| panic!("not loaded: {status}"));
        pid["value"].as_str().unwrap().parse().unwrap()
    }

    /// Sends a request over TCP, as an app would, and gives back the connection to read the answer from.
    pub(crate) fn post(&self, path: &str, body: &Value) -> TcpStream {
        let address = self.address()["tcp"].as_str().unwrap().to_owned();
        let mut stream = TcpStream::connect(address).unwrap();
        let body = body.to_string();
        let token = self.token();
        write!(
            stream,
            "POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        stream
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let pid = std::fs::read(self.path().join("state/daemon.json")).ok();
        let _ = self.command(["stop"]).output();
        // A daemon that could not be stopped must not outlive its test.
        if let Some(pid) = pid.and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok()) {
            kill(u32::try_from(pid["pid"].as_u64().unwrap_or(0)).unwrap_or(0));
        }
    }
}

/// A daemon in the foreground; ended when dropped.
pub(crate) struct Served(Child);

impl Served {
    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Waits until it has ended; whether it ended well.
    pub(crate) fn ended_well(mut self) -> bool {
        self.0.wait().unwrap().success()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Ends a process at once, as the kernel does when memory runs out.
pub(crate) fn kill(pid: u32) {
    if pid > 1 {
        // Whoever is gone already needs no killing; that the command itself cannot be run must not pass for it.
        Command::new("kill")
            .args(["-9", &pid.to_string()])
            .stderr(Stdio::null())
            .status()
            .expect("kill runs");
    }
}

/// The model in the box.
pub(crate) fn default_model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/default/inshore-default-q8_0.gguf")
}
