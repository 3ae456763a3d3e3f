//! Digests and sums of what is held for an account, and of what a holder has signed to have: two nodes find with them
//! where their records differ.
//!
//! # Invariants
//! 1. Digests and sums change in the transaction that changes what they are of, so asking for them reads no more than them.
//! 2. The sums by the second byte are not kept: they are made from the digests under one first byte.
//!
//! # Not guaranteed
//! What a session has written counts before its commit. Sessions write for this node itself, and nobody compares that.

use std::collections::{BTreeMap, HashMap};

use futures::TryStreamExt;
use proto::{
    AccountId, AuthorId, Checksum, FragmentId, NodeId, TesseraId,
    compare::{Digest, Sum},
};
use sqlx::{Connection, Row, SqliteConnection, sqlite::SqliteRow};

use super::{facts::checked, index::placed, message::Reply, pragmas::Database};
use crate::{error::ActorError, supervision::gate::Slot};

/// Whose records are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// What is held here for an account.
    Held(AccountId),
    /// What a holder has signed to have.
    Placed(NodeId),
}

/// A question about digests and sums, and who asks.
#[derive(Debug)]
pub(super) struct SumsMsg {
    pub(super) side: Side,
    pub(super) question: Question,
    pub(super) slot: Slot,
}

/// What can be asked.
#[derive(Debug)]
pub(super) enum Question {
    /// The sums by the first byte of the tessera id.
    All { reply: Reply<Box<[Sum; 256]>> },
    /// The sums by the second byte, under a first one.
    Under { first: u8, reply: Reply<Box<[Sum; 256]>> },
    /// The tesserae whose ids begin with these bytes, behind one of them, with their digests.
    Tesserae { prefix: Vec<u8>, after: Option<TesseraId>, limit: u32, reply: Reply<Vec<(TesseraId, Digest)>> },
    /// The fragments of a tessera, from a (stripe, index) on.
    Fragments { tessera: TesseraId, from: (u32, u16), limit: u32, reply: Reply<Vec<(u32, u16, Checksum)>> },
}

impl Side {
    fn key(&self) -> &[u8] {
        match self {
            Self::Held(account) => account.as_bytes(),
            Self::Placed(holder) => holder.as_bytes(),
        }
    }
}

/// The sums by the first byte of the tessera id: one read.
pub(super) async fn all(index: &mut SqliteConnection, side: Side) -> Result<Box<[Sum; 256]>, ActorError> {
    let sql = match side {
        Side::Held(_) => "SELECT first_byte, sum FROM holding_sums WHERE account = ?",
        Side::Placed(_) => "SELECT first_byte, sum FROM placed_sums WHERE holder = ?",
    };
    let mut sums = Box::new([Sum::default(); 256]);
    for row in sqlx::query(sql).bind(side.key()).fetch_all(index).await? {
        add(&mut sums, row.try_get(0)?, Sum::wrapped(row.try_get::<i64, _>(1)?.cast_unsigned()));
    }
    Ok(sums)
}

/// The sums by the second byte of the tessera id, under a first one.
pub(super) async fn under(
    index: &mut SqliteConnection,
    side: Side,
    first: u8,
) -> Result<Box<[Sum; 256]>, ActorError> {
    let (from, to) = bounds(&[first]);
    let sql = match side {
        Side::Held(_) => "SELECT tessera, digest FROM holdings WHERE account = ? AND tessera BETWEEN ? AND ?",
        Side::Placed(_) => "SELECT tessera, digest FROM placed WHERE holder = ? AND tessera BETWEEN ? AND ?",
    };
    let mut sums = Box::new([Sum::default(); 256]);
    let asked =
        sqlx::query(sql).bind(side.key()).bind(from.as_bytes().as_slice()).bind(to.as_bytes().as_slice());
    let mut rows = asked.fetch(index);
    while let Some(row) = rows.try_next().await? {
        let (tessera, digest) = digest(&row)?;
        let [_, second, ..] = *tessera.as_bytes();
        add(&mut sums, second, Sum::of(tessera, &digest));
    }
    Ok(sums)
}

