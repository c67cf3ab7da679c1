//! A service's plan: which events it takes, with how many workers, and what failing means.

use std::fmt;
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tidings_delivery::retry::RetryPolicy;
use tidings_node::service::{Policy, TaskSpec};

use tidings_types::layout::command::GroupStart;
use tidings_types::limits::{
    ATTEMPTS_DEFAULT, HANDLER_TIME_DEFAULT, RETRY_DELAY_MAX, RETRY_DELAY_MIN,
};

use crate::context::ServiceContext;
use crate::event::{Event, family};
use crate::failure::Handled;
use crate::handle::{BatchFn, EachFn, Handle, Input, Runner};

pub use tidings_delivery::family::{Restart, Strategy};
pub use tidings_node::service::GiveUp;

/// Workers of a service in one process, unless its plan says otherwise.
pub const WORKERS_DEFAULT: usize = 8;

/// See the module's description. Each method changes one thing; what is not said has its default.
pub struct Plan<S> {
    pub(crate) workers: usize,
    pub(crate) everywhere: bool,
    pub(crate) start: GroupStart,
    pub(crate) handlers: Vec<Planned<S>>,
    pub(crate) tasks: Vec<TaskSpec>,
    pub(crate) strategy: Strategy,
}

/// One type of event and who handles it.
pub(crate) struct Planned<S> {
    pub(crate) topic: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) policy: Policy,
    pub(crate) runner: Runner<S>,
}

/// What a service does with an event by its type.
pub(crate) enum Match<S> {
    /// There is a handler of single events.
    Each(EachFn<S>),
    /// There is a handler of batches, at this place of the plan.
    Batch(usize, BatchFn<S>),
    /// Only another version, this one, has a handler.
    OtherVersion(&'static str),
    /// Nobody asked for it.
    Unknown,
}

impl<S> Plan<S> {
    pub(crate) const fn new() -> Self {
        Self {
            workers: WORKERS_DEFAULT,
            everywhere: false,
            start: GroupStart::Earliest,
            handlers: Vec::new(),
            tasks: Vec::new(),
            strategy: Strategy::OneForOne,
        }
    }

    /// Workers in each process, 8 without a word: so many keys are handled at once.
    #[must_use]
    pub const fn workers(mut self, n_workers: usize) -> Self {
        self.workers = n_workers;
        self
    }

    /// Takes events of type `E`, or batches of them as [`Batch<E>`](crate::batch::Batch).
    ///
    /// `on::<UserSignedUp>(|handler| handler)` is enough; see [`HandlerPlan`] for the defaults.
    #[must_use]
    pub fn on<E: Input>(mut self, plan: impl FnOnce(HandlerPlan) -> HandlerPlan) -> Self
    where
        S: Handle<E>,
    {
        self.handlers.push(Planned {
            topic: <E::Event as Event>::TOPIC,
            kind: <E::Event as Event>::KIND,
            policy: plan(HandlerPlan::new()).policy,
            runner: E::runner(),
        });
        self
    }

