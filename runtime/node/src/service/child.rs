//! One child of a service's supervisor, from life to life: a worker or a task.

use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorCell, ActorId, ActorRef, SpawnErr};
use tidings_delivery::family::{End, Restart};
use tidings_delivery::session::Delivery;
use tidings_types::id::GroupId;

use crate::mail::ToDispatcher;
use crate::seat::Seat;
use crate::service::spec::{NewHandler, ServiceContext, TaskSpec};
use crate::service::task::Task;
use crate::service::work::WorkParts;
use crate::service::worker::Worker;

/// See the module's description.
pub(crate) struct Child {
    actor: Option<ActorCell>,
    n_lives: u64,
    role: Role,
}

enum Role {
    Worker(Box<WorkerRole>),
    Task(TaskSpec),
}

struct WorkerRole {
    group: GroupId,
    parts: WorkParts,
    new_handler: NewHandler,
}

/// How a child ended.
pub(crate) struct Ended {
    pub(crate) end: End,
    /// The event that it died over.
    pub(crate) culprit: Option<Delivery>,
}

impl Child {
    pub(crate) fn worker(group: GroupId, parts: WorkParts, new_handler: NewHandler) -> Self {
        let role = Role::Worker(Box::new(WorkerRole { group, parts, new_handler }));
        Self { actor: None, n_lives: 0, role }
    }

    pub(crate) const fn task(spec: TaskSpec) -> Self {
        Self { actor: None, n_lives: 0, role: Role::Task(spec) }
    }

    /// As people know it.
    pub(crate) fn name(&self) -> String {
        match &self.role {
            Role::Worker(role) => format!("worker {}", role.parts.worker.get()),
            Role::Task(spec) => format!("task {}", spec.name),
        }
    }

    pub(crate) const fn restart(&self) -> Restart {
        match &self.role {
            Role::Worker(_) => Restart::Permanent,
            Role::Task(spec) => spec.restart,
        }
    }

    pub(crate) fn is(&self, id: ActorId) -> bool {
        self.actor.as_ref().is_some_and(|actor| actor.get_id() == id)
    }

    /// Lives that began after the first.
    pub(crate) const fn n_restarts(&self) -> u64 {
        self.n_lives.saturating_sub(1)
    }

    /// Where a worker's events lie.
    pub(crate) fn seat(&self) -> Option<Arc<Seat>> {
        match &self.role {
            Role::Worker(role) => Some(Arc::clone(&role.parts.seat)),
            Role::Task(_) => None,
        }
    }

    /// Begins a life. Of an actor that does not start, its supervisor gets no news.
    ///
    /// # Errors
    /// If the author's code panics before it runs.
    pub(crate) async fn start(
        &mut self,
        context: ServiceContext,
        supervisor: ActorCell,
        dispatcher: &ActorRef<ToDispatcher>,
    ) -> Result<(), SpawnErr> {
        match &mut self.role {
            Role::Worker(role) => {
                role.parts.seat = Arc::new(Seat::new());
                let WorkerRole { group, parts, new_handler } = &**role;
                let new_handler = Arc::clone(new_handler);
                let worker = Worker { new_handler, context, parts: parts.clone() };
                let (actor, _) = Actor::spawn_linked(None, worker, (), supervisor).await?;
                self.actor = Some(actor.get_cell());
                parts.seat.occupy(actor);
                let (group, worker, seat) = (*group, parts.worker, Arc::clone(&parts.seat));
                tell(dispatcher, ToDispatcher::WorkerUp { group, worker, seat });
            }
            Role::Task(spec) => {
                let task = Task { spec: spec.clone(), context };
                let (actor, _) = Actor::spawn_linked(None, task, (), supervisor).await?;
                self.actor = Some(actor.get_cell());
            }
        }
        self.n_lives += 1;
        Ok(())
    }

    /// Asks it to end: a task at its next await point, a worker behind the running event, or, if it
    /// may finish, behind all that it holds.
    pub(crate) fn ask_to_end(&self, may_finish: bool) {
        let Some(actor) = &self.actor else { return };
        match &self.role {
            Role::Worker(role) => {
                if !may_finish {
                    role.parts.seat.close();
                }
                // It fails if the worker has just died: then the news of its end is on the way.
                let _ = actor.drain();
            }
            Role::Task(_) => actor.kill(),
        }
    }

    /// It has ended, or could not start: what it held goes back, and who is to blame is found.
    pub(crate) fn end(
        &mut self,
        died: bool,
        reason: &str,
        now: Duration,
        dispatcher: &ActorRef<ToDispatcher>,
    ) -> Ended {
        self.actor = None;
        let end = if died { End::Died } else { End::Done };
        let Role::Worker(role) = &self.role else { return Ended { end, culprit: None } };
        let WorkerRole { group, parts, .. } = &**role;
        let blame = |delivery: &_, class| parts.judge(delivery, class, reason.to_owned());
        let vacated = parts.seat.vacate(now, blame);
        for report in vacated.reports {
            parts.reports.send(parts.worker, report);
        }
        tell(dispatcher, ToDispatcher::WorkerDown { group: *group, worker: parts.worker });
        let end = if vacated.culprit.is_some() { End::OverEvent } else { end };
        Ended { end, culprit: vacated.culprit }
    }
}

/// Without a dispatcher the node is ending, and nothing is delivered any more.
pub(crate) fn tell(dispatcher: &ActorRef<ToDispatcher>, msg: ToDispatcher) {
    let _ = dispatcher.cast(msg);
}
