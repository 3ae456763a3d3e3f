//! Reading what is kept of others. No bytes of blobs.

use std::ops::Range;

use bytes::Bytes;
use proto::{
    AccountId, AuthorId, Checksum, FragmentId, NodeId, TesseraId,
    limits::STRIPE_TOTAL_MAX,
    record::{DOCUMENT_FIELDS_BYTES, DocumentKind},
};
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use super::{
    alarm::FreshDamage,
    ledger::{Ledger, Signed},
    message::Reply,
    notes::{Blocked, Invite, Origin, Receipt},
    parting::KeptRetraction,
    replication::{Jobs, KeptPlacement, ReplicationJob},
    watched::{RepairAllowance, Watched, WatchedTotals, Which},
};
use crate::{error::ActorError, supervision::gate::Slot};

/// A question about others, and who asks.
#[derive(Debug)]
pub(super) struct RecordsMsg {
    pub(super) question: Question,
    pub(super) slot: Slot,
}

/// What can be asked.
#[derive(Debug)]
pub(super) enum Question {
    /// The peers there are, or one of them.
    Peers { only: Option<NodeId>, reply: Reply<Vec<Peer>> },
    /// What is blocked: of these, or all.
    Blocks { only: Option<Vec<Blocked>>, reply: Reply<Vec<Block>> },
    /// The invites there are, or the one for a token.
    Invites { only: Option<Checksum>, reply: Reply<Vec<(Checksum, Invite)>> },
    /// Who claims what of a tessera, summed up.
    Holders { tessera: TesseraId, reply: Reply<Vec<Holder>> },
    /// Who claims what of some stripes.
    Claims { tessera: TesseraId, stripes: Range<u32>, reply: Reply<Vec<Claimed>> },
    /// What a holder has signed to have.
    Receipts { holder: NodeId, tessera: TesseraId, from: (u32, u16), limit: u32, reply: Reply<Vec<Receipt>> },
    /// The documents of a tessera.
    Documents { tessera: TesseraId, reply: Reply<Vec<HeldDocument>> },
    /// Who keeps a tessera, as was signed.
    Placements { tessera: TesseraId, reply: Reply<Vec<KeptPlacement>> },
    /// What is done about tesserae with other nodes.
    ReplicationJobs { which: Jobs, reply: Reply<Vec<ReplicationJob>> },
    /// What is done about what others keep.
    Care(Care),
    /// For which accounts anything of a tessera is kept.
    Keepers { tessera: TesseraId, reply: Reply<Vec<AccountId>> },
    /// How much is kept for an account.
    Account { account: AccountId, reply: Reply<AccountTotals> },
    /// How much is kept for all accounts but these.
    Others { but: Vec<AccountId>, reply: Reply<AccountTotals> },
    /// A page of the ledger.
    Ledger { us: AuthorId, from: Option<AuthorId>, limit: u32, reply: Reply<Ledger> },
    /// What these holders have signed to have of an author's.
    Signed { author: AuthorId, holders: Vec<NodeId>, reply: Reply<Signed> },
}

/// What can be asked of how this node looks after what others keep.
#[derive(Debug)]
pub(super) enum Care {
    /// When it is looked at what others keep.
    Watched { which: Which, reply: Reply<Vec<Watched>> },
    /// What all of that comes to.
    WatchedTotals { survive: u16, reply: Reply<WatchedTotals> },
    /// What repair may still move.
    RepairAllowance { reply: Reply<Option<RepairAllowance>> },
    /// What was found damaged here lately.
    FreshDamage { reply: Reply<Option<FreshDamage>> },
    /// Whose claims of a tessera count for nothing.
    Doubted { tessera: TesseraId, reply: Reply<Vec<NodeId>> },
    /// Whether a tessera was taken back.
    Retraction { tessera: TesseraId, reply: Reply<Option<KeptRetraction>> },
    /// Who has signed to have anything of a tessera.
    Signers { tessera: TesseraId, reply: Reply<Vec<NodeId>> },
    /// Who is still to be told that something was taken back.
    RetractionsDue { reply: Reply<Vec<(TesseraId, NodeId)>> },
    /// What is looked after here: all, or this one.
    Adopted { only: Option<TesseraId>, reply: Reply<Vec<(TesseraId, i64)>> },
    /// Since when this node hands over what it keeps for others.
    Leaving { reply: Reply<Option<i64>> },
}

