//! The projection: events into counts.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use tidings::prelude::{Batch, BatchCx, Failure, Handle, Handled, Plan, Service};
use tokio::task::spawn_blocking;

use crate::counts::{Counts, Fact, What};
use crate::event::{MailSent, UserSignedUp};

/// See the module's description.
#[derive(Debug)]
pub struct Analytics {
    counts: Counts,
}

impl Analytics {
    /// Counts into this file.
    pub const fn new(counts: Counts) -> Self {
        Self { counts }
    }

    async fn add(&self, facts: Vec<Fact>) -> Handled {
        let counts = self.counts.clone();
        // A commit waits for the disk, so it has a thread of its own.
        spawn_blocking(move || counts.add(&facts)).await??;
        Ok(())
    }
}

impl Service for Analytics {
    const GROUP: &'static str = "analytics";

    fn plan(plan: Plan<Self>) -> Plan<Self> {
        // One worker: redb has one writer, and batches are what makes it fast.
        plan.everywhere()
            .workers(1)
            .on::<Batch<UserSignedUp>>(|handler| handler)
            .on::<Batch<MailSent>>(|handler| handler)
    }
}

impl Handle<Batch<UserSignedUp>> for Analytics {
    async fn handle(&mut self, batch: Batch<UserSignedUp>, _: &mut BatchCx) -> Handled {
        let facts = batch.iter().map(|item| {
            // The day of the sign-up and not of its counting: after a pause they differ.
            let time = Timestamp::try_from(item.time())?;
            let day = TimeZone::UTC.to_datetime(time).date().to_string();
            let domain = domain(&item.event.email);
            Ok(Fact { event_id: item.event_id().to_owned(), what: What::SignUp { day, domain } })
        });
        let facts = facts.collect::<Result<_, Failure>>()?;
        self.add(facts).await
    }
}

impl Handle<Batch<MailSent>> for Analytics {
    async fn handle(&mut self, batch: Batch<MailSent>, _: &mut BatchCx) -> Handled {
        let fact = |event_id: &str| Fact { event_id: event_id.to_owned(), what: What::Mail };
        self.add(batch.iter().map(|item| fact(item.event_id())).collect()).await
    }
}

/// Domains are the same in any case. What has none is counted, too: the sum must be the total.
fn domain(email: &str) -> String {
    match email.rsplit_once('@') {
        Some((_, domain)) if !domain.is_empty() => domain.to_lowercase(),
        _ => "(none)".to_owned(),
    }
}
