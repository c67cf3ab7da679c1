//! What members say: whose words count, and to which group they go.
//!
//! A member counts from the last part of its [`Resume`] until its session ends. What is said before or
//! in another session changes nothing; a member that seems not to know is asked to resume.

use std::collections::BTreeMap;

use tidings_types::id::{GroupId, NodeId};
use tidings_types::limits::{GROUP_WORKERS_MAX, RESUME_BATCHES_MAX};

use crate::dispatcher::Dispatcher;
use crate::dispatcher::group::Group;
use crate::dispatcher::port::Output;
use crate::dispatcher::proposals::Step;
use crate::dispatcher::resume::Resumed;
use crate::dispatcher::talk::Talk;
use crate::lanes::Owner;
use crate::message::{BATCHES_MAX, BadMessage, KeptBatch, Resume, SessionId, ToLeader, ToMember};

impl Dispatcher {
    /// A member speaks.
    pub(super) fn hear(
        &mut self,
        (member, session): (NodeId, SessionId),
        message: ToLeader,
        now_ms: u64,
        out: &mut Vec<Output>,
    ) {
        if !self.is_leading {
            return;
        }
        let talk = self.talks.entry(member).or_default();
        if session < talk.session {
            return;
        }
        let taken = match message {
            ToLeader::Resume(part) => self.resume((member, session), part, now_ms, out),
            _ if self.sessions.get(&member) != Some(&session) => {
                let message = ToMember::AskResume;
                out.push(Output::Tell { member, session, message });
                return;
            }
            ToLeader::Ping { sent } => {
                out.push(Output::Pinged { member, session, sent });
                return;
            }
            message => self.hear_of_group(member, message, now_ms, out),
        };
        if let Err(why) = taken {
            self.hang_up(member, session);
            out.push(Output::Refused { member, session, why });
        }
    }

    fn hear_of_group(
        &mut self,
        member: NodeId,
        message: ToLeader,
        now_ms: u64,
        out: &mut Vec<Output>,
    ) -> Result<(), BadMessage> {
        let (ToLeader::ServiceUp { group, .. }
        | ToLeader::ServiceDraining { group }
        | ToLeader::WorkerUp { group, .. }
        | ToLeader::WorkerDown { group, .. }
        | ToLeader::Report { group, .. }) = message
        else {
            return Ok(());
        };
        self.with_known(group, now_ms, out, |group, step| {
            let crew = group.crew_of(member, step);
            hear_of_group(group, crew, message, step)
        })?
    }

