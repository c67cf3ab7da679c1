//! The actors of a node and their wiring: publish, replicate, deliver, handle, ack.

pub mod api;

pub mod error;
