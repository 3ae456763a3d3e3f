//! Checks the index against the log and against itself, by other means than storage's own.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::Path,
};

use proto::{
    AccountId, Checksum, FragmentId, TesseraId,
    proof::Outboard,
    record::{CLAIM_BYTES, Kind, Record, record_len},
};
use sqlx::{
    ConnectOptions, Connection, Row, SqliteConnection, sqlite::SqliteConnectOptions, sqlite::SqliteRow,
};

use super::{
    index,
    log::{DepositKey, DocumentKey, Log},
    node::{DEADLINE, Node},
};

/// The rows of the index.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    pub(crate) blobs: HashMap<Checksum, Blob>,
    pub(crate) fragments: HashMap<FragmentId, (Checksum, u64)>,
    /// Segment and sequence number of the ref.
    pub(crate) deposits: HashMap<DepositKey, (u32, u64)>,
    /// Fragments, bytes, digest.
    pub(crate) holdings: HashMap<(AccountId, TesseraId), (u64, u64, Vec<u8>)>,
    /// Session and holdings.
    pub(crate) tesseras: HashMap<TesseraId, (u64, u64)>,
    /// What the documents of each tessera are kept to add up to.
    pub(crate) document_sums: HashMap<TesseraId, u64>,
    /// Segment, position and payload length by tessera, kind and hash.
    pub(crate) documents: HashMap<DocumentKey, (u32, u64, u64)>,
    pub(crate) accounts: HashMap<AccountId, (u64, u64)>,
    /// By account and first byte of the tessera id; without those that are zero.
    pub(crate) holding_sums: HashMap<(AccountId, u8), u64>,
    pub(crate) segments: BTreeMap<u32, Segment>,
    pub(crate) outboards: HashMap<Checksum, Vec<u8>>,
    pub(crate) jobs: Vec<Checksum>,
    pub(crate) next_seq: u64,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Blob {
    pub(crate) segment: u32,
    pub(crate) position: u64,
    pub(crate) len: u64,
    pub(crate) refs: u64,
    pub(crate) state: u64,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Segment {
    pub(crate) bytes: u64,
    pub(crate) live_bytes: u64,
    pub(crate) drop_bytes: u64,
    pub(crate) min_seq: u64,
    pub(crate) drop_seq: u64,
}

/// A connection of the test's own to the index.
pub(crate) async fn connect(folder: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(index::path(folder, "")).disable_statement_logging();
    SqliteConnection::connect_with(&options).await.unwrap()
}

/// Reads all rows, once nothing is left to be purged; sessions must have ended.
pub(crate) async fn settled(folder: &Path) -> Rows {
    let mut connection = connect(folder).await;
    let deadline = std::time::Instant::now() + DEADLINE;
    loop {
        let rows = read(&mut connection).await;
        if rows.tesseras.values().all(|(session, holdings)| *session == 0 && *holdings > 0) {
            connection.close().await.unwrap();
            return rows;
        }
        assert!(std::time::Instant::now() < deadline, "in vain: purges end, {:?}", rows.tesseras);
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
}

/// Waits until so many deposits are in the index, those of sessions under way included.
pub(crate) async fn deposits(folder: &Path, expected: i64) {
    wait_for(folder, "SELECT count(*) FROM deposits", expected).await;
}

/// Waits until so many tesserae are in the index, those of sessions under way included.
pub(crate) async fn tesseras(folder: &Path, expected: i64) {
    wait_for(folder, "SELECT count(*) FROM tesseras", expected).await;
}

/// Moves the whole WAL into the database.
pub(crate) async fn checkpoint(folder: &Path) {
    let mut connection = connect(folder).await;
    sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

async fn wait_for(folder: &Path, sql: &'static str, expected: i64) {
    let deadline = std::time::Instant::now() + DEADLINE;
    while count(folder, sql).await != expected {
        assert!(std::time::Instant::now() < deadline, "in vain: {sql} is {expected}");
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
}

async fn count(folder: &Path, sql: &'static str) -> i64 {
    let mut connection = connect(folder).await;
    let count = sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    count
}

/// Checks everything. The node must run and have nothing to do.
pub(crate) async fn check(node: &Node) -> (Rows, Log) {
    let deadline = std::time::Instant::now() + DEADLINE;
    let (rows, log) = loop {
        // Whoever asks the store waits until its index has all that was acknowledged.
        node.storage().usage().await.unwrap();
        let rows = settled(node.path()).await;
        let log = Log::read(&node.segments());
        // A purge may just have written something, or begun a segment.
        let is_known = log.records.iter().all(|placed| placed.header.sequence < rows.next_seq);
        if (is_known && rows.segments.keys().eq(log.lengths.keys())) || std::time::Instant::now() > deadline {
            break (rows, log);
        }
    };
    rows.check_sums();
    rows.check_log(&log);
    (rows, log)
}

async fn read(connection: &mut SqliteConnection) -> Rows {
    let mut rows = Rows::default();
    let mut transaction = connection.begin().await.unwrap();
    for row in all(&mut transaction, "SELECT checksum, segment, position, len, refs, state FROM blobs").await
    {
        let blob = Blob {
            segment: row.get(1),
            position: number(&row, 2),
            len: number(&row, 3),
            refs: number(&row, 4),
            state: number(&row, 5),
        };
        rows.blobs.insert(checksum(&row, 0), blob);
    }
    for row in all(&mut transaction, "SELECT tessera, stripe, idx, checksum, deposits FROM fragments").await {
        rows.fragments.insert(fragment(&row), (checksum(&row, 3), number(&row, 4)));
    }
    for row in all(&mut transaction, "SELECT tessera, stripe, idx, account, segment, seq FROM deposits").await
    {
        rows.deposits.insert((account(&row, 3), fragment(&row)), (row.get(4), number(&row, 5)));
    }
    for row in all(&mut transaction, "SELECT account, tessera, fragments, bytes, digest FROM holdings").await
    {
        let held = (number(&row, 2), number(&row, 3), row.get(4));
        rows.holdings.insert((account(&row, 0), tessera(&row, 1)), held);
    }
    for row in all(&mut transaction, "SELECT tessera, session, holdings, documents FROM tesseras").await {
        rows.tesseras.insert(tessera(&row, 0), (number(&row, 1), number(&row, 2)));
        rows.document_sums.insert(tessera(&row, 0), number(&row, 3));
    }
    for row in
        all(&mut transaction, "SELECT tessera, kind, hash, segment, position, len FROM documents").await
    {
        let key = (tessera(&row, 0), row.get(1), checksum(&row, 2));
        rows.documents.insert(key, (row.get(3), number(&row, 4), number(&row, 5)));
    }
    for row in all(&mut transaction, "SELECT account, fragments, bytes FROM accounts").await {
        rows.accounts.insert(account(&row, 0), (number(&row, 1), number(&row, 2)));
    }
    for row in all(&mut transaction, "SELECT account, first_byte, sum FROM holding_sums WHERE sum != 0").await
    {
        rows.holding_sums.insert((account(&row, 0), row.get(1)), number(&row, 2));
    }
    for row in
        all(&mut transaction, "SELECT id, bytes, live_bytes, drop_bytes, min_seq, drop_seq FROM segments")
            .await
    {
        let [bytes, live_bytes, drop_bytes, min_seq, drop_seq] = [1, 2, 3, 4, 5].map(|at| number(&row, at));
        rows.segments.insert(row.get(0), Segment { bytes, live_bytes, drop_bytes, min_seq, drop_seq });
    }
    for row in all(&mut transaction, "SELECT checksum, chaining FROM outboards").await {
        rows.outboards.insert(checksum(&row, 0), row.get(1));
    }
    rows.next_seq =
        all(&mut transaction, "SELECT next_seq FROM log").await.iter().map(|row| number(row, 0)).sum();
    rows.jobs =
        all(&mut transaction, "SELECT checksum FROM jobs").await.iter().map(|row| checksum(row, 0)).collect();
    rows
}

impl Rows {
    /// Whatever is kept beside the rows equals what the rows add up to.
    fn check_sums(&self) {
        let mut holdings = HashMap::<(AccountId, TesseraId), (u64, u64, Vec<u8>)>::new();
        let mut deposits = HashMap::<FragmentId, u64>::new();
        let mut refs = HashMap::<Checksum, u64>::new();
        for (account, id) in self.deposits.keys() {
            *deposits.entry(*id).or_default() += 1;
            let (checksum, _) = self.fragments[id];
            let held = holdings.entry((*account, id.tessera)).or_insert((0, 0, vec![0; 32]));
            held.0 += 1;
            held.1 += self.blobs[&checksum].len;
            add(&mut held.2, &digest(id, &checksum));
        }
        for (id, (checksum, count)) in &self.fragments {
            assert_eq!(deposits.remove(id), Some(*count), "deposits of {id}");
            *refs.entry(*checksum).or_default() += 1;
        }
        assert_eq!(self.holdings, holdings, "holdings");
        let mut sums = HashMap::<_, u64>::new();
        for ((account, tessera), (.., digest)) in &holdings {
            let sum = sums.entry((*account, tessera.as_bytes()[0])).or_default();
            *sum = (*sum + sum_of(*tessera, digest)) % (1 << 62);
        }
        sums.retain(|_, sum| *sum != 0);
        assert_eq!(self.holding_sums, sums, "sums of holdings");
        let mut accounts = HashMap::<AccountId, (u64, u64)>::new();
        let mut tesseras = HashMap::<TesseraId, u64>::new();
        for ((account, tessera), (fragments, bytes, _)) in &holdings {
            let total = accounts.entry(*account).or_default();
            *total = (total.0 + fragments, total.1 + bytes);
            *tesseras.entry(*tessera).or_default() += 1;
        }
        let kept = self.accounts.iter().filter(|(_, total)| **total != (0, 0));
        assert_eq!(kept.map(|(id, total)| (*id, *total)).collect::<HashMap<_, _>>(), accounts, "totals");
        let kept = self.tesseras.iter().map(|(id, (_, holdings))| (*id, *holdings));
        assert_eq!(kept.collect::<HashMap<_, _>>(), tesseras, "holdings of tesserae");
        let mut sums: HashMap<_, u64> = self.tesseras.keys().map(|id| (*id, 0)).collect();
        for (tessera, kind, hash) in self.documents.keys() {
            let seal =
                blake3::keyed_hash(tessera.as_bytes(), &[hash.as_bytes().as_slice(), &[*kind]].concat());
            let seal = u64::from_le_bytes(seal.as_bytes()[..8].try_into().unwrap());
            let sum = sums.get_mut(tessera).unwrap();
            *sum = sum.wrapping_add(seal);
        }
        assert_eq!(self.document_sums, sums, "sums of documents");
        let kept = self.blobs.iter().filter(|(_, blob)| blob.refs > 0).map(|(sum, blob)| (*sum, blob.refs));
        assert_eq!(kept.collect::<HashMap<_, _>>(), refs, "refs of blobs");
        let bad = self.blobs.iter().filter(|(_, blob)| blob.refs > 0 && blob.state != OK);
        let mut bad: Vec<_> = bad.map(|(sum, _)| *sum).collect();
        let mut jobs = self.jobs.clone();
        bad.sort();
        jobs.sort();
        assert_eq!(jobs, bad, "repairs are queued for what is suspect or missing");
    }

    /// The log says the same as the index, and everything is where the index says.
    fn check_log(&self, log: &Log) {
        let wanted = log.wanted();
        let by_log: BTreeMap<_, _> = wanted.iter().map(|(key, wanted)| (*key, wanted.seq)).collect();
        let by_index: BTreeMap<_, _> = self.deposits.iter().map(|(key, (_, seq))| (*key, *seq)).collect();
        assert_eq!(by_index, by_log, "deposits by the index and by the log alone");
        for ((account, id), (segment, seq)) in &self.deposits {
            assert_eq!(self.fragments[id].0, wanted[&(*account, *id)].checksum, "checksum of {id}");
            let is_it = |claim: &proto::record::Claim| (claim.account, claim.fragment) == (*account, *id);
            let found = log.records.iter().any(|placed| {
                placed.segment == *segment
                    && placed.header.sequence == *seq
                    && matches!(&placed.record, Record::Ref(claim) if is_it(claim))
            });
            assert!(found, "the ref of {id} with number {seq} is not in segment {segment}");
        }
        for (checksum, blob) in self.blobs.iter().filter(|(_, blob)| blob.state == OK) {
            let found = log.at(blob.segment, blob.position).map(|placed| placed.header.payload_hash);
            assert_eq!(found, Some(*checksum), "blob in state ok at {blob:?}");
        }
        for (checksum, chaining) in &self.outboards {
            let blob = self.blobs[checksum];
            if let Some(Record::Blob(bytes)) =
                log.at(blob.segment, blob.position).map(|placed| &placed.record)
            {
                assert_eq!(Outboard::of(bytes).bytes(), chaining, "chaining values of {checksum}");
            }
        }
        let by_index: BTreeSet<_> = self.documents.keys().copied().collect();
        assert_eq!(by_index, log.documents(), "documents by the index and by the log alone");
        for (key, (segment, position, _)) in &self.documents {
            let placed = log.at(*segment, *position).map(|placed| &placed.record);
            let is_it = |record: &Record| matches!(record, Record::Document { bytes, .. } if Checksum::of(bytes) == key.2);
            assert!(placed.is_some_and(is_it), "{key:?} is not at {segment}:{position}");
        }
        self.check_segments(log);
    }

    fn check_segments(&self, log: &Log) {
        let rows: Vec<_> = self.segments.keys().collect();
        let files: Vec<_> = log.lengths.keys().collect();
        assert_eq!(rows, files, "every segment has its file, and every file is known");
        let mut live: BTreeMap<u32, u64> = self.segments.keys().map(|id| (*id, 0)).collect();
        for blob in self.blobs.values().filter(|blob| blob.refs > 0 && blob.state != MISSING) {
            *live.entry(blob.segment).or_default() += taken(blob.len);
        }
        for (segment, seq) in self.deposits.values() {
            let row = self.segments[segment];
            assert!(row.min_seq <= *seq, "{row:?} holds a ref with {seq}");
            *live.entry(*segment).or_default() += taken(CLAIM_BYTES as u64);
        }
        for (segment, _, len) in self.documents.values() {
            *live.entry(*segment).or_default() += taken(*len);
        }
        let kept: BTreeMap<_, _> = self.segments.iter().map(|(id, row)| (*id, row.live_bytes)).collect();
        assert_eq!(kept, live, "live bytes of segments");
        let mut drops: BTreeMap<u32, u64> = self.segments.keys().map(|id| (*id, 0)).collect();
        for placed in &log.records {
            let (seq, row) = (placed.header.sequence, self.segments[&placed.segment]);
            assert!(seq < self.next_seq, "{seq} is to be given yet: {}", self.next_seq);
            match placed.header.kind {
                Kind::Blob | Kind::Ref | Kind::Document => {}
                Kind::Drop | Kind::Commit | Kind::Forget => {
                    assert!(row.drop_seq >= seq, "{row:?} holds a drop with {seq}");
                    *drops.entry(placed.segment).or_default() += placed.header.record_len();
                }
            }
        }
        let kept: BTreeMap<_, _> = self.segments.iter().map(|(id, row)| (*id, row.drop_bytes)).collect();
        assert_eq!(kept, drops, "drops in segments");
        for (id, row) in &self.segments {
            assert!(row.bytes <= log.lengths[id], "segment {id} is shorter than {}", row.bytes);
        }
    }
}

/// BLAKE3 of stripe, index and checksum.
fn digest(id: &FragmentId, checksum: &Checksum) -> [u8; 32] {
    let bytes = [&id.stripe.to_le_bytes()[..], &id.index.to_le_bytes()[..], checksum.as_bytes()].concat();
    *blake3::hash(&bytes).as_bytes()
}

/// The first 8 bytes of BLAKE3 of a digest, keyed with the tessera, modulo 2⁶².
pub(crate) fn sum_of(tessera: TesseraId, digest: &[u8]) -> u64 {
    let hash = blake3::keyed_hash(tessera.as_bytes(), digest);
    u64::from_le_bytes(hash.as_bytes()[..8].try_into().unwrap()) % (1 << 62)
}

/// Adds modulo 2²⁵⁶, little-endian.
fn add(sum: &mut [u8], more: &[u8; 32]) {
    let mut carry = 0;
    for (target, byte) in sum.iter_mut().zip(more) {
        let total = u16::from(*target) + u16::from(*byte) + carry;
        carry = total >> 8;
        *target = total.to_le_bytes()[0];
    }
}

fn taken(payload: u64) -> u64 {
    record_len(usize::try_from(payload).unwrap())
}

async fn all(connection: &mut SqliteConnection, sql: &'static str) -> Vec<SqliteRow> {
    sqlx::query(sql).fetch_all(connection).await.unwrap()
}

fn number(row: &SqliteRow, at: usize) -> u64 {
    row.get::<i64, _>(at).cast_unsigned()
}

fn checksum(row: &SqliteRow, at: usize) -> Checksum {
    Checksum::try_from(row.get::<&[u8], _>(at)).unwrap()
}

fn account(row: &SqliteRow, at: usize) -> AccountId {
    AccountId::try_from(row.get::<&[u8], _>(at)).unwrap()
}

fn tessera(row: &SqliteRow, at: usize) -> TesseraId {
    TesseraId::try_from(row.get::<&[u8], _>(at)).unwrap()
}

fn fragment(row: &SqliteRow) -> FragmentId {
    FragmentId { tessera: tessera(row, 0), stripe: row.get(1), index: row.get(2) }
}

const OK: u64 = 0;
const MISSING: u64 = 2;