/// The tesserae whose ids begin with these bytes, behind one of them, in order, with their digests.
pub(super) async fn tesserae(
    index: &mut SqliteConnection,
    side: Side,
    prefix: &[u8],
    after: Option<TesseraId>,
    limit: u32,
) -> Result<Vec<(TesseraId, Digest)>, ActorError> {
    let (from, to) = bounds(prefix);
    let sql = match side {
        Side::Held(_) => {
            "SELECT tessera, digest FROM holdings WHERE account = ? AND tessera >= ? AND tessera <= ? \
             AND tessera > ? ORDER BY tessera LIMIT ? + 0"
        }
        Side::Placed(_) => {
            "SELECT tessera, digest FROM placed WHERE holder = ? AND tessera >= ? AND tessera <= ? \
             AND tessera > ? ORDER BY tessera LIMIT ? + 0"
        }
    };
    let asked =
        sqlx::query(sql).bind(side.key()).bind(from.as_bytes().as_slice()).bind(to.as_bytes().as_slice());
    // Behind nothing is behind an id that is shorter than all others.
    let after = after.as_ref().map_or(&[][..], |after| after.as_bytes());
    let rows = asked.bind(after).bind(limit).fetch_all(index).await?;
    rows.iter().map(digest).collect()
}

/// The fragments of a tessera, from a (stripe, index) on, in order.
pub(super) async fn fragments(
    index: &mut SqliteConnection,
    side: Side,
    tessera: TesseraId,
    from: (u32, u16),
    limit: u32,
) -> Result<Vec<(u32, u16, Checksum)>, ActorError> {
    let sql = match side {
        Side::Held(_) => HELD,
        Side::Placed(_) => PLACED,
    };
    let asked = sqlx::query(sql).bind(side.key()).bind(tessera.as_bytes().as_slice());
    let rows = asked.bind(from.0).bind(from.1).bind(limit).fetch_all(index).await?;
    let fragment = |row: &SqliteRow| -> Result<_, ActorError> {
        let id = FragmentId { tessera, stripe: row.try_get(0)?, index: row.try_get(1)? };
        let checksum = Checksum::try_from(row.try_get::<&[u8], _>(2)?)?;
        let checksum = match row.try_get::<Option<i64>, _>(3)? {
            Some(seal) => checked(&id, checksum, seal)?,
            None => checksum,
        };
        Ok((id.stripe, id.index, checksum))
    };
    rows.iter().map(fragment).collect()
}

/// The lowest and the highest id that begin with these bytes.
pub(super) fn bounds(prefix: &[u8]) -> (TesseraId, TesseraId) {
    let filled = |rest: u8| {
        let mut id = [rest; 32];
        id.iter_mut().zip(prefix).for_each(|(to, from)| *to = *from);
        TesseraId::from_bytes(id)
    };
    (filled(0x00), filled(0xff))
}

/// What a tessera adds to a sum, if anything of it is there.
pub(super) fn of(tessera: TesseraId, digest: Option<Digest>) -> Sum {
    digest.map_or(Sum::default(), |digest| Sum::of(tessera, &digest))
}

/// Makes all sums anew, and the digests of what holders have signed, if the index says that they are not what they should
/// be: the index is of a version that had none, or was restored. Nothing else may write.
pub(crate) async fn fill_if_due(database: &Database) -> Result<(), ActorError> {
    let mut writer = database.writer.acquire().await?;
    let due: bool = sqlx::query_scalar("SELECT sums_due FROM records").fetch_one(&mut *writer).await?;
    if !due {
        return Ok(());
    }
    let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
    for sql in ["DELETE FROM holding_sums", "DELETE FROM placed", "DELETE FROM placed_sums"] {
        sqlx::query(sql).execute(&mut *transaction).await?;
    }
    for ((account, first_byte), sum) in held(&mut transaction).await? {
        sqlx::query("INSERT INTO holding_sums VALUES (?, ?, ?)")
            .bind(account.as_bytes().as_slice())
            .bind(first_byte)
            .bind(sum.get().cast_signed())
            .execute(&mut *transaction)
            .await?;
    }
    let mut receipts = Receipts::default();
    while let Some(page) = receipts.page(&mut transaction).await? {
        placed::change(&mut transaction, page).await?;
    }
    sqlx::query("UPDATE records SET sums_due = 0").execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(())
}

