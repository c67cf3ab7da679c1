//! The process of the node under test: started, killed, paused; never left behind.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// How to start it.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) path: PathBuf,
    pub(super) arguments: Vec<String>,
    /// Where it may log.
    pub(super) log: PathBuf,
}

/// One life of the node. It ends with this.
#[derive(Debug)]
pub(super) struct Life {
    child: Child,
}

impl Program {
    /// Starts a life; what its handlers write to the journal comes out of the stream.
    ///
    /// The thread that calls this must live as long as the life: with it, Linux ends the node.
    pub(super) fn start(&self) -> io::Result<(Life, UnixStream)> {
        let (ours, theirs) = UnixStream::pair()?;
        let log = File::options().create(true).append(true).open(&self.log)?;
        let child = Command::new(&self.path)
            .args(&self.arguments)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(log)
            // A group of its own, so that ctrl-c reaches it through us alone.
            .process_group(0)
            .spawn()?;
        Ok((Life { child }, ours))
    }
}

impl Life {
    /// SIGKILL, and waits until the process is gone.
    pub(super) fn kill(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGSTOP.
    pub(super) fn pause(&self) -> io::Result<()> {
        self.signal(Signal::STOP)
    }

    /// SIGCONT.
    pub(super) fn resume(&self) -> io::Result<()> {
        self.signal(Signal::CONT)
    }

    /// SIGTERM.
    pub(super) fn terminate(&self) -> io::Result<()> {
        self.signal(Signal::TERM)
    }

    /// How it ended, if it has.
    pub(super) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), signal)?)
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        // It fails if the process has ended already.
        let _ = self.kill();
    }
}
