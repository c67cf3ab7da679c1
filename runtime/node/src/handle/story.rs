//! One event's story: where it is stored, what each group did with it, what comes next.
//!
//! Ids that tidings made tell their time, and the times in a topic rise nearly everywhere, so such
//! an event is found by bisecting. A foreign id is searched newest first, and not for ever.

use std::ops::Range;
use std::time::Duration;

use tidings_state::{Standing, State};
use tidings_types::effect::NEVER_MS;
use tidings_types::event::id_time_ms;
use tidings_types::id::{GroupId, TopicId};
use tidings_types::layout::records::Event;
use tidings_types::offset::Offset;

use crate::api::{AttemptInfo, EventInfo, GroupStory, StoryInfo, time_text};
use crate::error::{FindError, ReadError};
use crate::handle::NodeHandle;
use crate::handle::read::events_from;
use crate::stories::Attempt;

/// How far the times of neighbours in a topic may differ: publishers' clocks and their batches.
const TIME_SLACK_MS: u64 = 60_000;
/// How long a foreign id is searched.
const SEARCH_MAX: Duration = Duration::from_secs(3);
/// Events looked at in one step back.
const STEP_BACK: u64 = 1_000;

const NOTE: &str = "standing and failed attempts come from the log; single attempts are remembered \
    by this process only, the newest 100,000 of all events";

/// Where the events of one topic lie.
#[derive(Clone, Copy)]
struct Span {
    topic: TopicId,
    start: Offset,
    end: Offset,
}

impl NodeHandle {
    /// The story of the event with this id.
    ///
    /// # Errors
    /// If it is not found, or the node does not answer.
    pub async fn story(&self, id: &str) -> Result<StoryInfo, FindError> {
        let look = |core: &tidings_replica::Replica| -> Vec<Span> {
            let topics = core.state().topics();
            topics.map(|t| Span { topic: t.id, start: t.start, end: t.end }).collect()
        };
        let spans = self.inspect(look).await?;
        let deadline = self.shared.clock.now() + SEARCH_MAX;
        for span in spans {
            let found = match id_time_ms(id) {
                Some(time_ms) => self.find_by_time(span, id, time_ms).await?,
                None => self.find_backwards(span, id, deadline).await?,
            };
            if let Some((offset, event)) = found {
                return self.tell(span.topic, offset, &event).await;
            }
        }
        let what = match self.shared.clock.now() < deadline {
            true => format!("event {id}"),
            false => format!("event {id} among those searched in {SEARCH_MAX:?}"),
        };
        Err(FindError::NotFound { what })
    }

    async fn find_by_time(
        &self,
        span: Span,
        id: &str,
        time_ms: u64,
    ) -> Result<Option<(Offset, Event)>, ReadError> {
        let earliest = time_ms.saturating_sub(TIME_SLACK_MS);
        let mut next = self.first_since(span.topic, span.start..span.end, earliest).await?;
        while next < span.end {
            let blocks = self.blocks(span.topic, next).await?;
            let before = next;
            for (offset, event) in events_from(&blocks, next) {
                if event.id() == id {
                    return Ok(Some((offset, event)));
                }
                if time_ms + TIME_SLACK_MS < event.time_ms {
                    return Ok(None);
                }
                next = offset.next();
            }
            if next == before {
                return Ok(None);
            }
        }
        Ok(None)
    }

    /// The first of these events that was published at this time or later, by bisecting.
    pub(super) async fn first_since(
        &self,
        topic: TopicId,
        events: Range<Offset>,
        time_ms: u64,
    ) -> Result<Offset, ReadError> {
        let (mut low, mut high) = (events.start, events.end);
        while low < high {
            let middle = low.plus(high.since(low) / 2);
            match self.event_at(topic, middle).await? {
                Some(event) if event.time_ms < time_ms => low = middle.next(),
                _ => high = middle,
            }
        }
        Ok(low)
    }

