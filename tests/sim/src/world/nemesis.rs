//! Doing to the system what the plan says.

use tidings_check::history::{Installed, Seen};

#[cfg(test)]
use crate::disk::SimDisk;
use crate::fault::{Cut, Fault, Whom};
use crate::happen::Happens;
use crate::net::Shape;
use crate::world::{SECOND, World};

/// A cut that flaps comes and goes so often.
const FLAPS: u64 = 4;

impl World {
    pub(crate) fn fault(&mut self, fault: Fault) {
        if self.is_calm {
            return;
        }
        self.trace.line(self.now_us, || format!("fault: {}", fault.words()));
        let hit = match fault {
            Fault::Kill(whom, down_us) => self.each(whom, |world, at| {
                world.stats.kills += 1;
                world.kill(at);
                world.after(down_us, Happens::Start(at));
            }),
            Fault::Power(whom, down_us) => self.each(whom, |world, at| {
                world.stats.powercuts += 1;
                world.power(at);
                world.after(down_us, Happens::Start(at));
            }),
            Fault::Pause(whom, for_us) => self.each(whom, |world, at| world.pause(at, for_us)),
            Fault::Jump(whom, ms) => self.each(whom, |world, at| {
                world.stats.other_faults += 1;
                world.node_mut(at).wall_skew_ms += ms;
            }),
            Fault::Cut(cut, for_us) => self.cut(cut, |world, shape| {
                world.stats.cuts += 1;
                let cut = world.net.cut(shape);
                world.after(for_us, Happens::Mend(cut));
            }),
            Fault::Flap(cut, for_us) => {
                self.cut(cut, |world, shape| world.flap(shape, for_us, FLAPS))
            }
            Fault::Slow(whom, for_us, by_us) => self.each(whom, |world, at| {
                world.stats.other_faults += 1;
                world.node_mut(at).slow = (world.now_us + for_us, by_us);
            }),
            Fault::Full(whom, for_us) => self.each(whom, |world, at| world.fill(at, for_us)),
            Fault::SyncFails(whom, _) => self.each(whom, |world, at| {
                world.stats.disk_errors += 1;
                world.with_disk(at, |disk| disk.fail_next_sync());
            }),
            Fault::Replace(whom) => self.each(whom, Self::replace),
            Fault::Grow => self.grow().into_iter().collect(),
            Fault::Shrink(whom) => self.each(whom, Self::shrink),
            Fault::WriteFails(whom, _) => self.each(whom, |world, at| {
                world.stats.disk_errors += 1;
                world.with_disk(at, |disk| disk.fail_next_write());
            }),
            #[cfg(test)]
            Fault::Copy(whom) => self.each(whom, |world, at| {
                let node = world.node_mut(at);
                node.copy = node.disk.as_ref().map(SimDisk::copy);
            }),
            #[cfg(test)]
            Fault::RollBack(whom, down_us) => self.each(whom, |world, at| {
                world.stats.other_faults += 1;
                world.roll_back(at);
                world.after(down_us, Happens::Start(at));
            }),
        };
        let what = fault.words();
        let installed = if hit.is_empty() { Installed::Skipped } else { Installed::Yes };
        let node = match *hit.as_slice() {
            [only] => Some(self.id(only).get()),
            _ => None,
        };
        self.see(Seen::Fault { what, node, installed });
    }

    /// Does it to each node that is hit. Says which.
    fn each(&mut self, whom: Whom, mut what: impl FnMut(&mut Self, usize)) -> Vec<usize> {
        let hit = self.hit(whom);
        hit.iter().for_each(|at| what(self, *at));
        hit
    }

    fn hit(&mut self, whom: Whom) -> Vec<usize> {
        let stores = self.stores();
        let running: Vec<usize> =
            (0..self.nodes.len()).filter(|at| self.node(*at).process.is_some()).collect();
        let (leaders, followers): (Vec<usize>, Vec<usize>) =
            stores.iter().partition(|at| self.node(**at).leads());
        let one = |chosen: Option<usize>| chosen.into_iter().collect();
        match whom {
            Whom::Any => one(self.chance.pick(&running)),
            Whom::Leader => {
                let leader = self.chance.pick(&leaders);
                one(leader.or_else(|| self.chance.pick(&running)))
            }
            Whom::Follower => {
                let follower = self.chance.pick(&followers);
                one(follower.or_else(|| self.chance.pick(&running)))
            }
            Whom::Majority => {
                let first = self.chance.below(stores.len() as u64) as usize;
                let n_hit = stores.len() / 2 + 1;
                stores.iter().cycle().skip(first).take(n_hit).copied().collect()
            }
            Whom::All => (0..self.nodes.len()).collect(),
            #[cfg(test)]
            Whom::Node(at) => one(Some(at).filter(|at| *at < self.nodes.len())),
        }
    }

