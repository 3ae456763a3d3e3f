//! What each record means for the index. The writer and the replay after a crash use the same functions, so they
//! cannot disagree.

use proto::{
    AccountId, Checksum, FragmentId, TesseraId,
    record::{Claim, Kind, SessionId, record_len},
};

use super::{
    digest::{self, Digest},
    rows::{
        BlobRow, BlobState, DepositKey, DepositRow, DocumentKey, DocumentRow, FragmentRow, Place, TesseraRow,
    },
    view::View,
};

impl View {
    /// A record of so many bytes was appended to a segment.
    pub(crate) fn note_record(&mut self, segment: u32, kind: Kind, seq: u64, bytes: u64) {
        self.segment(segment, |row| match kind {
            Kind::Blob => {}
            Kind::Ref | Kind::Document => row.min_seq = row.min_seq.min(seq),
            Kind::Drop | Kind::Commit | Kind::Forget => {
                row.drop_bytes += bytes;
                row.drop_seq = row.drop_seq.max(seq);
            }
        });
    }

    /// Bytes are now at a place. A blob that was suspect or missing is healed by it.
    pub(crate) fn add_blob(&mut self, checksum: Checksum, place: Place) {
        let old = self.blobs.get(&checksum);
        let refs = old.map_or(0, |old| old.refs);
        self.blobs.set(checksum, Some(BlobRow { place, refs, state: BlobState::Ok }), self.batch);
        if let Some(old) = old {
            if old.refs > 0 {
                self.add_live(old.place.segment, -blob_live(&old));
                self.add_live(place.segment, live(place.len));
            }
            if old.state != BlobState::Ok {
                self.jobs.insert(checksum, false);
            }
        }
    }

    /// The bytes were read and are wrong; if they are wanted, a repair is queued in the same transaction.
    pub(crate) fn suspect_blob(&mut self, checksum: Checksum) {
        if let Some(row) = self.blobs.get(&checksum) {
            self.spoil_blob(checksum, BlobRow { state: BlobState::Suspect, ..row });
        }
    }

    /// The bytes are gone; if they are wanted, a repair is queued in the same transaction.
    pub(crate) fn lose_blob(&mut self, checksum: Checksum) {
        let Some(row) = self.blobs.get(&checksum) else { return };
        if row.refs > 0 {
            self.add_live(row.place.segment, -blob_live(&row));
        }
        self.spoil_blob(checksum, BlobRow { state: BlobState::Missing, ..row });
    }

    fn spoil_blob(&mut self, checksum: Checksum, row: BlobRow) {
        let wanted = row.refs > 0;
        self.blobs.set(checksum, wanted.then_some(row), self.batch);
        self.jobs.insert(checksum, wanted);
    }

    /// An account wants a fragment: the ref that says so is in `segment`, with this sequence number. The blob's row
    /// must be there; one is made in state `missing` when a replay found the ref but not the bytes.
    pub(crate) fn add_deposit(&mut self, claim: &Claim, segment: u32, seq: u64, now_ms: i64) {
        let key = (claim.account, claim.fragment);
        let batch = self.batch;
        let old = self.deposits.get(&key);
        self.set_deposit(key, old, Some(DepositRow { segment, seq }));
        if old.is_some() {
            return;
        }
        let fragment = self.fragments.get(&claim.fragment);
        let deposits = fragment.map_or(0, |fragment| fragment.deposits) + 1;
        let row = FragmentRow { checksum: claim.checksum, deposits };
        self.fragments.set(claim.fragment, Some(row), batch);
        if fragment.is_none() {
            self.add_ref(claim.checksum, claim.length);
        }
        self.add_holding(claim, now_ms);
    }