/// A peer that is known. Times in milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Peer {
    /// Who it is.
    pub node: NodeId,
    /// Where it listens, `host:port`.
    pub addresses: Vec<String>,
    /// Who it acts for, if that is known.
    pub author: Option<AuthorId>,
    /// How much may be kept for it, in bytes; `None` for as much as is said for everybody.
    pub allow_bytes: Option<u64>,
    /// How it came to be known.
    pub origin: Origin,
    /// When that was.
    pub added_at_ms: i64,
    /// When it was there last.
    pub seen_at_ms: Option<i64>,
    /// Where it was then.
    pub last_address: Option<String>,
    /// How often it gave other bytes than it should.
    pub wrong_bytes: u64,
    /// How often it failed.
    pub errors: u64,
    /// How often it was not there.
    pub absences: u64,
    /// What the operator calls it.
    pub name: Option<String>,
}

/// A tessera or node of which nothing is accepted.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Block {
    /// Which one.
    #[serde(flatten)]
    pub what: Blocked,
    /// Why.
    pub reason: String,
    /// Since when, in milliseconds since 1970.
    pub at_ms: i64,
}

/// What a node claims to have of a tessera, summed up. Times in milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    /// Who it is.
    pub node: NodeId,
    /// Fragments that it claims.
    pub claimed: u64,
    /// Their indices, whichever the stripe: a bit for each, the lowest for 0.
    pub indices: u32,
    /// When it claimed that of which this is longest ago.
    pub claimed_at_ms: i64,
    /// How many of them it has proven, ever.
    pub proven: u64,
    /// When it has proven anything last.
    pub proven_at_ms: Option<i64>,
}

/// A node claims to have a fragment. Times in milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claimed {
    /// Who claims that.
    pub holder: NodeId,
    /// The stripe, from 0.
    pub stripe: u32,
    /// The place in the stripe, from 0.
    pub index: u16,
    /// The checksum that it says the fragment has.
    pub checksum: Checksum,
    /// When.
    pub claimed_at_ms: i64,
    /// When it has proven that last.
    pub proven_at_ms: Option<i64>,
}

/// A document that is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldDocument {
    /// Which document of its tessera.
    pub kind: DocumentKind,
    /// Its BLAKE3.
    pub hash: Checksum,
    /// Its length in bytes.
    pub length: u32,
    /// Whether its bytes are known to be damaged or gone.
    pub is_damaged: bool,
}

/// How much is kept for an account, or for several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct AccountTotals {
    /// Fragments.
    pub fragments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes of the documents of their tesserae.
    pub document_bytes: u64,
}

impl AccountTotals {
    /// What it takes of an allowance, in bytes. A fragment of nearly nothing takes a place in the log and in the index as
    /// well, and a tessera its documents.
    pub fn charged(&self) -> u64 {
        let places = self.fragments.saturating_mul(PLACE_BYTES);
        self.bytes.saturating_add(self.document_bytes).saturating_add(places)
    }
}

/// The peers there are, in the order of their ids; or one of them, if it is known.
pub(super) async fn peers(
    index: &mut SqliteConnection,
    only: Option<NodeId>,
) -> Result<Vec<Peer>, ActorError> {
    let rows = match only {
        Some(node) => sqlx::query(PEER).bind(node.as_bytes().as_slice()).fetch_all(index).await?,
        None => sqlx::query(PEERS).fetch_all(index).await?,
    };
    rows.iter().map(peer).collect()
}

