//! One batch on its way: what is known of where it may be.
//!
//! ```text
//!   fresh ──number──▶ numbered ──propose──▶ proposed ──answer──▶ gone
//!     ▲                  │ ▲                   │
//!     └──── clean ───────┘ └── refused, lost ──┘
//! ```
//!
//! A batch is *clean* while no proposal of it can be anywhere: each one was surely refused before
//! it was proposed. One of which nobody knows what became of it makes it *stray*, for good.

use std::mem;
use std::time::Duration;

use bytes::Bytes;
use tidings_types::id::{ProducerId, Sequence, Token, TopicId};
use tidings_types::layout::records::{RecordsBuilder, renumber};

/// See the module's description.
#[derive(Debug)]
pub(super) struct Batch {
    /// Names it towards the driver.
    pub(super) token: Token,
    /// Its callers are told by then.
    pub(super) deadline: Duration,
    /// Its place in the producer's order, from its first proposal on.
    pub(super) number: Option<Sequence>,
    /// The proposal that is out and not yet answered.
    pub(super) proposal: Option<Token>,
    /// An earlier proposal may be in the log, or on its way there.
    pub(super) is_stray: bool,
    /// Its callers got their answer.
    pub(super) is_told: bool,
    /// Its last proposal was refused because the storage is full.
    pub(super) is_unstorable: bool,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Open(TopicId, RecordsBuilder),
    Sealed(Bytes, (ProducerId, Sequence)),
    /// Only while one becomes the other.
    Taken,
}

impl Batch {
    pub(super) const fn new(
        token: Token,
        deadline: Duration,
        topic: TopicId,
        builder: RecordsBuilder,
    ) -> Self {
        Self {
            token,
            deadline,
            number: None,
            proposal: None,
            is_stray: false,
            is_told: false,
            is_unstorable: false,
            content: Content::Open(topic, builder),
        }
    }

    /// No proposal of it can be anywhere.
    pub(super) const fn is_clean(&self) -> bool {
        self.proposal.is_none() && !self.is_stray
    }

    /// Nobody will answer the proposal that is out, if one is; it may have arrived all the same.
    pub(super) fn lose(&mut self) {
        self.is_stray |= self.proposal.take().is_some();
    }

    /// The section under this number.
    ///
    /// # Panics
    /// If a stray batch would get another number: its events could be stored twice.
    pub(super) fn seal(&mut self, producer: ProducerId, sequence: Sequence) -> Bytes {
        let number = (producer, sequence);
        let section = match mem::replace(&mut self.content, Content::Taken) {
            Content::Open(topic, builder) => builder.finish(topic, producer, sequence),
            Content::Sealed(section, sealed) if sealed == number => section,
            Content::Sealed(section, _) => {
                assert!(!self.is_stray, "a stray batch keeps its number");
                renumber(section, producer, sequence)
            }
            Content::Taken => unreachable!("content is always put back below"),
        };
        self.content = Content::Sealed(section.clone(), number);
        section
    }
}
