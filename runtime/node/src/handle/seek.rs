//! Sending a group elsewhere on a topic: where that is, what it means, and doing it.

use std::time::Duration;

use tidings_types::id::{GroupId, TopicId};
use tidings_types::layout::command::Command;
use tidings_types::name::{GroupName, TopicName};
use tidings_types::offset::Offset;
use tokio::time::sleep;

use crate::api::SeekInfo;
use crate::call::call;
use crate::error::{CallError, FindError, SeekError};
use crate::handle::NodeHandle;
use crate::mail::ToDispatcher;

/// How long a group may take until nothing of it is on its way. Callers wait for twice as long.
const QUIET_WAIT_MAX: Duration = Duration::from_secs(5);
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
    /// again. Attempts are forgotten, and so are dead letters from there on, with what was edited in
    /// them. Nothing of the group is handed out until nothing of it is on its way; then it is sent. A
    /// group that a person paused stays so.
    ///
    /// Cancel safe: it is done, or given up, whoever still waits for it.
    ///
    /// # Errors
    /// If there is no such group, topic or place, if the group does not come to rest within 5 s, or the
    /// command fails. Then the group goes on where it was.
    pub async fn seek(
        &self,
        group: &GroupName,
        topic: &TopicName,
        to: SeekTo,
        dry_run: bool,
    ) -> Result<SeekInfo, SeekError> {
        if dry_run {
            let place = self.place(group, topic).await?;
            let to = self.offset_of(place, topic, to).await?;
            return Ok(SeekInfo { dry_run, ..self.told(place, topic, to).await? });
        }
        let (node, group, topic) = (self.clone(), group.clone(), topic.clone());
        // Half of it must not be left behind if the caller goes away.
        let task = async move { node.send(&group, &topic, to).await };
        match self.shared.core.spawn(task).await {
            Ok(sent) => sent,
            Err(_) => Err(FindError::Call(CallError::Stopped).into()),
        }
    }

    async fn send(
        &self,
        group: &GroupName,
        topic: &TopicName,
        to: SeekTo,
    ) -> Result<SeekInfo, SeekError> {
        let id = self.place(group, topic).await?.group;
        self.hold(id, true);
        let sent = self.send_held(group, topic, to).await;
        // Whoever was sent goes on already.
        self.hold(id, false);
        sent
    }

    async fn send_held(
        &self,
        group: &GroupName,
        topic: &TopicName,
        to: SeekTo,
    ) -> Result<SeekInfo, SeekError> {
        let place = self.place(group, topic).await?;
        if !self.comes_to_rest(place.group).await? {
            return Err(SeekError::NoRest { group: group.to_string(), waited_max: QUIET_WAIT_MAX });
        }
        // Meanwhile some events may have gone.
        let place = self.place(group, topic).await?;
        let to = self.offset_of(place, topic, to).await?;
        let told = self.told(place, topic, to).await?;
        let command = Command::Seek { group: place.group, topic: place.topic, to };
        self.shared.commands.run(command).await.map_err(FindError::from)?;
        Ok(told)
    }

    fn hold(&self, group: GroupId, is_held: bool) {
        // It fails if the node ends, and then nothing is handed out.
        let _ = self.shared.dispatcher.cast(ToDispatcher::Hold { group, is_held });
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
                let found = self.first_surely_since(place.topic, start..end, time_ms).await;
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
            let n_letters = state.n_letters_from(group, topic, to) as u64;
            let n_before = to.get().saturating_sub(start.get());
            (settled(to..end), n_before.saturating_sub(settled(start..to)), n_letters)
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