fn peer(row: &SqliteRow) -> Result<Peer, ActorError> {
    let addresses = serde_json::from_str(row.try_get(1)?)
        .map_err(|error| ActorError::damaged_index(format!("the addresses of a peer are none: {error}")))?;
    let author = row.try_get::<Option<&[u8]>, _>(2)?.map(AuthorId::try_from).transpose()?;
    Ok(Peer {
        node: NodeId::try_from(row.try_get::<&[u8], _>(0)?)?,
        addresses,
        author,
        allow_bytes: row.try_get::<Option<i64>, _>(3)?.map(i64::cast_unsigned),
        origin: Origin::from_code(row.try_get(4)?),
        added_at_ms: row.try_get(5)?,
        seen_at_ms: row.try_get(6)?,
        last_address: row.try_get(7)?,
        wrong_bytes: row.try_get::<i64, _>(8)?.cast_unsigned(),
        errors: row.try_get::<i64, _>(9)?.cast_unsigned(),
        absences: row.try_get::<i64, _>(10)?.cast_unsigned(),
        name: row.try_get(11)?,
    })
}

/// What is blocked: of these, or all.
pub(super) async fn blocks(
    index: &mut SqliteConnection,
    only: Option<&[Blocked]>,
) -> Result<Vec<Block>, ActorError> {
    let rows = match only {
        Some(only) => {
            let ids = only.iter().map(|what| Checksum::from_bytes(*what.id()).to_string());
            let ids = serde_json::Value::from(ids.collect::<Vec<_>>()).to_string();
            sqlx::query(BLOCKS_OF).bind(ids).fetch_all(index).await?
        }
        None => sqlx::query(BLOCKS).fetch_all(index).await?,
    };
    let block = |row: &SqliteRow| -> Result<Option<Block>, ActorError> {
        let id = *Checksum::try_from(row.try_get::<&[u8], _>(0)?)?.as_bytes();
        let Some(what) = Blocked::from_code(id, row.try_get(1)?) else { return Ok(None) };
        let is_asked_for = only.is_none_or(|only| only.contains(&what));
        let (reason, at_ms) = (row.try_get(2)?, row.try_get(3)?);
        Ok(is_asked_for.then_some(Block { what, reason, at_ms }))
    };
    rows.iter().filter_map(|row| block(row).transpose()).collect()
}

/// The invites there are, or the one for a token.
pub(super) async fn invites(
    index: &mut SqliteConnection,
    only: Option<Checksum>,
) -> Result<Vec<(Checksum, Invite)>, ActorError> {
    let rows = match only {
        Some(token) => sqlx::query(INVITE).bind(token.as_bytes().as_slice()).fetch_all(index).await?,
        None => sqlx::query(INVITES).fetch_all(index).await?,
    };
    let invite = |row: &SqliteRow| -> Result<_, ActorError> {
        let allow_bytes = row.try_get::<Option<i64>, _>(1)?.map(i64::cast_unsigned);
        let invite = Invite { allow_bytes, expires_at_ms: row.try_get(2)?, name: row.try_get(3)? };
        Ok((Checksum::try_from(row.try_get::<&[u8], _>(0)?)?, invite))
    };
    rows.iter().map(invite).collect()
}

/// Who claims what of a tessera, summed up, in the order of their ids.
pub(super) async fn holders(
    index: &mut SqliteConnection,
    tessera: TesseraId,
) -> Result<Vec<Holder>, ActorError> {
    let rows = sqlx::query(HOLDERS).bind(tessera.as_bytes().as_slice()).fetch_all(index).await?;
    let holder = |row: &SqliteRow| -> Result<Holder, ActorError> {
        Ok(Holder {
            node: NodeId::try_from(row.try_get::<&[u8], _>(0)?)?,
            claimed: row.try_get::<i64, _>(1)?.cast_unsigned(),
            claimed_at_ms: row.try_get(2)?,
            proven: row.try_get::<i64, _>(3)?.cast_unsigned(),
            proven_at_ms: row.try_get(4)?,
            indices: row.try_get(5)?,
        })
    };
    rows.iter().map(holder).collect()
}

