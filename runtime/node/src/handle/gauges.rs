//! Gauges that nobody keeps up to date, because reading them when somebody looks costs less.

use std::time::Duration;

use tidings_state::{GroupView, MailboxView};
use tokio::time::timeout;

use crate::handle::NodeHandle;
use crate::handle::read::events_from;
use crate::metrics::OfGroup;

impl NodeHandle {
    /// Reads the gauges that are not kept up to date: lag and age of each group, admitted bytes.
    ///
    /// It takes no longer than `wait`: a node that is stuck must be seen to be, so gauges that
    /// cannot be read in time keep what they showed before.
    pub async fn refresh_gauges(&self, wait: Duration) {
        let n_bytes = self.shared.publisher.admitted_bytes();
        self.shared.metrics.publish_bytes.set(i64::try_from(n_bytes).unwrap_or(i64::MAX));
        // What did not come in time is the reader's to notice, by gauges that stand still.
        let _ = timeout(wait, self.refresh_groups()).await;
    }

    async fn refresh_groups(&self) {
        let look = |core: &tidings_replica::Replica| core.state().groups().collect::<Vec<_>>();
        let Ok(groups) = self.inspect(look).await else { return };
        let labels = groups.iter().map(|group| OfGroup { group: group.name.to_string() });
        let labelled: Vec<_> = labels.zip(&groups).collect();
        for (label, group) in &labelled {
            let lag: u64 = group.mailboxes.iter().map(|mailbox| mailbox.lag).sum();
            let lag = i64::try_from(lag).unwrap_or(i64::MAX);
            self.shared.metrics.group_lag.get_or_create(label).set(lag);
        }
        // Behind all lags, because an old event may have to come from the disk.
        for (label, group) in &labelled {
            let Some(age) = self.oldest(group).await else { continue };
            let ages = &self.shared.metrics.group_oldest_seconds;
            ages.get_or_create(label).set(age.as_secs_f64());
        }
    }

    /// The age of a group's oldest unsettled event, 0 if all is settled; nothing if it cannot be
    /// read.
    async fn oldest(&self, group: &GroupView) -> Option<Duration> {
        let now_ms = self.shared.clock.wall_ms();
        let (mut oldest_ms, mut is_settled) = (None, true);
        for mailbox in &group.mailboxes {
            if mailbox.lag > 0 {
                let time_ms = self.first_unsettled_ms(mailbox).await;
                oldest_ms = oldest_ms.into_iter().chain(time_ms).min();
                is_settled = false;
            }
        }
        let oldest_ms = oldest_ms.or(is_settled.then_some(now_ms));
        oldest_ms.map(|time_ms| Duration::from_millis(now_ms.saturating_sub(time_ms)))
    }

    async fn first_unsettled_ms(&self, mailbox: &MailboxView) -> Option<u64> {
        let blocks = self.blocks(mailbox.topic, mailbox.floor).await.ok()?;
        events_from(&blocks, mailbox.floor).next().map(|(_, event)| event.time_ms)
    }
}
