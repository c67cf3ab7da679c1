//! The pure cores of an event's way: publisher, dispatcher, members, worker session.
//!
//! Each core is a struct that is told what happened and when, and answers with what to do: no
//! task, no clock, no waker. A node wraps them into actors, the simulator drives them directly.

// In reading order; each module uses only those above it.
pub mod error;

pub mod retry;

pub mod restart;

pub mod family;

pub mod publisher;

pub mod session;

pub mod message;

pub mod member;

pub mod roster;

pub mod lanes;

pub mod dispatcher;
