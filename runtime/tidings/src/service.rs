//! A service: a group of supervised workers with one durable mailbox on each topic that they read.

use std::fmt::Display;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use thiserror::Error;
use tidings_delivery::session::Verdict;
use tidings_node::service::{Handler, NewHandler, Policy, PolicyOf, ServiceSpec, Work};
use tidings_types::limits::{GROUP_WORKERS_MAX, SERVICE_TASKS_MAX};
use tidings_types::name::{BadName, GroupName, TopicName};
use tidings_types::retry::Retry;

use crate::context::ServiceContext;
use crate::desk::Desk;
use crate::plan::{HandlerPlan, Match, Plan};
use crate::round::run_round;

/// A microservice: its name, its plan, and a value for each worker.
///
/// A worker is an actor and its value is the actor's state: caches and connections need no locks.
/// The value is made anew after each restart, so it holds nothing that must not be lost.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a service",
    note = "add `impl Service for {Self}` with its `GROUP` and its `plan`"
)]
pub trait Service: Sized + Send + 'static {
    /// Names the mailbox, and with it the place up to which events are handled. A service under
    /// another name is another service: it reads from the start.
    const GROUP: &'static str;

    /// Which events the service takes, with how many workers, and what failing means.
    fn plan(plan: Plan<Self>) -> Plan<Self>;
}

/// A plan that no node can carry out.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PlanError {
    /// The group's name is none.
    #[error("group {group:?}: {source}")]
    Group {
        /// The name.
        group: &'static str,
        /// What is wrong with it.
        source: BadName,
    },
    /// A topic's name is none.
    #[error("group {group}: topic {topic:?}: {source}")]
    Topic {
        /// The group.
        group: &'static str,
        /// The name.
        topic: &'static str,
        /// What is wrong with it.
        source: BadName,
    },
    /// No event is handled.
    #[error("group {group}: plan names no event; add `.on::<E>(|handler| handler)`")]
    NoEvents {
        /// The group.
        group: &'static str,
    },
    /// One type has two handlers.
    #[error("group {group}: plan names {kind} twice")]
    Twice {
        /// The group.
        group: &'static str,
        /// The type.
        kind: &'static str,
    },
    /// Two tasks have one name.
    #[error("group {group}: plan names task {task:?} twice")]
    TaskTwice {
        /// The group.
        group: &'static str,
        /// The name.
        task: &'static str,
    },
    /// There are too many tasks.
    #[error("group {group}: {n_tasks} tasks exceed {SERVICE_TASKS_MAX}")]
    TooManyTasks {
        /// The group.
        group: &'static str,
        /// How many.
        n_tasks: usize,
    },
    /// The number of workers is out of bounds.
    #[error("group {group}: {workers} workers; there must be 1 to {GROUP_WORKERS_MAX}")]
    Workers {
        /// The group.
        group: &'static str,
        /// What the plan says.
        workers: usize,
    },
}

impl PlanError {
    /// The same plan always fails.
    pub const fn retry(&self) -> Retry {
        Retry::Never
    }
}

/// Makes what the node wants of a service: its plan checked, its types gone.
pub(crate) fn spec<S, E>(
    new_service: impl Fn(&ServiceContext) -> Result<S, E> + Send + Sync + 'static,
    n_attempts: Option<Arc<AtomicU64>>,
) -> Result<ServiceSpec, PlanError>
where
    S: Service,
    E: Display,
{
    let plan = S::plan(Plan::new());
    let group = S::GROUP;
    let name = GroupName::new(group).map_err(|source| PlanError::Group { group, source })?;
    let topics = topics_of::<S>(&plan)?;
    if !(1..=GROUP_WORKERS_MAX).contains(&plan.workers) {
        return Err(PlanError::Workers { group, workers: plan.workers });
    }
    check_tasks(&plan)?;
    let plan = Arc::new(plan);
    Ok(ServiceSpec {
        group: name,
        topics,
        start: plan.start,
        everywhere: plan.everywhere,
        workers: plan.workers,
        tasks: plan.tasks.clone(),
        strategy: plan.strategy,
        policy: policy_of(&plan),
        new_handler: new_handler(plan, new_service, n_attempts),
    })
}

