//! What a failed attempt means, by the event's type.

use std::sync::Arc;
use std::time::Duration;

use tidings_delivery::retry::RetryPolicy;

/// What failing means for events of one type.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Back-off and attempts.
    pub retry: RetryPolicy,
    /// How long the handler may take with one event.
    pub timeout: Duration,
    /// What happens after the last attempt.
    pub give_up: GiveUp,
}

/// What happens after the last attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum GiveUp {
    /// The event becomes a dead letter of its group: kept with its payload and the reason, to be
    /// looked at and redriven. Its key goes on.
    #[default]
    DeadLetter,
    /// The event and all later ones of its key wait until a person lets it be tried again, for keys
    /// whose order matters more than their progress. Other keys go on, until 10,000 events of the
    /// group wait; then the group pauses, and says so.
    PauseKey,
}

/// The policy of each event type, by its name.
pub type PolicyOf = Arc<dyn Fn(&str) -> Policy + Send + Sync>;