    fn cut(&mut self, cut: Cut, mut what: impl FnMut(&mut Self, Shape)) -> Vec<usize> {
        let Some(shape) = self.shape(cut) else { return Vec::new() };
        self.trace.line(self.now_us, || format!("cut: {shape:?}"));
        what(self, shape);
        match shape {
            Shape::Alone(at) | Shape::Deaf(at) | Shape::Mute(at) => vec![at],
            Shape::Bridge(a, b) | Shape::OneWay(a, b) => vec![a, b],
            Shape::Split(_) => (0..self.nodes.len()).collect(),
        }
    }

    fn shape(&mut self, cut: Cut) -> Option<Shape> {
        let two = |world: &mut Self, whom: Whom| {
            let a = world.hit(whom).first().copied()?;
            let others: Vec<usize> = (0..world.nodes.len()).filter(|b| *b != a).collect();
            Some((a, world.chance.pick(&others)?))
        };
        Some(match cut {
            Cut::Alone(whom) => Shape::Alone(self.hit(whom).first().copied()?),
            Cut::Deaf(whom) => Shape::Deaf(self.hit(whom).first().copied()?),
            Cut::Mute(whom) => Shape::Mute(self.hit(whom).first().copied()?),
            Cut::Bridge => two(self, Whom::Leader).map(|(a, b)| Shape::Bridge(a, b))?,
            Cut::OneWay => two(self, Whom::Any).map(|(a, b)| Shape::OneWay(a, b))?,
            Cut::Split => Shape::Split(self.chance.number()),
        })
    }

    /// A cut comes, goes, and comes again.
    pub(crate) fn flap(&mut self, shape: Shape, for_us: u64, left: u64) {
        if self.is_calm || left == 0 {
            return;
        }
        self.stats.cuts += 1;
        let cut = self.net.cut(shape);
        let (on, off) = (for_us / 2 + self.chance.below(for_us), self.chance.below(for_us));
        self.after(on, Happens::Mend(cut));
        self.after(on + off, Happens::Flap { shape, for_us, left: left - 1 });
    }

    fn pause(&mut self, at: usize, for_us: u64) {
        if self.node(at).process.is_none() {
            return;
        }
        self.stats.pauses += 1;
        self.links_pause(at, for_us);
        let until = self.now_us + for_us;
        let node = self.node_mut(at);
        node.paused_until = node.paused_until.max(until);
        self.after(for_us, Happens::Resume(at));
    }

    /// A paused node goes on with what came meanwhile.
    pub(crate) fn resume(&mut self, at: usize) {
        let now_us = self.now_us;
        let node = self.node_mut(at);
        if now_us < node.paused_until {
            return;
        }
        let held = std::mem::take(&mut node.held);
        let start = node.start;
        for what in held {
            // Something of it may end the process.
            if self.node(at).start == start && self.node(at).process.is_some() {
                self.take(at, what);
            }
        }
    }

    fn fill(&mut self, at: usize, for_us: u64) {
        self.stats.disk_errors += 1;
        let n_left = self.chance.pick(&[0, 5_000, 100_000]).unwrap_or_default();
        self.with_disk(at, |disk| disk.set_free_bytes(n_left));
        self.after(for_us, Happens::Room(at));
    }

    /// The disk has room again, and the writer looks for it.
    pub(crate) fn room(&mut self, at: usize) {
        self.with_disk(at, |disk| disk.set_free_bytes(u64::MAX / 2));
        if let Some(store) = self.node_mut(at).store_mut()
            && store.writer.prepare().is_err()
        {
            self.abort(at, "a segment cannot be prepared");
        }
    }

    fn with_disk(&mut self, at: usize, turn: impl FnOnce(&tidings_log::MemoryDisk)) {
        if let Some(disk) = &self.node(at).disk {
            turn(disk.memory());
        }
    }

    /// All faults are over.
    pub(crate) fn heal(&mut self) {
        self.is_calm = true;
        self.trace.line(self.now_us, || "healed".to_owned());
        self.net.heal();
        for at in 0..self.nodes.len() {
            self.with_disk(at, |disk| {
                disk.heal();
                disk.set_free_bytes(u64::MAX / 2);
            });
            let now_us = self.now_us;
            let node = self.node_mut(at);
            node.slow = (0, 0);
            node.paused_until = node.paused_until.min(now_us);
            self.resume(at);
            self.room(at);
            self.start(at);
        }
        self.see(Seen::Healed);
        self.resume_groups();
        self.after(SECOND / 10, Happens::Look);
    }
}
