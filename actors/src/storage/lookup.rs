//! One get, of a fragment or a document: find the place, read, check, and say what is wrong when it is.

use std::ops::RangeInclusive;

use bytes::Bytes;
use proto::{Checksum, Fragment, FragmentId, TesseraId, record::DocumentKind};
use ractor::ActorRef;

use super::{
    actor::report_damage,
    doubts::Doubts,
    locations::Location,
    message::StorageMsg,
    ops::{Op, Outcome, Submission},
    queries::{self, Found, FoundDocument},
    read::{Reader, Unread},
    readers::Readers,
    rows::{DocumentRow, Place},
    soundness::Soundness,
    writer::Notice,
};
use crate::error::ActorError;

/// What a get works with.
pub(super) struct Lookup {
    pub(super) storage: ActorRef<StorageMsg>,
    pub(super) index: Readers,
    pub(super) reader: Reader,
    /// Of the location map when the get began.
    pub(super) epoch: u64,
    pub(super) soundness: Soundness,
    pub(super) doubts: Doubts,
}

impl Lookup {
    /// The fragment, from its known place if there is one. A place that turns out to be out of date is looked up
    /// again.
    pub(super) async fn fragment(
        &self,
        id: FragmentId,
        known: Option<Location>,
    ) -> Result<Fragment, ActorError> {
        let (mut known, mut before) = (known, None);
        loop {
            let location = match known.take() {
                Some(location) => location,
                None => self.locate(id).await?,
            };
            match self.reader.fragment(&location).await {
                Ok(fragment) => return Ok(fragment),
                Err(Unread::Failed(error)) => return Err(error),
                // Moved by a compaction, unless the index says the same once more.
                Err(Unread::Gone) if before != Some(location) => {}
                Err(wrong) => {
                    if self.doubt(id, &location, &wrong).await {
                        return Err(ActorError::Corrupt { fragment: id, checksum: location.checksum });
                    }
                }
            }
            self.tell(StorageMsg::Moved { id });
            before = Some(location);
        }
    }

    async fn locate(&self, id: FragmentId) -> Result<Location, ActorError> {
        let locate = async || {
            let found =
                self.index.now(async |index, pending| queries::locate(index, pending, &id).await).await;
            found.inspect_err(|error| report_damage(&self.storage, Some(error)))
        };
        let found = match locate().await? {
            // What was about to be committed may have been decided before a drop that is committed by now.
            Found::Contradiction(_) => locate().await?,
            found => found,
        };
        match found {
            Found::At(location) => {
                self.tell(StorageMsg::Located { id, location, epoch: self.epoch });
                Ok(location)
            }
            Found::Damaged(checksum) => Err(ActorError::Corrupt { fragment: id, checksum }),
            Found::Contradiction(checksum) => {
                let reason =
                    format!("fragment {id} has checksum {checksum}, of which the index knows nothing");
                self.tell(StorageMsg::Notice(Notice::IndexDamaged(reason)));
                Err(ActorError::Corrupt { fragment: id, checksum })
            }
            Found::Lacking => {
                let sound = self.soundness.check(&self.index, id.tessera).await;
                sound.inspect_err(|error| report_damage(&self.storage, Some(error)))?;
                Err(ActorError::not_found(format!("fragment {id}")))
            }
            Found::Nothing => Err(ActorError::not_found(format!("fragment {id}"))),
        }
    }

    /// Marks the bytes as suspect before anyone is told. `false` when the index no longer names this place. When it
    /// cannot be noted, the next read finds it again.
    async fn doubt(&self, id: FragmentId, location: &Location, wrong: &Unread) -> bool {
        let (checksum, place) = (location.checksum, location.place);
        let misled = self.is_misled(id.tessera..=id.tessera, wrong, &place).await;
        if self.note(Op::Suspect { checksum, place }).await == Some(Outcome::Stale) {
            return false;
        }
        self.tell(StorageMsg::Moved { id });
        self.doubts.add(place.segment);
        let (segment, position) = (place.segment, place.position);
        tracing::error!(fragment = %id, %checksum, segment, position, "stored bytes are damaged");
        if misled {
            let reason = format!("segment {segment} has no blob {checksum} at {position}");
            self.tell(StorageMsg::Notice(Notice::IndexDamaged(reason)));
        }
        true
    }

