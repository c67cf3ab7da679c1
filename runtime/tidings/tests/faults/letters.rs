//! What a person does about dead letters, on a whole node.

use tidings::prelude::*;
use tidings::testkit::TestNode;
use tidings_node::error::{EditError, FindError};
use tidings_node::handle::{LetterFilter, Letters};
use tidings_types::event::BadEvent;
use tidings_types::limits::EVENT_BYTES_MAX;
use tidings_types::name::{GroupName, TopicName};
use tidings_types::offset::Offset;

use crate::{Dose, Journal, dose};

/// Takes small doses only.
struct Strict {
    journal: Journal,
}

impl Service for Strict {
    const GROUP: &'static str = "strict";

    fn plan(plan: Plan<Self>) -> Plan<Self> {
        plan.workers(2).on::<Dose>(|handler| handler)
    }
}

impl Handle<Dose> for Strict {
    async fn handle(&mut self, dose: Dose, cx: &mut Cx) -> Handled {
        self.journal.note(&dose, cx);
        match dose.number {
            0..100 => Ok(()),
            100..200 => Err(Failure::fatal("too large")),
            _ => Err(Failure::fatal("far too large")),
        }
    }
}

fn payload(who: &str, number: u32) -> Vec<u8> {
    format!(r#"{{"who":"{who}","number":{number}}}"#).into_bytes()
}

/// A dead letter must be handled with the payload that a person gave it, in the place of its key, and
/// must show what was published until it is through: over a restart, and over another death. What is
/// no payload of it, or no letter, must be refused and change nothing.
#[tokio::test(start_paused = true)]
async fn edited_letter_is_handled_as_edited_and_keeps_what_was_published() {
    let journal = Journal::default();
    let strict = |journal: &Journal| {
        let journal = journal.clone();
        move || Strict { journal: journal.clone() }
    };
    let node = TestNode::start(strict(&journal)).await;
    node.publish(dose("ann", 250)).await;
    node.settled("strict").await;
    let (group, doses) = (GroupName::new("strict").unwrap(), TopicName::new("doses").unwrap());
    let first = Offset::new(0);

    for (topic, at, bytes) in [("doses", 7, 9), ("nothing", 0, 9), ("doses", 0, EVENT_BYTES_MAX)] {
        let (topic, at) = (TopicName::new(topic).unwrap(), Offset::new(at));
        match node.handle().edit(&group, &topic, at, &vec![b' '; bytes]).await {
            Err(EditError::Find(FindError::NotFound { what })) => {
                assert_eq!(what, format!("dead letter {topic}@{at} of group strict"));
            }
            Err(EditError::Bad(BadEvent::TooLarge { .. })) => assert_eq!(bytes, EVENT_BYTES_MAX),
            other => panic!("{other:?}"),
        }
    }
    let shown = node.handle().dead_letter(&group, &doses, first).await.unwrap();
    assert!(shown.original.is_none());
    assert_eq!(shown.tried.len(), 1, "{shown:?}");

    let edited = node.handle().edit(&group, &doses, first, &payload("ann", 150)).await.unwrap();
    assert_eq!(edited.event.data.as_ref().unwrap().get(), r#"{"who":"ann","number":150}"#);
    let node = TestNode::builder().service(strict(&journal)).start_on(node.crash().await).await;
    let redriven = node.handle().redrive(&group, Letters::All).await;
    assert_eq!(redriven, Ok(1));
    node.settled("strict").await;
    let again = node.handle().dead_letter(&group, &doses, first).await.unwrap();
    assert_eq!((again.message.as_str(), again.event.id), ("too large", edited.event.id));
    let original = again.original.unwrap();
    assert_eq!(original.data.unwrap().get(), r#"{"who":"ann","number":250}"#);

    node.handle().edit(&group, &doses, first, &payload("ann", 3)).await.unwrap();
    assert_eq!(node.handle().redrive(&group, Letters::All).await, Ok(1));
    node.settled("strict").await;
    assert!(node.dead_letters().await.is_empty());
    let numbers: Vec<_> = journal.all().into_iter().map(|seen| seen.1).collect();
    assert_eq!(numbers, [250, 150, 3]);
}

/// Letters must be found by what they are like, page by page; a dry run must change nothing, and what
/// is redriven by a filter must be what it found.
#[tokio::test(start_paused = true)]
async fn letters_are_found_by_what_they_are_like() {
    let journal = Journal::default();
    let for_workers = journal.clone();
    let node = TestNode::start(move || Strict { journal: for_workers.clone() }).await;
    for n in 0..10 {
        node.publish(dose(&format!("who-{n}"), if n % 2 == 0 { 150 } else { 250 })).await;
    }
    node.settled("strict").await;
    let group = GroupName::new("strict").unwrap();
    let far = LetterFilter { text: Some("far too".to_owned()), ..LetterFilter::default() };
    let mut behind = None;
    let mut found = Vec::new();
    loop {
        let page = node.handle().find_dead_letters(Some(&group), far.clone(), behind, 2).await;
        let (letters, n_more) = page.unwrap();
        assert_eq!(n_more, 5 - found.len() - letters.len());
        found.extend(letters.iter().map(|letter| letter.event.offset));
        let Some(last) = letters.last().filter(|_| n_more > 0) else { break };
        behind = Some((TopicName::new("doses").unwrap(), Offset::new(last.event.offset)));
    }
    assert_eq!(found, [1, 3, 5, 7, 9]);

    let later = node.handle().cluster_ms() + 60_000;
    for (filter, n_expected) in [
        (far.clone(), 5),
        (LetterFilter { kind: Some("dose.given.v1".to_owned()), ..far.clone() }, 5),
        (LetterFilter { kind: Some("dose.given.v2".to_owned()), ..far.clone() }, 0),
        (LetterFilter { since_ms: Some(later), ..LetterFilter::default() }, 0),
        (LetterFilter { until_ms: Some(later), ..LetterFilter::default() }, 10),
    ] {
        let counted = node.handle().count_dead(&group, Letters::Where(filter)).await;
        assert_eq!(counted, Ok(n_expected));
    }
    assert_eq!(node.dead_letters().await.len(), 10, "nothing was done");
    assert_eq!(node.handle().discard(&group, Letters::Where(far)).await, Ok(5));
    let left = node.dead_letters().await;
    assert!(left.len() == 5 && left.iter().all(|letter| letter.message == "too large"));
}
