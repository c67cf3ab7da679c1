//! Dead letters: list, show, and send back into delivery.

use bytes::Bytes;
use tidings_state::{DeadLetterView, GroupView, State};
use tidings_types::effect::Answer;
use tidings_types::id::{GroupId, TopicId};
use tidings_types::layout::command::Command;
use tidings_types::layout::records::{Event, Records};
use tidings_types::name::{GroupName, TopicName};
use tidings_types::offset::Offset;

use crate::api::{DeadLetterInfo, EventInfo};
use crate::error::{CallError, CommandError, FindError};
use crate::handle::NodeHandle;

/// Which dead letters of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Letters {
    /// Every one.
    All,
    /// Those of these events.
    These(Vec<(TopicName, Offset)>),
}

impl NodeHandle {
    /// The dead letters of one group, or of all.
    ///
    /// # Errors
    /// If there is no such group, or no answer.
    pub async fn dead_letters(
        &self,
        group: Option<&GroupName>,
    ) -> Result<Vec<DeadLetterInfo>, FindError> {
        let groups = match group {
            Some(name) => vec![self.find_group(name).await?],
            None => self.inspect(|core| core.state().groups().collect()).await?,
        };
        let letters = self.inspect(move |core| {
            let of = |group: GroupView| {
                let letters: Vec<_> = core.state().dead_letters(group.id).cloned().collect();
                (group.name, letters)
            };
            groups.into_iter().map(of).collect::<Vec<_>>()
        });
        let letters = letters.await?.into_iter();
        let shown = |(name, letters): (GroupName, Vec<DeadLetterView>)| {
            letters.into_iter().filter_map(move |letter| self.letter_info(&name, letter))
        };
        Ok(letters.flat_map(shown).collect())
    }

    /// One dead letter.
    ///
    /// # Errors
    /// If there is none, or no answer.
    pub async fn dead_letter(
        &self,
        group: &GroupName,
        topic: &TopicName,
        offset: Offset,
    ) -> Result<DeadLetterInfo, FindError> {
        let view = self.find_group(group).await?;
        let wanted = topic.clone();
        // Only the one that is meant is copied out: all together may be some 48 MiB.
        let look = move |core: &tidings_replica::Replica| {
            let state = core.state();
            let meant = (state.topic_id(&wanted)?, offset);
            let mut letters = state.dead_letters(view.id);
            letters.find(|letter| (letter.topic, letter.offset) == meant).cloned()
        };
        let letter = self.inspect(look).await?;
        let found = letter.and_then(|letter| self.letter_info(&view.name, letter));
        let what = || format!("dead letter {topic}@{offset} of group {group}");
        found.ok_or_else(|| FindError::NotFound { what: what() })
    }

    /// Sends dead letters back into delivery, their attempts reset. Returns how many went.
    ///
    /// # Errors
    /// If there is no such group, or the command fails.
    pub async fn redrive(&self, group: &GroupName, letters: Letters) -> Result<u32, FindError> {
        let group = self.find_group(group).await?.id;
        let letters = self.dead(group, letters).await?;
        match self.shared.commands.run(Command::Redrive { group, letters }).await? {
            Answer::Redriven(n_letters) => Ok(n_letters),
            _ => Err(CommandError::Unknown.into()),
        }
    }

    /// Takes dead letters away for good, with their payloads. Returns how many went.
    ///
    /// # Errors
    /// If there is no such group, or the command fails.
    pub async fn discard(&self, group: &GroupName, letters: Letters) -> Result<u32, FindError> {
        let group = self.find_group(group).await?.id;
        let letters = self.dead(group, letters).await?;
        match self.shared.commands.run(Command::Discard { group, letters }).await? {
            Answer::Discarded(n_letters) => Ok(n_letters),
            _ => Err(CommandError::Unknown.into()),
        }
    }

    async fn dead(
        &self,
        group: GroupId,
        letters: Letters,
    ) -> Result<Vec<(TopicId, Offset)>, CallError> {
        let all = move |state: &State| {
            let letters = state.dead_letters(group);
            letters.map(|letter| (letter.topic, letter.offset)).collect()
        };
        self.meant(letters, all).await
    }

    /// The events that are meant, where `all` gives every one.
    pub(super) async fn meant(
        &self,
        which: Letters,
        all: impl FnOnce(&State) -> Vec<(TopicId, Offset)> + Send + 'static,
    ) -> Result<Vec<(TopicId, Offset)>, CallError> {
        match which {
            Letters::These(events) => Ok(self.numbered(events)),
            Letters::All => self.inspect(|core| all(core.state())).await,
        }
    }

    /// Unknown topics have no dead letters, so they are passed over like unknown offsets.
    fn numbered(&self, letters: Vec<(TopicName, Offset)>) -> Vec<(TopicId, Offset)> {
        let publisher = &self.shared.publisher;
        let number = |(topic, offset): (TopicName, Offset)| {
            publisher.known_topic(&topic).map(|topic| (topic, offset))
        };
        letters.into_iter().filter_map(number).collect()
    }

    fn letter_info(&self, group: &GroupName, letter: DeadLetterView) -> Option<DeadLetterInfo> {
        let event = only_event(letter.records.clone())?;
        Some(DeadLetterInfo {
            group: group.to_string(),
            topic: self.topic_text(letter.topic),
            reason: letter.reason.word().to_owned(),
            message: letter.message.to_string(),
            attempts: letter.attempts,
            dead_at: self.moment_text(letter.dead_at_ms),
            event: EventInfo::new(letter.offset, &event),
        })
    }
}

fn only_event(records: Bytes) -> Option<Event> {
    Records::parse(records).ok()?.events().next()?.ok()
}