    /// A document's bytes; without a hash, of the only one of its kind.
    pub(super) async fn document(
        &self,
        tessera: TesseraId,
        kind: DocumentKind,
        hash: Option<Checksum>,
    ) -> Result<Bytes, ActorError> {
        let mut before = None;
        let absent = || ActorError::not_found(format!("the {} of {tessera}", kind.name()));
        loop {
            let found = self
                .index
                .now(async |index, pending| queries::document(index, pending, tessera, kind, hash).await);
            let (hash, DocumentRow { place, suspect_at_ms }) = match found.await? {
                FoundDocument::At(hash, row) => (hash, row),
                FoundDocument::Nothing => return Err(absent()),
                FoundDocument::Lacking => {
                    self.soundness.check(&self.index, tessera).await?;
                    return Err(absent());
                }
            };
            let Place { segment, position, .. } = place;
            let wrong = match self.reader.document(place, hash).await {
                Ok(bytes) => {
                    if suspect_at_ms.is_some() {
                        // Verifying looks at all of the record, and knows what to do.
                        self.doubts.add(segment);
                    }
                    return Ok(bytes);
                }
                Err(Unread::Failed(error)) => return Err(error),
                Err(wrong) => wrong,
            };
            // Why is known, and noted.
            if suspect_at_ms.is_some() && before.is_some_and(|(at, _)| at == place) {
                return Err(ActorError::CorruptDocument { tessera });
            }
            let Some((_, misled)) = before.filter(|(at, _)| *at == place) else {
                // Moved by a compaction, unless the index says the same once more.
                before = Some((place, self.is_misled(tessera..=tessera, &wrong, &place).await));
                continue;
            };
            let told = || tracing::error!(%tessera, ?kind, segment, position, "a document is damaged");
            self.doubts.add(segment);
            if misled {
                told();
                let reason = format!("segment {segment} has no document {hash} at {position}");
                return Err(ActorError::damaged_index(reason));
            }
            let seen = Op::Seen { document: (tessera, kind, hash), place, is_right: false };
            match self.note(seen).await {
                Some(Outcome::Stale) => continue,
                // Somebody who read it at the same time has said so.
                Some(Outcome::Held) => {}
                _ => told(),
            }
            return Err(ActorError::CorruptDocument { tessera });
        }
    }

    /// Has something noted of what was read; `None` when it could not be.
    pub(super) async fn note(&self, op: Op) -> Option<Outcome> {
        let (reply, answer) = ractor::concurrency::oneshot();
        self.tell(StorageMsg::Submit(Submission { op, reply: reply.into(), _slot: None }));
        let noted = answer.await.ok()?;
        noted.inspect_err(|error| tracing::warn!(%error, "what was read could not be noted")).ok()
    }

    /// Whether it is the index that is wrong, and not the bytes, if it still names this place afterwards. Nothing is said
    /// of an index that cannot be written.
    pub(super) async fn is_misled(
        &self,
        of: RangeInclusive<TesseraId>,
        wrong: &Unread,
        place: &Place,
    ) -> bool {
        let asked = async |index: &mut _| queries::is_nowhere(index, place).await;
        let nowhere = self.index.between(*of.start(), *of.end(), asked);
        matches!(wrong, Unread::Misplaced) || matches!(nowhere.await, Ok(true))
    }

    pub(super) fn tell(&self, message: StorageMsg) {
        // A fallen actor starts anew from what is on disk.
        let _ = self.storage.send_message(message);
    }
}