/// Errors as damage of the index when digests of receipts or sums are not what they come to.
pub(super) async fn check(snapshot: &mut SqliteConnection) -> Result<(), ActorError> {
    let wrong = |what: &str| ActorError::damaged_index(format!("{what} are not what they come to"));
    let is_some = |(_, sum): &(_, Sum)| *sum != Sum::default();
    let come_to: BTreeMap<_, _> = held(snapshot).await?.into_iter().filter(is_some).collect();
    let mut kept = BTreeMap::new();
    for row in
        sqlx::query("SELECT account, first_byte, sum FROM holding_sums").fetch_all(&mut *snapshot).await?
    {
        let account = AccountId::try_from(row.try_get::<&[u8], _>(0)?)?;
        kept.insert((account, row.try_get(1)?), kept_sum(&row)?);
    }
    kept.retain(|_, sum| *sum != Sum::default());
    if kept != come_to {
        return Err(wrong("sums of holdings"));
    }
    let (mut receipts, mut groups, mut come_to) = (Receipts::default(), 0_i64, BTreeMap::new());
    while let Some(page) = receipts.page(snapshot).await? {
        let kept = placed::read(snapshot, page.keys()).await?;
        for (key, (fragments, digest)) in page {
            if kept.get(&key) != Some(&(fragments, digest)) {
                return Err(wrong("digests of receipts"));
            }
            groups += 1;
            let [first_byte, ..] = *key.1.as_bytes();
            let sum: &mut Sum = come_to.entry((key.0, first_byte)).or_default();
            *sum = sum.plus(Sum::of(key.1, &digest));
        }
    }
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM placed").fetch_one(&mut *snapshot).await?;
    let mut kept = BTreeMap::new();
    for row in
        sqlx::query("SELECT holder, first_byte, sum FROM placed_sums").fetch_all(&mut *snapshot).await?
    {
        let holder = NodeId::try_from(row.try_get::<&[u8], _>(0)?)?;
        kept.insert((holder, row.try_get(1)?), kept_sum(&row)?);
    }
    kept.retain(|_, sum| *sum != Sum::default());
    come_to.retain(|_, sum| *sum != Sum::default());
    if rows != groups || kept != come_to {
        return Err(wrong("sums of receipts"));
    }
    if charged(snapshot).await? == receipts.charged { Ok(()) } else { Err(wrong("bytes of receipts")) }
}

/// What is kept of whom receipts are charged to.
async fn charged(index: &mut SqliteConnection) -> Result<Charged, ActorError> {
    let rows =
        sqlx::query("SELECT author, holder, fragments, bytes FROM receipt_sums").fetch_all(index).await?;
    let charged = |row: &SqliteRow| -> Result<_, ActorError> {
        let author = AuthorId::try_from(row.try_get::<&[u8], _>(0)?)?;
        let holder = NodeId::try_from(row.try_get::<&[u8], _>(1)?)?;
        Ok(((author, holder), (row.try_get(2)?, row.try_get(3)?)))
    };
    rows.iter().map(charged).collect()
}

/// What all holdings come to, by account and first byte.
async fn held(index: &mut SqliteConnection) -> Result<HashMap<(AccountId, u8), Sum>, ActorError> {
    let mut sums = HashMap::<_, Sum>::new();
    let mut rows = sqlx::query("SELECT tessera, digest, account FROM holdings").fetch(index);
    while let Some(row) = rows.try_next().await? {
        let (tessera, digest) = digest(&row)?;
        let [first_byte, ..] = *tessera.as_bytes();
        let account = AccountId::try_from(row.try_get::<&[u8], _>(2)?)?;
        let sum = sums.entry((account, first_byte)).or_default();
        *sum = sum.plus(Sum::of(tessera, &digest));
    }
    Ok(sums)
}

/// How many receipts of a holder are charged to an author, and their bytes.
type Charged = BTreeMap<(AuthorId, NodeId), (i64, i64)>;

