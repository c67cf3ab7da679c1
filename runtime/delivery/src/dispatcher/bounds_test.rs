//! The dispatcher's bounds, each under the one thing that pushes against it.

use tidings_types::id::TopicId;
use tidings_types::key::key_hash;
use tidings_types::layout::command::{Command, DeadReason};
use tidings_types::limits::{
    GROUP_DEAD_LETTERS_MAX, GROUP_HELD_EVENTS_MAX, GROUP_UNCONFIRMED_EVENTS_MAX,
    GROUP_WAITING_EVENTS_MAX,
};

use crate::dispatcher::driver_test::World;
use crate::dispatcher::port::{Pause, Story};

fn world(n_workers: u32) -> World {
    let mut world = World::new(7, n_workers);
    world.fail_percent = 0;
    world.is_strict = false;
    world.lead();
    world
}

fn publish(world: &mut World, n_events: u64, n_keys: u64) {
    let topic = world.topics[0];
    for _ in 0..n_events / 100 {
        world.publish(topic, 100, n_keys);
    }
}

/// Handed out and not settled must stay within its bound, and reach it, while the log takes
/// nothing. We publish three times as much and let workers finish all that they get.
#[test]
fn unconfirmed_events_are_bounded() {
    let mut world = world(8);
    publish(&mut world, 3 * GROUP_UNCONFIRMED_EVENTS_MAX as u64, 1_000);
    world.run_without_log();
    for &group in &world.groups {
        let observed = world.dispatcher.observe(group).unwrap();
        assert_eq!(observed.n_out + observed.n_uncommitted, GROUP_UNCONFIRMED_EVENTS_MAX);
        assert_eq!(observed.n_waiting, GROUP_WAITING_EVENTS_MAX);
    }
    world.finish();
}

/// Events behind a key in back-off must not grow beyond their bound, people must hear of it, and
/// until then other keys must not notice. Half of all events are of one key, which always fails.
#[test]
fn held_events_are_bounded() {
    let mut world = world(2);
    world.poison = Some(key_hash(b"k-1", ""));
    let begin_ms = world.now_ms;
    publish(&mut world, 3 * GROUP_HELD_EVENTS_MAX as u64, 1);
    world.run(|world| begin_ms + 30_000 < world.now_ms);
    for &group in &world.groups {
        let observed = world.dispatcher.observe(group).unwrap();
        assert!(observed.n_held <= GROUP_HELD_EVENTS_MAX, "{observed:?}");
        assert!(GROUP_HELD_EVENTS_MAX * 9 / 10 < observed.n_held, "{observed:?}");
        let paused = Story::Paused { group, why: Pause::TooManyHeld };
        assert!(world.stories.contains(&paused));
        let mailbox = world.state.groups().find(|view| view.id == group).unwrap().mailboxes[0];
        let n_others = mailbox.n_acked_above + mailbox.floor.get();
        assert!(GROUP_HELD_EVENTS_MAX as u64 * 9 / 10 < n_others, "{mailbox:?}");
    }
    world.finish();
    let resumed = Story::Resumed { group: world.groups[0], why: Pause::TooManyHeld };
    assert!(world.stories.contains(&resumed));
}

/// When no dead letter can be added the group must pause and say so, lose nothing, and go on once
/// there is room. Two of five events die, which the
/// breaker takes for no outage; at the end some are redriven.
#[test]
fn full_dead_letters_pause_the_group() {
    let mut world = world(2);
    world.deadly_percent = 40;
    let begin_ms = world.now_ms;
    publish(&mut world, (GROUP_DEAD_LETTERS_MAX as u64 + 5_000) * 5 / 2, 1_000);
    world.run(|world| begin_ms + 10_000 < world.now_ms);
    let group = world.groups[0];
    let why = Pause::DeadLettersFull;
    assert!(world.stories.contains(&Story::Paused { group, why: why.clone() }));
    let n_delivered = world.n_delivered;
    world.run(|world| begin_ms + 60_000 < world.now_ms);
    assert_eq!(world.n_delivered, n_delivered, "a paused group hands nothing out");
    assert!(world.dispatcher.is_quiet(group), "so it may be sent back, which makes room");

    world.deadly_percent = 0;
    for group in world.groups.clone() {
        let letters = world.state.dead_letters(group).map(|letter| (letter.topic, letter.offset));
        let letters = letters.collect();
        world.command(Command::Redrive { group, letters });
    }
    world.finish();
    assert!(world.stories.contains(&Story::Resumed { group, why }));
}

/// A batch must not be larger than its bound unless it is one event. The driver checks each one;
/// we publish events of up to a third of it.
#[test]
fn batches_of_large_events_are_small() {
    let mut world = world(2);
    world.is_strict = true;
    world.payload_bytes = 90_000;
    let topic = world.topics[0];
    for _ in 0..20 {
        world.publish(topic, 8, 1_000);
    }
    world.finish();
}

/// A turn that the log cannot take must not be tried for ever: its event becomes a dead letter. The
/// handler emits to a topic that does not exist.
#[test]
fn turns_that_cannot_be_published_die() {
    let mut world = world(1);
    world.mails_to = TopicId::new(99);
    publish(&mut world, 500, 1_000);
    let begin_ms = world.now_ms;
    world.run(|world| begin_ms + 10_000 < world.now_ms);
    let letters: Vec<_> = world.state.dead_letters(world.groups[0]).collect();
    assert!(50 < letters.len());
    assert!(letters.iter().all(|letter| letter.reason == DeadReason::Fatal));
    let view = world.state.groups().next().unwrap();
    assert_eq!(view.mailboxes[0].lag, 0);
}