/// Who claims what of some stripes, in the order of the fragments.
///
/// Errors with [`ActorError::Conflict`] when that is too much for one answer.
pub(super) async fn claims(
    index: &mut SqliteConnection,
    tessera: TesseraId,
    stripes: Range<u32>,
) -> Result<Vec<Claimed>, ActorError> {
    let asked = sqlx::query(CLAIMS).bind(tessera.as_bytes().as_slice()).bind(stripes.start).bind(stripes.end);
    let rows = asked.bind(CLAIMS_MAX + 1).fetch_all(index).await?;
    if rows.len() > CLAIMS_MAX as usize {
        let what = format!("more than {CLAIMS_MAX} fragments are claimed of these stripes: ask for fewer");
        return Err(ActorError::Conflict { what });
    }
    let claim = |row: &SqliteRow| -> Result<Claimed, ActorError> {
        Ok(Claimed {
            stripe: row.try_get(0)?,
            index: row.try_get(1)?,
            holder: NodeId::try_from(row.try_get::<&[u8], _>(2)?)?,
            checksum: Checksum::try_from(row.try_get::<&[u8], _>(3)?)?,
            claimed_at_ms: row.try_get(4)?,
            proven_at_ms: row.try_get(5)?,
        })
    };
    rows.iter().map(claim).collect()
}

/// What a holder has signed to have of a tessera, from a (stripe, index) on, in order.
pub(super) async fn receipts(
    index: &mut SqliteConnection,
    holder: NodeId,
    tessera: TesseraId,
    from: (u32, u16),
    limit: u32,
) -> Result<Vec<Receipt>, ActorError> {
    let asked = sqlx::query(RECEIPTS).bind(holder.as_bytes().as_slice()).bind(tessera.as_bytes().as_slice());
    let rows = asked.bind(from.0).bind(from.1).bind(limit).fetch_all(index).await?;
    let receipt = |row: &SqliteRow| -> Result<Receipt, ActorError> {
        Ok(Receipt {
            holder,
            fragment: FragmentId { tessera, stripe: row.try_get(0)?, index: row.try_get(1)? },
            checksum: Checksum::try_from(row.try_get::<&[u8], _>(2)?)?,
            length: row.try_get(3)?,
            author: AuthorId::try_from(row.try_get::<&[u8], _>(4)?)?,
            held_at_ms: row.try_get(5)?,
            signed: Bytes::copy_from_slice(row.try_get(6)?),
        })
    };
    rows.iter().map(receipt).collect()
}

/// The accounts for which anything of a tessera is kept, in the order of their ids.
pub(super) async fn keepers(
    index: &mut SqliteConnection,
    tessera: TesseraId,
) -> Result<Vec<AccountId>, ActorError> {
    let rows = sqlx::query(KEEPERS).bind(tessera.as_bytes().as_slice()).fetch_all(index).await?;
    rows.iter().map(|row| Ok(AccountId::try_from(row.try_get::<&[u8], _>(0)?)?)).collect()
}

/// The documents of a tessera, by kind and in the order in which they stand in the log. Of one that a session is still writing there are none.
pub(super) async fn documents(
    index: &mut SqliteConnection,
    tessera: TesseraId,
) -> Result<Vec<HeldDocument>, ActorError> {
    let rows = sqlx::query(DOCUMENTS).bind(tessera.as_bytes().as_slice()).fetch_all(index).await?;
    let document = |row: &SqliteRow| -> Result<Option<HeldDocument>, ActorError> {
        let Some(kind) = DocumentKind::from_code(row.try_get(0)?) else { return Ok(None) };
        Ok(Some(HeldDocument {
            kind,
            hash: Checksum::try_from(row.try_get::<&[u8], _>(1)?)?,
            length: row.try_get::<u32, _>(2)?.saturating_sub(DOCUMENT_FIELDS_LEN),
            is_damaged: row.try_get(3)?,
        }))
    };
    rows.iter().filter_map(|row| document(row).transpose()).collect()
}

/// How much is kept for an account.
pub(super) async fn account(
    index: &mut SqliteConnection,
    account: AccountId,
) -> Result<AccountTotals, ActorError> {
    let row = sqlx::query(ACCOUNT).bind(account.as_bytes().as_slice()).fetch_optional(index).await?;
    row.as_ref().map_or_else(|| Ok(AccountTotals::default()), totals)
}

/// How much is kept for all accounts but these.
pub(super) async fn others(
    index: &mut SqliteConnection,
    but: &[AccountId],
) -> Result<AccountTotals, ActorError> {
    let but: Vec<_> =
        but.iter().map(|account| Checksum::from_bytes(*account.as_bytes()).to_string()).collect();
    let but = serde_json::Value::from(but).to_string();
    totals(&sqlx::query(OTHERS).bind(but).fetch_one(index).await?)
}

