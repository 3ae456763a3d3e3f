//! Verifying one piece of a segment or one part of the index, and what comes of it.

use std::time::{Duration, Instant};

use proto::{Checksum, TesseraId};
use ractor::ActorRef;

use super::{State, report};
use crate::{
    error::ActorError,
    scrub::{
        message::{Cursor, Mode, Reply, ScrubMsg},
        schedule::{Plan, Target},
    },
    storage::{Piece, Proof, ScrubNote, Verified},
    supervision::gate::Slot,
};

impl State {
    pub(super) fn verify(&mut self, me: &ActorRef<ScrubMsg>, segment: u32, now_ms: i64, plan: &Plan) {
        let from = match self.cursor {
            Some(cursor) if cursor.segment == segment => cursor.position,
            _ => {
                self.cursor_began_ms = now_ms;
                0
            }
        };
        self.cursor = Some(Cursor { segment, position: from });
        let next = plan.segments().take(SEGMENTS_AHEAD).collect();
        let bytes = self.pace.piece_bytes(self.strain.has_company(Instant::now()));
        let piece = Piece { segment, from, bytes, next };
        let (segments, at_ms, began) =
            (self.arguments.segments.clone(), self.cursor_began_ms, Instant::now());
        report(me, async move {
            let outcome = segments.verify(piece.clone()).await;
            let outcome = match outcome {
                Ok(verified) if verified.reached.is_none() => {
                    segments.note(ScrubNote::Verified { segment, at_ms }).await.map(|()| verified)
                }
                outcome => outcome,
            };
            ScrubMsg::Verified { piece, began, outcome }
        });
    }

    /// In a task of its own: whoever wants a proof does not wait for what is verified.
    pub(super) fn prove(&self, checksum: Checksum, group: u32, slot: Slot, reply: Reply<Proof>) {
        if reply.is_closed() {
            return;
        }
        let segments = self.arguments.segments.clone();
        tokio::spawn(async move {
            // A caller that gave up has nothing to be told.
            let _ = reply.send(segments.prove(checksum, group).await);
            drop(slot);
        });
    }

    pub(super) fn verified(
        &mut self,
        me: &ActorRef<ScrubMsg>,
        piece: &Piece,
        began: Instant,
        outcome: Result<Verified, ActorError>,
    ) {
        let verified = match outcome {
            Ok(verified) => verified,
            Err(error @ ActorError::Conflict { .. }) => {
                tracing::debug!(%error, "verifying a segment is put off");
                self.cursor = None;
                self.put_off(Target::Segment(piece.segment), SEGMENT_LATER);
                self.done(me, began, 0);
                return;
            }
            Err(error) => return self.failed(me, &error),
        };
        self.find(&verified);
        let segment = piece.segment;
        self.cursor = verified.reached.map(|position| Cursor { segment, position });
        if std::mem::take(&mut self.begins_anew) {
            (self.cursor, self.known) = (None, None);
        } else if self.cursor.is_none() {
            if self.doubted.remove(&segment) {
                self.checked.insert(segment, Instant::now());
            }
            self.known = None;
        }
        let wait = self.done(me, began, verified.bytes);
        if let Some(Cursor { segment, position }) = self.cursor.filter(|_| wait >= NOTE_BEFORE) {
            let (segments, began_ms) = (self.arguments.segments.clone(), self.cursor_began_ms);
            tokio::spawn(async move {
                // Without it, a restart verifies a little twice.
                let _ = segments.note(ScrubNote::Reached { segment, position, began_ms }).await;
            });
        }
    }

    fn find(&mut self, verified: &Verified) {
        let documents = verified.documents.len() as u64;
        self.findings.bytes += verified.bytes;
        self.findings.blobs += verified.blobs;
        self.findings.documents += documents;
        self.findings.mended += verified.mended;
        self.arguments.metrics.verified(verified.bytes, verified.blobs + documents + verified.mended);
    }