/// What all receipts come to, by holder and tessera: read a page at a time, in their order.
#[derive(Default)]
struct Receipts {
    behind: Option<(NodeId, FragmentId)>,
    /// The tessera that the last page ended in.
    open: placed::Groups,
    /// Of all that were read.
    charged: Charged,
    is_done: bool,
}

impl Receipts {
    /// Some holders' tesserae, all of each; `None` when there are no more.
    async fn page(&mut self, index: &mut SqliteConnection) -> Result<Option<placed::Groups>, ActorError> {
        if self.is_done {
            return Ok(None);
        }
        let (holder, id) = self.behind.unzip();
        // Behind nothing is behind an id that is shorter than all others.
        let asked = sqlx::query(RECEIPTS)
            .bind(holder.map_or(Vec::new(), |holder| holder.as_bytes().to_vec()))
            .bind(id.map_or(Vec::new(), |id| id.tessera.as_bytes().to_vec()))
            .bind(id.map_or(0, |id| id.stripe))
            .bind(id.map_or(0, |id| id.index));
        let rows = asked.bind(ROWS_PER_PAGE).fetch_all(index).await?;
        let mut groups = std::mem::take(&mut self.open);
        for row in &rows {
            let holder = NodeId::try_from(row.try_get::<&[u8], _>(0)?)?;
            let tessera = TesseraId::try_from(row.try_get::<&[u8], _>(1)?)?;
            let id = FragmentId { tessera, stripe: row.try_get(2)?, index: row.try_get(3)? };
            let checksum = Checksum::try_from(row.try_get::<&[u8], _>(4)?)?;
            let (fragments, digest) = groups.entry((holder, tessera)).or_default();
            (*fragments, *digest) = (*fragments + 1, digest.plus(Digest::of(&id, &checksum)));
            let author = AuthorId::try_from(row.try_get::<&[u8], _>(5)?)?;
            let (fragments, bytes) = self.charged.entry((author, holder)).or_default();
            (*fragments, *bytes) = (*fragments + 1, *bytes + row.try_get::<i64, _>(6)?);
            self.behind = Some((holder, id));
        }
        self.is_done = rows.len() < ROWS_PER_PAGE as usize;
        if !self.is_done {
            self.open.extend(groups.pop_last());
        }
        Ok(Some(groups))
    }
}

fn digest(row: &SqliteRow) -> Result<(TesseraId, Digest), ActorError> {
    let digest: [u8; 32] = row.try_get::<&[u8], _>(1)?.try_into().unwrap_or_default();
    Ok((TesseraId::try_from(row.try_get::<&[u8], _>(0)?)?, Digest::from_bytes(&digest)))
}

fn kept_sum(row: &SqliteRow) -> Result<Sum, ActorError> {
    Ok(Sum::wrapped(row.try_get::<i64, _>(2)?.cast_unsigned()))
}

fn add(sums: &mut [Sum; 256], place: u8, sum: Sum) {
    if let Some(place) = sums.get_mut(usize::from(place)) {
        *place = place.plus(sum);
    }
}

const ROWS_PER_PAGE: u32 = 4096;
const RECEIPTS: &str = "SELECT holder, tessera, stripe, idx, checksum, author, len FROM receipts \
     WHERE (holder, tessera, stripe, idx) > (?, ?, ?, ?) ORDER BY holder, tessera, stripe, idx LIMIT ? + 0";
const HELD: &str = "SELECT d.stripe, d.idx, f.checksum, f.seal FROM deposits d \
     JOIN fragments f ON f.tessera = d.tessera AND f.stripe = d.stripe AND f.idx = d.idx \
     WHERE d.account = ?1 AND d.tessera = ?2 AND (d.stripe, d.idx) >= (?3, ?4) \
     ORDER BY d.stripe, d.idx LIMIT ?5 + 0";
const PLACED: &str = "SELECT stripe, idx, checksum, NULL FROM receipts \
     WHERE holder = ?1 AND tessera = ?2 AND (stripe, idx) >= (?3, ?4) ORDER BY stripe, idx LIMIT ?5 + 0";
