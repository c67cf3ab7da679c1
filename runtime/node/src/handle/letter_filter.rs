//! Which dead letters are meant: all, some by name, or those that fit.

use bytes::Bytes;
use tidings_state::{DeadLetterView, State};
use tidings_types::id::{GroupId, TopicId};
use tidings_types::layout::records::{Event, Records};
use tidings_types::name::TopicName;
use tidings_types::offset::Offset;

/// Which dead letters of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Letters {
    /// Every one.
    All,
    /// Those of these events.
    These(Vec<(TopicName, Offset)>),
    /// Those that fit.
    Where(LetterFilter),
}

/// What a dead letter must be like. What is not said fits every one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LetterFilter {
    /// The event is of this topic.
    pub topic: Option<TopicName>,
    /// The event is of this type.
    pub kind: Option<String>,
    /// It was given up for this: `fatal`, `attempts_exhausted` or `undecodable`.
    pub reason: Option<String>,
    /// The last error's text has this in it.
    pub text: Option<String>,
    /// It was given up at this moment or later, in milliseconds of cluster time.
    pub since_ms: Option<u64>,
    /// It was given up before this moment, in milliseconds of cluster time.
    pub until_ms: Option<u64>,
}

impl LetterFilter {
    /// Whether a letter fits. Its topic's number is that of [`Self::topic`], if that is said.
    pub(super) fn fits(&self, letter: &DeadLetterView, topic: Option<TopicId>) -> bool {
        let is_kind = |kind: &String| {
            let event = only_event(letter.records.clone());
            event.is_some_and(|event: Event| event.kind() == kind)
        };
        (self.topic.is_none() || topic == Some(letter.topic))
            && self.reason.as_ref().is_none_or(|reason| letter.reason.word() == reason)
            && self.text.as_ref().is_none_or(|text| letter.message.contains(text))
            && self.since_ms.is_none_or(|since_ms| since_ms <= letter.dead_at_ms)
            && self.until_ms.is_none_or(|until_ms| letter.dead_at_ms < until_ms)
            && self.kind.as_ref().is_none_or(is_kind)
    }

    /// The letters of a group that fit, by topic and offset.
    pub(super) fn of<'a>(
        &'a self,
        state: &'a State,
        group: GroupId,
    ) -> impl Iterator<Item = &'a DeadLetterView> {
        let topic = self.topic.as_ref().and_then(|topic| state.topic_id(topic));
        state.dead_letters(group).filter(move |letter| self.fits(letter, topic))
    }
}

/// The event of a letter.
pub(super) fn only_event(records: Bytes) -> Option<Event> {
    Records::parse(records).ok()?.events().next()?.ok()
}

#[cfg(test)]
mod tests {
    use tidings_types::layout::command::DeadReason;

    use super::*;

    /// Each word must hold back what does not fit, and all of them together must fit.
    #[test]
    fn every_word_counts() {
        let letter = DeadLetterView {
            topic: TopicId::new(3),
            offset: Offset::new(7),
            reason: DeadReason::Fatal,
            message: "no such address: x@y".to_owned(),
            attempts: 1,
            dead_at_ms: 500,
            records: Bytes::new(),
        };
        let whole = LetterFilter {
            topic: Some(TopicName::new("users").unwrap()),
            kind: None,
            reason: Some("fatal".to_owned()),
            text: Some("address".to_owned()),
            since_ms: Some(500),
            until_ms: Some(501),
        };
        assert!(whole.fits(&letter, Some(TopicId::new(3))));
        assert!(LetterFilter::default().fits(&letter, None));
        assert!(!whole.fits(&letter, None), "there is no such topic");
        assert!(!whole.fits(&letter, Some(TopicId::new(4))));
        for other in [
            LetterFilter { kind: Some("a.v1".to_owned()), ..whole.clone() },
            LetterFilter { reason: Some("undecodable".to_owned()), ..whole.clone() },
            LetterFilter { text: Some("mailbox".to_owned()), ..whole.clone() },
            LetterFilter { since_ms: Some(501), ..whole.clone() },
            LetterFilter { until_ms: Some(500), ..whole },
        ] {
            assert!(!other.fits(&letter, Some(TopicId::new(3))), "{other:?}");
        }
    }
}
