//! The index as the writer sees it: what is committed, with the batches in flight laid over it.
//!
//! Rows are loaded before a batch is decided, changed in memory while it is decided, and written as they then stand.
//! A row that a batch in flight has changed stays here until that batch is committed, so the next batch decides in
//! log order although the index lags behind.

use std::{collections::HashMap, hash::Hash, ops::RangeInclusive, sync::Arc};

use bytes::Bytes;
use proto::{
    AccountId, Checksum, FragmentId, TesseraId,
    compare::{Digest, Sum},
};

use super::{
    notes::Note,
    rows::{
        BlobRow, DepositKey, DepositRow, DocumentKey, DocumentRow, FragmentRow, HoldingKey, HoldingRow,
        ScrubRow, SegmentRow, TesseraRow,
    },
    sums,
};

/// One table: loaded rows, and above them those that batches in flight have changed.
#[derive(Debug)]
pub(crate) struct Table<K, R> {
    loaded: HashMap<K, R>,
    changed: HashMap<K, Changed<R>>,
    touched: Vec<K>,
    /// Rows as last committed, for tables whose rows change with every batch: nobody else writes them.
    settled: HashMap<K, Option<R>>,
    settled_max: usize,
}

#[derive(Debug)]
struct Changed<R> {
    row: Option<R>,
    batch: u64,
}

impl<K, R> Default for Table<K, R> {
    fn default() -> Self {
        Self::keeping(0)
    }
}

impl<K, R> Table<K, R> {
    /// A table that keeps up to so many rows after their commit.
    fn keeping(settled_max: usize) -> Self {
        Self {
            loaded: HashMap::new(),
            changed: HashMap::new(),
            touched: Vec::new(),
            settled: HashMap::new(),
            settled_max,
        }
    }
}

impl<K: Copy + Eq + Hash, R: Copy> Table<K, R> {
    /// The row as of the last decision; `None` when there is none (or it was not loaded).
    pub(crate) fn get(&self, key: &K) -> Option<R> {
        match self.changed.get(key) {
            Some(changed) => changed.row,
            None => self.settled.get(key).copied().unwrap_or_else(|| self.loaded.get(key).copied()),
        }
    }

    /// Whether the row, or that there is none, is known without reading the index.
    pub(crate) fn knows(&self, key: &K) -> bool {
        self.changed.contains_key(key) || self.settled.contains_key(key) || self.loaded.contains_key(key)
    }

    /// The keys of rows that batches in flight have set: the index may not have them yet.
    pub(crate) fn in_flight(&self) -> impl Iterator<Item = &K> {
        self.changed.iter().filter(|(_, changed)| changed.row.is_some()).map(|(key, _)| key)
    }

    /// Notes a row read from the index. A change in flight stays above it.
    pub(crate) fn load(&mut self, key: K, row: R) {
        self.loaded.insert(key, row);
    }

    /// Sets or (with `None`) deletes a row in the batch being decided.
    pub(crate) fn set(&mut self, key: K, row: Option<R>, batch: u64) {
        self.settled.remove(&key);
        let before = self.changed.insert(key, Changed { row, batch });
        if before.is_none_or(|before| before.batch != batch) {
            self.touched.push(key);
        }
    }

    /// The rows that the batch being decided has changed, as they now stand.
    fn take_touched(&mut self) -> Vec<(K, Option<R>)> {
        let rows = |key: K| self.changed.get(&key).map(|changed| (key, changed.row));
        std::mem::take(&mut self.touched).into_iter().filter_map(rows).collect()
    }

    /// The batch is committed: rows that no later batch has changed are read from the index again.
    fn settle(&mut self, batch: u64, rows: &[(K, Option<R>)]) {
        if self.settled.len() > self.settled_max {
            self.settled.clear();
        }
        for (key, row) in rows {
            if self.changed.get(key).is_some_and(|changed| changed.batch == batch) {
                self.changed.remove(key);
                if self.settled_max > 0 {
                    self.settled.insert(*key, *row);
                }
            }
        }
    }
}

