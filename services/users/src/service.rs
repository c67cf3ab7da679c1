//! The projection: sign-ups into the directory.

use jiff::Timestamp;
use tidings::prelude::{Batch, BatchCx, Handle, Handled, Plan, Service};
use tokio::task::spawn_blocking;

use crate::directory::{Directory, User};
use crate::event::UserSignedUp;

/// See the module's description.
#[derive(Debug)]
pub struct Users {
    directory: Directory,
}

impl Users {
    /// Projects into this directory.
    pub const fn new(directory: Directory) -> Self {
        Self { directory }
    }
}

impl Service for Users {
    const GROUP: &'static str = "users";

    fn plan(plan: Plan<Self>) -> Plan<Self> {
        // Everywhere: each process has its own file, and answers from it without asking another.
        // One worker: redb has one writer, and batches are what makes it fast.
        plan.everywhere().workers(1).on::<Batch<UserSignedUp>>(|handler| handler)
    }
}

impl Handle<Batch<UserSignedUp>> for Users {
    async fn handle(&mut self, batch: Batch<UserSignedUp>, _: &mut BatchCx) -> Handled {
        let mut users = Vec::with_capacity(batch.len());
        for item in batch {
            let signed_up_at = Timestamp::try_from(item.time())?.to_string();
            let event_id = item.event_id().to_owned();
            let UserSignedUp { user_id, email, name } = item.event;
            users.push(User { user_id, email, name, signed_up_at, event_id });
        }
        let directory = self.directory.clone();
        // A commit waits for the disk, so it has a thread of its own.
        spawn_blocking(move || directory.add(&users)).await??;
        Ok(())
    }
}
