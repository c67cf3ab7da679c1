//! Events that wait for another attempt: list them, and let them wait no longer.

use tidings_state::FailingView;
use tidings_types::effect::{Answer, NEVER_MS};
use tidings_types::layout::command::Command;
use tidings_types::name::{GroupName, TopicName};
use tidings_types::offset::Offset;

use crate::api::WaitingInfo;
use crate::error::{CommandError, FindError};
use crate::handle::NodeHandle;

/// Which of the events that wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// Every one.
    All,
    /// These.
    These(Vec<(TopicName, Offset)>),
}

impl NodeHandle {
    /// The events of a group that wait for another attempt, paused ones too, by topic and offset. At
    /// most `max`, and how many there are.
    ///
    /// # Errors
    /// If there is no such group, or no answer.
    pub async fn waiting(
        &self,
        group: &GroupName,
        max: usize,
    ) -> Result<(Vec<WaitingInfo>, usize), FindError> {
        let group = self.find_group(group).await?.id;
        let look = move |core: &tidings_replica::Replica| {
            let failing = core.state().failing(group);
            let (mut shown, mut n_all) = (Vec::new(), 0);
            for view in failing {
                n_all += 1;
                if shown.len() < max {
                    shown.push(view);
                }
            }
            (shown, n_all)
        };
        let (failing, n_all) = self.inspect(look).await?;
        Ok((failing.into_iter().map(|view| self.waiting_info(view)).collect(), n_all))
    }

    /// Lets events that wait for another attempt, or for a person, be tried now. Each has one more
    /// attempt, whatever it had. Returns how many.
    ///
    /// # Errors
    /// If there is no such group, or the command fails.
    pub async fn retry_now(&self, group: &GroupName, which: Waiting) -> Result<u32, FindError> {
        let group = self.find_group(group).await?.id;
        let events = match which {
            Waiting::These(events) => self.numbered(events),
            Waiting::All => {
                let failing = move |core: &tidings_replica::Replica| {
                    let failing = core.state().failing(group);
                    failing.map(|view| (view.topic, view.offset)).collect()
                };
                self.inspect(failing).await?
            }
        };
        match self.shared.commands.run(Command::RetryNow { group, events }).await? {
            Answer::Retried(n_events) => Ok(n_events),
            _ => Err(CommandError::Unknown.into()),
        }
    }

    fn waiting_info(&self, view: FailingView) -> WaitingInfo {
        let is_paused = view.retry_at_ms == NEVER_MS;
        WaitingInfo {
            topic: self.topic_text(view.topic),
            offset: view.offset.get(),
            attempts: view.attempts,
            next_attempt_at: (!is_paused).then(|| self.moment_text(view.retry_at_ms)),
            message: view.message,
        }
    }
}