    pub(super) fn look_through(&mut self, me: &ActorRef<ScrubMsg>, now_ms: i64) {
        let (from, at_ms) = *self.index.get_or_insert((FIRST, now_ms));
        let (segments, began) = (self.arguments.segments.clone(), Instant::now());
        report(me, async move {
            let outcome = match segments.look_through(from).await {
                Ok(None) => segments.note(ScrubNote::LookedThrough { at_ms }).await.map(|()| None),
                outcome => outcome,
            };
            ScrubMsg::LookedThrough { began, outcome }
        });
    }

    pub(super) fn looked_through(
        &mut self,
        me: &ActorRef<ScrubMsg>,
        began: Instant,
        outcome: Result<Option<TesseraId>, ActorError>,
    ) {
        match (outcome, self.index) {
            (Ok(Some(next)), Some((_, at_ms))) => self.index = Some((next, at_ms)),
            (Ok(_), _) => (self.index, self.known) = (None, None),
            (Err(ActorError::Cut), begun) => {
                // Behind the first part, which looks at all of it, it goes on where it was.
                let has_begun = begun.is_some_and(|(from, _)| from != FIRST);
                self.index = begun.filter(|_| has_begun);
                // What there is, and with it what was asked for, may just have changed.
                let is_asked = self.known.as_ref().is_none_or(|known| known.plan.asks_for(Target::Index));
                self.put_off(Target::Index, if is_asked || has_begun { INDEX_SOON } else { INDEX_LATER });
            }
            (Err(error), _) => {
                self.index = None;
                return self.failed(me, &error);
            }
        }
        // The index is small beside what it is about, and mostly in memory.
        self.done(me, began, 0);
    }

    fn put_off(&mut self, target: Target, wait: Duration) {
        self.later.insert(target, Instant::now() + wait);
    }

    /// Something was verified: sets the next turn, and says after how long that is.
    fn done(&mut self, me: &ActorRef<ScrubMsg>, began: Instant, bytes: u64) -> Duration {
        (self.is_busy, self.failures, self.trouble) = (false, 0, None);
        let now = Instant::now();
        let rest = self.pace.rest(began, now, bytes);
        let beats = self.arguments.segments.beats();
        self.strain.note_company(now, &beats);
        let way = self.strain.worked(&beats).unwrap_or_default();
        let wait = rest.max(way).max(self.strain.courtesy(now, now - began));
        if !wait.is_zero() {
            self.has_rested = true;
            self.mode = if rest < wait { Mode::GivingWay } else { Mode::Resting };
            self.rest = Some((self.mode, now + wait));
        }
        self.next_turn(me, wait);
        wait
    }

    pub(super) fn failed(&mut self, me: &ActorRef<ScrubMsg>, error: &ActorError) {
        (self.is_busy, self.mode, self.known) = (false, Mode::Failing, None);
        let wait = RETRY_FIRST * 2_u32.pow(self.failures.min(RETRY_DOUBLINGS_MAX));
        self.failures += 1;
        self.has_rested = true;
        if matches!(error, ActorError::Restarting { .. }) {
            tracing::debug!(%error, "verifying waits");
        } else {
            tracing::warn!(%error, retry_in_secs = wait.as_secs(), "what is stored could not be verified");
        }
        self.trouble = Some(error.to_string());
        self.next_turn(me, wait);
    }
}

/// Where looking through the index begins.
const FIRST: TesseraId = TesseraId::from_bytes([0; 32]);
/// An index that is written to too much is looked through at another time of the day.
const INDEX_LATER: Duration = Duration::from_secs(3600);
/// Unless somebody waits for it.
const INDEX_SOON: Duration = Duration::from_secs(10);
/// A segment that a session writes to is verified when that may have ended.
const SEGMENT_LATER: Duration = Duration::from_secs(60);
/// How far it has come is kept before the disk rests for so long.
const NOTE_BEFORE: Duration = Duration::from_secs(1);
/// So many segments share one look at the index.
const SEGMENTS_AHEAD: usize = 64;
const RETRY_FIRST: Duration = Duration::from_secs(5);
/// The longest wait is 320 s.
const RETRY_DOUBLINGS_MAX: u32 = 6;
