//! Whatever comes in as a history, there is a verdict and no panic; and files are read as written.

#![allow(
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test may panic and print"
)]

mod common;

use common::model::history;
use common::{GROUP, Story, TOPIC};
use proptest::prelude::{ProptestConfig, any, prop, prop_assert, prop_assert_eq, proptest};
use tidings_check::history::jsonl::{ReadError, load, read, write};
use tidings_check::history::{Line, Seen};
use tidings_check::verdict::{Judgement, check};

fn text(lines: &[Line]) -> Vec<u8> {
    let mut text = Vec::new();
    lines.iter().for_each(|line| write(line, &mut text).expect("a vector takes all"));
    text
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// A history cut anywhere must get a verdict, and never a good one; the file that was cut at any
    /// byte must be read up to there.
    #[test]
    fn a_cut_history_is_not_valid(seed in any::<u64>(), n_steps in 0_usize..120, cut in any::<usize>()) {
        let lines = history(seed, n_steps);
        let bytes = text(&lines);
        let cut = cut % (bytes.len() - 1);
        let loaded = load(&bytes[..cut]).expect("a cut is no error");
        let n_whole = bytes[..cut].iter().filter(|byte| **byte == b'\n').count();
        prop_assert!(n_whole <= loaded.lines.len() && loaded.lines.len() <= n_whole + 1);
        prop_assert_eq!(&loaded.lines[..], &lines[..loaded.lines.len()]);
        let verdict = check(&loaded.lines);
        // What was not the end of the run is never judged as if it were.
        let is_whole = loaded.lines.len() == lines.len();
        prop_assert!(is_whole || verdict.judgement == Judgement::Unknown, "{verdict}");
    }

    /// Lines in any order, some several times, must not make it panic.
    #[test]
    fn shuffled_lines_do_not_panic(
        seed in any::<u64>(),
        picks in prop::collection::vec(any::<usize>(), 0..300),
    ) {
        let lines = history(seed, 150);
        let shuffled: Vec<_> = picks.iter().map(|pick| lines[pick % lines.len()].clone()).collect();
        let verdict = check(&shuffled);
        prop_assert!(!verdict.is_valid());
        prop_assert!(verdict.to_string().len() > 1);
    }

    /// Bytes that were hit by something must be read or refused with the right line.
    #[test]
    fn altered_bytes_do_not_panic(
        seed in any::<u64>(),
        hits in prop::collection::vec((any::<usize>(), any::<u8>()), 1..20),
    ) {
        let mut bytes = text(&history(seed, 40));
        for (at, byte) in hits {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        let mut lines = Vec::new();
        for (at, line) in read(&bytes[..]).enumerate() {
            match line {
                Ok(line) => lines.push(line),
                Err(ReadError::Wrong { line, .. } | ReadError::CutShort { line }) => {
                    prop_assert_eq!(line, at as u64 + 1);
                }
                Err(error) => panic!("{error}"),
            }
        }
        check(&lines);
    }

    /// Any bytes at all.
    #[test]
    fn any_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(loaded) = load(&bytes[..]) {
            check(&loaded.lines);
        }
    }
}

/// Numbers at their bounds must not overflow, run for ever, or fill the memory.
#[test]
fn extreme_numbers_are_survived() {
    let (group, topic, is_dead) = (GROUP, TOPIC, false);
    for far in [u64::MAX, u64::MAX - 1, 1 << 63] {
        let mut story = Story::healthy();
        let end = story.seen.len() - 1;
        let events = vec![1, 2, 3];
        let extreme = [
            Seen::Settled { group, topic, first: 0, n_events: far, is_dead },
            Seen::Settled { group, topic, first: far, n_events: far, is_dead },
            Seen::Floor { node: 1, group, topic, floor: far },
            Seen::Placed { node: 1, topic, first: far, events },
            Seen::Published { op: 199, first: far },
            Seen::ReadThrough { node: 9, topic, start: far, end: 0 },
            Seen::Down { node: 1, in_flight: far },
            Seen::Down { node: 1, in_flight: far },
            Seen::Durable { node: u32::MAX, event: far },
        ];
        story.seen.splice(end..end, extreme);
        let verdict = story.verdict();
        assert_eq!(verdict.judgement, Judgement::Invalid);
        verdict
            .violations
            .iter()
            .for_each(|found| assert!(found.to_string().lines().count() <= 30));
    }
}

/// A line must be named by its number when it is wrong, and told apart when it is unfinished.
#[test]
fn a_wrong_line_is_named() {
    let good = text(&Story::healthy().lines()[..2]);
    let wrong = [&good[..], b"{\"at_us\":3,\"seen\":\"dream\"}\n", &good[..]].concat();
    let found: Vec<_> = read(&wrong[..]).collect();
    assert_eq!(found.len(), 3, "nothing is read after the error");
    assert!(matches!(found[2], Err(ReadError::Wrong { line: 3, .. })), "{:?}", found[2]);
    assert!(load(&wrong[..]).is_err());
    let unfinished = [&good[..], b"{\"at_us\":3,\"se"].concat();
    assert!(matches!(read(&unfinished[..]).last(), Some(Err(ReadError::CutShort { line: 3 }))));
    let loaded = load(&unfinished[..]).expect("what is there can be used");
    assert_eq!((loaded.lines.len(), loaded.is_cut_short), (2, true));
}

/// What is written must be read the same, and look as it always did: people keep such files.
#[test]
fn a_line_looks_like_this() {
    let lines = Story::healthy().lines();
    assert_eq!(load(&text(&lines)[..]).expect("it was written here").lines, lines);
    let settled = Seen::Settled { group: 1, topic: 2, first: 3, n_events: 4, is_dead: true };
    let line = Line { at_us: 5, seen: settled };
    let expected = "{\"at_us\":5,\"seen\":\"settled\",\"group\":1,\"topic\":2,\"first\":3,\"n_events\":4,\
        \"is_dead\":true}\n";
    assert_eq!(String::from_utf8(text(&[line])).expect("it is text"), expected);
}