    /// The first of these events from which on, as far as clocks differ, all are as young as this: none
    /// of that time is before it that lies within the slack.
    pub(super) async fn first_surely_since(
        &self,
        topic: TopicId,
        events: Range<Offset>,
        time_ms: u64,
    ) -> Result<Offset, ReadError> {
        let earliest = time_ms.saturating_sub(TIME_SLACK_MS);
        let mut next = self.first_since(topic, events.clone(), earliest).await?;
        while next < events.end {
            let blocks = self.blocks(topic, next).await?;
            let before = next;
            for (offset, event) in events_from(&blocks, next) {
                if time_ms <= event.time_ms {
                    return Ok(offset);
                }
                next = offset.next();
            }
            if next == before {
                break;
            }
        }
        Ok(next)
    }

    async fn find_backwards(
        &self,
        span: Span,
        id: &str,
        deadline: Duration,
    ) -> Result<Option<(Offset, Event)>, ReadError> {
        let mut end = span.end;
        while span.start < end && self.shared.clock.now() < deadline {
            let start = Offset::new(end.get().saturating_sub(STEP_BACK)).max(span.start);
            let mut next = start;
            while next < end {
                let blocks = self.blocks(span.topic, next).await?;
                let before = next;
                for (offset, event) in events_from(&blocks, next) {
                    if event.id() == id {
                        return Ok(Some((offset, event)));
                    }
                    next = offset.next();
                }
                if next == before {
                    return Ok(None);
                }
            }
            end = start;
        }
        Ok(None)
    }

    async fn event_at(&self, topic: TopicId, offset: Offset) -> Result<Option<Event>, ReadError> {
        let blocks = self.blocks(topic, offset).await?;
        Ok(events_from(&blocks, offset).next().map(|(_, event)| event))
    }

    /// The attempts of one group on an event that this process remembers.
    pub(super) fn remembered(
        &self,
        group: GroupId,
        topic: TopicId,
        offset: Offset,
    ) -> Vec<AttemptInfo> {
        let remembered = self.shared.stories.of(topic, offset);
        let of_group = remembered.iter().filter(|attempt| attempt.group == group);
        of_group.map(attempt_info).collect()
    }

    async fn tell(
        &self,
        topic: TopicId,
        offset: Offset,
        event: &Event,
    ) -> Result<StoryInfo, FindError> {
        let standings = self.inspect(move |core| standings(core.state(), topic, offset)).await?;
        let groups = standings.into_iter().map(|(group, name, standing)| {
            let attempts = self.remembered(group, topic, offset);
            self.group_story(name, &standing, attempts)
        });
        Ok(StoryInfo {
            topic: self.topic_text(topic),
            event: EventInfo::new(offset, event),
            groups: groups.collect(),
            note: NOTE.to_owned(),
        })
    }

    fn group_story(
        &self,
        group: String,
        standing: &Standing,
        attempts: Vec<AttemptInfo>,
    ) -> GroupStory {
        let (word, failed_attempts, next_attempt_at) = match standing {
            Standing::Unknown => ("not subscribed", 0, None),
            Standing::Waiting { attempts: 0, .. } => ("waiting", 0, None),
            Standing::Waiting { attempts, retry_at_ms: NEVER_MS, .. } => {
                ("paused", *attempts, None)
            }
            Standing::Waiting { attempts, retry_at_ms, .. } => {
                ("retrying", *attempts, Some(self.moment_text(*retry_at_ms)))
            }
            Standing::Acked => ("settled", 0, None),
            Standing::Dead => ("dead", 0, None),
            Standing::Redriven => ("redriven", 0, None),
        };
        let standing = word.to_owned();
        GroupStory { group, standing, failed_attempts, next_attempt_at, attempts }
    }
}

type Standings = Vec<(GroupId, String, Standing)>;

fn standings(state: &State, topic: TopicId, offset: Offset) -> Standings {
    let readers =
        state.groups().filter(|group| group.mailboxes.iter().any(|mailbox| mailbox.topic == topic));
    let standing = |group: tidings_state::GroupView| {
        (group.id, group.name.to_string(), state.standing(group.id, topic, offset))
    };
    readers.map(standing).collect()
}

fn attempt_info(attempt: &Attempt) -> AttemptInfo {
    AttemptInfo {
        at: time_text(attempt.at_ms),
        attempt: attempt.attempt,
        worker: attempt.worker.get(),
        took_us: u64::try_from(attempt.took.as_micros()).unwrap_or(u64::MAX),
        outcome: attempt.outcome.to_owned(),
        message: attempt.message.as_deref().map(str::to_owned),
    }
}
