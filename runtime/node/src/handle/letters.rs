//! Dead letters: list, show, edit, send back into delivery, and let go.

use std::collections::BTreeSet;

use bytes::Bytes;
use tidings_state::{DeadLetterView, Standing};
use tidings_types::effect::Answer;
use tidings_types::event::NewEvent;
use tidings_types::id::{GroupId, ProducerId, Sequence, TopicId};
use tidings_types::layout::command::Command;
use tidings_types::layout::records::RecordsBuilder;
use tidings_types::name::{GroupName, TopicName};
use tidings_types::offset::Offset;

use crate::api::{DeadLetterInfo, EventInfo};
use crate::error::{CallError, CommandError, EditError, FindError};
use crate::handle::NodeHandle;
use crate::handle::letter_filter::{LetterFilter, Letters, only_event};

/// Letters that were asked for, and how many more there are behind them.
pub type Page = (Vec<DeadLetterInfo>, usize);

impl NodeHandle {
    /// The dead letters of one group, or of all.
    ///
    /// # Errors
    /// If there is no such group, or no answer.
    pub async fn dead_letters(
        &self,
        group: Option<&GroupName>,
    ) -> Result<Vec<DeadLetterInfo>, FindError> {
        let filter = LetterFilter::default();
        let (letters, _) = self.find_dead_letters(group, filter, None, usize::MAX).await?;
        Ok(letters)
    }

