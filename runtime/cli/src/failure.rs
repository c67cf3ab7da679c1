//! What can go wrong with a command, and how it is told: code, what, what to do.
//!
//! Scripts read the exit code: 1 failed, 2 usage, 3 not healthy, 4 timeout or outcome unknown,
//! 78 configuration or data directory.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use thiserror::Error;
use tidings_config::error::ConfigError;

/// A command failed.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    /// Surely nothing happened: the request did not leave.
    #[error("no node answers at {server}: {reason}")]
    Unreachable { server: String, reason: String },
    /// The answer did not come in time; a change may have happened.
    #[error("{server} gave no answer within {waited_max:?}")]
    TimedOut { server: String, waited_max: Duration },
    /// The connection ended before the answer; a change may have happened.
    #[error("connection to {server} ended before the answer: {reason}")]
    Lost { server: String, reason: String },
    /// The node said no.
    #[error("{0}")]
    Refused(Box<Problem>),
    /// The node said something that this command does not understand.
    #[error("{server} gave an answer that is not understood: {reason}")]
    NotUnderstood { server: String, reason: String },
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A file cannot be read or written.
    #[error("{}: {reason}", path.display())]
    File { path: PathBuf, reason: String },
    /// What was asked for makes no sense.
    #[error("{what}")]
    Usage { what: String, help: &'static str },
    /// A file was not stored as a whole; `stored` says what was.
    #[error("{stored}; {cause}")]
    Partly { stored: String, is_any_stored: bool, cause: Box<Failure> },
    /// Standard output cannot be written.
    #[error("standard output: {0}")]
    Output(#[from] io::Error),
    /// A node could not be run, or is not as it must be.
    #[error("{what}")]
    Node { exit: u8, code: &'static str, what: String, help: String },
}

/// The body of an answer of 4xx or 5xx (RFC 9457).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Problem {
    pub(crate) title: String,
    pub(crate) status: u16,
    pub(crate) detail: String,
    pub(crate) code: String,
    pub(crate) retry: String,
    pub(crate) help: Option<String>,
    /// The line of the request that is to blame, from 1.
    pub(crate) line: Option<u64>,
}

impl Failure {
    /// The stable code.
    pub(crate) fn code(&self) -> &str {
        match self {
            Self::Refused(problem) if !problem.code.is_empty() => &problem.code,
            Self::Refused(_) | Self::NotUnderstood { .. } => "T0603",
            Self::Unreachable { .. } => "T0601",
            Self::TimedOut { .. } | Self::Lost { .. } => "T0602",
            Self::Config(_) => ConfigError::CODE,
            Self::File { .. } => "T0604",
            Self::Usage { .. } => "T0605",
            Self::Output(_) => "T0606",
            Self::Partly { cause, .. } => cause.code(),
            Self::Node { code, .. } => code,
        }
    }

    /// What the process ends with.
    pub(crate) fn exit(&self) -> u8 {
        match self {
            Self::Usage { .. } => 2,
            Self::TimedOut { .. } | Self::Lost { .. } => 4,
            Self::Refused(problem) if problem.retry == "unknown" || problem.status == 504 => 4,
            Self::Config(_) => ConfigError::EXIT,
            Self::Node { exit, .. } => *exit,
            Self::Partly { cause, .. } => cause.exit(),
            // Whoever closed the pipe has all that it wanted.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
            _ => 1,
        }
    }

    fn help(&self) -> Option<String> {
        let help = match self {
            Self::Unreachable { .. } => {
                "start a node with `tidings demo` or `tidings serve`, or name another with --server"
            }
            Self::TimedOut { .. } | Self::Lost { .. } => {
                "a change may or may not have been made: look before you repeat it"
            }
            Self::Refused(problem) => return problem.help(),
            Self::NotUnderstood { .. } => "is it a tidings node, and of this version?",
            Self::Config(_) => "`tidings config reference` lists every setting",
            Self::Usage { help, .. } => help,
            // What the node says of its request, that nothing was stored, is not so of the file.
            Self::Partly { is_any_stored: true, cause, .. }
                if matches!(**cause, Self::Refused(_) | Self::File { .. }) && self.exit() != 4 =>
            {
                "mend it, then publish only the lines that are not stored"
            }
            Self::Partly { cause, .. } => return cause.help(),
            Self::Node { help, .. } => help,
            Self::File { .. } | Self::Output(_) => return None,
        };
        Some(help.to_owned())
    }

    /// How a person is told.
    pub(crate) fn told(&self) -> String {
        let help = self.help().map(|help| format!("\n  help: {help}"));
        format!("error[{}]: {self}{}", self.code(), help.unwrap_or_default())
    }
}

impl Problem {
    fn help(&self) -> Option<String> {
        if self.help.is_some() {
            return self.help.clone();
        }
        let help = match self.retry.as_str() {
            "same" => "nothing was changed; try again in a moment",
            "after_refresh" => "nothing was changed; look at what there is and ask anew",
            "unknown" => "a change may or may not have been made: look before you repeat it",
            _ => return None,
        };
        Some(help.to_owned())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = [&self.detail, &self.title].into_iter().find(|text| !text.is_empty());
        match said {
            Some(said) => f.write_str(said),
            None => write!(f, "status {}", self.status),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scripts act on the exit code: an unknown outcome must never look like a plain failure.
    #[test]
    fn unknown_outcomes_have_their_own_exit_code() {
        let server = || "http://x".to_owned();
        let lost = Failure::Lost { server: server(), reason: "reset".to_owned() };
        assert_eq!(lost.exit(), 4);
        let told = Problem { status: 503, retry: "same".to_owned(), ..Problem::default() };
        assert_eq!(Failure::Refused(Box::new(told)).exit(), 1);
        let unknown = Problem { status: 504, ..Problem::default() };
        let unknown = Failure::Refused(Box::new(unknown));
        assert_eq!(unknown.exit(), 4);
        let (stored, cause) = ("lines 1 to 3".to_owned(), Box::new(unknown));
        let partly = Failure::Partly { stored, is_any_stored: true, cause };
        assert_eq!(partly.exit(), 4);
    }

    #[test]
    fn errors_have_one_shape() {
        let problem = r#"{"title":"unknown topic","status":404,"detail":"topic x does not exist",
            "code":"T0102","retry":"after_refresh","help":"create it"}"#;
        let problem: Problem = serde_json::from_str(problem).unwrap();
        let told = Failure::Refused(Box::new(problem)).told();
        assert_eq!(told, "error[T0102]: topic x does not exist\n  help: create it");
    }
}
