//! Groups as people see them: the log's view of their mailboxes, and this process's of their workers.

use tidings_state::{GroupView, MailboxView};
use tidings_types::layout::command::Command;
use tidings_types::name::GroupName;

use crate::api::{GroupInfo, MailboxInfo};
use crate::error::{CallError, FindError};
use crate::handle::NodeHandle;

impl NodeHandle {
    /// All groups.
    ///
    /// # Errors
    /// If the node has stopped or does not answer.
    pub async fn groups(&self) -> Result<Vec<GroupInfo>, CallError> {
        let groups: Vec<_> = self.inspect(|core| core.state().groups().collect()).await?;
        Ok(groups.iter().map(|group| self.group_info(group)).collect())
    }

    /// One group.
    ///
    /// # Errors
    /// If there is none of that name, or no answer.
    pub async fn group(&self, name: &GroupName) -> Result<GroupInfo, FindError> {
        Ok(self.group_info(&self.find_group(name).await?))
    }

    /// Lets nothing more of a group be handed out, until it is [resumed](Self::resume): over restarts,
    /// too. What is out goes on its way; what is published waits. Repeating it changes nothing.
    ///
    /// # Errors
    /// If there is no such group, or the command fails.
    pub async fn pause(&self, group: &GroupName) -> Result<GroupInfo, FindError> {
        self.set_paused(group, true).await
    }

    /// Lets a group go on that a person paused. Repeating it changes nothing.
    ///
    /// # Errors
    /// If there is no such group, or the command fails.
    pub async fn resume(&self, group: &GroupName) -> Result<GroupInfo, FindError> {
        self.set_paused(group, false).await
    }

    async fn set_paused(&self, name: &GroupName, is_paused: bool) -> Result<GroupInfo, FindError> {
        let group = self.find_group(name).await?.id;
        self.shared.commands.run(Command::SetPaused { group, is_paused }).await?;
        self.group(name).await
    }

    /// A service that runs everywhere is found by its own name, too: as this process's mailbox.
    pub(super) async fn find_group(&self, name: &GroupName) -> Result<GroupView, FindError> {
        let wanted = name.clone();
        let here = GroupName::new(format!("{name}.{}", self.shared.name)).ok();
        let look = move |core: &tidings_replica::Replica| {
            let state = core.state();
            state.group(&wanted).or_else(|| state.group(&here?))
        };
        let group = self.inspect(look).await?;
        group.ok_or_else(|| FindError::NotFound { what: format!("group {name}") })
    }

    fn group_info(&self, group: &GroupView) -> GroupInfo {
        let service = self.shared.registry.look(|services| {
            let service = services.get(&group.name)?;
            Some((service.life, service.reason.clone(), service.n_workers, service.n_restarts))
        });
        let (life, reason, workers, restarts) = service
            .map_or(("absent", None, 0, 0), |(life, reason, n_workers, n_restarts)| {
                (life.word(), reason, n_workers, n_restarts)
            });
        let sum = |count: fn(&MailboxView) -> u64| group.mailboxes.iter().map(count).sum();
        let by_person = group.is_paused.then(|| {
            format!("a person paused it; `tidings group resume {}` lets it go on", group.name)
        });
        let paused = by_person.or_else(|| self.shared.names.paused(group.id));
        GroupInfo {
            name: group.name.to_string(),
            state: if paused.is_some() { "paused" } else { life }.to_owned(),
            reason: paused.or(reason),
            members: group.members.iter().map(|(node, _)| node.to_string()).collect(),
            workers,
            restarts,
            lag: sum(|mailbox| mailbox.lag),
            retrying: sum(|mailbox| mailbox.n_failed as u64),
            paused: sum(|mailbox| mailbox.n_paused as u64),
            dead: group.n_dead as u64,
            redriven: group.n_redriven as u64,
            mailboxes: group.mailboxes.iter().map(|mailbox| self.mailbox_info(mailbox)).collect(),
        }
    }

    fn mailbox_info(&self, mailbox: &MailboxView) -> MailboxInfo {
        MailboxInfo {
            topic: self.topic_text(mailbox.topic),
            floor: mailbox.floor.get(),
            end: mailbox.end.get(),
            lag: mailbox.lag,
            retrying: mailbox.n_failed as u64,
        }
    }
}
