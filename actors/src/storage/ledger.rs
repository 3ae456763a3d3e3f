//! The ledger: for each account what is kept here for it, and what holders have signed to have. Read from sums that change
//! in the transaction that changes what they are of, so a page of it takes no more than its accounts, the peers, and the
//! holders.

use std::collections::HashMap;

use proto::{AccountId, AuthorId, Checksum, NodeId};
use sqlx::{Connection, Row, SqliteConnection, sqlite::SqliteRow};

use super::records::{AccountTotals, account, others, totals};
use crate::error::ActorError;

/// A page of the ledger, and what all of it comes to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    /// What this node keeps for itself.
    pub own: AccountTotals,
    /// What it keeps for its author because others have brought it.
    pub brought: AccountTotals,
    /// What holders have signed to have of its author's.
    pub elsewhere: Signed,
    /// That part of it which is with other machines of its author.
    pub own_machines: Signed,
    /// That part of it of whose holders it is not known whom they act for.
    pub unknown: Signed,
    /// What is kept for all other accounts together.
    pub others: AccountTotals,
    /// Some of the others, in the order of their ids.
    pub accounts: Vec<LedgerRow>,
}

/// What stands in the ledger of an account that is not this node's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LedgerRow {
    /// Whose it is.
    pub author: AuthorId,
    /// What is kept here for it.
    pub here: AccountTotals,
    /// What its machines have signed to have of this node's author's.
    pub ours: Signed,
    /// What holders have signed to have of its own, to this node.
    pub elsewhere: Signed,
}

/// What receipts come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Signed {
    /// How many there are: one for each fragment.
    pub fragments: u64,
    /// Bytes of the fragments.
    pub bytes: u64,
}

impl Signed {
    /// What the fragments take of an allowance, without the documents of their tesserae.
    pub fn charged(&self) -> u64 {
        AccountTotals { fragments: self.fragments, bytes: self.bytes, document_bytes: 0 }.charged()
    }
}

/// The ledger of a node that acts for this author, with at most `limit` other accounts from one on: those for which
/// something is kept here or elsewhere, and those that peers act for. One snapshot.
pub(super) async fn page(
    index: &mut SqliteConnection,
    us: AuthorId,
    from: Option<AuthorId>,
    limit: u32,
) -> Result<Ledger, ActorError> {
    let mut snapshot = index.begin().await?;
    let mut with = by_machines(&mut snapshot, us).await?;
    let mut accounts = rows(&mut snapshot, us, from, limit).await?;
    for row in &mut accounts {
        row.ours = with.get(&Some(row.author)).copied().unwrap_or_default();
    }
    let elsewhere = with.values().fold(Signed::default(), |sum, with| Signed {
        fragments: sum.fragments.saturating_add(with.fragments),
        bytes: sum.bytes.saturating_add(with.bytes),
    });
    Ok(Ledger {
        own: account(&mut snapshot, AccountId::LOCAL).await?,
        brought: account(&mut snapshot, us.into()).await?,
        elsewhere,
        own_machines: with.remove(&Some(us)).unwrap_or_default(),
        unknown: with.remove(&None).unwrap_or_default(),
        others: others(&mut snapshot, &[AccountId::LOCAL, us.into()]).await?,
        accounts,
    })
}

/// What these holders have signed to have of an author's.
pub(super) async fn signed(
    index: &mut SqliteConnection,
    author: AuthorId,
    holders: &[NodeId],
) -> Result<Signed, ActorError> {
    let holders: Vec<_> =
        holders.iter().map(|holder| Checksum::from_bytes(*holder.as_bytes()).to_string()).collect();
    let holders = serde_json::Value::from(holders).to_string();
    let row = sqlx::query(SIGNED).bind(author.as_bytes().as_slice()).bind(holders).fetch_one(index).await?;
    receipts(&row, 0)
}

/// What holders have signed to have of an author's, by the author that each acts for.
async fn by_machines(
    index: &mut SqliteConnection,
    author: AuthorId,
) -> Result<HashMap<Option<AuthorId>, Signed>, ActorError> {
    let rows = sqlx::query(BY_MACHINES).bind(author.as_bytes().as_slice()).fetch_all(index).await?;
    let with = |row: &SqliteRow| -> Result<_, ActorError> {
        let of = row.try_get::<Option<&[u8]>, _>(2)?.map(AuthorId::try_from).transpose()?;
        Ok((of, receipts(row, 0)?))
    };
    rows.iter().map(with).collect()
}

/// The accounts, but for what their machines have of ours.
async fn rows(
    index: &mut SqliteConnection,
    us: AuthorId,
    from: Option<AuthorId>,
    limit: u32,
) -> Result<Vec<LedgerRow>, ActorError> {
    // From nothing on is from an id on that is shorter than all others.
    let from = from.as_ref().map_or(&[][..], |from| from.as_bytes());
    let asked = sqlx::query(ROWS).bind(from).bind(us.as_bytes().as_slice());
    let rows = asked.bind(AccountId::LOCAL.as_bytes().as_slice()).bind(limit).fetch_all(index).await?;
    let row = |row: &SqliteRow| -> Result<LedgerRow, ActorError> {
        Ok(LedgerRow {
            author: AuthorId::try_from(row.try_get::<&[u8], _>(5)?)?,
            here: totals(row)?,
            ours: Signed::default(),
            elsewhere: receipts(row, 3)?,
        })
    };
    rows.iter().map(row).collect()
}

/// In two columns, from one on.
fn receipts(row: &SqliteRow, at: usize) -> Result<Signed, ActorError> {
    Ok(Signed {
        fragments: row.try_get::<i64, _>(at)?.cast_unsigned(),
        bytes: row.try_get::<i64, _>(at + 1)?.cast_unsigned(),
    })
}

const BY_MACHINES: &str = "SELECT sum(s.fragments), sum(s.bytes), p.author FROM receipt_sums s \
     LEFT JOIN peers p ON p.node = s.holder WHERE s.author = ? GROUP BY p.author";
const SIGNED: &str = "SELECT coalesce(sum(s.fragments), 0), coalesce(sum(s.bytes), 0) FROM json_each(?2) k \
     CROSS JOIN receipt_sums s ON s.author = ?1 AND s.holder = unhex(k.value)";
/// Each list is ordered and has an end, so none of them is read further than the page goes; but peers are few.
const ROWS: &str = "SELECT coalesce(a.fragments, 0), coalesce(a.bytes, 0), coalesce(d.bytes, 0), \
     (SELECT coalesce(sum(s.fragments), 0) FROM receipt_sums s WHERE s.author = l.account), \
     (SELECT coalesce(sum(s.bytes), 0) FROM receipt_sums s WHERE s.author = l.account), l.account FROM ( \
     SELECT account FROM (SELECT account FROM accounts \
         WHERE account >= ?1 AND account NOT IN (?2, ?3) AND fragments > 0 ORDER BY account LIMIT ?4 + 0) \
     UNION SELECT author FROM (SELECT DISTINCT author FROM receipt_sums \
         WHERE author >= ?1 AND author NOT IN (?2, ?3) ORDER BY author LIMIT ?4 + 0) \
     UNION SELECT author FROM peers WHERE author >= ?1 AND author NOT IN (?2, ?3) ORDER BY 1 LIMIT ?4 + 0) l \
     LEFT JOIN accounts a ON a.account = l.account LEFT JOIN document_sums d ON d.account = l.account \
     ORDER BY l.account";
