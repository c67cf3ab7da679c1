//! Does to the node what the schedule says, and brings it back each time.

use std::io;
use std::time::Duration;

use thiserror::Error;
use tidings_check::history::{Installed, Seen};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::command::verify::child::{Life, Program};
use crate::command::verify::journal::{Address, Journal, NODE};
use crate::command::verify::recorder::Recorder;
use crate::command::verify::schedule::{Act, Planned};

/// How long the node may take until it takes work.
const READY_WAIT_MAX: Duration = Duration::from_secs(60);
/// How long a kill waits for the acknowledgement that it is to follow.
const ACK_WAIT_MAX: Duration = Duration::from_secs(2);
/// How long a line about a return waits for the first acknowledgement.
const RETURN_WAIT_MAX: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(20);
const TERMINATE_WAIT_MAX: Duration = Duration::from_secs(20);

/// The node did what no schedule asked for.
#[derive(Debug, Error)]
pub(super) enum Broken {
    /// The system gave no process, no signal, no thread.
    #[error("node cannot be handled: {0}")]
    System(#[from] io::Error),
    /// It ended by itself.
    #[error("node ended by itself: {0}")]
    Ended(std::process::ExitStatus),
    /// It does not take work.
    #[error("node does not take work {READY_WAIT_MAX:?} after its start")]
    NotReady,
    /// It does not end.
    #[error("node does not end {TERMINATE_WAIT_MAX:?} after SIGTERM")]
    NotEnding,
}

/// The node under test, in whichever life.
pub(super) struct Nemesis {
    pub(super) program: Program,
    pub(super) journal: Journal,
    pub(super) recorder: Recorder,
    life: Option<Life>,
}

impl Nemesis {
    /// No process runs yet.
    pub(super) fn new(program: Program, journal: Journal, recorder: Recorder) -> Self {
        Self { program, journal, recorder, life: None }
    }

    /// Starts a life and waits until it takes work. Gives the port.
    pub(super) async fn start(&mut self) -> Result<u16, Broken> {
        self.spawn()?;
        let mut address = self.journal.address();
        let deadline = Instant::now() + READY_WAIT_MAX;
        while Instant::now() < deadline {
            if let Some(port) = address.borrow_and_update().port {
                return Ok(port);
            }
            self.look()?;
            let _ = timeout(LOOK, address.changed()).await;
        }
        Err(Broken::NotReady)
    }

    /// Carries the schedule out, over a load that began at this moment, and tells of each act.
    pub(super) async fn carry_out(
        &mut self,
        planned: &[Planned],
        began: Instant,
        acks: &mut watch::Receiver<(u64, u64)>,
        tell: impl Fn(String),
    ) -> Result<(), Broken> {
        for &Planned { at, act } in planned {
            self.idle_until(began + at).await?;
            let (what, returned) = match act {
                Act::Pause { lasts } => {
                    self.pause(lasts, "pause").await?;
                    let lasts_ms = lasts.as_millis();
                    tell(format!("{}  SIGSTOP for {lasts_ms} ms", clock(began)));
                    continue;
                }
                Act::Kill => ("SIGKILL", self.kill_and_return("kill", acks).await?),
                Act::KillAfterAck => {
                    acks.mark_unchanged();
                    let came = timeout(ACK_WAIT_MAX, acks.changed()).await.is_ok();
                    let what = if came { "kill right after an acknowledgement" } else { "kill" };
                    ("SIGKILL right after an ack", self.kill_and_return(what, acks).await?)
                }
                Act::KillInStart { after } => {
                    self.kill("kill")?;
                    self.spawn()?;
                    sleep(after).await;
                    ("SIGKILL twice, once in the start", {
                        self.kill_and_return("kill during the start", acks).await?
                    })
                }
                Act::KillInPause { lasts } => {
                    self.pause_for(lasts, "pause").await?;
                    ("SIGSTOP, then SIGKILL", self.kill_and_return("kill in a pause", acks).await?)
                }
            };
            tell(format!("{}  {what:<32}  {returned}", clock(began)));
        }
        Ok(())
    }

    /// Waits; if the node ends meanwhile, it did so by itself.
    pub(super) async fn idle_until(&mut self, until: Instant) -> Result<(), Broken> {
        while Instant::now() < until {
            self.look()?;
            sleep_until(until.min(Instant::now() + LOOK)).await;
        }
        Ok(())
    }

    /// Fails if the node has ended by itself; the history tells it, too.
    pub(super) fn look(&mut self) -> Result<(), Broken> {
        let Some(life) = self.life.as_mut() else { return Ok(()) };
        let Some(status) = life.ended()? else { return Ok(()) };
        self.life = None;
        self.journal.close_life();
        Err(Broken::Ended(status))
    }

    /// Ends the node in order.
    pub(super) async fn terminate(&mut self) -> Result<(), Broken> {
        let Some(mut life) = self.life.take() else { return Ok(()) };
        life.terminate()?;
        let deadline = Instant::now() + TERMINATE_WAIT_MAX;
        while Instant::now() < deadline {
            if let Some(status) = life.ended()? {
                // No death: what it told last still stands.
                self.journal.pump();
                return if status.success() { Ok(()) } else { Err(Broken::Ended(status)) };
            }
            sleep(LOOK).await;
        }
        Err(Broken::NotEnding)
    }

    fn spawn(&mut self) -> Result<(), Broken> {
        let (life, stream) = self.program.start()?;
        self.life = Some(life);
        Ok(self.journal.attach(stream)?)
    }

    fn kill(&mut self, what: &str) -> Result<(), Broken> {
        // First, so that the history has the moment of the signal and not that of the funeral.
        self.fault(what);
        if let Some(mut life) = self.life.take() {
            life.kill()?;
        }
        self.journal.close_life();
        Ok(())
    }

    /// Kills, starts, waits for the first acknowledgement of the new life; tells how long it took.
    async fn kill_and_return(
        &mut self,
        what: &str,
        acks: &mut watch::Receiver<(u64, u64)>,
    ) -> Result<String, Broken> {
        let began = Instant::now();
        self.kill(what)?;
        self.start().await?;
        let ready = began.elapsed();
        let Address { life, .. } = *self.journal.address().borrow();
        let first = acks.wait_for(|(newest, _)| life <= *newest);
        let acked = timeout(RETURN_WAIT_MAX, first).await.is_ok_and(|came| came.is_ok());
        let acked = if acked {
            format!(", acknowledges after {:.0?}", began.elapsed())
        } else {
            String::new()
        };
        Ok(format!("ready again after {ready:.0?}{acked}"))
    }

    async fn pause(&mut self, lasts: Duration, what: &str) -> Result<(), Broken> {
        self.pause_for(lasts, what).await?;
        if let Some(life) = self.life.as_ref() {
            life.resume()?;
        }
        Ok(())
    }

    async fn pause_for(&mut self, lasts: Duration, what: &str) -> Result<(), Broken> {
        if let Some(life) = self.life.as_ref() {
            life.pause()?;
        }
        self.fault(what);
        sleep(lasts).await;
        Ok(())
    }

    fn fault(&self, what: &str) {
        let (what, node, installed) = (what.to_owned(), Some(NODE), Installed::Yes);
        self.recorder.record(Seen::Fault { what, node, installed });
    }
}

/// The time of the load, as in `00:15`.
fn clock(began: Instant) -> String {
    let seconds = began.elapsed().as_secs();
    format!("{:02}:{:02}", seconds / 60, seconds % 60)
}
