//! Every layout there and back: what was written comes back, and nothing shorter or longer does.
//!
//! That no bytes make a parser panic is tried beside each of them.

use bytes::Bytes;
use proptest::prelude::*;
use proptest::strategy::Union;

use super::acks::{AckRange, Acks, Failure, FailureClass};
use super::command::{Command, DeadLetter, DeadReason, GroupStart};
use super::entry::{Entry, EntryBuilder, SectionKind};
use super::frame::{FRAME_HEADER_BYTES, FrameHeader, FrameKind};
use super::headers;
use super::records::{Records, RecordsBuilder};
use super::turn::Turn;
use crate::event::NewEvent;
use crate::id::{GroupId, Incarnation, NodeId, ProducerId, Sequence, ShardId, TopicId};
use crate::name::{GroupName, TopicName};
use crate::offset::{LaneEpoch, LogIndex, Offset, Position, Term};

fn offset() -> impl Strategy<Value = Offset> {
    any::<u64>().prop_map(Offset::new)
}

fn topic() -> impl Strategy<Value = TopicId> {
    any::<u32>().prop_map(TopicId::new)
}

fn group() -> impl Strategy<Value = GroupId> {
    any::<u32>().prop_map(GroupId::new)
}

fn lane_epoch() -> impl Strategy<Value = LaneEpoch> {
    any::<u32>().prop_map(LaneEpoch::new)
}

fn topic_name() -> impl Strategy<Value = TopicName> {
    "[a-z0-9_-]{1,9}(\\.[a-z]{1,3}){0,2}".prop_map(|name| TopicName::new(name).unwrap())
}

fn group_name() -> impl Strategy<Value = GroupName> {
    "[a-z0-9_-]{1,9}".prop_map(|name| GroupName::new(name).unwrap())
}

fn content() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..40)
}

fn acks() -> impl Strategy<Value = Acks> {
    // A range has an end.
    let range = (0..u64::MAX - u64::from(u32::MAX), 1_u32..);
    let range = range.prop_map(|(start, len)| AckRange { start: Offset::new(start), len });
    let classes = [FailureClass::Error, FailureClass::Panic, FailureClass::Timeout];
    let failure = (
        offset(),
        lane_epoch(),
        prop::sample::select(classes.to_vec()),
        any::<u64>(),
        "\\PC{0,20}",
    );
    let failure = failure.prop_map(|(offset, lane_epoch, class, retry_at_ms, message)| Failure {
        offset,
        lane_epoch,
        class,
        retry_at_ms,
        message,
    });
    let (ranges, failures) =
        (prop::collection::vec(range, 0..9), prop::collection::vec(failure, 0..9));
    (group(), topic(), ranges, failures).prop_map(|(group, topic, ranges, failures)| Acks {
        group,
        topic,
        ranges,
        failures,
    })
}

fn turn() -> impl Strategy<Value = Turn> {
    let emitted = prop::collection::vec(content().prop_map(Bytes::from), 0..5);
    (group(), topic(), offset(), lane_epoch(), emitted).prop_map(
        |(group, topic, offset, lane_epoch, emitted)| Turn {
            group,
            topic,
            offset,
            lane_epoch,
            emitted,
        },
    )
}

fn dead_letter() -> impl Strategy<Value = Command> {
    let reasons = [DeadReason::Fatal, DeadReason::AttemptsExhausted, DeadReason::Undecodable];
    let place = (group(), topic(), offset(), lane_epoch());
    let rest = (prop::sample::select(reasons.to_vec()), "\\PC{0,20}", any::<u32>(), content());
    (place, rest).prop_map(
        |((group, topic, offset, lane_epoch), (reason, message, attempts, records))| {
            Command::DeadLetter(DeadLetter {
                group,
                topic,
                offset,
                lane_epoch,
                reason,
                message,
                attempts,
                records,
            })
        },
    )
}

