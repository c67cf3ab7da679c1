//! The actors of a node and their wiring: publish, replicate, deliver, handle, ack.
//!
//! Decisions live in the crates below; an actor here moves messages. [`node::start`] makes a node,
//! [`handle::NodeHandle`] is the way into it, and [`service::ServiceSpec`] is how a service is
//! handed to it.

// In reading order.
pub mod error;

pub mod api;

pub mod clock;

mod call;

mod guard;

mod timer;

mod whose;

pub mod metrics;

mod topics;

mod groups;

mod stories;

mod cluster_time;

mod seat;

mod mail;

mod reports;

mod commands;

pub mod publish;

mod wires;

mod pubsub;

mod writing;

mod replica;

mod dispatcher;

pub mod service;

pub mod handle;

mod wiring;

pub mod node;

#[cfg(any(test, feature = "testkit"))]
pub mod testkit;

#[cfg(test)]
mod node_test;