    /// The dead letters that fit, of one group or of all: at most so many, from behind this one on.
    ///
    /// # Errors
    /// If there is no such group, or no answer.
    pub async fn find_dead_letters(
        &self,
        group: Option<&GroupName>,
        filter: LetterFilter,
        behind: Option<(TopicName, Offset)>,
        n_max: usize,
    ) -> Result<Page, FindError> {
        let groups = match group {
            Some(name) => vec![self.find_group(name).await?],
            None => self.inspect(|core| core.state().groups().collect()).await?,
        };
        let look = move |core: &tidings_replica::Replica| {
            let state = core.state();
            let behind = behind.and_then(|(topic, at)| state.topic_id(&topic).map(|id| (id, at)));
            let is_behind = |letter: &&DeadLetterView| {
                behind.is_none_or(|behind| behind < (letter.topic, letter.offset))
            };
            let (mut found, mut n_more) = (Vec::new(), 0);
            for group in groups {
                for letter in filter.of(state, group.id).filter(is_behind) {
                    if found.len() < n_max {
                        let original = state.original(group.id, letter.topic, letter.offset);
                        found.push((group.name.clone(), letter.clone(), original.cloned()));
                    } else {
                        n_more += 1;
                    }
                }
            }
            (found, n_more)
        };
        let (found, n_more) = self.inspect(look).await?;
        let shown = found
            .into_iter()
            .filter_map(|(name, letter, original)| self.letter_info(&name, letter, original));
        Ok((shown.collect(), n_more))
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
            let letter = letters.find(|letter| (letter.topic, letter.offset) == meant)?;
            let original = state.original(view.id, letter.topic, letter.offset);
            Some((letter.clone(), original.cloned()))
        };
        let letter = self.inspect(look).await?;
        let found = letter.and_then(|(letter, original)| {
            let tried = self.remembered(view.id, letter.topic, letter.offset);
            let info = self.letter_info(&view.name, letter, original)?;
            Some(DeadLetterInfo { tried, ..info })
        });
        found.ok_or_else(|| no_letter(group, topic, offset))
    }

    /// Gives a dead letter another payload, for when it is redriven; what was published is kept beside
    /// it. Id, type, key, time and headers stay.
    ///
    /// # Errors
    /// If there is no such letter or no room for both, or the command fails.
    pub async fn edit(
        &self,
        group: &GroupName,
        topic: &TopicName,
        offset: Offset,
        payload: &[u8],
    ) -> Result<DeadLetterInfo, EditError> {
        let view = self.find_group(group).await?;
        let wanted = topic.clone();
        let look = move |core: &tidings_replica::Replica| {
            let meant = (core.state().topic_id(&wanted)?, offset);
            let mut letters = core.state().dead_letters(view.id);
            let letter = letters.find(|letter| (letter.topic, letter.offset) == meant)?;
            let original = core.state().original(view.id, letter.topic, letter.offset);
            Some((letter.clone(), original.cloned()))
        };
        let found = self.inspect(look).await.map_err(FindError::from)?;
        let (letter, original) = found.ok_or_else(|| no_letter(group, topic, offset))?;
        let id = letter.topic;
        let event = only_event(letter.records.clone());
        let event = event.ok_or_else(|| no_letter(group, topic, offset))?;
        let event = NewEvent { payload, ..event.as_new() };
        event.check()?;
        let mut builder = RecordsBuilder::with_capacity(event.encoded_bytes() + 64);
        builder.push(&event);
        let edited = builder.finish(id, ProducerId::NONE, Sequence::new(0));
        let records = edited.to_vec();
        let command = Command::EditLetter { group: view.id, topic: id, offset, records };
        self.shared.commands.run(command).await.map_err(FindError::from)?;
        // Somebody may have redriven it by now; this is what it was then.
        let original = original.unwrap_or_else(|| letter.records.clone());
        let original = (original != edited).then_some(original);
        let tried = self.remembered(view.id, id, offset);
        let info =
            self.letter_info(&view.name, DeadLetterView { records: edited, ..letter }, original);
        let info = info.ok_or_else(|| no_letter(group, topic, offset))?;
        Ok(DeadLetterInfo { tried, ..info })
    }

    /// How many dead letters are meant.
    ///
    /// # Errors
    /// If there is no such group, or no answer.
    pub async fn count_dead(&self, group: &GroupName, letters: Letters) -> Result<u32, FindError> {
        let group = self.find_group(group).await?.id;
        let meant: BTreeSet<_> = self.dead(group, letters).await?.into_iter().collect();
        let count = move |core: &tidings_replica::Replica| {
            let state = core.state();
            let is_dead = |&&(topic, offset): &&(TopicId, Offset)| {
                state.standing(group, topic, offset) == Standing::Dead
            };
            meant.iter().filter(is_dead).count()
        };
        let n_meant = self.inspect(count).await?;
        Ok(u32::try_from(n_meant).unwrap_or(u32::MAX))
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
        let filter = match letters {
            Letters::These(events) => return Ok(self.numbered(events)),
            Letters::All => LetterFilter::default(),
            Letters::Where(filter) => filter,
        };
        let fitting = move |core: &tidings_replica::Replica| {
            let letters = filter.of(core.state(), group);
            letters.map(|letter| (letter.topic, letter.offset)).collect()
        };
        self.inspect(fitting).await
    }

    /// Unknown topics have no dead letters, so they are passed over like unknown offsets.
    pub(super) fn numbered(&self, letters: Vec<(TopicName, Offset)>) -> Vec<(TopicId, Offset)> {
        let publisher = &self.shared.publisher;
        let number = |(topic, offset): (TopicName, Offset)| {
            publisher.known_topic(&topic).map(|topic| (topic, offset))
        };
        letters.into_iter().filter_map(number).collect()
    }

    fn letter_info(
        &self,
        group: &GroupName,
        letter: DeadLetterView,
        original: Option<Bytes>,
    ) -> Option<DeadLetterInfo> {
        let event = only_event(letter.records.clone())?;
        let original = original.and_then(only_event);
        Some(DeadLetterInfo {
            group: group.to_string(),
            topic: self.topic_text(letter.topic),
            reason: letter.reason.word().to_owned(),
            message: letter.message.to_string(),
            attempts: letter.attempts,
            dead_at: self.moment_text(letter.dead_at_ms),
            event: EventInfo::new(letter.offset, &event),
            original: original.map(|event| EventInfo::new(letter.offset, &event)),
            tried: Vec::new(),
        })
    }
}

fn no_letter(group: &GroupName, topic: &TopicName, offset: Offset) -> FindError {
    FindError::NotFound { what: format!("dead letter {topic}@{offset} of group {group}") }
}
