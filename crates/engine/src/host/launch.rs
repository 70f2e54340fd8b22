//! Starting the child process.

use std::fmt;
use std::fs::File;
use std::io;

use inshore_domain::BoxFuture;

/// What the child gets beside its socket.
#[derive(Debug)]
pub struct Descriptors {
    /// The model, opened read-only; descriptor 3 of the child.
    pub model: File,
    /// Adapters, opened read-only; descriptor 4 and up.
    pub adapters: Vec<File>,
}

/// A child that was started.
pub struct Launched {
    /// The daemon's end of the socket pair.
    #[cfg(unix)]
    pub stream: tokio::net::UnixStream,
    /// The daemon's end of the pipe.
    #[cfg(not(unix))]
    pub stream: tokio::net::TcpStream,
    /// The process behind it.
    pub process: Box<dyn Process>,
}

impl fmt::Debug for Launched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Launched").field("pid", &self.process.pid()).finish_non_exhaustive()
    }
}

/// Starts children. The daemon's is [`CommandLauncher`]; tests hand in one of their own.
pub trait Launcher: Send + Sync + fmt::Debug {
    /// Starts one that is to run a model. Returns at once.
    fn launch(&self, descriptors: Descriptors) -> io::Result<Launched>;

    /// Starts one that is to write conversations, and gets nothing but its socket. Returns at once.
    fn launch_writer(&self) -> io::Result<Launched>;
}

/// A process as far as the daemon cares.
pub trait Process: Send {
    /// Its number, where it has one.
    fn pid(&self) -> Option<u32>;
    /// Ends it at once; nothing happens when it has ended.
    fn kill(&mut self);
    /// Whether it has ended, without waiting.
    fn has_ended(&mut self) -> bool;
    /// Waits until it has ended; how, in words.
    fn wait(&mut self) -> BoxFuture<'_, String>;
    /// The last line it logged.
    fn last_words(&self) -> Option<String>;
}

/// Starts children by running a command, usually the daemon's own program as `inshore engine`.
#[derive(Debug, Clone)]
pub struct CommandLauncher {
    /// The program.
    pub program: std::path::PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
}

#[cfg(unix)]
mod unix {
    use std::collections::VecDeque;
    use std::os::fd::OwnedFd;
    use std::os::unix::process::ExitStatusExt;
    use std::process::{ExitStatus, Stdio};
    use std::sync::{Arc, Mutex, PoisonError};
    use std::time::Duration;

    use command_fds::{CommandFdExt, FdMapping};
    use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
    use tokio::process::{Child, ChildStderr, Command};

    use super::{BoxFuture, CommandLauncher, Descriptors, Launched, Launcher, Process, io};

    /// The child's first descriptor behind the standard ones.
    const FIRST_DESCRIPTOR: i32 = 3;
    /// How long the rest of a dead child's log is read: somebody else could still hold the pipe.
    const LAST_WORDS: Duration = Duration::from_millis(200);
    /// Lines kept of what the child logs, for the message when it dies.
    const KEPT_LINES: usize = 50;
    /// A longer line is cut into several; bounds memory.
    const MAX_LINE: u64 = 4096;

    impl Launcher for CommandLauncher {
        /// The child gets its socket, the files, one variable that its C library reads, and nothing else.
        fn launch(&self, descriptors: Descriptors) -> io::Result<Launched> {
            let files = std::iter::once(descriptors.model).chain(descriptors.adapters);
            let mappings = files
                .zip(FIRST_DESCRIPTOR..)
                .map(|(file, child_fd)| FdMapping { parent_fd: file.into(), child_fd });
            let mut command = self.command();
            // Large pages for the weights: a prompt is read a tenth faster. Other C libraries do not know the variable.
            command.env("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1");
            command.fd_mappings(mappings.collect()).map_err(io::Error::other)?;
            start(command)
        }

        fn launch_writer(&self) -> io::Result<Launched> {
            start(self.command())
        }
    }

