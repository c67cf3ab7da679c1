//! Which worker of a process works which lane.
