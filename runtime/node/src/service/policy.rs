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
}

/// The policy of each event type, by its name.
pub type PolicyOf = Arc<dyn Fn(&str) -> Policy + Send + Sync>;