/// All commands: a new variant that is missing here does not compile in [`kind_of`].
fn command() -> impl Strategy<Value = Command> {
    let start = prop::sample::select(vec![GroupStart::Earliest, GroupStart::Now]);
    let topics = prop::collection::vec(topic_name(), 0..4);
    let member = || (group(), any::<u32>(), any::<u64>());
    let letters = || prop::collection::vec((topic(), offset()), 0..9);
    Union::new([
        topic_name().prop_map(|name| Command::CreateTopic { name }).boxed(),
        (group_name(), topics, start)
            .prop_map(|(name, topics, start)| Command::CreateGroup { name, topics, start })
            .boxed(),
        member()
            .prop_map(|(group, node, start)| {
                let (node, incarnation) = (NodeId::new(node), Incarnation::new(start));
                Command::Join { group, node, incarnation }
            })
            .boxed(),
        member()
            .prop_map(|(group, node, start)| {
                let (node, incarnation) = (NodeId::new(node), Incarnation::new(start));
                Command::Leave { group, node, incarnation }
            })
            .boxed(),
        (member(), any::<u32>())
            .prop_map(|((group, node, start), n_left)| {
                let (node, incarnation) = (NodeId::new(node), Incarnation::new(start));
                Command::JoinAgain { group, node, incarnation, n_left }
            })
            .boxed(),
        dead_letter().boxed(),
        (group(), letters())
            .prop_map(|(group, letters)| Command::Redrive { group, letters })
            .boxed(),
        (group(), letters())
            .prop_map(|(group, events)| Command::RetryNow { group, events })
            .boxed(),
        (group(), letters())
            .prop_map(|(group, letters)| Command::Discard { group, letters })
            .boxed(),
        (group(), any::<(u32, u64)>())
            .prop_map(|(group, (topic, to))| Command::Seek {
                group,
                topic: TopicId::new(topic),
                to: Offset::new(to),
            })
            .boxed(),
        (group(), any::<bool>())
            .prop_map(|(group, is_paused)| Command::SetPaused { group, is_paused })
            .boxed(),
        (group(), any::<(u32, u64, Vec<u8>)>())
            .prop_map(|(group, (topic, offset, records))| {
                let (topic, offset) = (TopicId::new(topic), Offset::new(offset));
                Command::EditLetter { group, topic, offset, records }
            })
            .boxed(),
        Just(Command::Checkpoint).boxed(),
        any::<u64>().prop_map(|index| Command::Purge { index: LogIndex::new(index) }).boxed(),
    ])
}

/// The number of a command's kind, which is on disk.
fn kind_of(command: &Command) -> u8 {
    match command {
        Command::CreateTopic { .. } => 0,
        Command::CreateGroup { .. } => 1,
        Command::Join { .. } => 2,
        Command::Leave { .. } => 3,
        Command::DeadLetter(_) => 4,
        Command::Redrive { .. } => 5,
        Command::Checkpoint => 6,
        Command::Purge { .. } => 7,
        Command::JoinAgain { .. } => 8,
        Command::RetryNow { .. } => 9,
        Command::Discard { .. } => 10,
        Command::EditLetter { .. } => 11,
        Command::SetPaused { .. } => 12,
        Command::Seek { .. } => 13,
    }
}

fn frame_header() -> impl Strategy<Value = (FrameHeader, Vec<u8>)> {
    let kinds = [
        FrameKind::Head,
        FrameKind::Entry,
        FrameKind::HardState,
        FrameKind::Purge,
        FrameKind::Reset,
        FrameKind::Mark,
    ];
    let kind = prop::sample::select(kinds.to_vec());
    let places = (any::<u32>(), any::<u64>(), any::<u64>(), any::<u64>());
    (kind, any::<u8>(), places, content()).prop_map(
        |(kind, flags, (shard, term, index, durable), body)| {
            let header = FrameHeader {
                kind,
                flags,
                shard: ShardId::new(shard),
                term: Term::new(term),
                index: LogIndex::new(index),
                durable: Position::new(durable),
                body_bytes: body.len() as u32,
            };
            (header, body)
        },
    )
}

/// Neither a cut nor anything behind the end may pass for the whole.
fn only_whole<T>(
    whole: &[u8],
    cut: usize,
    behind: u8,
    parse: impl Fn(Bytes) -> Option<T>,
) -> Result<(), TestCaseError> {
    let shorter = whole.get(..cut).unwrap_or_default().to_vec();
    prop_assert!(parse(shorter.into()).is_none(), "{} of {} bytes", cut, whole.len());
    let longer = [whole, &[behind]].concat();
    prop_assert!(parse(longer.into()).is_none(), "a byte behind the end");
    Ok(())
}

