//! What is kept for whom, and by whom, as JSON; the rest of the admin socket's JSON is in `api`.

use actors::storage::{AccountTotals, Ledger as Rows, LedgerRow, Signed};
use proto::{AuthorId, NodeId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::schema;

/// `GET /v1/ledger`: what is kept here for whom, and what others have signed to keep.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Ledger {
    /// This node's own.
    pub(crate) own: OwnAccount,
    /// Some of the others, in the order of their ids: those for which something is kept here, or elsewhere as far as this
    /// node brought it there, and those that peers act for.
    pub(crate) accounts: Vec<Account>,
    /// What all of the others come to, on whichever page they are.
    pub(crate) totals: Balance,
    /// The `from` of the next page, if there is one.
    #[schema(value_type = Option<schema::AuthorId>)]
    pub(crate) next: Option<AuthorId>,
}

/// What is kept here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Kept {
    /// Fragments.
    pub(crate) fragments: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// Bytes of the documents of their tesserae.
    pub(crate) document_bytes: u64,
    /// What counts against an allowance: all of these bytes, and 512 more for each fragment.
    pub(crate) counted_bytes: u64,
}

/// What is kept elsewhere, by receipts that are here. Whether it is still there only `attest` and `prove` tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Elsewhere {
    /// Fragments.
    pub(crate) fragments: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
}

/// What is kept of this node's author's, here and elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct OwnAccount {
    /// Who this node acts for.
    #[schema(value_type = schema::AuthorId)]
    pub(crate) author: AuthorId,
    /// Other nodes that are known to act for the same author.
    pub(crate) peers: Vec<Machine>,
    /// What this node keeps for itself.
    pub(crate) here: Kept,
    /// What it keeps besides because another node has brought it, charged to this author.
    pub(crate) brought: Kept,
    /// What others have signed to keep.
    pub(crate) elsewhere: Elsewhere,
    /// That part of it which is with other machines of this author.
    pub(crate) own_machines: Elsewhere,
    /// That part of it whose holders have not shown whom they act for, or are no longer known.
    pub(crate) unknown: Elsewhere,
}

/// What is kept for another author, and what that one keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Account {
    /// Whose account it is.
    #[schema(value_type = schema::AuthorId)]
    pub(crate) author: AuthorId,
    /// The nodes that are known to act for it.
    pub(crate) peers: Vec<Machine>,
    /// Whether none of them is wanted as a peer: then it may have what it keeps for this node and
    /// `replication.accept_deficit`, where anybody may store, and else nothing more.
    pub(crate) stranger: bool,
    /// What is kept here for it, what it keeps, and the difference.
    #[serde(flatten)]
    pub(crate) balance: Balance,
    /// What is kept elsewhere of its own, because this node brought it there.
    pub(crate) elsewhere: Elsewhere,
    /// How much may be kept here for it, in bytes.
    pub(crate) allow_bytes: u64,
    /// How much of that is left, whether there is room for it or not.
    pub(crate) left_bytes: u64,
}

/// Both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Balance {
    /// What is kept here for it.
    pub(crate) here: Kept,
    /// What its machines have signed to keep of this node's author's.
    pub(crate) ours: Elsewhere,
    /// How many bytes of fragments more are kept here than there; less than 0 when it is the other way round.
    pub(crate) difference_bytes: i64,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Machine {
    /// Which one.
    #[schema(value_type = schema::NodeId)]
    pub(crate) node: NodeId,
    /// What it is called here.
    pub(crate) name: Option<String>,
}

/// What may be kept for an author.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Granted {
    /// How many bytes.
    pub(crate) bytes: u64,
    /// Whether no peer acts for it.
    pub(crate) is_strange: bool,
    /// Whether anything is held for others at all.
    pub(crate) holds: bool,
}