/// In the first three columns.
pub(super) fn totals(row: &SqliteRow) -> Result<AccountTotals, ActorError> {
    Ok(AccountTotals {
        fragments: row.try_get::<i64, _>(0)?.cast_unsigned(),
        bytes: row.try_get::<i64, _>(1)?.cast_unsigned(),
        document_bytes: row.try_get::<i64, _>(2)?.cast_unsigned(),
    })
}

/// Of a record's payload, before the document's bytes.
const DOCUMENT_FIELDS_LEN: u32 = 48;
const _: () = assert!(DOCUMENT_FIELDS_LEN as usize == DOCUMENT_FIELDS_BYTES);
/// What a fragment takes beside its bytes: its head in the log, its ref, and its rows.
pub(crate) const PLACE_BYTES: u64 = 512;
/// Claims in one answer.
const CLAIMS_MAX: u32 = 64 << 10;
/// Stripes whose claims are looked up together: few enough for one answer when as many nodes as a stripe has fragments say that
/// they have all of them.
pub(crate) const CLAIM_STRIPES: u32 = 64;
const _: () = assert!(CLAIM_STRIPES * (STRIPE_TOTAL_MAX as u32) * (STRIPE_TOTAL_MAX as u32) <= CLAIMS_MAX);
const PEERS: &str = "SELECT node, addresses, author, allow_bytes, origin, added_at, seen_at, last_address, \
     wrong_bytes, errors, absences, name FROM peers ORDER BY node";
const PEER: &str = "SELECT node, addresses, author, allow_bytes, origin, added_at, seen_at, last_address, \
     wrong_bytes, errors, absences, name FROM peers WHERE node = ?";
const BLOCKS: &str = "SELECT id, kind, reason, at FROM blocked ORDER BY at, id";
const BLOCKS_OF: &str = "SELECT id, kind, reason, at FROM blocked \
     WHERE id IN (SELECT unhex(value) FROM json_each(?)) ORDER BY at, id";
const INVITES: &str = "SELECT token, allow_bytes, expires_at, name FROM invites ORDER BY expires_at, token";
const INVITE: &str = "SELECT token, allow_bytes, expires_at, name FROM invites WHERE token = ?";
const ACCOUNT: &str = "SELECT a.fragments, a.bytes, coalesce(d.bytes, 0) FROM accounts a \
     LEFT JOIN document_sums d ON d.account = a.account WHERE a.account = ?";
const OTHERS: &str = "SELECT coalesce(sum(a.fragments), 0), coalesce(sum(a.bytes), 0), coalesce(sum(d.bytes), 0) \
     FROM accounts a LEFT JOIN document_sums d ON d.account = a.account \
     WHERE a.account NOT IN (SELECT unhex(value) FROM json_each(?))";
const KEEPERS: &str = "SELECT account FROM holdings WHERE tessera = ? ORDER BY account";
const HOLDERS: &str = "SELECT holder, count(*), min(claimed_at), count(proven_at), max(proven_at), \
     sum(DISTINCT 1 << idx) FROM claims \
     WHERE tessera = ? GROUP BY holder ORDER BY holder";
const CLAIMS: &str = "SELECT stripe, idx, holder, checksum, claimed_at, proven_at FROM claims \
     WHERE tessera = ? AND stripe >= ? AND stripe < ? ORDER BY stripe, idx, holder LIMIT ? + 0";
const DOCUMENTS: &str = "SELECT d.kind, d.hash, d.len, d.suspect_at IS NOT NULL FROM documents d \
     JOIN tesseras t ON t.tessera = d.tessera AND t.session = 0 AND t.holdings > 0 \
     WHERE d.tessera = ? ORDER BY d.kind, d.segment, d.position, d.hash";
const RECEIPTS: &str = "SELECT stripe, idx, checksum, len, author, held_at, signed FROM receipts \
     WHERE holder = ? AND tessera = ? AND (stripe, idx) >= (?, ?) ORDER BY stripe, idx LIMIT ? + 0";
