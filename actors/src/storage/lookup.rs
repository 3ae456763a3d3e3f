//! One get: find the place, read, check, and say what is wrong when it is.

use proto::{Fragment, FragmentId};
use ractor::ActorRef;
use sqlx::SqlitePool;

use super::{
    actor::report_damage,
    locations::Location,
    message::StorageMsg,
    ops::{Op, Outcome, Submission},
    queries::{self, Found},
    read::{Reader, Unread},
    writer::Notice,
};
use crate::error::ActorError;

/// What a get works with.
pub(super) struct Lookup {
    pub(super) storage: ActorRef<StorageMsg>,
    pub(super) pool: SqlitePool,
    pub(super) reader: Reader,
    /// Of the location map when the get began.
    pub(super) epoch: u64,
}

impl Lookup {
    /// The fragment, from its known place if there is one. A place that turns out to be out of date is looked up
    /// again, once.
    pub(super) async fn fragment(
        &self,
        id: FragmentId,
        known: Option<Location>,
    ) -> Result<Fragment, ActorError> {
        let mut known = known;
        for _ in 0..=RETRIES_MAX {
            let location = match known.take() {
                Some(location) => location,
                None => self.locate(id).await?,
            };
            match self.reader.fragment(&location).await {
                Ok(fragment) => return Ok(fragment),
                Err(Unread::Failed(error)) => return Err(error),
                Err(Unread::Gone) => self.tell(StorageMsg::Moved { id }),
                Err(wrong @ (Unread::Wrong | Unread::Misplaced)) => {
                    self.tell(StorageMsg::Moved { id });
                    if self.doubt(id, &location, &wrong).await? {
                        return Err(ActorError::Corrupt { fragment: id, checksum: location.checksum });
                    }
                }
            }
        }
        Err(ActorError::not_found(format!("fragment {id}")))
    }

    async fn locate(&self, id: FragmentId) -> Result<Location, ActorError> {
        let found = queries::locate(&self.pool, &id).await.inspect_err(|error| {
            report_damage(&self.storage, Some(error));
        });
        match found? {
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
            Found::Nothing => Err(ActorError::not_found(format!("fragment {id}"))),
        }
    }

    /// Marks the bytes as suspect before anyone is told. `false` when the index no longer names this place.
    async fn doubt(&self, id: FragmentId, location: &Location, wrong: &Unread) -> Result<bool, ActorError> {
        let (checksum, place) = (location.checksum, location.place);
        let (reply, answer) = ractor::concurrency::oneshot();
        let submission = Submission { op: Op::Suspect { checksum, place }, reply: reply.into(), _slot: None };
        self.tell(StorageMsg::Submit(submission));
        let restarting = |_| Err(ActorError::Restarting { actor: super::NAME });
        if answer.await.unwrap_or_else(restarting)? == Outcome::Stale {
            return Ok(false);
        }
        let (segment, position) = (place.segment, place.position);
        tracing::error!(fragment = %id, %checksum, segment, position, "stored bytes are damaged");
        if matches!(wrong, Unread::Misplaced) {
            let reason = format!("segment {segment} has no blob {checksum} at {position}");
            self.tell(StorageMsg::Notice(Notice::IndexDamaged(reason)));
        }
        Ok(true)
    }

    fn tell(&self, message: StorageMsg) {
        // A fallen actor starts anew from what is on disk.
        let _ = self.storage.send_message(message);
    }
}

/// A place may be out of date once: by then the index knows the new one.
pub(super) const RETRIES_MAX: u32 = 1;