impl Ledger {
    /// From what storage has summed up, without accounts so far.
    pub(crate) fn new(author: AuthorId, peers: Vec<Machine>, rows: &Rows) -> Self {
        let minus = |all: Signed, part: Signed| Signed {
            fragments: all.fragments.saturating_sub(part.fragments),
            bytes: all.bytes.saturating_sub(part.bytes),
        };
        let ours = minus(minus(rows.elsewhere, rows.own_machines), rows.unknown);
        Self {
            own: OwnAccount {
                author,
                peers,
                here: rows.own.into(),
                brought: rows.brought.into(),
                elsewhere: rows.elsewhere.into(),
                own_machines: rows.own_machines.into(),
                unknown: rows.unknown.into(),
            },
            accounts: Vec::new(),
            totals: Balance::new(rows.others, ours),
            next: None,
        }
    }
}

impl Account {
    /// From what storage has summed up.
    pub(crate) fn new(row: &LedgerRow, peers: Vec<Machine>, granted: Granted) -> Self {
        let left = granted.bytes.saturating_sub(row.here.charged());
        Self {
            author: row.author,
            peers,
            stranger: granted.is_strange,
            balance: Balance::new(row.here, row.ours),
            elsewhere: row.elsewhere.into(),
            allow_bytes: granted.bytes,
            left_bytes: if granted.holds { left } else { 0 },
        }
    }
}

impl Balance {
    fn new(here: AccountTotals, ours: Signed) -> Self {
        let signed = |bytes| i64::try_from(bytes).unwrap_or(i64::MAX);
        let difference_bytes = signed(here.bytes).saturating_sub(signed(ours.bytes));
        Self { here: here.into(), ours: ours.into(), difference_bytes }
    }
}

impl From<AccountTotals> for Kept {
    fn from(totals: AccountTotals) -> Self {
        let AccountTotals { fragments, bytes, document_bytes } = totals;
        Self { fragments, bytes, document_bytes, counted_bytes: totals.charged() }
    }
}

impl From<Signed> for Elsewhere {
    fn from(Signed { fragments, bytes }: Signed) -> Self {
        Self { fragments, bytes }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An account for which so much is kept here, and that keeps so much.
    pub(crate) fn account(number: u8, here: u64, ours: u64, granted: Granted) -> Account {
        let row = LedgerRow {
            author: AuthorId::from_bytes([number; 32]),
            here: AccountTotals { fragments: 2, bytes: here, document_bytes: 100 },
            ours: Signed { fragments: 1, bytes: ours },
            elsewhere: Signed::default(),
        };
        Account::new(&row, Vec::new(), granted)
    }

    #[test]
    fn account_has_left_what_is_not_used_of_its_allowance() {
        let check = |bytes, holds, expected| {
            let account = account(1, 1000, 3000, Granted { bytes, is_strange: false, holds });
            assert_eq!((account.allow_bytes, account.left_bytes), (bytes, expected), "{bytes} {holds}");
            assert_eq!((account.balance.here.counted_bytes, account.balance.difference_bytes), (2124, -2000));
        };
        check(5000, true, 5000 - 2124);
        // It was made smaller since.
        check(2000, true, 0);
        check(5000, false, 0);
    }

    #[test]
    fn totals_are_without_this_node_and_what_nobody_is_known_to_keep() {
        let signed = |fragments, bytes| Signed { fragments, bytes };
        let rows = Rows {
            elsewhere: signed(10, 1000),
            own_machines: signed(3, 300),
            unknown: signed(1, 100),
            others: AccountTotals { fragments: 1, bytes: 700, document_bytes: 0 },
            ..Rows::default()
        };
        let ledger = Ledger::new(AuthorId::from_bytes([1; 32]), Vec::new(), &rows);
        assert_eq!(ledger.totals.ours, Elsewhere { fragments: 6, bytes: 600 });
        assert_eq!((ledger.totals.difference_bytes, ledger.own.elsewhere.bytes), (100, 1000));
    }
}
