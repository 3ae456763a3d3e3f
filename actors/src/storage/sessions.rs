//! Writing sessions: which blobs must stay although nobody refers to them yet.

use std::collections::HashMap;

use proto::{Checksum, TesseraId, record::SessionId};

use crate::error::ActorError;

/// The sessions under way. They do not outlive the process: a session is complete or it never was.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    open: HashMap<SessionId, Session>,
    pins: HashMap<Checksum, u32>,
}

#[derive(Debug)]
struct Session {
    first_segment: u32,
    pinned: Vec<Checksum>,
    tessera: Option<TesseraId>,
}

impl Sessions {
    /// Begins a session that writes from this segment on.
    pub(crate) fn open(&mut self, id: SessionId, first_segment: u32) {
        self.open.insert(id, Session { first_segment, pinned: Vec::new(), tessera: None });
    }

    /// Keeps a blob until the session ends.
    pub(crate) fn pin(&mut self, id: SessionId, checksum: Checksum) -> Result<(), ActorError> {
        self.of(id)?.pinned.push(checksum);
        *self.pins.entry(checksum).or_default() += 1;
        Ok(())
    }

    /// Names the session's tessera; a session makes exactly one.
    pub(crate) fn name(&mut self, id: SessionId, tessera: TesseraId) -> Result<(), ActorError> {
        let session = self.of(id)?;
        if session.tessera.is_some_and(|named| named != tessera) {
            return Err(ActorError::Conflict { what: "a session writes one tessera, not two".to_owned() });
        }
        session.tessera = Some(tessera);
        Ok(())
    }

    /// Ends a session; its blobs are no longer kept for it. Gives its tessera, if it was named.
    pub(crate) fn end(&mut self, id: SessionId) -> Option<TesseraId> {
        let session = self.open.remove(&id)?;
        for checksum in session.pinned {
            if let Some(count) = self.pins.get_mut(&checksum) {
                *count -= 1;
                if *count == 0 {
                    self.pins.remove(&checksum);
                }
            }
        }
        session.tessera
    }

    /// Whether some session keeps this blob.
    pub(crate) fn keeps(&self, checksum: &Checksum) -> bool {
        self.pins.contains_key(checksum)
    }

    /// Whether this session is under way.
    pub(crate) fn is_open(&self, id: SessionId) -> bool {
        self.open.contains_key(&id)
    }

    /// The first segment that a session under way writes to: it and all later ones are not compacted.
    pub(crate) fn first_segment(&self) -> Option<u32> {
        self.open.values().map(|session| session.first_segment).min()
    }

    fn of(&mut self, id: SessionId) -> Result<&mut Session, ActorError> {
        self.open.get_mut(&id).ok_or_else(|| ActorError::SessionEnded {
            reason: "a write failed or the storage was restarted".to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blob_pinned_by_two_sessions_stays_until_both_have_ended() {
        let (a, b) = (SessionId(1), SessionId(2));
        let blob = Checksum::of(b"blob");
        let mut sessions = Sessions::default();
        sessions.open(a, 3);
        sessions.open(b, 5);
        assert_eq!(sessions.first_segment(), Some(3));
        sessions.pin(a, blob).unwrap();
        sessions.pin(b, blob).unwrap();
        sessions.end(a);
        assert!(sessions.keeps(&blob));
        sessions.end(b);
        assert!(!sessions.keeps(&blob));
        assert!(matches!(sessions.pin(a, blob), Err(ActorError::SessionEnded { .. })));
    }
}