    /// An account no longer wants a fragment. Does nothing when it did not.
    pub(crate) fn remove_deposit(&mut self, account: AccountId, id: FragmentId) {
        let key = (account, id);
        let (Some(deposit), Some(fragment)) = (self.deposits.get(&key), self.fragments.get(&id)) else {
            return;
        };
        self.set_deposit(key, Some(deposit), None);
        self.remove_holding(account, id, fragment.checksum);
        if fragment.deposits > 1 {
            let row = FragmentRow { deposits: fragment.deposits - 1, ..fragment };
            self.fragments.set(id, Some(row), self.batch);
        } else {
            self.fragments.set(id, None, self.batch);
            self.remove_ref(fragment.checksum);
        }
    }

    /// The ref of a deposit was written anew.
    pub(crate) fn renew_deposit(&mut self, account: AccountId, id: FragmentId, segment: u32, seq: u64) {
        if let Some(old) = self.deposits.get(&(account, id)) {
            self.set_deposit((account, id), Some(old), Some(DepositRow { segment, seq }));
        }
    }

    /// Sets or deletes a deposit, and counts its ref where it is.
    fn set_deposit(&mut self, key: DepositKey, old: Option<DepositRow>, new: Option<DepositRow>) {
        self.deposits.set(key, new, self.batch);
        if let Some(old) = old {
            self.add_live(old.segment, -REF_LIVE);
            self.segment(old.segment, |row| row.ref_seqs = row.ref_seqs.wrapping_sub(old.seq));
        }
        if let Some(new) = new {
            self.add_live(new.segment, REF_LIVE);
            self.segment(new.segment, |row| row.ref_seqs = row.ref_seqs.wrapping_add(new.seq));
        }
    }

    /// A document is now at a place.
    pub(crate) fn add_document(&mut self, key: DocumentKey, place: Place, session: SessionId, now_ms: i64) {
        let old = self.documents.get(&key);
        self.documents.set(key, Some(DocumentRow { place, suspect_at_ms: None }), self.batch);
        self.add_live(place.segment, live(place.len));
        self.touch_tessera(key.0, session, now_ms);
        match old {
            Some(old) => self.add_live(old.place.segment, -live(old.place.len)),
            None => self.count_document(key, u64::wrapping_add),
        }
    }

    /// A document is no longer wanted.
    pub(crate) fn remove_document(&mut self, key: DocumentKey) {
        if let Some(old) = self.documents.get(&key) {
            self.documents.set(key, None, self.batch);
            self.add_live(old.place.segment, -live(old.place.len));
            self.count_document(key, u64::wrapping_sub);
        }
    }

    /// A document's bytes are gone.
    pub(crate) fn lose_document(&mut self, key: DocumentKey, now_ms: i64) {
        if let Some(old) = self.documents.get(&key) {
            self.add_live(old.place.segment, -live(old.place.len));
            let place = Place { segment: 0, position: 0, len: old.place.len };
            let suspect_at_ms = old.suspect_at_ms.or(Some(now_ms));
            self.documents.set(key, Some(DocumentRow { place, suspect_at_ms }), self.batch);
        }
    }

    /// A document's bytes were read, and were right or not.
    pub(crate) fn see_document(&mut self, key: DocumentKey, suspect_at_ms: Option<i64>) {
        if let Some(old) = self.documents.get(&key) {
            self.documents.set(key, Some(DocumentRow { suspect_at_ms, ..old }), self.batch);
        }
    }

    fn count_document(&mut self, key: DocumentKey, step: fn(u64, u64) -> u64) {
        if let Some(old) = self.tesseras.get(&key.0) {
            let documents = step(old.documents, digest::seal_of_document(&key));
            self.tesseras.set(key.0, Some(TesseraRow { documents, ..old }), self.batch);
        }
    }

    /// The session that wrote this tessera is complete.
    pub(crate) fn commit_tessera(&mut self, tessera: TesseraId) {
        if let Some(old) = self.tesseras.get(&tessera) {
            self.tesseras.set(tessera, Some(TesseraRow { session: 0, ..old }), self.batch);
        }
    }

