//! The log read by other means than storage's own: all valid records, and what they add up to.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    path::Path,
};

use bytes::Bytes;
use proto::{
    AccountId, Checksum, FragmentId, TesseraId,
    limits::{RECORD_ALIGN_BYTES, RECORD_HEADER_BYTES},
    record::{Header, Record, SessionId},
};

/// A valid record and where it is.
#[derive(Debug, Clone)]
pub(crate) struct Placed {
    pub(crate) segment: u32,
    pub(crate) position: u64,
    pub(crate) header: Header,
    pub(crate) record: Record,
}

/// Everything valid in all segments.
#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) records: Vec<Placed>,
    /// Length of each segment's file.
    pub(crate) lengths: BTreeMap<u32, u64>,
}

/// A fragment that an account wants, by the log alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) checksum: Checksum,
    pub(crate) seq: u64,
}

pub(crate) type DepositKey = (AccountId, FragmentId);
/// Tessera, number of the kind, hash.
pub(crate) type DocumentKey = (TesseraId, u8, Checksum);

impl Log {
    /// Reads all segments in a folder.
    pub(crate) fn read(folder: &Path) -> Self {
        let mut log = Self::default();
        let mut names: Vec<_> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.sort();
        for path in names {
            let segment = path.file_stem().unwrap().to_str().unwrap().parse().unwrap();
            let bytes = Bytes::from(std::fs::read(&path).unwrap());
            log.lengths.insert(segment, bytes.len() as u64);
            log.scan(segment, &bytes);
        }
        log
    }

    fn scan(&mut self, segment: u32, bytes: &Bytes) {
        let mut at = 0;
        while at < bytes.len() {
            let Some((header, payload)) = record_at(bytes, at) else {
                at += RECORD_ALIGN_BYTES;
                continue;
            };
            if Checksum::of(&payload) == header.payload_hash {
                let record = Record::decode(header.kind, &payload).unwrap();
                self.records.push(Placed { segment, position: at as u64, header, record });
            }
            at += usize::try_from(header.record_len()).unwrap();
        }
    }

    /// What counts: the newest word on each deposit, of sessions that are complete.
    pub(crate) fn wanted(&self) -> HashMap<DepositKey, Wanted> {
        let sessions = self.committed();
        let mut refs = HashMap::<DepositKey, Wanted>::new();
        let mut drops = HashMap::<DepositKey, u64>::new();
        for placed in &self.records {
            let seq = placed.header.sequence;
            match &placed.record {
                Record::Ref(claim) if sessions.contains(&claim.session) => {
                    let wanted = Wanted { checksum: claim.checksum, seq };
                    let newest = refs.entry((claim.account, claim.fragment)).or_insert(wanted);
                    if newest.seq < seq {
                        *newest = wanted;
                    }
                }
                Record::Drop(claim) => {
                    let newest = drops.entry((claim.account, claim.fragment)).or_default();
                    *newest = seq.max(*newest);
                }
                _ => {}
            }
        }
        refs.retain(|key, wanted| drops.get(key).is_none_or(|drop| *drop < wanted.seq));
        refs
    }

    /// Documents of sessions that are complete, and that were not forgotten since: copies are one.
    pub(crate) fn documents(&self) -> BTreeSet<DocumentKey> {
        let mut forgotten = HashMap::<TesseraId, u64>::new();
        for placed in &self.records {
            if let Record::Forget { tessera } = placed.record {
                let newest = forgotten.entry(tessera).or_default();
                *newest = placed.header.sequence.max(*newest);
            }
        }
        let sessions = self.committed();
        let key = |placed: &Placed| match &placed.record {
            Record::Document { session, tessera, kind, bytes } if sessions.contains(session) => {
                let counts = forgotten.get(tessera).is_none_or(|at| *at < placed.header.sequence);
                counts.then(|| (*tessera, kind.code(), Checksum::of(bytes)))
            }
            _ => None,
        };
        self.records.iter().filter_map(key).collect()
    }

    /// The record at a place.
    pub(crate) fn at(&self, segment: u32, position: u64) -> Option<&Placed> {
        self.records.iter().find(|placed| (placed.segment, placed.position) == (segment, position))
    }

    fn committed(&self) -> HashSet<SessionId> {
        let commit = |placed: &Placed| match placed.record {
            Record::Commit { session, .. } => Some(session),
            _ => None,
        };
        self.records.iter().filter_map(commit).chain([SessionId::NONE]).collect()
    }
}

fn record_at(bytes: &Bytes, at: usize) -> Option<(Header, Bytes)> {
    let header = Header::decode(bytes.get(at..)?.first_chunk()?).ok()?;
    let start = at + RECORD_HEADER_BYTES;
    let end = start + usize::try_from(header.payload_len).unwrap();
    (end <= bytes.len()).then(|| (header, bytes.slice(start..end)))
}