/// Every table the writer changes.
#[derive(Debug, Default)]
pub(crate) struct View {
    pub(crate) blobs: Table<Checksum, BlobRow>,
    pub(crate) fragments: Table<FragmentId, FragmentRow>,
    pub(crate) deposits: Table<DepositKey, DepositRow>,
    pub(crate) holdings: Table<HoldingKey, HoldingRow>,
    pub(crate) tesseras: Table<TesseraId, TesseraRow>,
    pub(crate) documents: Table<DocumentKey, DocumentRow>,
    /// When invites expire, by the hashes of their tokens.
    pub(crate) invites: Table<Checksum, i64>,
    /// What the batch being decided keeps of others.
    pub(crate) notes: Vec<Arc<[Note]>>,
    /// Few, so all of them are kept.
    pub(crate) segments: HashMap<u32, SegmentRow>,
    /// Segments that the batch being decided has changed.
    pub(crate) touched_segments: Vec<u32>,
    /// What the batch being decided adds to each account: fragments, bytes.
    pub(crate) accounts: HashMap<AccountId, (i64, i64)>,
    /// The digests of holdings before the batch being decided changed them.
    pub(crate) digests_before: HashMap<HoldingKey, Option<Digest>>,
    /// The chaining values of bytes that the batch being decided keeps.
    pub(crate) outboards: HashMap<Checksum, Bytes>,
    /// Repairs queued (`true`) or no longer needed (`false`).
    pub(crate) jobs: HashMap<Checksum, bool>,
    /// How far scrubbing has come.
    pub(crate) scrub: ScrubRow,
    /// Whether the batch being decided has changed that.
    pub(crate) scrub_changed: bool,
    /// The number of the batch being decided.
    pub(crate) batch: u64,
}

/// What one batch writes into the index.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) batch: u64,
    pub(crate) blobs: Vec<(Checksum, Option<BlobRow>)>,
    /// Whether blobs are among these whose fragments are not: of any tesserae.
    pub(crate) blobs_of_any: bool,
    pub(crate) fragments: Vec<(FragmentId, Option<FragmentRow>)>,
    pub(crate) deposits: Vec<(DepositKey, Option<DepositRow>)>,
    pub(crate) holdings: Vec<(HoldingKey, Option<HoldingRow>)>,
    pub(crate) tesseras: Vec<(TesseraId, Option<TesseraRow>)>,
    pub(crate) documents: Vec<(DocumentKey, Option<DocumentRow>)>,
    /// What the notes say of invites.
    pub(crate) invites: Vec<(Checksum, Option<i64>)>,
    /// In their order.
    pub(crate) notes: Vec<Arc<[Note]>>,
    pub(crate) segments: Vec<(u32, Option<SegmentRow>)>,
    pub(crate) accounts: Vec<(AccountId, (i64, i64))>,
    /// What the holdings add to the sums, by account and first byte of the tessera id.
    pub(crate) sums: Vec<((AccountId, u8), Sum)>,
    /// Only of blobs that are there afterwards.
    pub(crate) outboards: Vec<(Checksum, Bytes)>,
    pub(crate) jobs: Vec<(Checksum, bool)>,
    pub(crate) scrub: Option<ScrubRow>,
}

impl Changes {
    /// Whether rows of one of these tesserae are among them.
    pub(crate) fn touch(&self, tesseras: &RangeInclusive<TesseraId>) -> bool {
        self.tesseras.iter().any(|(tessera, _)| tesseras.contains(tessera))
            || self.holdings.iter().any(|((_, tessera), _)| tesseras.contains(tessera))
            || self.documents.iter().any(|((tessera, ..), _)| tesseras.contains(tessera))
    }

    /// Whether what is said of one of these tesserae may be another with them.
    pub(crate) fn may_concern(&self, tesseras: &RangeInclusive<TesseraId>) -> bool {
        self.blobs_of_any || self.touch(tesseras)
    }

    /// How many rows it writes or deletes.
    pub(crate) fn rows(&self) -> usize {
        let of_tesserae = self.holdings.len() + self.tesseras.len() + self.documents.len();
        let of_fragments = self.fragments.len() + self.deposits.len() + self.blobs.len() + self.jobs.len();
        let of_blobs: usize =
            self.outboards.iter().map(|(_, values)| 1 + values.len() / OUTBOARD_BYTES_PER_ROW).sum();
        let of_others: usize = self.notes.iter().flat_map(|notes| notes.iter()).map(Note::rows).sum();
        of_tesserae
            + of_fragments
            + of_blobs
            + of_others
            + self.segments.len()
            + self.accounts.len()
            + self.sums.len()
    }

