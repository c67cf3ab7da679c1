//! The events that one handling emits: encoded as they come, committed with the ack or not at all.

use bytes::Bytes;
use tidings_types::id::{ProducerId, Sequence};
use tidings_types::layout::records::RecordsBuilder;
use tidings_types::limits::TURN_BYTES_MAX;
use tidings_types::name::TopicName;

use crate::event::Event;
use crate::failure::Failure;
use crate::publish::{Draft, Publisher};

/// See the module's description. Empty, it has allocated nothing.
#[derive(Debug, Default)]
pub(crate) struct Emitted {
    /// One section for each topic; there are few.
    sections: Vec<Section>,
    /// The first event that could not be taken. The handling fails for it, because without it the
    /// turn would not be whole.
    problem: Option<String>,
}

#[derive(Debug)]
struct Section {
    topic: &'static str,
    name: TopicName,
    builder: RecordsBuilder,
}

impl Emitted {
    pub(crate) fn push<E: Event>(&mut self, event: &E, publisher: &Publisher) {
        if let Err(reason) = self.try_push(event, publisher) {
            self.problem.get_or_insert_with(|| format!("emitting {}: {reason}", E::KIND));
        }
    }

    fn try_push<E: Event>(&mut self, event: &E, publisher: &Publisher) -> Result<(), String> {
        let draft = Draft::of(event).map_err(|error| error.to_string())?;
        let id = publisher.new_id();
        let new = draft.event::<E>(&id, publisher.wall_ms());
        new.check().map_err(|error| error.to_string())?;
        let n_bytes = self.n_bytes() + new.encoded_bytes();
        if n_bytes > TURN_BYTES_MAX {
            return Err(format!("{n_bytes} bytes of one turn exceed {TURN_BYTES_MAX} bytes"));
        }
        self.builder::<E>()?.push(&new);
        draft.put_back();
        Ok(())
    }

    fn n_bytes(&self) -> usize {
        self.sections.iter().map(|section| section.builder.n_bytes()).sum()
    }

    fn builder<E: Event>(&mut self) -> Result<&mut RecordsBuilder, String> {
        let found = self.sections.iter().position(|section| section.topic == E::TOPIC);
        let idx = match found {
            Some(idx) => idx,
            None => {
                let name = TopicName::new(E::TOPIC).map_err(|error| error.to_string())?;
                let builder = RecordsBuilder::with_capacity(0);
                self.sections.push(Section { topic: E::TOPIC, name, builder });
                self.sections.len() - 1
            }
        };
        let section = self.sections.get_mut(idx).expect("found or just pushed");
        Ok(&mut section.builder)
    }

    /// The sections of the turn. Topics that do not exist yet are made.
    pub(crate) async fn seal(self, publisher: &Publisher) -> Result<Vec<Bytes>, Failure> {
        if let Some(problem) = self.problem {
            return Err(Failure::fatal(problem));
        }
        let mut sealed = Vec::with_capacity(self.sections.len());
        for section in self.sections {
            let topic = publisher.topic_named(section.topic, &section.name).await?;
            sealed.push(section.builder.finish(topic, ProducerId::NONE, Sequence::new(0)));
        }
        Ok(sealed)
    }
}
