//! Damage found here is an event: the tesserae that it is of are looked at at once, and not with their next look.
//!
//! What is found together is looked up together, as that goes through the index of all fragments; and a disk that fails bit by bit
//! has only a small part of the time go into it. It is in the index until it was looked up: a kill loses none.

use std::time::{Duration, Instant};

use crate::{
    error::ActorError,
    storage::{FreshDamage, Note, RecordsHandle},
};

/// Looks up what was found damaged, not more often than it may.
#[derive(Debug)]
pub(super) struct Damage {
    not_before: Instant,
}

impl Damage {
    pub(super) fn new() -> Self {
        Self { not_before: Instant::now() }
    }

    /// Has those tesserae looked at of which something was found damaged since this was last done.
    pub(super) async fn look_up(&mut self, records: &RecordsHandle) {
        let begun = Instant::now();
        if begun < self.not_before {
            return;
        }
        if let Err(error) = note(records).await {
            tracing::warn!(%error, "something is damaged, and what else is left of it is looked at later");
        }
        self.not_before = Instant::now() + begun.elapsed() * REST;
    }
}

async fn note(records: &RecordsHandle) -> Result<(), ActorError> {
    match records.fresh_damage().await? {
        Some(damage) => records.note(notes(damage)).await.map(drop),
        None => Ok(()),
    }
}

/// Both at once, so that no damage is taken for seen whose tessera is not going to be looked at.
fn notes(FreshDamage { tesserae, upto }: FreshDamage) -> Vec<Note> {
    let mut notes = match tesserae {
        Some(tesserae) => tesserae.into_iter().map(|tessera| Note::LookAt { tessera }).collect(),
        None => vec![Note::LookAtAll],
    };
    notes.push(Note::DamageSeen { upto });
    notes
}

/// How long more is waited for that is found together: a segment is verified in some seconds.
pub(super) const TOGETHER: Duration = Duration::from_millis(500);
/// It rests so much longer than it takes.
const REST: u32 = 20;

#[cfg(test)]
mod tests {
    use proto::TesseraId;

    use super::*;

    #[test]
    fn tesserae_are_looked_at_by_name_and_all_when_they_are_too_many() {
        let tessera = TesseraId::from_bytes([1; 32]);
        let some = FreshDamage { tesserae: Some(vec![tessera]), upto: 7 };
        assert_eq!(notes(some), [Note::LookAt { tessera }, Note::DamageSeen { upto: 7 }]);
        let all = FreshDamage { tesserae: None, upto: 9 };
        assert_eq!(notes(all), [Note::LookAtAll, Note::DamageSeen { upto: 9 }]);
    }
}
