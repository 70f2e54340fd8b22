//! Why a command failed, and the exit code that says so.

use std::fmt;
use std::process::ExitCode;

/// Exit codes, as `inshore --help` lists them. 2 is also what a command line that cannot be read gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It did not work.
    Failure = 1,
    /// The command line or the configuration is wrong.
    Usage = 2,
    /// The daemon cannot be reached, or did not start.
    Unreachable = 3,
    /// The daemon refused the request.
    Refused = 4,
    /// A daemon already runs.
    AlreadyRunning = 5,
    /// Stopped by Ctrl-C, as shells count it.
    Interrupted = 130,
}

/// What went wrong, in one sentence, and what to do about it.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) error: anyhow::Error,
    pub(crate) hint: Option<String>,
}

/// The outcome of a command.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self { exit, error: anyhow::anyhow!("{message}"), hint: None }
    }

    #[must_use]
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.exit as u8)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self { exit: Exit::Failure, error, hint: None }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self { exit: Exit::Failure, error: error.into(), hint: None }
    }
}

impl From<crate::config::Problems> for Failure {
    fn from(problems: crate::config::Problems) -> Self {
        Self {
            exit: Exit::Usage,
            error: anyhow::anyhow!("the configuration is wrong\n{problems}"),
            hint: None,
        }
    }
}

/// Adds a hint to whatever went wrong.
pub(crate) trait Hint<T> {
    fn hint(self, hint: impl Into<String>) -> Outcome<T>;
}

impl<T, E: Into<Failure>> Hint<T> for Result<T, E> {
    fn hint(self, hint: impl Into<String>) -> Outcome<T> {
        self.map_err(|error| error.into().with_hint(hint))
    }
}