    impl CommandLauncher {
        fn command(&self) -> Command {
            let mut command = Command::new(&self.program);
            command.args(&self.arguments).env_clear().current_dir("/").kill_on_drop(true);
            command
        }
    }

    /// The child's socket is its standard input, so that it ends with the daemon in any case.
    fn start(mut command: Command) -> io::Result<Launched> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let stream = tokio::net::UnixStream::from_std(ours)?;
        command.stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let lines = Arc::new(Mutex::new(VecDeque::new()));
        let log = child.stderr.take().map(|stderr| follow(stderr, Arc::clone(&lines)));
        Ok(Launched {
            stream,
            process: Box::new(Running { child, log: log.map(|log| Box::pin(log) as _), lines }),
        })
    }

    struct Running {
        child: Child,
        log: Option<BoxFuture<'static, ()>>,
        lines: Arc<Mutex<VecDeque<String>>>,
    }

    impl Process for Running {
        fn pid(&self) -> Option<u32> {
            self.child.id()
        }

        fn kill(&mut self) {
            let _ = self.child.start_kill();
        }

        fn has_ended(&mut self) -> bool {
            !matches!(self.child.try_wait(), Ok(None))
        }

        fn wait(&mut self) -> BoxFuture<'_, String> {
            Box::pin(async {
                let waiting = self.child.wait();
                let status = match self.log.as_mut() {
                    None => waiting.await,
                    Some(log) => {
                        tokio::pin!(waiting);
                        tokio::select! {
                            status = &mut waiting => {
                                // Its last words may still be in the pipe, which has ended with it.
                                if tokio::time::timeout(LAST_WORDS, &mut *log).await.is_ok() {
                                    self.log = None;
                                }
                                status
                            }
                            () = &mut *log => { self.log = None; waiting.await }
                        }
                    }
                };
                status.map_or_else(|error| error.to_string(), in_words)
            })
        }

        fn last_words(&self) -> Option<String> {
            self.lines.lock().unwrap_or_else(PoisonError::into_inner).back().cloned()
        }
    }

    fn in_words(status: ExitStatus) -> String {
        match (status.signal(), status.code()) {
            (Some(signal), _) => format!("signal {signal}{}", signal_name(signal)),
            (None, Some(code)) => format!("exit status {code}"),
            (None, None) => "it ended".to_owned(),
        }
    }

    fn signal_name(signal: i32) -> &'static str {
        match signal {
            4 => " (illegal instruction)",
            6 => " (abort)",
            7 => " (bus error)",
            8 => " (arithmetic error)",
            9 => " (killed, perhaps because memory ran out)",
            11 => " (segmentation fault)",
            15 => " (terminated)",
            31 => " (it tried what the sandbox forbids)",
            _ => "",
        }
    }

    async fn follow(stderr: ChildStderr, lines: Arc<Mutex<VecDeque<String>>>) {
        let mut reader = BufReader::new(stderr);
        loop {
            let mut line = Vec::new();
            match (&mut reader).take(MAX_LINE).read_until(b'\n', &mut line).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
            let line = super::super::short(String::from_utf8_lossy(&line).trim());
            // Comes behind everything that Rust has to say of its end, and says nothing.
            if line.starts_with("note: run with `RUST_BACKTRACE") {
                continue;
            }
            tracing::debug!(target: "inshore_engine::child", "{line}");
            let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
            if lines.len() == KEPT_LINES {
                lines.pop_front();
            }
            lines.push_back(line);
        }
    }
}

#[cfg(not(unix))]
impl Launcher for CommandLauncher {
    fn launch(&self, _: Descriptors) -> io::Result<Launched> {
        self.launch_writer()
    }

    fn launch_writer(&self) -> io::Result<Launched> {
        let message = "inference on this device is not supported on this operating system yet";
        Err(io::Error::new(io::ErrorKind::Unsupported, message))
    }
}
