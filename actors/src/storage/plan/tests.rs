//! Decisions in log order, on a real log and with nothing behind the view.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use proto::record::{Kind, Salt};

use super::*;
use crate::storage::{
    disk::RealDisk,
    log::Log,
    ops::Copied,
    recover::new_segment,
    rows::Seal,
    scan::{Found, Scan},
    segment,
};

const SALT: Salt = Salt([5; Salt::BYTES]);

/// A planner and the log it decides for. Whatever it decides is written at once.
struct Desk {
    planner: Planner,
    log: Log,
    folder: tempfile::TempDir,
}

impl Desk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = Log::begin(Arc::new(RealDisk), folder.path().to_owned(), 1 << 20, SALT, 1).unwrap();
        let view = View::new(HashMap::from([(1, new_segment(0, 0))]), ScrubRow::default());
        Self { planner: Planner { view, sessions: Sessions::default(), next_seq: 1 }, log, folder }
    }

    fn decide(&mut self, op: Op) -> Result<Outcome, ActorError> {
        self.decide_with(op, &Extra::default())
    }

    fn decide_with(&mut self, op: Op, extra: &Extra) -> Result<Outcome, ActorError> {
        let mut tape = self.log.tape();
        let mut scene = Scene { tape: &mut tape, extra, no_room: None, now_ms: 0, dropped: &mut Vec::new() };
        let outcome = self.planner.decide(&op, &mut scene);
        tape.write(&RealDisk).unwrap();
        self.log.advance(&tape);
        outcome
    }

    /// Seals the active segment and begins the next.
    async fn rotate(&mut self) {
        self.log.rotate().await.unwrap();
        let active = self.log.end().segment;
        self.planner.view.segment(active - 1, |row| row.seal = Seal::Sealed);
        self.planner.view.segments.insert(active, new_segment(0, 0));
    }

    fn put(&mut self, stripe: u32, bytes: &'static [u8]) -> Outcome {
        let fragment = blob(bytes);
        self.decide(Op::Put {
            account: AccountId::LOCAL,
            id: id(stripe),
            fragment,
            outboard: Bytes::new(),
            documents: Vec::new(),
        })
        .unwrap()
    }

    /// All of a tessera of one fragment but the commit.
    fn write_session(&mut self) -> SessionId {
        let Outcome::Session(session) = self.decide(Op::OpenSession).unwrap() else { panic!() };
        let one = blob(b"one");
        self.decide(Op::Pin { session, fragment: one.clone(), outboard: Bytes::new() }).unwrap();
        let (tessera, kind, bytes) = (tessera(), DocumentKind::Manifest, Bytes::from_static(b"manifest"));
        self.decide(Op::Document { session, tessera, kind, bytes }).unwrap();
        self.decide(Op::Refs { session, tessera, refs: vec![(0, 0, one.checksum())] }).unwrap();
        session
    }

    fn drop(&mut self, stripe: u32) -> Outcome {
        self.decide(Op::Drop { account: AccountId::LOCAL, id: id(stripe) }).unwrap()
    }

    /// Copies forward what counts in a segment.
    fn compact(&mut self, from: u32) -> Outcome {
        let records = self.records(from);
        assert_eq!(self.decide(Op::Copy { from, records }).unwrap(), Outcome::Done);
        self.decide(Op::Drained { segment: from }).unwrap()
    }

    fn records(&self, segment: u32) -> Vec<Copied> {
        let file = std::fs::File::open(segment::path(self.folder.path(), segment)).unwrap();
        let length = file.metadata().unwrap().len();
        let mut scan = Scan::new(&RealDisk, &file, SALT, 0, length);
        let mut records = Vec::new();
        while let Some(found) = scan.next().unwrap() {
            let Found::Record { position, header, record } = found else { panic!("{found:?}") };
            records.push(Copied { position, header, record });
        }
        records
    }

    /// The records of a segment in short: kind and sequence number.
    fn outline(&self, segment: u32) -> Vec<(Kind, u64)> {
        let records = self.records(segment);
        records.iter().map(|copied| (copied.header.kind, copied.header.sequence)).collect()
    }
}

fn blob(bytes: &'static [u8]) -> Fragment {
    Fragment::hash(Bytes::from_static(bytes)).unwrap()
}

fn tessera() -> TesseraId {
    TesseraId::from_bytes([1; 32])
}

fn id(stripe: u32) -> FragmentId {
    FragmentId { tessera: tessera(), stripe, index: 0 }
}

#[tokio::test]
async fn record_of_an_ended_session_is_copied_as_one_that_does_not_count() {
    let mut desk = Desk::new();
    let session = desk.write_session();
    desk.rotate().await;
    desk.decide(Op::Abort { session }).unwrap();
    assert_eq!(desk.compact(1), Outcome::Done, "all of it was moved, although it will be purged");
    for copied in desk.records(2) {
        match copied.record {
            Record::Ref(claim) => assert_eq!(claim.session, session),
            Record::Document { session: of, .. } => assert_eq!(of, session),
            Record::Blob(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(desk.outline(2).len(), 3);
}

/// So no drop that is older can concern them, and need not stay for them.
#[tokio::test]
async fn copies_of_what_counts_get_new_sequence_numbers() {
    let mut desk = Desk::new();
    let session = desk.write_session();
    desk.decide(Op::Commit { session, tessera: tessera() }).unwrap();
    desk.rotate().await;
    let next = desk.planner.next_seq;
    assert_eq!(desk.compact(1), Outcome::Done);
    let copies: Vec<_> = desk.outline(2).into_iter().filter(|(kind, _)| *kind != Kind::Blob).collect();
    assert_eq!(copies, [(Kind::Document, next), (Kind::Ref, next + 1)]);
    assert_eq!(desk.planner.view.segments[&2].min_seq, next);
    let deposit = desk.planner.view.deposits.get(&(AccountId::LOCAL, id(0))).unwrap();
    assert_eq!((deposit.segment, deposit.seq), (2, next + 1), "so the next copy finds it");
}

#[tokio::test]
async fn drop_is_copied_as_long_as_another_segment_may_hold_its_ref() {
    let mut desk = Desk::new();
    desk.put(0, b"one");
    desk.rotate().await;
    desk.drop(0);
    desk.rotate().await;
    desk.compact(2);
    let dropped = desk.outline(3);
    assert!(matches!(dropped.as_slice(), [(Kind::Drop, _), (Kind::Forget, _)]), "{dropped:?}");

    // Emptied is not gone: after a power cut its file may be back.
    desk.compact(1);
    desk.rotate().await;
    desk.compact(3);
    assert_eq!(desk.outline(4), dropped);

    desk.decide(Op::Unlinked { segment: 1 }).unwrap();
    desk.rotate().await;
    desk.compact(4);
    assert_eq!(desk.outline(5), []);
}