proptest! {
    #[test]
    fn acks_come_back(acks in acks(), cut in any::<prop::sample::Index>(), behind in any::<u8>()) {
        let bytes = acks.encode();
        prop_assert_eq!(Acks::parse(bytes.clone()), Ok(acks));
        only_whole(&bytes, cut.index(bytes.len()), behind, |bytes| Acks::parse(bytes).ok())?;
    }

    #[test]
    fn turns_come_back(turn in turn(), cut in any::<prop::sample::Index>(), behind in any::<u8>()) {
        let bytes = turn.encode();
        prop_assert_eq!(Turn::parse(bytes.clone()), Ok(turn));
        only_whole(&bytes, cut.index(bytes.len()), behind, |bytes| Turn::parse(bytes).ok())?;
    }

    #[test]
    fn commands_come_back(
        command in command(),
        cut in any::<prop::sample::Index>(),
        behind in any::<u8>(),
    ) {
        let bytes = command.clone().encode();
        // Version and kind, both as a number of four bytes.
        prop_assert_eq!(&bytes[..8], &[0, 0, 0, 0, kind_of(&command), 0, 0, 0]);
        prop_assert_eq!(Command::parse(&bytes), Ok(command));
        only_whole(&bytes, cut.index(bytes.len()), behind, |bytes| Command::parse(&bytes).ok())?;
    }

    #[test]
    fn entries_come_back(
        sections in prop::collection::vec((0_usize..4, content()), 0..6),
        leader in any::<u32>(),
        ts_ms in any::<u64>(),
        cut in any::<prop::sample::Index>(),
        behind in any::<u8>(),
    ) {
        let kinds =
            [SectionKind::Records, SectionKind::Acks, SectionKind::Turn, SectionKind::Command];
        let mut builder = EntryBuilder::with_capacity(0);
        for (kind_idx, body) in &sections {
            builder.push(kinds[*kind_idx], body);
        }
        let data = builder.finish(NodeId::new(leader), ts_ms);
        let entry = Entry::parse(data.clone()).unwrap();
        prop_assert_eq!((entry.leader, entry.ts_ms), (NodeId::new(leader), ts_ms));
        prop_assert_eq!(entry.sections.len(), sections.len());
        for (section, (kind_idx, body)) in entry.sections.iter().zip(&sections) {
            prop_assert_eq!((section.kind, &section.body[..]), (kinds[*kind_idx], &body[..]));
            let at = section.at as usize;
            prop_assert_eq!(&data[at..at + body.len()], &body[..]);
        }
        only_whole(&data, cut.index(data.len()), behind, |bytes| Entry::parse(bytes).ok())?;
    }

    /// A frame must be what was written, under its salt alone; any flipped bit must be noticed.
    #[test]
    fn frames_come_back(
        (header, body) in frame_header(),
        salt in any::<u32>(),
        flip in any::<prop::sample::Index>(),
        bit in 0_u8..8,
    ) {
        let bytes = header.encode(salt, &body);
        prop_assert_eq!(FrameHeader::peek(&bytes), Some(header));
        prop_assert!(FrameHeader::is_intact(&bytes, salt, &body));
        prop_assert!(!FrameHeader::is_intact(&bytes, salt ^ 1, &body));
        let mut flipped = [&bytes[..], &body].concat();
        flipped[flip.index(bytes.len() + body.len())] ^= 1 << bit;
        let (bytes, body) = flipped.split_first_chunk().unwrap();
        prop_assert!(!FrameHeader::is_intact(bytes, salt, body));
    }

    #[test]
    fn no_bytes_make_frame_headers_panic(bytes in any::<[u8; FRAME_HEADER_BYTES - 4]>()) {
        // With its magic a header is looked at further.
        let bytes: Vec<u8> = b"TFRM".iter().copied().chain(bytes).collect();
        let bytes: [u8; FRAME_HEADER_BYTES] = bytes.try_into().unwrap();
        let _ = (FrameHeader::peek(&bytes), FrameHeader::is_intact(&bytes, 0, b""));
    }

    /// Of a records section only the header is read at first; its check must notice what is missing
    /// and what is too much.
    #[test]
    fn records_are_whole_or_refused(
        payloads in prop::collection::vec(content(), 1..5),
        cut in any::<prop::sample::Index>(),
        behind in any::<u8>(),
    ) {
        let mut builder = RecordsBuilder::with_capacity(0);
        for payload in &payloads {
            let (id, kind, key, headers) = ("i", "t.v1", b"k".as_slice(), b"".as_slice());
            builder.push(&NewEvent { id, kind, key, time_ms: 1, headers, payload });
        }
        let bytes = builder.finish(TopicId::new(1), ProducerId::NONE, Sequence::new(0));
        let checked = |bytes| Records::parse(bytes).and_then(|records| records.check()).ok();
        prop_assert_eq!(checked(bytes.clone()), Some(()));
        only_whole(&bytes, cut.index(bytes.len()), behind, checked)?;
    }

    #[test]
    fn headers_come_back(
        pairs in prop::collection::vec(("\\PC{0,9}", "\\PC{0,20}"), 0..9),
        cut in any::<prop::sample::Index>(),
        noise in content(),
    ) {
        let mut bytes = Vec::new();
        let mut ends = vec![0];
        for (name, value) in &pairs {
            headers::put(&mut bytes, name, value);
            ends.push(bytes.len());
        }
        let expected: Vec<_> = pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        prop_assert_eq!(headers::iter(&bytes), Ok(expected));
        let n_bytes = cut.index(bytes.len() + 1);
        let is_whole = ends.contains(&n_bytes);
        prop_assert_eq!(headers::iter(&bytes[..n_bytes]).is_ok(), is_whole);
        let _ = headers::iter(&noise);
    }
}
