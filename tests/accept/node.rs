//! A node as a child process: started, killed, waited for; never left behind.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant, SystemTime};

use tokio::time::sleep;

use crate::Failed;
use crate::http::Client;

/// How often a condition is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

pub(crate) struct Process {
    pub(crate) port: u16,
    pub(crate) data: PathBuf,
    program: PathBuf,
    arguments: Vec<String>,
    child: Option<Child>,
}

impl Process {
    /// A node that is not started: `program arguments… --port P --data D`.
    pub(crate) fn new(program: &Path, arguments: &[&str], data: &Path) -> Result<Self, Failed> {
        let arguments = arguments.iter().map(ToString::to_string).collect();
        let (program, data) = (program.to_owned(), data.to_owned());
        Ok(Self { port: free_port()?, data, program, arguments, child: None })
    }

    /// What the next life is a process of.
    pub(crate) fn become_program(&mut self, program: &Path, arguments: Vec<String>) {
        (self.program, self.arguments) = (program.to_owned(), arguments);
    }

    pub(crate) fn start(&mut self) -> Result<(), Failed> {
        assert!(self.child.is_none(), "a node is started once at a time");
        let log =
            File::options().create(true).append(true).open(self.data.with_extension("log"))?;
        let child = Command::new(&self.program)
            .args(&self.arguments)
            .args(["--port", &self.port.to_string()])
            .arg("--data")
            .arg(&self.data)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        self.child = Some(child);
        Ok(())
    }

    /// Waits until the node says that it takes work. Returns how long that took.
    pub(crate) async fn ready(&mut self) -> Result<Duration, Failed> {
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(60) {
            let answer = Client::new(self.port).get("/readyz").await;
            if answer.is_ok_and(|answer| answer.status == 200) {
                return Ok(began.elapsed());
            }
            let child = self.child.as_mut().ok_or("the node was not started")?;
            if let Some(status) = child.try_wait()? {
                return Err(format!("the node ended with {status}").into());
            }
            sleep(LOOK_AGAIN).await;
        }
        Err("the node was not ready within 60 s".into())
    }

    /// Waits for the node's end, which nobody asked for; its status, and when it was seen.
    pub(crate) async fn ended(
        &mut self,
        within: Duration,
    ) -> Result<(ExitStatus, SystemTime), Failed> {
        let mut child = self.child.take().ok_or("the node was not started")?;
        let began = Instant::now();
        while began.elapsed() < within {
            if let Some(status) = child.try_wait()? {
                return Ok((status, SystemTime::now()));
            }
            sleep(LOOK_AGAIN).await;
        }
        child.kill()?;
        child.wait()?;
        Err(format!("the node did not end within {within:?}").into())
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) -> Result<(), Failed> {
        let mut child = self.child.take().ok_or("the node was not started")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// SIGTERM, and the status that the node ends with.
    pub(crate) async fn terminate(&mut self) -> Result<ExitStatus, Failed> {
        let mut child = self.child.take().ok_or("the node was not started")?;
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(30) {
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            sleep(LOOK_AGAIN).await;
        }
        child.kill()?;
        child.wait()?;
        Err("the node did not end within 30 s of SIGTERM".into())
    }

    /// Waits until no group has an event that is not settled.
    pub(crate) async fn settled(&mut self) -> Result<(), Failed> {
        let mut client = Client::new(self.port);
        let began = Instant::now();
        let mut seen = String::new();
        while began.elapsed() < Duration::from_secs(120) {
            let groups = client.get("/v1/groups").await?.json()?;
            let groups = groups.get("groups").cloned().unwrap_or(groups);
            let lags: Vec<_> = groups.as_array().into_iter().flatten().collect();
            let is_settled =
                |group: &&serde_json::Value| group["lag"] == 0 && group["redriven"] == 0;
            if !lags.is_empty() && lags.iter().all(is_settled) {
                return Ok(());
            }
            seen = groups.to_string();
            sleep(Duration::from_millis(20)).await;
        }
        Err(format!("events are not settled after 120 s: {seen}").into())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.child.is_some() {
            let _ = self.kill();
        }
    }
}

fn free_port() -> Result<u16, Failed> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
