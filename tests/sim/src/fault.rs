//! What is done to the system, and when: chosen by the seed, or written down by a test.

use crate::chance::Chance;

const MS: u64 = 1_000;
const SECOND: u64 = 1_000 * MS;

/// Whom it hits; found out when it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whom {
    /// Any node that runs.
    Any,
    /// Who leads, or any node if nobody does.
    Leader,
    /// A replica that does not lead, or any if there is none.
    Follower,
    /// A majority of the replicas.
    Majority,
    /// Every node.
    All,
    /// This one.
    #[cfg(test)]
    Node(usize),
}

/// How a network is cut; whom it hits is found out when it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// A node and the others do not hear each other.
    Alone(Whom),
    /// A node hears nobody.
    Deaf(Whom),
    /// Nobody hears a node.
    Mute(Whom),
    /// Leader and another one do not hear each other; a third one hears both.
    Bridge,
    /// Messages of one node do not reach another one.
    OneWay,
    /// The nodes fall into two halves.
    Split,
}

/// Something that is done to the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The process is killed; what it wrote is with the kernel. It comes back after a while.
    Kill(Whom, u64),
    /// The power goes: what was not synced is gone, or some of it.
    Power(Whom, u64),
    /// Nothing of the process runs for a while, and time goes on.
    Pause(Whom, u64),
    /// Wall time jumps by so many milliseconds.
    Jump(Whom, i64),
    /// The network is cut for a while.
    Cut(Cut, u64),
    /// It is cut and mended several times, each for so long.
    Flap(Cut, u64),
    /// Each write of the disk takes so many microseconds longer, for a while.
    Slow(Whom, u64, u64),
    /// The disk has no room for a while.
    Full(Whom, u64),
    /// The next fdatasync fails.
    SyncFails(Whom, u64),
    /// A replica's disk is lost for good; a fresh node takes its place.
    Replace(Whom),
    /// One more replica.
    Grow,
    /// One replica less.
    Shrink(Whom),
    /// The next write fails.
    WriteFails(Whom, u64),
    /// Somebody makes a copy of the disk.
    #[cfg(test)]
    Copy(Whom),
    /// The power goes, and it comes back with that copy, or with an empty disk.
    #[cfg(test)]
    RollBack(Whom, u64),
}

impl Fault {
    /// In words.
    pub(crate) fn words(&self) -> String {
        format!("{self:?}")
    }
}

/// A plan of faults over so long: each run takes some kinds of them only, so that they meet in ever
/// other company.
pub(crate) fn schedule(chance: &mut Chance, n_stores: usize, load_us: u64) -> Vec<(u64, Fault)> {
    if chance.percent(5) {
        return Vec::new();
    }
    let kinds: Vec<u64> = (0..N_KINDS).filter(|_| chance.percent(35)).collect();
    let n_faults = chance.between(2, 9);
    let mut faults = Vec::new();
    for _ in 0..n_faults {
        let Some(kind) = chance.pick(&kinds) else { break };
        let at = chance.between(SECOND, load_us.saturating_sub(SECOND));
        if let Some(fault) = fault(kind, chance, n_stores) {
            faults.push((at, fault));
        }
    }
    // One change of the membership at a time is what an operator can follow.
    if n_stores > 1 && chance.percent(30) {
        let whom = chance.pick(&[Whom::Leader, Whom::Follower]).unwrap_or(Whom::Any);
        let changes = [Fault::Replace(whom), Fault::Replace(whom), Fault::Grow];
        let at = chance.between(SECOND, load_us / 2);
        faults.extend(chance.pick(&changes).map(|fault| (at, fault)));
        if n_stores > 3 && chance.percent(30) {
            faults.push((at + 5 * SECOND, Fault::Shrink(Whom::Follower)));
        }
    }
    faults.sort_by_key(|(at, _)| *at);
    faults
}

const N_KINDS: u64 = 14;

fn fault(kind: u64, chance: &mut Chance, n_stores: usize) -> Option<Fault> {
    let whom = chance.pick(&[Whom::Any, Whom::Any, Whom::Leader, Whom::Follower])?;
    let down = chance.pick(&[50 * MS, 300 * MS, SECOND, 3 * SECOND])?;
    let down = down + chance.below(down);
    let cut = {
        let whom = chance.pick(&[Whom::Leader, Whom::Leader, Whom::Any])?;
        chance.pick(&[
            Cut::Alone(whom),
            Cut::Deaf(whom),
            Cut::Mute(whom),
            Cut::Bridge,
            Cut::OneWay,
            Cut::Split,
        ])?
    };
    Some(match kind {
        0 => Fault::Kill(whom, down),
        1 => Fault::Kill(Whom::Leader, 30 * MS),
        2 => Fault::Power(whom, down),
        3 => Fault::Power(Whom::Majority, down),
        4 => Fault::Power(Whom::All, down),
        5 => Fault::Kill(Whom::All, down),
        6 => Fault::Pause(whom, chance.pick(&[300 * MS, 900 * MS, 2 * SECOND, 5 * SECOND])?),
        7 => Fault::Jump(whom, chance.pick(&[3_600_000, -3_600_000, 500, -500])?),
        8 if n_stores > 1 => Fault::Cut(cut, 300 * MS + chance.below(4 * SECOND)),
        9 if n_stores > 1 => Fault::Flap(cut, 200 * MS + chance.below(800 * MS)),
        10 => Fault::Slow(whom, SECOND + chance.below(4 * SECOND), chance.between(20, 300) * MS),
        11 => Fault::Slow(whom, 200 * MS, 5 * SECOND),
        12 => Fault::Full(whom, SECOND + chance.below(4 * SECOND)),
        13 if chance.percent(50) => Fault::SyncFails(whom, down),
        13 => Fault::WriteFails(whom, down),
        _ => return None,
    })
}
