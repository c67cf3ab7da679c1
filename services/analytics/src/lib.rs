//! The analytics service: sign-ups per day and per mail domain, and mails sent, each counted once.
//!
//! ```text
//!   topic users ──┐
//!                 ├──▶ Analytics (a projection) ──▶ analytics.redb ──▶ GET /analytics/signups
//!   topic mail  ──┘
//! ```
//!
//! - An event comes at least once, and a counter cannot tell: adding one twice leaves no trace. So
//!   the ids of counted events stand in the same file as the counts, and both change in one
//!   transaction. After a crash either both are there or neither.
//! - It handles batches: one transaction, and one wait for the disk, for up to 64 events.
//! - It runs everywhere: each process counts all events into its own file, and answers from it.

// In reading order; each module uses only those above it.
pub mod event;

pub mod counts;

pub mod service;

pub mod routes;

use tidings::prelude::Node;

use crate::counts::Counts;
use crate::routes::routes;
use crate::service::Analytics;

/// Adds the service and its route to a node.
#[must_use]
pub fn add_to(node: Node) -> Node {
    let counts = Counts::at(node.services_dir().join("analytics.redb"));
    let shown = counts.clone();
    node.service(move || Analytics::new(counts.clone())).routes(move |_| routes(shown))
}
