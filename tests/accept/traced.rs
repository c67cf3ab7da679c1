//! A node under strace, which fails or delays its system calls: the binary itself is untouched.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::Failed;
use crate::node::Process;

/// The segment that a fresh node writes.
const OPEN: &str = "log/0000000000000000.seg";
/// The next one, when it is prepared.
pub(crate) const NEXT: &str = "log/0000000000000001.seg";
/// The one behind that, while it is being prepared.
const AFTER_NEXT: &str = "log/0000000000000002.seg.tmp";

/// Which files' calls are meddled with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Files {
    All,
    /// The segment that is written.
    Open,
    /// The second one ahead of it, which is being prepared.
    AfterNext,
}

/// What is to go wrong, in strace's words, and where strace wrote what it did.
pub(crate) struct Fault {
    pub(crate) inject: String,
    pub(crate) files: Files,
    trace: PathBuf,
}

impl Fault {
    pub(crate) fn new(inject: impl Into<String>, files: Files, folder: &Path) -> Self {
        Self { inject: inject.into(), files, trace: folder.join("trace") }
    }

    /// Lets the node's next life run under strace.
    pub(crate) fn plant(&self, node: &mut Process, binary: &Path) {
        let calls = self.inject.split(':').next().unwrap_or_default();
        let paths: &[&str] = match self.files {
            Files::All => &[],
            Files::Open => &[OPEN],
            Files::AfterNext => &[AFTER_NEXT],
        };
        // Detached, so that the node is our own child: its end and its signals are ours.
        let mut words: Vec<String> =
            ["-D", "-f", "--seccomp-bpf", "-qq", "-ttt", "-o"].map(str::to_owned).to_vec();
        words.push(self.trace.display().to_string());
        words.extend(["-e".to_owned(), format!("trace={calls}")]);
        words.extend(["-e".to_owned(), format!("inject={}", self.inject)]);
        for path in paths {
            words.extend(["-P".to_owned(), node.data.join(path).display().to_string()]);
        }
        words.push(binary.display().to_string());
        words.extend(["demo", "--rate", "0"].map(str::to_owned));
        node.become_program(Path::new("strace"), words);
    }

    /// When the first call that was meddled with began, and how many there were.
    pub(crate) fn struck(&self) -> Result<Option<(SystemTime, usize)>, Failed> {
        let text = std::fs::read_to_string(&self.trace)?;
        let (mut began, mut first, mut n_struck) = (BTreeMap::new(), None, 0);
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            let (Some(thread), Some(time)) = (words.next(), words.next()) else { continue };
            let Ok(seconds) = time.parse::<f64>() else { continue };
            if line.ends_with("<unfinished ...>") {
                began.insert(thread, seconds);
            }
            let is_resumed = line.contains(" resumed>");
            let begun = if is_resumed { began.remove(thread) } else { None };
            if line.contains("(INJECTED)") || line.contains("(DELAYED)") {
                n_struck += 1;
                first = first.or(Some(begun.unwrap_or(seconds)));
            }
        }
        Ok(first.map(|first| (UNIX_EPOCH + Duration::from_secs_f64(first), n_struck)))
    }
}

/// Whether strace is here and may trace.
pub(crate) fn is_possible() -> bool {
    let tried = std::process::Command::new("strace")
        .args(["-D", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", "-e", "trace=none", "true"])
        .status();
    tried.is_ok_and(|status| status.success())
}
