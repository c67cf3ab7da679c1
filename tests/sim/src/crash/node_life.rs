//! The life of a lone node: publishing, outcomes, dead letters, checkpoints, purges, membership.
//!
//! What it told anybody is remembered: where each batch stands, and the state as of the last entry
//! that was applied. After a crash the entries behind that one, applied to the remembered state,
//! must give the state that the node has now: so floors, attempts, dead letters and the publishers'
//! table are compared to the last bit.

use bytes::Bytes;
use tidings_log::MemoryDisk;
use tidings_state::State;
use tidings_types::id::TopicId;
use tidings_types::layout::records::Records;
use tidings_types::offset::LogIndex;

use crate::crash::life::{Ending, Life, Starts, Stop};
use crate::crash::node_drive::Node;
use crate::crash::node_told::{Sent, Told};
use crate::crash::node_work as work;

/// Steps of a whole life.
const STEPS: u64 = 42;
/// What is read at once when the log is compared.
const READ_BYTES: usize = 64 << 10;

/// See the module's description.
#[derive(Default)]
pub(crate) struct NodeLife {
    starts: Starts,
    told: Told,
    n_again: u64,
}

impl Life for NodeLife {
    fn live(&mut self, disk: &MemoryDisk, ending: Ending) -> Result<(), Stop> {
        disk.watch(self.told.witness.clone());
        let mut node = self.start(disk)?;
        for step in 0..STEPS {
            work::step(&mut node, step)?;
        }
        match ending {
            Ending::Closed => node.close(),
            Ending::Idle => node.chores(true),
        }
    }

    fn again(&mut self, disk: &MemoryDisk) -> Result<(), Stop> {
        self.n_again += 1;
        let first = self.n_again * 5;
        let mut node = self.start(disk)?;
        for step in first..first + 3 {
            work::step(&mut node, step)?;
        }
        Ok(())
    }
}

impl NodeLife {
    fn start<'a>(&'a mut self, disk: &'a MemoryDisk) -> Result<Node<'a>, Stop> {
        let opened = self.starts.open(disk)?;
        let found = opened.checkpoint.as_ref().map_or(LogIndex::ZERO, |found| found.index);
        if found < self.told.checkpoint {
            let known = self.told.checkpoint;
            return Err(Stop::Refused(format!("checkpoint {known} is gone, {found} is there")));
        }
        let before = self.told.state.clone();
        let mut node = Node::open(&mut self.told, disk, opened)?;
        compare(&node, before)?;
        compare_events(&node)?;
        work::create(&mut node)?;
        work::send_again(&mut node)?;
        Ok(node)
    }
}

/// The state must be what the entries make of the one that was told.
fn compare(node: &Node<'_>, mut expected: State) -> Result<(), Stop> {
    let status = node.replica.status();
    if status.term < node.told.term {
        let (term, known) = (status.term, node.told.term);
        return Err(Stop::wrong(format!("the term went back from {known} to {term}")));
    }
    let (state, told) = (node.replica.state(), expected.applied());
    if state.applied() < told {
        let applied = state.applied();
        return Err(Stop::wrong(format!("entry {told} was applied, {applied} is the last now")));
    }
    while expected.applied() < state.applied() {
        let next = expected.applied().next();
        let entries = node.replica.reader().read_entries(next, READ_BYTES)?;
        if entries.is_empty() {
            return Err(Stop::wrong(format!("entry {next} cannot be read")));
        }
        for entry in entries {
            if entry.index != expected.applied().next() {
                return Err(Stop::wrong(format!("entry {} follows {told}", entry.index)));
            }
            if state.applied() < entry.index {
                break;
            }
            // Changes of the membership are no business of the state.
            let data = if entry.kind == 0 { entry.data } else { Bytes::new() };
            let applied = expected.apply(entry.index, &data, &mut Vec::new());
            applied.map_err(|error| Stop::wrong(error.to_string()))?;
        }
    }
    if expected.digest() != state.digest() {
        return Err(Stop::wrong(format!("the state is not what followed from {told}")));
    }
    Ok(())
}

/// Every batch that was answered must be readable where it stands, or purged by a command.
fn compare_events(node: &Node<'_>) -> Result<(), Stop> {
    let reader = node.replica.reader();
    for (&(producer, sequence), Sent { section, placed }) in &node.told.sent {
        let topic: TopicId = placed.topic;
        let start = node.replica.state().topic(topic).map_or_else(Default::default, |it| it.start);
        if placed.first < start {
            continue;
        }
        let blocks = reader.read_disk(topic, placed.first, 1)?;
        let block = blocks.first().filter(|block| block.placed == *placed);
        let is_same = |records: &Records| {
            let expected = Records::parse(section.clone());
            let payloads = |records: &Records| -> Vec<Vec<u8>> {
                records.events().flatten().map(|event| event.payload().to_vec()).collect()
            };
            expected.is_ok_and(|expected| payloads(&expected) == payloads(records))
        };
        if !block.is_some_and(|block| is_same(&block.records)) {
            let what = format!("batch {sequence} of {producer} is not at {}", placed.first);
            return Err(Stop::wrong(what));
        }
    }
    Ok(())
}
