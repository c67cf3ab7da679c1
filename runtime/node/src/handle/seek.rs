//! Sending a group elsewhere on a topic: where that is, what it means, and doing it.

use std::time::Duration;

use tidings_state::Standing;
use tidings_types::id::{GroupId, TopicId};
use tidings_types::layout::command::Command;
use tidings_types::name::{GroupName, TopicName};
use tidings_types::offset::Offset;
use tokio::time::sleep;

use crate::api::SeekInfo;
use crate::call::call;
use crate::error::{FindError, SeekError};
use crate::handle::NodeHandle;
use crate::mail::ToDispatcher;

/// How long a group may take until nothing of it is on its way.
const QUIET_WAIT_MAX: Duration = Duration::from_secs(10);
/// How often it is asked.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Where a group is to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeekTo {
    /// At the earliest event that is retained.
    Start,
    /// Behind the newest event.
    End,
    /// At this event.
    Offset(Offset),
    /// At the first event that was published at this moment or later, in milliseconds of wall time,
    /// by its publisher's clock.
    Time(u64),
}

/// A topic as a seek needs it.
#[derive(Clone, Copy, Debug)]
struct Place {
    group: GroupId,
    topic: TopicId,
    start: Offset,
    end: Offset,
    floor: Offset,
}

impl NodeHandle {
    /// Lets a group go on elsewhere on a topic: what is before counts as settled, what is behind comes
    /// again. Attempts are forgotten, and so are dead letters from there on. A group that works is
    /// paused meanwhile, until nothing of it is on its way.
    ///
    /// # Errors
    /// If there is no such group, topic or place, if the group does not come to rest within 10 s (then
    /// it goes on where it was), or the command fails (then it may stay paused).
    pub async fn seek(
        &self,
        group: &GroupName,
        topic: &TopicName,
        to: SeekTo,
        dry_run: bool,
    ) -> Result<SeekInfo, SeekError> {
        let place = self.place(group, topic).await?;
        let to = self.offset_of(place, topic, to).await?;
        if dry_run {
            return Ok(SeekInfo { dry_run, ..self.told(place, topic, to).await? });
        }
        let was_paused = self.find_group(group).await?.is_paused;
        self.pause(group).await?;
        if !self.comes_to_rest(place.group).await? {
            if !was_paused {
                self.resume(group).await?;
            }
            return Err(SeekError::NoRest { group: group.to_string(), waited_max: QUIET_WAIT_MAX });
        }
        let told = self.told(self.place(group, topic).await?, topic, to).await?;
        let (group_id, topic) = (place.group, place.topic);
        let command = Command::Seek { group: group_id, topic, to };
        self.shared.commands.run(command).await.map_err(FindError::from)?;
        if !was_paused {
            self.resume(group).await?;
        }
        Ok(told)
    }

    async fn place(&self, group: &GroupName, topic: &TopicName) -> Result<Place, FindError> {
        let view = self.find_group(group).await?;
        let wanted = topic.clone();
        let look = move |core: &tidings_replica::Replica| {
            let state = core.state();
            state.topic_id(&wanted).and_then(|id| state.topic(id))
        };
        let found = self.inspect(look).await?;
        let mailbox = found
            .as_ref()
            .and_then(|topic| view.mailboxes.iter().find(|mailbox| mailbox.topic == topic.id));
        let (Some(found), Some(mailbox)) = (&found, mailbox) else {
            let what = format!("subscription of group {group} to topic {topic}");
            return Err(FindError::NotFound { what });
        };
        let (group, topic) = (view.id, found.id);
        Ok(Place { group, topic, start: found.start, end: found.end, floor: mailbox.floor })
    }

    async fn offset_of(
        &self,
        place: Place,
        topic: &TopicName,
        to: SeekTo,
    ) -> Result<Offset, SeekError> {
        let Place { start, end, .. } = place;
        match to {
            SeekTo::Start => Ok(start),
            SeekTo::End => Ok(end),
            SeekTo::Time(time_ms) => {
                let found = self.first_since(place.topic, start..end, time_ms).await;
                Ok(found.map_err(FindError::from)?)
            }
            SeekTo::Offset(to) if start <= to && to <= end => Ok(to),
            SeekTo::Offset(to) => {
                let [to, start, end] = [to, start, end].map(Offset::get);
                Err(SeekError::NoSuchOffset { topic: topic.to_string(), to, start, end })
            }
        }
    }

    async fn told(
        &self,
        place: Place,
        name: &TopicName,
        to: Offset,
    ) -> Result<SeekInfo, FindError> {
        let Place { group, topic, start, end, floor } = place;
        let look = move |core: &tidings_replica::Replica| {
            let state = core.state();
            let settled = |events| state.n_settled(group, topic, events).unwrap_or_default();
            let letters = state.dead_letters(group);
            let is_behind =
                |at: Offset| to <= at && state.standing(group, topic, at) == Standing::Dead;
            let n_dead = letters.filter(|it| it.topic == topic && is_behind(it.offset)).count();
            (settled(to..end), to.since(start) - settled(start..to), n_dead as u64)
        };
        let (redelivers, skips, drops_dead) = self.inspect(look).await?;
        let (topic, from, to) = (name.to_string(), floor.get(), to.get());
        Ok(SeekInfo { topic, from, to, redelivers, skips, drops_dead, dry_run: false })
    }

    /// Waits until nothing of a paused group is at a worker and every outcome is in the log.
    async fn comes_to_rest(&self, group: GroupId) -> Result<bool, FindError> {
        let deadline = self.shared.clock.now() + QUIET_WAIT_MAX;
        loop {
            let ask = |reply| ToDispatcher::IsQuiet(group, reply);
            if call(&self.shared.dispatcher, ask).await? {
                return Ok(true);
            }
            if deadline <= self.shared.clock.now() {
                return Ok(false);
            }
            sleep(LOOK_EVERY).await;
        }
    }
}
