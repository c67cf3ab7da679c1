//! A leader's side of a snapshot: one file, to one follower at a time.
//!
//! ```text
//!   raft-rs wants one sent ─▶ read a part ─▶ send it ─▶ … ─▶ the follower's log goes on from there
//!                              ▲   ≤ 4 are out    │
//!                              └── "has up to" ───┘        silence, or no end: raft-rs is told
//! ```
//!
//! The follower says how far it has come, so a part that is lost is read again from there, and what
//! it had before a break is not sent again. raft-rs sends such a follower nothing else until it
//! hears of the end, so every way out of here tells it.

use bytes::Bytes;
use tidings_types::offset::{LogIndex, Term};

use crate::snapshot_wire::{PART_BYTES_MAX, SNAPSHOT_BYTES_MAX};

/// Parts that are out.
const PARTS_MAX: u64 = 4;
/// After so many ticks without a step forward, what is out counts as lost.
const RESEND_TICKS: u32 = 4;
/// After so many ticks without an answer, the follower counts as gone.
const SILENCE_TICKS: u32 = 20;
/// So long a follower may take to write the whole of it.
const INSTALL_TICKS: u32 = 1_200;

/// See the module's description.
#[derive(Debug)]
pub(crate) struct Sending {
    /// The follower, as raft-rs names it.
    pub(crate) to: u64,
    /// The snapshot's entry.
    pub(crate) place: (LogIndex, Term),
    /// Size of the file, once a part was read.
    total: Option<u64>,
    /// Where the next part begins.
    next: u64,
    /// The follower has everything before.
    has: u64,
    silent_ticks: u32,
    stalled_ticks: u32,
    waiting_ticks: u32,
}

/// What time brings.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Tick {
    Nothing,
    /// Ask the follower how far it has come.
    Ask,
    /// It has failed.
    Failed(&'static str),
}

impl Sending {
    pub(crate) const fn new(to: u64, place: (LogIndex, Term)) -> Self {
        Self {
            to,
            place,
            total: None,
            next: 0,
            has: 0,
            silent_ticks: 0,
            stalled_ticks: 0,
            waiting_ticks: 0,
        }
    }

    /// Where the next part is to be read, if one may leave.
    pub(crate) fn wish(&self) -> Option<u64> {
        let is_open = match self.total {
            None => self.next == 0,
            Some(total) => {
                self.next < total && self.next - self.has < PARTS_MAX * PART_BYTES_MAX as u64
            }
        };
        is_open.then_some(self.next)
    }

    /// A part was read: says whether it is the one that is to leave.
    pub(crate) fn read(
        &mut self,
        at: u64,
        bytes: Option<&Bytes>,
        total: u64,
    ) -> Result<bool, &'static str> {
        let bytes = bytes.ok_or("the checkpoint cannot be read")?;
        if !(1..=SNAPSHOT_BYTES_MAX).contains(&total) {
            return Err("the checkpoint is empty or too large");
        }
        if at != self.next {
            return Ok(false);
        }
        if bytes.is_empty() || PART_BYTES_MAX < bytes.len() || total - at < bytes.len() as u64 {
            return Err("the checkpoint is not what its size says");
        }
        self.total = Some(total);
        self.next = at + bytes.len() as u64;
        Ok(true)
    }

    /// The follower has everything before.
    pub(crate) fn has(&mut self, at: u64) {
        self.silent_ticks = 0;
        if self.total.is_none_or(|total| total < at) || at == self.has {
            return;
        }
        // Less than before: it started again.
        let is_back = at < self.has;
        self.has = at;
        self.next = if is_back { at } else { self.next.max(at) };
        self.stalled_ticks = 0;
    }

    /// The file's size, once it is known.
    pub(crate) const fn total(&self) -> Option<u64> {
        self.total
    }

    pub(crate) fn tick(&mut self) -> Tick {
        self.silent_ticks += 1;
        self.stalled_ticks += 1;
        if SILENCE_TICKS <= self.silent_ticks {
            return Tick::Failed("the follower does not answer");
        }
        let is_whole = Some(self.has) == self.total;
        self.waiting_ticks = if is_whole { self.waiting_ticks + 1 } else { 0 };
        if INSTALL_TICKS <= self.waiting_ticks {
            return Tick::Failed("the follower does not come to an end");
        }
        if self.stalled_ticks < RESEND_TICKS {
            return Tick::Nothing;
        }
        self.stalled_ticks = 0;
        self.next = self.has;
        if is_whole { Tick::Ask } else { Tick::Nothing }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PART: u64 = PART_BYTES_MAX as u64;

    fn sending() -> Sending {
        Sending::new(2, (LogIndex::new(9), Term::new(1)))
    }

    fn read(sending: &mut Sending, total: u64) {
        let at = sending.wish().unwrap();
        let bytes = Bytes::from(vec![0; (total - at).min(PART) as usize]);
        assert_eq!(sending.read(at, Some(&bytes), total), Ok(true));
    }

    /// Few parts are out; one that is lost is read again from where the follower stands.
    #[test]
    fn parts_go_out_in_a_window_and_again() {
        let (mut sending, total) = (sending(), 6 * PART + 5);
        (0..4).for_each(|_| read(&mut sending, total));
        assert_eq!(sending.wish(), None, "four are out");
        sending.has(PART);
        assert_eq!(sending.wish(), Some(4 * PART));
        sending.has(PART);
        for _ in 1..RESEND_TICKS {
            assert_eq!(sending.tick(), Tick::Nothing);
            sending.has(PART);
        }
        assert_eq!(sending.tick(), Tick::Nothing);
        assert_eq!(sending.wish(), Some(PART), "the second one is lost");
        sending.has(6 * PART);
        assert_eq!(sending.wish(), Some(6 * PART), "it had the rest from before");
        read(&mut sending, total);
        sending.has(total);
        assert_eq!(sending.wish(), None);
        sending.has(0);
        assert_eq!(sending.wish(), Some(0), "it started again");
    }

    /// A follower must not be waited for without end, and what is read must be what was asked for.
    #[test]
    fn every_way_ends() {
        let mut silent = sending();
        let n_ticks = (0..99).take_while(|_| !matches!(silent.tick(), Tick::Failed(_))).count();
        assert_eq!(n_ticks + 1, SILENCE_TICKS as usize);
        let mut slow = sending();
        read(&mut slow, 7);
        let mut n_asked = 0;
        let n_ticks = (0..9_999).take_while(|_| {
            slow.has(7);
            let tick = slow.tick();
            n_asked += usize::from(tick == Tick::Ask);
            !matches!(tick, Tick::Failed(_))
        });
        assert_eq!(n_ticks.count() + 1, INSTALL_TICKS as usize);
        assert!(n_asked > 200);
        assert!(sending().read(0, None, 7).is_err());
        assert!(sending().read(0, Some(&Bytes::new()), 7).is_err());
        assert!(sending().read(0, Some(&Bytes::from_static(b"12")), 1).is_err());
        assert!(sending().read(0, Some(&Bytes::from_static(b"12")), u64::MAX).is_err());
        assert_eq!(sending().read(5, Some(&Bytes::from_static(b"12")), 7), Ok(false));
    }
}
