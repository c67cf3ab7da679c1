//! A task: what a service's author wants to run beside its workers, such as a poller.
//!
//! - Owns: the future that the author's closure made.
//! - Hears from: itself, once.
//! - Supervised by: [`supervisor`](super::supervisor), which ends it at an await point.
//! - Loses when it dies: whatever the future held. Its next life begins with a new one.

use ractor::{Actor, ActorProcessingErr, ActorRef};

use crate::service::spec::{ServiceContext, TaskSpec};

pub(crate) struct Task {
    pub(crate) spec: TaskSpec,
    pub(crate) context: ServiceContext,
}

/// All that a task ever hears.
#[derive(Debug)]
pub(crate) struct Run;

impl Actor for Task {
    type Msg = Run;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<Run>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(myself.cast(Run)?)
    }

    async fn handle(
        &self,
        myself: ActorRef<Run>,
        Run: Run,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        (self.spec.run)(&self.context).await.map_err(ActorProcessingErr::from)?;
        myself.stop(None);
        Ok(())
    }
}