fn check_tasks<S: Service>(plan: &Plan<S>) -> Result<(), PlanError> {
    let (group, tasks) = (S::GROUP, &plan.tasks);
    if SERVICE_TASKS_MAX < tasks.len() {
        return Err(PlanError::TooManyTasks { group, n_tasks: tasks.len() });
    }
    let twice = tasks
        .iter()
        .enumerate()
        .find(|(idx, task)| tasks.iter().take(*idx).any(|earlier| earlier.name == task.name));
    twice.map_or(Ok(()), |(_, task)| Err(PlanError::TaskTwice { group, task: task.name }))
}

fn topics_of<S: Service>(plan: &Plan<S>) -> Result<Vec<TopicName>, PlanError> {
    let group = S::GROUP;
    let mut topics = Vec::new();
    for (idx, planned) in plan.handlers.iter().enumerate() {
        if plan.handlers.iter().take(idx).any(|earlier| earlier.kind == planned.kind) {
            return Err(PlanError::Twice { group, kind: planned.kind });
        }
        let topic = planned.topic;
        let name = TopicName::new(topic);
        let name = name.map_err(|source| PlanError::Topic { group, topic, source })?;
        if !topics.contains(&name) {
            topics.push(name);
        }
    }
    if topics.is_empty() { Err(PlanError::NoEvents { group }) } else { Ok(topics) }
}

fn policy_of<S>(plan: &Plan<S>) -> PolicyOf {
    let policies: Vec<(&str, Policy)> =
        plan.handlers.iter().map(|planned| (planned.kind, planned.policy)).collect();
    let default = HandlerPlan::new().policy();
    Arc::new(move |kind| {
        let found = policies.iter().find(|(planned, _)| *planned == kind);
        found.map_or(default, |(_, policy)| *policy)
    })
}

fn new_handler<S: Service, E: Display>(
    plan: Arc<Plan<S>>,
    new_service: impl Fn(&ServiceContext) -> Result<S, E> + Send + Sync + 'static,
    n_attempts: Option<Arc<AtomicU64>>,
) -> NewHandler {
    Arc::new(move |context| {
        let context = ServiceContext::new(context, n_attempts.clone());
        let service = match new_service(&context) {
            Ok(service) => service,
            // The supervisor takes it as a crash: it tries again, and says why when it gives up.
            Err(error) => panic!("service {} cannot be made: {error}", S::GROUP),
        };
        Box::new(Worker { service, plan: Arc::clone(&plan), desk: Desk::new(context) })
    })
}

/// The service's value behind one worker.
struct Worker<S> {
    service: S,
    plan: Arc<Plan<S>>,
    desk: Desk,
}

impl<S: Service> Handler for Worker<S> {
    fn run<'a>(&'a mut self, work: &'a mut Work) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(self.run_all(work))
    }
}

impl<S: Service> Worker<S> {
    /// Takes turns between runs of one type, rounds of batches, and events that no handler takes.
    async fn run_all(&mut self, work: &mut Work) {
        let mut next = work.next();
        while let Some(delivery) = next {
            next = match self.plan.find(delivery.event.kind()) {
                Match::Each(run) => run(&mut self.service, &mut self.desk, work, delivery).await,
                Match::Batch(..) => {
                    let Self { service, plan, desk } = self;
                    run_round(service, plan, desk, work, delivery).await;
                    work.next()
                }
                Match::OtherVersion(known) => {
                    let verdict = self.desk.unknown_version(&delivery, known);
                    work.finish(verdict);
                    work.next()
                }
                Match::Unknown => {
                    work.finish(Verdict::unasked());
                    work.next()
                }
            };
        }
    }
}
