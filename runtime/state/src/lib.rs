//! The replicated state machine: topics, mailboxes, publishers, dead letters, members.
//!
//! Every replica applies the same entries in the same order and comes to the same state, bit for
//! bit: there is no clock (time is the entry's), no chance, no I/O, and no map without an order.
//!
//! ```text
//!   entry ──▶ State::apply ──▶ effects, in log order
//!                 │
//!     records     topics: next offset        publishers: next sequence, last answers
//!     acks, turns groups: mailbox floors, attempts, dead letters, redriven events
//!     commands    groups: members, lanes and their epochs
//! ```

// In reading order; each module uses only those above it.
mod lanes;

mod ack_floor;

mod room;

mod mailbox;

mod dead_letters;

mod topics;

mod retention;

mod publishers;

mod group;

mod state;

mod apply;

mod view;

mod checkpoint;

#[cfg(test)]
mod naive_test;

#[cfg(test)]
mod model_test;

#[cfg(test)]
mod support_test;

#[cfg(test)]
mod bounds_test;

#[cfg(test)]
mod faults_test;

pub use checkpoint::DecodeError;
pub use dead_letters::DeadLetterView;
pub use state::State;
pub use view::{FailingView, GroupView, MailboxView, Standing, TopicView};
