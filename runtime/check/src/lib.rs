//! Judges what was seen of a run: was anything lost, altered, reordered, or done too often.
//!
//! A run writes down what it saw as a [`history`]: what publishers sent and were told, what
//! handlers did, what each replica holds, which faults there were. The [`verdict`] is a function of
//! that alone: it knows nothing of how tidings works inside, and can be had again from the file.
//!
//! Five lines of such a file, and what is wrong with them: an event was acknowledged, and the log
//! that was read at the end has nothing.
//!
//! ```
//! use tidings_check::history::jsonl;
//! use tidings_check::verdict::{Judgement, check};
//! use tidings_check::violation::Invariant;
//!
//! let file = r#"
//! {"at_us":0,"seen":"run","seed":1,"n_voters":1,"groups":[],"attempts_max":20,"worker_in_flight_max":64,"acknowledged_min":1,"faults_min":0}
//! {"at_us":120,"seen":"publish","op":7,"publisher":0,"events":[[901,4]],"topic":1,"place":0}
//! {"at_us":480,"seen":"published","op":7,"first":0}
//! {"at_us":900,"seen":"read_through","node":1,"topic":1,"start":0,"end":0}
//! {"at_us":950,"seen":"end"}
//! "#;
//! let lines = jsonl::load(file.trim_start().as_bytes())?.lines;
//! let verdict = check(&lines);
//!
//! assert_eq!((verdict.judgement, verdict.exit_code()), (Judgement::Invalid, 1));
//! let lost = verdict.violation(Invariant::I1).expect("an event is lost");
//! assert_eq!(lost.witness.event, Some(901));
//! assert_eq!(
//!     lost.what,
//!     "acknowledged event 901 is missing in the log of node 1; 1 of 1 are missing there (all of them)"
//! );
//! assert_eq!((verdict.tally.acknowledged, verdict.tally.missing), (1, 1));
//! # Ok::<(), jsonl::ReadError>(())
//! ```
//!
//! There are three verdicts. *Invalid*: an [invariant](violation::Invariant) does not hold; the
//! [witness](violation::Witness) shows the event, its lines, the nearest faults and what each node
//! has there. *Unknown*: nothing is wrong, but too little was seen for that to mean anything, and
//! that counts as a failure. *Valid*: the rest. An invariant that a history has no lines for is
//! listed as not checked and never passes silently.
//!
//! Whoever writes a history keeps to this:
//! - Of two things that were seen, the earlier one stands in the earlier line.
//! - A handler's `Started` and `Ended` stand before what the node makes of them: before `Settled`,
//!   and before a `Floor` that passes the event.
//! - `Read` lines stand before their `ReadThrough`; a node that is read through twice is judged by
//!   the second time.
//! - What a handler emits is a `Publish` too, with no place and, if nobody waits for it, no answer.
//! - No two handlings of one event that may run at the same time share node and worker.
//! - Dead letters are listed once, at the end, and all of them.
//! - The dead are told of: without `Down`, `WorkerGone` or `Removed` a handler runs for ever.
//! - `End` is written only when all was handled that ever will be.

pub mod history;

pub mod violation;

mod facts;

pub mod ledger;

mod findings;

mod invariant;

pub mod verdict;