    /// What these batches, one after the other, come to.
    pub(crate) fn of_all<'a>(batches: impl Iterator<Item = &'a Self> + Clone) -> Self {
        let mut accounts = HashMap::<_, (i64, i64)>::new();
        for (account, (fragments, bytes)) in batches.clone().flat_map(|batch| &batch.accounts) {
            let sum = accounts.entry(*account).or_default();
            *sum = (sum.0 + fragments, sum.1 + bytes);
        }
        let mut sums = HashMap::<_, Sum>::new();
        for (key, by) in batches.clone().flat_map(|batch| &batch.sums) {
            let sum = sums.entry(*key).or_default();
            *sum = sum.plus(*by);
        }
        let blobs = latest(batches.clone().map(|batch| &batch.blobs));
        let outboards = batches.clone().flat_map(|batch| batch.outboards.iter().cloned());
        Self {
            batch: batches.clone().map(|batch| batch.batch).max().unwrap_or_default(),
            blobs_of_any: batches.clone().any(|batch| batch.blobs_of_any),
            outboards: kept(outboards.collect(), &blobs),
            blobs,
            fragments: latest(batches.clone().map(|batch| &batch.fragments)),
            deposits: latest(batches.clone().map(|batch| &batch.deposits)),
            holdings: latest(batches.clone().map(|batch| &batch.holdings)),
            tesseras: latest(batches.clone().map(|batch| &batch.tesseras)),
            documents: latest(batches.clone().map(|batch| &batch.documents)),
            invites: latest(batches.clone().map(|batch| &batch.invites)),
            notes: batches.clone().flat_map(|batch| &batch.notes).cloned().collect(),
            segments: latest(batches.clone().map(|batch| &batch.segments)),
            accounts: accounts.into_iter().collect(),
            sums: sums.into_iter().collect(),
            jobs: latest(batches.clone().map(|batch| &batch.jobs)),
            scrub: batches.filter_map(|batch| batch.scrub).last(),
        }
    }
}

/// Each key once, in the order of their first appearance, with what was said of it last.
fn latest<'a, K, V>(batches: impl Iterator<Item = &'a Vec<(K, V)>>) -> Vec<(K, V)>
where
    K: Copy + Eq + Hash + 'a,
    V: Copy + 'a,
{
    let mut places = HashMap::new();
    let mut all: Vec<(K, V)> = Vec::new();
    for (key, value) in batches.flatten() {
        let place = *places.entry(*key).or_insert(all.len());
        match all.get_mut(place) {
            Some(row) => row.1 = *value,
            None => all.push((*key, *value)),
        }
    }
    all
}

/// Whether there are blobs that others than these fragments have, or had.
fn have_others(
    blobs: &[(Checksum, Option<BlobRow>)],
    fragments: &[(FragmentId, Option<FragmentRow>)],
) -> bool {
    let mut named = HashMap::<_, u32>::new();
    for row in fragments.iter().filter_map(|(_, row)| row.as_ref()) {
        *named.entry(row.checksum).or_default() += 1;
    }
    let is_theirs =
        |checksum: &Checksum, row: &BlobRow| named.get(checksum).is_some_and(|count| row.refs <= *count);
    blobs.iter().any(|(checksum, row)| !row.as_ref().is_some_and(|row| is_theirs(checksum, row)))
}

/// Without those of blobs that are gone.
fn kept(
    mut outboards: HashMap<Checksum, Bytes>,
    blobs: &[(Checksum, Option<BlobRow>)],
) -> Vec<(Checksum, Bytes)> {
    for (checksum, _) in blobs.iter().filter(|(_, row)| row.is_none()) {
        outboards.remove(checksum);
    }
    outboards.into_iter().collect()
}

impl View {
    /// A view of an index with these segments, scrubbed so far, and nothing in flight.
    pub(crate) fn new(segments: HashMap<u32, SegmentRow>, scrub: ScrubRow) -> Self {
        Self {
            segments,
            scrub,
            batch: 1,
            holdings: Table::keeping(SETTLED_MAX),
            tesseras: Table::keeping(SETTLED_MAX),
            ..Self::default()
        }
    }

    /// Forgets what was read from the index: it may change before it is needed again.
    pub(crate) fn forget_loaded(&mut self) {
        self.blobs.loaded.clear();
        self.fragments.loaded.clear();
        self.deposits.loaded.clear();
        self.holdings.loaded.clear();
        self.tesseras.loaded.clear();
        self.documents.loaded.clear();
        self.invites.loaded.clear();
    }

    /// How many rows the batch being decided has changed.
    pub(crate) fn rows_changed(&self) -> usize {
        let of_tesserae =
            self.holdings.touched.len() + self.tesseras.touched.len() + self.documents.touched.len();
        of_tesserae + self.blobs.touched.len() + self.fragments.touched.len() + self.deposits.touched.len()
    }

    /// Ends the batch being decided and begins the next.
    pub(crate) fn take_changes(&mut self) -> Changes {
        let batch = self.batch;
        self.batch += 1;
        self.touched_segments.sort_unstable();
        self.touched_segments.dedup();
        let sums = self.take_sums();
        self.forget_loaded();
        let (blobs, fragments) = (self.blobs.take_touched(), self.fragments.take_touched());
        let segment = |id: u32| (id, self.segments.get(&id).copied());
        Changes {
            batch,
            outboards: kept(std::mem::take(&mut self.outboards), &blobs),
            blobs_of_any: have_others(&blobs, &fragments),
            blobs,
            fragments,
            deposits: self.deposits.take_touched(),
            holdings: self.holdings.take_touched(),
            tesseras: self.tesseras.take_touched(),
            documents: self.documents.take_touched(),
            invites: self.invites.take_touched(),
            notes: std::mem::take(&mut self.notes),
            segments: std::mem::take(&mut self.touched_segments).into_iter().map(segment).collect(),
            accounts: self.accounts.drain().collect(),
            sums,
            jobs: self.jobs.drain().collect(),
            scrub: std::mem::take(&mut self.scrub_changed).then_some(self.scrub),
        }
    }