    /// Makes the tessera's row if there is none yet. One that is complete stays so.
    pub(crate) fn touch_tessera(&mut self, tessera: TesseraId, session: SessionId, now_ms: i64) {
        if self.tesseras.get(&tessera).is_none() {
            let row = TesseraRow { session: session.0, holdings: 0, received_at_ms: now_ms, documents: 0 };
            self.tesseras.set(tessera, Some(row), self.batch);
        }
    }

    fn add_ref(&mut self, checksum: Checksum, len: u32) {
        let nowhere = Place { segment: 0, position: 0, len };
        let old = self.blobs.get(&checksum);
        let row = old.unwrap_or(BlobRow { place: nowhere, refs: 0, state: BlobState::Missing });
        self.blobs.set(checksum, Some(BlobRow { refs: row.refs + 1, ..row }), self.batch);
        if row.state != BlobState::Ok {
            self.jobs.insert(checksum, true);
        }
        if row.refs == 0 {
            self.add_live(row.place.segment, blob_live(&row));
        }
    }

    fn remove_ref(&mut self, checksum: Checksum) {
        let Some(row) = self.blobs.get(&checksum) else { return };
        let refs = row.refs.saturating_sub(1);
        if refs == 0 {
            self.add_live(row.place.segment, -blob_live(&row));
            self.jobs.insert(checksum, false);
        }
        // Bytes that are gone or wrong and that nobody wants are forgotten at once; good ones until compaction.
        let gone = refs == 0 && row.state != BlobState::Ok;
        self.blobs.set(checksum, (!gone).then_some(BlobRow { refs, ..row }), self.batch);
    }

    fn add_holding(&mut self, claim: &Claim, now_ms: i64) {
        let bytes = u64::from(claim.length);
        let tessera = claim.fragment.tessera;
        self.touch_tessera(tessera, claim.session, now_ms);
        let key = (claim.account, tessera);
        let old = self.holdings.get(&key);
        let mut row = old.unwrap_or_default();
        row.fragments += 1;
        row.bytes += bytes;
        row.digest = row.digest.plus(Digest::of(&claim.fragment, &claim.checksum));
        self.set_holding(key, old, Some(row));
        if old.is_none() {
            self.count_holdings(tessera, 1);
        }
        self.count_account(claim.account, 1, bytes.cast_signed());
    }

    fn remove_holding(&mut self, account: AccountId, id: FragmentId, checksum: Checksum) {
        let key = (account, id.tessera);
        let bytes = self.blob_len(&checksum);
        let Some(old) = self.holdings.get(&key) else { return };
        let mut row = old;
        row.fragments = row.fragments.saturating_sub(1);
        row.bytes = row.bytes.saturating_sub(bytes);
        row.digest = row.digest.minus(Digest::of(&id, &checksum));
        let last = row.fragments == 0;
        self.set_holding(key, Some(old), (!last).then_some(row));
        if last {
            self.count_holdings(id.tessera, -1);
        }
        self.count_account(account, -1, -bytes.cast_signed());
    }

    fn count_holdings(&mut self, tessera: TesseraId, by: i32) {
        if let Some(old) = self.tesseras.get(&tessera) {
            let holdings = old.holdings.saturating_add_signed(by);
            self.tesseras.set(tessera, Some(TesseraRow { holdings, ..old }), self.batch);
        }
    }

    fn count_account(&mut self, account: AccountId, fragments: i64, bytes: i64) {
        let total = self.accounts.entry(account).or_default();
        total.0 += fragments;
        total.1 += bytes;
    }

    fn blob_len(&self, checksum: &Checksum) -> u64 {
        self.blobs.get(checksum).map_or(0, |row| row.place.len.into())
    }
}

/// Bytes that a record with a payload of this length takes in its segment.
fn live(len: u32) -> i64 {
    record_len(len as usize).cast_signed()
}

/// Bytes that a blob takes in its segment; a missing one takes none.
fn blob_live(row: &BlobRow) -> i64 {
    if row.state == BlobState::Missing { 0 } else { live(row.place.len) }
}

/// Bytes that a ref takes in its segment.
const REF_LIVE: i64 = record_len(proto::record::CLAIM_BYTES).cast_signed();
