//! Asks the node what it holds: floors while the run goes on, everything once it is drained.

use std::collections::BTreeSet;
use std::error::Error;
use std::time::Duration;

use serde::Deserialize;
use tidings::api::{DeadLetterInfo, EventInfo, GroupInfo, StatusInfo, TopicInfo};
use tidings_check::history::Seen;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::command::verify::caller::Caller;
use crate::command::verify::fate::GROUPS;
use crate::command::verify::journal::{Address, Journal, NODE, TOPIC_NUMBER};
use crate::command::verify::payload::{Found, key_text, look};
use crate::command::verify::recorder::Recorder;
use crate::command::verify::services::{KIND, TOPIC};

/// How often the floors are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
const PAGE_EVENTS: u64 = 5_000;

/// What could not be asked.
type NoAnswer = Box<dyn Error + Send + Sync>;

/// See the module's description.
pub(super) struct Inspector {
    caller: Caller,
    journal: Journal,
    recorder: Recorder,
    floors: [Option<u64>; GROUPS.len()],
}

/// Of one group, as the node tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lag {
    pub(super) n_unsettled: u64,
    pub(super) n_dead: u64,
}

#[derive(Deserialize)]
struct Letters {
    letters: Vec<DeadLetterInfo>,
    more: u64,
}

impl Inspector {
    pub(super) fn new(journal: Journal, recorder: Recorder) -> Self {
        Self { caller: Caller::default(), journal, recorder, floors: Default::default() }
    }

    /// Looks at the floors again and again. It never ends by itself.
    pub(super) async fn watch(mut self, address: watch::Receiver<Address>) {
        loop {
            let now = *address.borrow();
            if now.port.is_some() {
                // A node that has just been killed gives no answer; the next life will.
                let _ = self.lags(now).await;
                let _ = self.status(now).await;
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// How far each group is, told to the history and to the journal, too.
    pub(super) async fn lags(&mut self, at: Address) -> Result<Vec<Lag>, NoAnswer> {
        let groups: Vec<GroupInfo> = self.caller.get(at.port()?, "/v1/groups").await?;
        let mut lags = Vec::new();
        for (idx, name) in GROUPS.into_iter().enumerate() {
            let Some(group) = groups.iter().find(|group| group.name == name) else { continue };
            let Some(mailbox) = group.mailboxes.iter().find(|mailbox| mailbox.topic == TOPIC)
            else {
                continue;
            };
            self.tell_floor(idx, mailbox.floor, at.life);
            self.journal.settled(idx, mailbox.end.saturating_sub(mailbox.lag));
            lags.push(Lag { n_unsettled: mailbox.lag, n_dead: group.dead });
        }
        Ok(lags)
    }

    /// Where the replica stands, told to the history.
    async fn status(&mut self, at: Address) -> Result<(), NoAnswer> {
        let status: StatusInfo = self.caller.get(at.port()?, "/v1/status").await?;
        let StatusInfo { term, commit, applied, .. } = status;
        let leads = status.role == "leader";
        // It does not tell its last entry, which is this one or a later one.
        let last = commit;
        let seen = Seen::Status { node: NODE, term, leads, commit, applied, last };
        self.journal.tell(at.life, |recorder| recorder.record(seen));
        Ok(())
    }

    /// Waits until every group has settled everything, at most so long. Gives what is left.
    pub(super) async fn drain(
        &mut self,
        at: Address,
        wait_max: Duration,
        show: impl Fn(u64),
    ) -> Result<u64, NoAnswer> {
        let deadline = Instant::now() + wait_max;
        loop {
            let lags = self.lags(at).await?;
            let n_unsettled = lags.iter().map(|lag| lag.n_unsettled).sum();
            show(n_unsettled);
            let is_drained = n_unsettled == 0 && lags.len() == GROUPS.len();
            if is_drained || deadline < Instant::now() {
                return Ok(n_unsettled);
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Reads the topic through.
    pub(super) async fn read(&mut self, at: Address) -> Result<(), NoAnswer> {
        let port = at.port()?;
        let topic: TopicInfo = self.caller.get(port, &format!("/v1/topics/{TOPIC}")).await?;
        let mut next = topic.start;
        while next < topic.end {
            let path = format!("/v1/topics/{TOPIC}/events?from={next}&limit={PAGE_EVENTS}");
            let events: Vec<EventInfo> = self.caller.lines(port, &path).await?;
            let Some(last) = events.last() else { break };
            next = last.offset + 1;
            events.iter().for_each(|event| self.tell_read(event));
        }
        let (start, end) = (topic.start, topic.end);
        self.recorder.record(Seen::ReadThrough { node: NODE, topic: TOPIC_NUMBER, start, end });
        Ok(())
    }

    /// Lists the dead letters of every group.
    pub(super) async fn dead_letters(&mut self, at: Address) -> Result<(), NoAnswer> {
        let (port, lags) = (at.port()?, self.lags(at).await?);
        for (group, (name, lag)) in (0..).zip(GROUPS.into_iter().zip(lags)) {
            let path = format!("/v1/groups/{name}/dead");
            let Letters { letters, more } = self.caller.get(port, &path).await?;
            let offsets: BTreeSet<_> = letters.iter().map(|letter| letter.event.offset).collect();
            if 0 < more || offsets.len() as u64 != lag.n_dead {
                let n_listed = offsets.len();
                let n_dead = lag.n_dead;
                return Err(format!("{name} lists {n_listed} of {n_dead} dead letters").into());
            }
            letters.iter().for_each(|letter| self.tell_letter(group, letter));
        }
        Ok(())
    }

    fn tell_floor(&mut self, group: usize, floor: u64, life: u64) {
        let Some(before) = self.floors.get_mut(group) else { return };
        if *before != Some(floor) {
            *before = Some(floor);
            let group = group as u32;
            let seen = Seen::Floor { node: NODE, group, topic: TOPIC_NUMBER, floor };
            self.journal.tell(life, |recorder| recorder.record(seen));
        }
    }

    fn tell_read(&self, info: &EventInfo) {
        let Found { event, is_whole, .. } = found(info);
        let (node, topic, offset) = (NODE, TOPIC_NUMBER, info.offset);
        self.recorder.record(Seen::Read { node, topic, offset, event, is_whole });
    }

    fn tell_letter(&self, group: u32, letter: &DeadLetterInfo) {
        self.recorder.record(Seen::DeadLetter {
            group,
            topic: TOPIC_NUMBER,
            offset: letter.event.offset,
            event: found(&letter.event).event,
            attempts: letter.attempts,
            is_fatal: letter.reason == "fatal",
        });
    }
}

/// What an event's payload says, and whether all of the event fits to it.
fn found(info: &EventInfo) -> Found {
    let payload = info.data.as_ref().map_or("", |data| data.get());
    let found = look(payload.as_bytes());
    let is_its_own = info.key.as_deref() == Some(&key_text(found.key)) && info.kind == KIND;
    Found { is_whole: found.is_whole && is_its_own, ..found }
}