    /// The group, if there is one of that number.
    fn with_known<R>(
        &mut self,
        group: GroupId,
        now_ms: u64,
        out: &mut Vec<Output>,
        then: impl FnOnce(&mut Group, &mut Step<'_>) -> R,
    ) -> Result<R, BadMessage> {
        if !self.groups.contains_key(&group) {
            return Err(BadMessage::NoSuchGroup { group });
        }
        Ok(self.with_step(group, now_ms, out, then))
    }

    fn resume(
        &mut self,
        (member, session): (NodeId, SessionId),
        part: Resume,
        now_ms: u64,
        out: &mut Vec<Output>,
    ) -> Result<(), BadMessage> {
        let talk = self.talks.entry(member).or_default();
        if talk.session < session {
            self.hang_up(member, session);
        }
        // A session resumes once.
        if self.sessions.contains_key(&member) {
            return Ok(());
        }
        let talk = self.talks.entry(member).or_default();
        if usize::try_from(part.number) != Ok(talk.parts.len()) {
            talk.parts.clear();
            out.push(Output::Tell { member, session, message: ToMember::AskResume });
            return Ok(());
        }
        talk.n_words += 1 + part.services.len() + part.batches.len();
        if (self.groups.len() + 1) * RESUME_BATCHES_MAX < talk.n_words {
            return Err(BadMessage::TooMuch);
        }
        let is_last = part.is_last;
        talk.parts.push(part);
        if !is_last {
            return Ok(());
        }
        let parts = std::mem::take(&mut talk.parts);
        let resumed = self.sort_out(parts)?;
        self.sessions.insert(member, session);
        self.resume_all((member, session), resumed, now_ms, out);
        Ok(())
    }

    /// By group, checked.
    fn sort_out(&mut self, parts: Vec<Resume>) -> Result<BTreeMap<GroupId, Resumed>, BadMessage> {
        let mut resumed: BTreeMap<GroupId, Resumed> = BTreeMap::new();
        for part in parts {
            if BATCHES_MAX <= part.newest_batch.get() {
                return Err(BadMessage::TooManyBatches);
            }
            self.batches.pass(part.newest_batch);
            for serving in part.services {
                let group = serving.group;
                resumed.entry(group).or_default().serving = Some(serving);
            }
            for batch in part.batches {
                if BATCHES_MAX <= batch.batch.get() {
                    return Err(BadMessage::TooManyBatches);
                }
                self.batches.pass(batch.batch);
                add(&mut resumed.entry(batch.group).or_default().batches, batch);
            }
        }
        for (&group, of_group) in &resumed {
            let found = self.groups.get(&group).ok_or(BadMessage::NoSuchGroup { group })?;
            found.check(of_group)?;
        }
        Ok(resumed)
    }

    fn resume_all(
        &mut self,
        (member, session): (NodeId, SessionId),
        mut resumed: BTreeMap<GroupId, Resumed>,
        now_ms: u64,
        out: &mut Vec<Output>,
    ) {
        // Groups that it does not name may have waited for it too.
        let knows = |group: &Group| group.crews.iter().any(|crew| crew.node == member);
        let known = self.groups.values().filter(|group| knows(group)).map(|group| group.id);
        let known: Vec<_> = known.collect();
        for group in known {
            resumed.entry(group).or_default();
        }
        for (group, of_group) in resumed {
            self.with_step(group, now_ms, out, |group, step| {
                let crew = group.crew_of(member, step);
                group.resume(crew, session, of_group, step);
            });
        }
    }

    /// The link to a member broke.
    pub(super) fn gone(&mut self, member: NodeId, session: SessionId) {
        let talk = self.talks.entry(member).or_default();
        if self.is_leading && talk.session == session {
            self.hang_up(member, session);
        }
    }

    /// The member is not on the line any more; this or a later session may resume.
    pub(super) fn hang_up(&mut self, member: NodeId, session: SessionId) {
        self.talks.insert(member, Talk { session, ..Talk::default() });
        self.sessions.remove(&member);
        for group in self.groups.values_mut() {
            if let Some(crew) = group.crews.iter_mut().find(|crew| crew.node == member) {
                crew.session = None;
            }
        }
    }
}

/// A batch may go on from one part to the next.
fn add(batches: &mut Vec<KeptBatch>, next: KeptBatch) {
    match batches.last_mut() {
        Some(last) if last.is_of_same(&next) => last.events.extend(next.events),
        _ => batches.push(next),
    }
}

fn hear_of_group(
    group: &mut Group,
    crew: Owner,
    message: ToLeader,
    step: &mut Step<'_>,
) -> Result<(), BadMessage> {
    match message {
        ToLeader::ServiceUp { .. } => group.serve(crew),
        ToLeader::ServiceDraining { .. } => group.crew_mut(crew).is_served = false,
        ToLeader::WorkerUp { worker, life, .. } => {
            group.worker_up(crew, worker, life, step.now_ms);
            let n_workers = group.crew(crew).workers.len();
            if GROUP_WORKERS_MAX < n_workers {
                return Err(BadMessage::TooManyWorkers { n_workers });
            }
        }
        ToLeader::WorkerDown { worker, life, .. } => {
            let found = group.crew_mut(crew).worker_mut(worker);
            if found.is_some_and(|worker| worker.life == life) {
                group.worker_down(crew, worker, step.now_ms);
            }
        }
        ToLeader::Report { worker, report, .. } => {
            return group.report(crew, worker, report, step);
        }
        ToLeader::Resume(_) | ToLeader::Ping { .. } => {}
    }
    Ok(())
}
