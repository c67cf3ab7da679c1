//! HTTP over a node: publish, read, inspect, probes and metrics.
//!
//! What an answer to a publish says is a promise: 201 means stored durably; 4xx, 429 and 503 mean
//! surely not stored; 504 and 500 mean that nobody knows. All errors are problems (RFC 9457) with a
//! stable code, the ones of missing routes and of panics included.
//!
//! No actors here: plain tasks on the node's core runtime, so that a handler which blocks its
//! thread cannot delay a probe or a publish. Routes of users run on the ambient runtime.

// In reading order; each module uses only those above it.
pub mod limits;

pub mod codes;

pub mod problem;

mod body;

mod incoming;

mod page;

mod moment;

mod params;

mod api;

mod routes;

mod guard;

mod ambient;

mod front;

mod connections;

mod stream;

pub mod serve;

#[cfg(feature = "fuzz")]
#[doc(hidden)]
pub mod fuzz;
