//! Applying an entry: section by section, each whole or not at all.

mod command;

mod outcomes;

mod records;

use bytes::Bytes;
use tidings_types::effect::{Effect, Refused};
use tidings_types::layout::Malformed;
use tidings_types::layout::entry::{Entry, SectionKind};
use tidings_types::offset::LogIndex;

use crate::state::State;

impl State {
    /// Applies one committed entry and says what it changed. An entry without data, which a new
    /// leader begins its term with, changes nothing but [`State::applied`].
    ///
    /// A section that is malformed is passed over: the answer to its batch says so, or else an
    /// [`Effect::Answered`] with its number. What a records section holds is not looked at beyond
    /// its header: that was checked where it was taken, and is again by everyone who reads it.
    ///
    /// # Errors
    /// If the entry itself is malformed, which cannot happen behind a crc; nothing is changed.
    ///
    /// # Panics
    /// If the entry was applied before.
    pub fn apply(
        &mut self,
        index: LogIndex,
        data: &Bytes,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Malformed> {
        assert!(self.applied < index, "entries are applied once and in order");
        if data.is_empty() {
            self.applied = index;
            return Ok(());
        }
        let entry = Entry::parse(data.clone())?;
        self.applied = index;
        self.ts_ms = self.ts_ms.max(entry.ts_ms);
        self.publishers.expire(self.ts_ms);
        let n_before = effects.len();
        for (number, section) in (0_u16..).zip(entry.sections) {
            let body = section.body;
            let outcome = match section.kind {
                SectionKind::Records => records::apply(self, section.at, body, effects),
                SectionKind::Acks => outcomes::apply_acks(self, body, effects),
                SectionKind::Turn => outcomes::apply_turn(self, section.at, body, effects),
                SectionKind::Command => {
                    let answer = command::apply(self, &body, effects);
                    effects.push(Effect::Answered { section: number, answer });
                    Ok(())
                }
            };
            if let Err(refused) = outcome {
                let answer = Err::<_, Refused>(refused);
                effects.push(Effect::Answered { section: number, answer });
            }
        }
        // Behind all sections: a purge of this entry takes the events of the later ones too.
        if effects.iter().skip(n_before).any(|effect| *effect == Effect::Checkpoint) {
            self.boundaries.note(index, &self.topics);
        }
        Ok(())
    }
}