    /// What the batch being decided adds to the sums of holdings.
    fn take_sums(&mut self) -> Vec<((AccountId, u8), Sum)> {
        let mut sums = HashMap::<_, Sum>::new();
        for (key, before) in self.digests_before.drain() {
            let (account, tessera) = key;
            let after = self.holdings.get(&key).map(|row| row.digest);
            let [first_byte, ..] = *tessera.as_bytes();
            let sum = sums.entry((account, first_byte)).or_default();
            *sum = sum.plus(sums::of(tessera, after)).minus(sums::of(tessera, before));
        }
        sums.into_iter().filter(|(_, sum)| *sum != Sum::default()).collect()
    }

    /// Sets or deletes a holding.
    pub(crate) fn set_holding(
        &mut self,
        key: HoldingKey,
        before: Option<HoldingRow>,
        after: Option<HoldingRow>,
    ) {
        self.digests_before.entry(key).or_insert(before.map(|row| row.digest));
        self.holdings.set(key, after, self.batch);
    }

    /// The batch with these changes is committed.
    pub(crate) fn settle(&mut self, changes: &Changes) {
        self.blobs.settle(changes.batch, &changes.blobs);
        self.fragments.settle(changes.batch, &changes.fragments);
        self.deposits.settle(changes.batch, &changes.deposits);
        self.holdings.settle(changes.batch, &changes.holdings);
        self.tesseras.settle(changes.batch, &changes.tesseras);
        self.documents.settle(changes.batch, &changes.documents);
        self.invites.settle(changes.batch, &changes.invites);
    }

    /// Changes a segment's row.
    pub(crate) fn segment(&mut self, id: u32, change: impl FnOnce(&mut SegmentRow)) {
        if let Some(row) = self.segments.get_mut(&id) {
            change(row);
            self.touched_segments.push(id);
        }
    }

    /// Adds (or, negative, takes) live bytes of a segment.
    pub(crate) fn add_live(&mut self, segment: u32, bytes: i64) {
        self.segment(segment, |row| row.live_bytes = row.live_bytes.saturating_add_signed(bytes));
    }
}

/// They are larger than what a row is counted as.
const OUTBOARD_BYTES_PER_ROW: usize = 256;
/// Rows of tesserae being written to that stay in memory.
const SETTLED_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::rows::{BlobState, Place};

    #[test]
    fn row_changed_by_two_batches_stays_until_the_second_is_committed() {
        let mut table = Table::<u8, u8>::default();
        table.load(1, 10);
        table.set(1, Some(11), 1);
        let first = table.take_touched();
        table.set(1, None, 2);
        let second = table.take_touched();
        table.settle(1, &first);
        assert_eq!((first, second.clone()), (vec![(1, Some(11))], vec![(1, None)]));
        assert_eq!(table.get(&1), None, "the second batch deleted it");
        table.load(1, 11);
        assert_eq!(table.get(&1), None, "what is read before the commit does not count");
        table.settle(2, &second);
        assert_eq!(table.get(&1), Some(11), "now the index is asked again");
    }

    #[test]
    fn row_changed_twice_in_a_batch_is_written_once() {
        let mut table = Table::<u8, u8>::default();
        table.set(1, Some(1), 1);
        table.set(1, Some(2), 1);
        assert_eq!(table.take_touched(), vec![(1, Some(2))]);
    }

    #[test]
    fn bytes_whose_fragment_is_not_named_may_be_of_any_tessera() {
        let (one, other) = (Checksum::of(b"one"), Checksum::of(b"other"));
        let id = FragmentId { tessera: TesseraId::from_bytes([1; 32]), stripe: 0, index: 0 };
        let kept = [(id, Some(FragmentRow { checksum: one, deposits: 1 }))];
        let place = Place { segment: 1, position: 0, len: 9 };
        let with = |refs| Some(BlobRow { place, refs, state: BlobState::Ok });
        assert!(!have_others(&[(one, with(1))], &kept));
        assert!(have_others(&[(one, with(1)), (other, with(1))], &kept));
        assert!(have_others(&[(one, with(2))], &kept), "another fragment has the same bytes");
        assert!(have_others(&[(one, None)], &kept) && have_others(&[(one, None)], &[(id, None)]));
    }
}