    /// Runs something beside the workers, such as a poller or the refresh of a cache. It begins
    /// before the workers and is supervised like them: what returns an error or panics has died, and
    /// begins again as `restart` says, after a delay; one that dies too often stops the service. It
    /// is dropped at an await point when the service ends or the strategy wants it.
    ///
    /// ```
    /// # use tidings::prelude::*;
    /// # #[derive(Event, serde::Serialize, serde::Deserialize)]
    /// # #[event(topic = "users", kind = "user.signed_up.v1", key = id)]
    /// # struct SignedUp { id: String }
    /// # struct Welcome;
    /// # impl Handle<SignedUp> for Welcome {
    /// #     async fn handle(&mut self, _: SignedUp, _: &mut Cx) -> Handled { Ok(()) }
    /// # }
    /// # impl Service for Welcome {
    /// #     const GROUP: &'static str = "welcome";
    /// fn plan(plan: Plan<Self>) -> Plan<Self> {
    ///     plan.on::<SignedUp>(|handler| handler)
    ///         .task("inbox", Restart::Permanent, |context| async move {
    ///             tokio::time::sleep(30.secs()).await;
    ///             let inbox = std::fs::read(context.data_dir().join("inbox"))?;
    ///             println!("{} bytes in the inbox", inbox.len());
    ///             Ok(())
    ///         })
    ///         .strategy(Strategy::RestForOne)
    /// }
    /// # }
    /// ```
    #[must_use]
    pub fn task<F>(
        mut self,
        name: &'static str,
        restart: Restart,
        run: impl Fn(ServiceContext) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Handled> + Send + 'static,
    {
        let run = move |context: &tidings_node::service::ServiceContext| {
            let running = run(ServiceContext::new(context, None));
            let told = async { running.await.map_err(|failure| failure.to_string()) };
            Box::pin(told) as Pin<Box<dyn Future<Output = _> + Send>>
        };
        self.tasks.push(TaskSpec { name, restart, run: Arc::new(run) });
        self
    }

    /// Which children begin again with one that died: none, unless said otherwise. Tasks come
    /// before workers, in the order of the plan; a worker that has to end with another finishes its
    /// running event first.
    #[must_use]
    pub const fn strategy(mut self, strategy: Strategy) -> Self {
        self.strategy = strategy;
        self
    }

    /// Gives each process a mailbox of its own, so that each one sees every event: for read models
    /// and caches. Without it the processes share one mailbox and its events.
    #[must_use]
    pub const fn everywhere(mut self) -> Self {
        self.everywhere = true;
        self
    }

    /// Begins behind the newest event when the group is new. Without it a new group reads all that
    /// is retained.
    #[must_use]
    pub const fn from_now(mut self) -> Self {
        self.start = GroupStart::Now;
        self
    }

    pub(crate) fn find(&self, kind: &str) -> Match<S> {
        if let Some(idx) = self.handlers.iter().position(|planned| planned.kind == kind) {
            return match self.handlers.get(idx).expect("just found").runner {
                Runner::Each(run) => Match::Each(run),
                Runner::Batch(run) => Match::Batch(idx, run),
            };
        }
        let relative = self.handlers.iter().find(|planned| family(planned.kind) == family(kind));
        relative.map_or(Match::Unknown, |planned| Match::OtherVersion(planned.kind))
    }
}

impl<S> fmt::Debug for Plan<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds: Vec<_> = self.handlers.iter().map(|planned| planned.kind).collect();
        f.debug_struct("Plan")
            .field("workers", &self.workers)
            .field("everywhere", &self.everywhere)
            .field("kinds", &kinds)
            .finish_non_exhaustive()
    }
}

/// What failing means for one type of event.
///
/// Without a word: a deadline of 30 s, 20 attempts with delays from 100 ms that double up to 30 s
/// (about six minutes in all), then a dead letter. An event that waits for its next attempt holds up
/// its own key and no other.
#[derive(Clone, Copy, Debug)]
pub struct HandlerPlan {
    policy: Policy,
}

impl HandlerPlan {
    pub(crate) fn new() -> Self {
        let retry = Retry::exponential(RETRY_DELAY_MIN..=RETRY_DELAY_MAX).policy;
        let (timeout, give_up) = (HANDLER_TIME_DEFAULT, GiveUp::DeadLetter);
        Self { policy: Policy { retry, timeout, give_up } }
    }

    /// How long a handling may take. At its deadline it is dropped, and the attempt has failed.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.policy.timeout = timeout;
        self
    }

    /// When a failed event comes again.
    #[must_use]
    pub const fn retry(mut self, retry: Retry) -> Self {
        self.policy.retry = retry.policy;
        self
    }

    /// What happens after the last attempt.
    #[must_use]
    pub const fn give_up(mut self, give_up: GiveUp) -> Self {
        self.policy.give_up = give_up;
        self
    }

    pub(crate) const fn policy(self) -> Policy {
        self.policy
    }
}

/// When a failed event comes again: `Retry::exponential(100.millis()..=30.secs()).attempts(20)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Retry {
    policy: RetryPolicy,
}

impl Retry {
    /// Delays that double from the first to the longest, each shortened by chance, so that events
    /// that failed together do not come again together.
    ///
    /// # Panics
    /// If the range is empty.
    #[must_use]
    pub fn exponential(delays: RangeInclusive<Duration>) -> Self {
        let (min, max) = delays.into_inner();
        assert!(min <= max, "delays from {min:?} to {max:?} are none");
        Self { policy: RetryPolicy { min, max, attempts: ATTEMPTS_DEFAULT } }
    }

    /// Attempts in all, the first included; 20 without a word.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub const fn attempts(mut self, n_attempts: u32) -> Self {
        assert!(0 < n_attempts, "an event has at least one attempt");
        self.policy.attempts = n_attempts;
        self
    }
}
