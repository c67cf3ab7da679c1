//! The simulator: whole clusters in one thread, in virtual time, on disks and links that fail.
//!
//! A seed decides everything: the load, the faults, and how they meet. The cores are the product's
//! own; what is simulated is around them: clock, disks, network, processes, people. What was seen
//! goes to the checker as a history, as it would from real processes.

// In reading order; each module uses only those above it.
mod chance;

mod payload;

mod trace;

mod record;

mod stats;

mod disk;

mod net;

mod fault;

mod plan;

mod check;

mod serving;

mod link;

mod mail;

mod tokens;

mod publishing;

mod happen;

mod node;

mod world;

mod run;

mod many;

pub mod ledger;

#[cfg(feature = "bugs")]
pub mod bugs;

pub mod crash;

#[cfg(test)]
mod faults_test;

pub use many::{Summary, many};
pub use plan::Plan;
pub use run::{Ran, Wrong, keep_panics, run};
pub use stats::Stats;
