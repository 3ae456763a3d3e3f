//! Writing notes. In the order in which they were made: a later one may take back what an earlier one says.
//!
//! A statement costs a thread hop, whatever its number of rows, so notes of one kind that follow each other are one
//! statement. Their rows come as one list in JSON, so that there is one prepared statement for any number of them.

use proto::{Checksum, TesseraId};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, SqliteConnection, sqlite::SqliteArguments};

use super::{add, placed};
use crate::{
    error::ActorError,
    storage::{
        notes::{FINISHED_JOBS_MAX, Note, RETRACTIONS_MAX, Score},
        replication::{KeptPlacement, ReplicationJob},
        view::Changes,
        watched::{RepairAllowance, Watched},
    },
};

/// Begins a transaction, and writes notes within it.
pub(super) async fn write(connection: &mut SqliteConnection, changes: &Changes) -> Result<(), ActorError> {
    let notes = changes.notes.as_slice();
    let mut statements = Statements::default();
    for note in notes.iter().flat_map(|notes| notes.iter()) {
        statements.note(note);
    }
    let mut begin = Some(BEGIN);
    for (sql, rows) in statements.in_order {
        match begin.take() {
            // In one call.
            Some(begin) => {
                let sql = AssertSqlSafe(format!("{begin}{sql}"));
                sqlx::query_with(sql, list(rows)?).execute(&mut *connection).await?;
            }
            None => execute(connection, sql, rows).await?,
        }
    }
    if let Some(begin) = begin {
        sqlx::query(begin).execute(&mut *connection).await?;
    }
    execute(connection, OLD_RETRACTIONS, statements.purses).await?;
    execute(connection, UNPLACE_STRAYS, strays(changes)).await?;
    placed::write(connection, notes).await
}

/// What is watched no longer, unless it comes with this transaction: its row is written behind the notes.
fn strays(changes: &Changes) -> Vec<Value> {
    let comes = |tessera: &TesseraId| changes.tesseras.iter().any(|(id, row)| id == tessera && row.is_some());
    let unwatched = changes.notes.iter().flat_map(|notes| notes.iter()).filter_map(|note| match note {
        Note::Unwatch { tessera } if !comes(tessera) => Some(json!([hex(tessera.as_bytes())])),
        _ => None,
    });
    unwatched.collect()
}

/// Statements in their order, each with its rows.
#[derive(Default)]
struct Statements {
    in_order: Vec<(&'static str, Vec<Value>)>,
    /// Where retractions have come: it is looked once, at last, whether there are too many.
    purses: Vec<Value>,
}

impl Statements {
    fn row(&mut self, sql: &'static str, row: Value) {
        match self.in_order.last_mut() {
            Some((last, rows)) if *last == sql => rows.push(row),
            _ => self.in_order.push((sql, vec![row])),
        }
    }

    /// Two rows that belong together, of statements that do not see each other's tables.
    fn pair(&mut self, first: (&'static str, Value), second: (&'static str, Value)) {
        match self.in_order.as_mut_slice() {
            [.., (one, rows), (other, others)] if (*one, *other) == (first.0, second.0) => {
                rows.push(first.1);
                others.push(second.1);
            }
            _ => {
                self.row(first.0, first.1);
                self.row(second.0, second.1);
            }
        }
    }

    fn note(&mut self, note: &Note) {
        match note {
            Note::Peer { node, addresses, author, allow_bytes, origin, name, at_ms } => {
                let addresses = Value::from(addresses.clone()).to_string();
                let author = author.map(|author| hex(author.as_bytes()));
                let allow = allow_bytes.map(u64::cast_signed);
                let (node, origin) = (hex(node.as_bytes()), origin.code());
                self.row(PEER, json!([node, addresses, author, allow, origin, at_ms, name]));
            }
            Note::RemovePeer { node } => self.row(REMOVE_PEER, json!([hex(node.as_bytes())])),
            Note::Seen { node, address, author, at_ms } => {
                let author = author.map(|author| hex(author.as_bytes()));
                self.row(SEEN, json!([hex(node.as_bytes()), at_ms, address, author]));
            }
            Note::Score { node, score } => {
                let [wrong, error, absence] =
                    [Score::WrongBytes, Score::Error, Score::Absence].map(|one| i64::from(one == *score));
                self.row(SCORE, json!([hex(node.as_bytes()), wrong, error, absence]));
            }
            Note::Block { what, reason, at_ms } => {
                self.row(BLOCK, json!([hex(what.id()), what.code(), reason, at_ms]));
            }
            Note::Unblock { what } => self.row(UNBLOCK, json!([hex(what.id()), what.code()])),
            Note::Invite { token, invite, at_ms } => {
                self.row(REMOVE_EXPIRED, json!([at_ms]));
                let allow = invite.allow_bytes.map(u64::cast_signed);
                self.row(INVITE, json!([hex(token.as_bytes()), allow, invite.expires_at_ms, invite.name]));
            }
            Note::RemoveInvite { token } | Note::TakeInvite { token, .. } => {
                self.row(REMOVE_INVITE, json!([hex(token.as_bytes())]));
            }
            // Beside it stands what all of them come to.
            Note::Receipt(_) => {}
            Note::Placement(KeptPlacement { tessera, layout, version, is_by_author, signed }) => {
                let (tessera, layout) = (hex(tessera.as_bytes()), hex(layout.as_bytes()));
                self.row(PLACEMENT, json!([tessera, layout, version, is_by_author, hex_of(signed)]));
            }
            Note::Unplaced { tessera, layout } => {
                self.row(UNPLACE, json!([hex(tessera.as_bytes()), hex(layout.as_bytes())]));
            }
            Note::Job(ReplicationJob { id, kind, tessera, state, began_at_ms, changed_at_ms, told }) => {
                let (tessera, kind, state) = (hex(tessera.as_bytes()), kind.code(), state.code());
                self.row(JOB, json!([id, kind, tessera, state, began_at_ms, changed_at_ms, told]));
                self.row(OLD_JOBS, json!([FINISHED_JOBS_MAX]));
            }
            Note::Looked(watched) => {
                let Watched { tessera, next_at_ms, looked_at_ms, margin, survives, .. } = watched;
                let Watched { below_since_ms, due_at_ms, repair_bytes, proven_at_ms, .. } = watched;
                let tessera = hex(tessera.as_bytes());
                let found = json!([tessera, next_at_ms, looked_at_ms, margin, survives]);
                let rest =
                    [json!(below_since_ms), json!(due_at_ms), json!(repair_bytes), json!(proven_at_ms)];
                let row = found.as_array().cloned().unwrap_or_default().into_iter().chain(rest);
                self.row(LOOKED, Value::Array(row.collect()));
            }
            Note::LookAt { tessera } => self.row(LOOK_AT, json!([hex(tessera.as_bytes())])),
            Note::LookAtAll => self.row(LOOK_AT_ALL, json!([])),
            Note::Watch { tessera } => self.row(WATCH, json!([hex(tessera.as_bytes())])),
            Note::Unwatch { tessera } => self.row(UNWATCH, json!([hex(tessera.as_bytes())])),
            Note::DamageSeen { upto } => self.row(DAMAGE_SEEN, json!([upto])),
            Note::RepairAllowance(RepairAllowance { left, at_ms }) => {
                self.row(ALLOWANCE, json!([left, at_ms]));
            }
            note => self.parting(note),
        }
    }

    /// What is taken back, taken on, or handed over.
    fn parting(&mut self, note: &Note) {
        match note {
            Note::Retracted { tessera, author, purse, signed, due, at_ms } => {
                let (tessera, purse) = (hex(tessera.as_bytes()), hex(purse.as_bytes()));
                for node in due {
                    self.row(RETRACTION_DUE, json!([tessera, hex(node.as_bytes())]));
                }
                let author = hex(author.as_bytes());
                self.row(RETRACTED, json!([tessera, author, purse, hex_of(signed), at_ms]));
                self.purses.push(json!([purse, RETRACTIONS_MAX]));
            }
            Note::RetractionTaken { tessera, node } => {
                self.row(RETRACTION_TAKEN, json!([hex(tessera.as_bytes()), hex(node.as_bytes())]));
            }
            Note::Adopted { tessera, at_ms } => self.row(ADOPTED, json!([hex(tessera.as_bytes()), at_ms])),
            Note::Abandoned { tessera } => self.row(ABANDONED, json!([hex(tessera.as_bytes())])),
            Note::Leaving { since_ms: Some(at_ms) } => self.row(LEAVING, json!([at_ms])),
            Note::Leaving { since_ms: None } => self.row(STAYING, json!([1])),
            note => self.holder(note),
        }
    }

    /// What holders say, and what came of it.
    fn holder(&mut self, note: &Note) {
        match note {
            Note::Claim { holder, tessera, stripes, held, asked_at_ms, at_ms } => {
                let (holder, tessera) = (hex(holder.as_bytes()), hex(tessera.as_bytes()));
                let rows = held.iter().filter(|(stripe, ..)| stripes.contains(stripe));
                let rows: Vec<_> = rows
                    .map(|(stripe, idx, sum)| {
                        json!([tessera, stripe, idx, holder, hex(sum.as_bytes()), at_ms])
                    })
                    .collect();
                let places: Vec<_> = rows.iter().map(|row| json!([row.get(1), row.get(2)])).collect();
                // In a statement of its own: SQLite then looks at the list of places once.
                let since = [asked_at_ms, at_ms];
                let page = json!([tessera, stripes.start, stripes.end, holder, places, since]);
                self.in_order.push((UNCLAIM, vec![page]));
                rows.into_iter().for_each(|row| self.row(CLAIM, row));
            }
            Note::Claimed { holder, fragment, checksum, at_ms } => {
                let (tessera, holder) = (hex(fragment.tessera.as_bytes()), hex(holder.as_bytes()));
                let place = (fragment.stripe, fragment.index);
                self.row(CLAIM, json!([tessera, place.0, place.1, holder, hex(checksum.as_bytes()), at_ms]));
            }
            Note::Proof { holder, fragment, checksum, at_ms } => {
                let (tessera, holder) = (hex(fragment.tessera.as_bytes()), hex(holder.as_bytes()));
                let place = (fragment.stripe, fragment.index);
                let proof = json!([tessera, place.0, place.1, holder, hex(checksum.as_bytes()), at_ms]);
                self.pair((PROOF, proof), (BELIEVE, json!([tessera, holder])));
            }
            Note::Doubted { holder, tessera, at_ms } => {
                self.row(DOUBT, json!([hex(tessera.as_bytes()), hex(holder.as_bytes()), at_ms]));
            }
            Note::Disproven { holder, fragment } => {
                let (tessera, holder) = (hex(fragment.tessera.as_bytes()), hex(holder.as_bytes()));
                self.row(DROP_CLAIM, json!([tessera, fragment.stripe, fragment.index, holder]));
            }
            Note::Dropped { holder, tessera, fragments } => {
                let (holder, tessera) = (hex(holder.as_bytes()), hex(tessera.as_bytes()));
                for (stripe, idx) in fragments {
                    self.row(DROP_CLAIM, json!([tessera, stripe, idx, holder]));
                }
            }
            Note::Forget { tessera } => self.row(FORGET_CLAIMS, json!([hex(tessera.as_bytes())])),
            _ => {}
        }
    }
}

/// Executes a statement on these rows, unless there are none.
pub(super) async fn execute(
    connection: &mut SqliteConnection,
    sql: &'static str,
    rows: Vec<Value>,
) -> Result<(), ActorError> {
    if !rows.is_empty() {
        sqlx::query_with(sql, list(rows)?).execute(connection).await?;
    }
    Ok(())
}

/// Rows as the one argument of a statement.
fn list(rows: Vec<Value>) -> Result<SqliteArguments, ActorError> {
    let mut arguments = SqliteArguments::default();
    add(&mut arguments, Value::Array(rows).to_string())?;
    Ok(arguments)
}

/// In hexadecimal, as JSON knows no bytes.
pub(super) fn hex(id: &[u8; 32]) -> String {
    Checksum::from_bytes(*id).to_string()
}

/// As [`hex`], of any bytes.
pub(super) fn hex_of(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(digit).collect()
}

fn digit(value: u8) -> char {
    char::from_digit(value.into(), 16).unwrap_or('0')
}

const BEGIN: &str = "BEGIN IMMEDIATE;UPDATE records SET notes = notes + 1;";
const PEER: &str = "INSERT INTO peers SELECT unhex(value ->> 0), value ->> 1, unhex(value ->> 2), value ->> 3, \
     value ->> 4, value ->> 5, NULL, NULL, 0, 0, 0, value ->> 6 FROM json_each(?) WHERE true \
     ON CONFLICT DO UPDATE SET addresses = excluded.addresses, author = coalesce(excluded.author, author), \
     name = coalesce(excluded.name, name), allow_bytes = excluded.allow_bytes, origin = excluded.origin WHERE excluded.origin <= origin";
const REMOVE_PEER: &str = "DELETE FROM peers WHERE node IN (SELECT unhex(value ->> 0) FROM json_each(?))";
/// An upsert and no update: one peer may be among the rows more than once.
const SEEN: &str = "INSERT INTO peers SELECT p.node, p.addresses, unhex(value ->> 3), p.allow_bytes, p.origin, \
     p.added_at, value ->> 1, value ->> 2, 0, 0, 0, NULL FROM json_each(?) JOIN peers p ON p.node = unhex(value ->> 0) \
     WHERE true ON CONFLICT DO UPDATE SET author = coalesce(author, excluded.author), \
     last_address = coalesce(excluded.last_address, last_address), \
     seen_at = max(excluded.seen_at, coalesce(seen_at, excluded.seen_at))";
const SCORE: &str = "INSERT INTO peers SELECT p.node, p.addresses, p.author, p.allow_bytes, p.origin, p.added_at, \
     p.seen_at, p.last_address, value ->> 1, value ->> 2, value ->> 3, NULL \
     FROM json_each(?) JOIN peers p ON p.node = unhex(value ->> 0) \
     WHERE true ON CONFLICT DO UPDATE SET wrong_bytes = wrong_bytes + excluded.wrong_bytes, \
     errors = errors + excluded.errors, absences = absences + excluded.absences";
const BLOCK: &str = "INSERT INTO blocked SELECT unhex(value ->> 0), value ->> 1, value ->> 2, value ->> 3 \
     FROM json_each(?) WHERE true ON CONFLICT DO UPDATE SET reason = excluded.reason, at = excluded.at";
const UNBLOCK: &str =
    "DELETE FROM blocked WHERE (id, kind) IN (SELECT unhex(value ->> 0), value ->> 1 FROM json_each(?))";
const INVITE: &str = "INSERT INTO invites SELECT unhex(value ->> 0), value ->> 1, value ->> 2, value ->> 3 \
     FROM json_each(?) WHERE true ON CONFLICT DO UPDATE SET allow_bytes = excluded.allow_bytes, \
     expires_at = excluded.expires_at, name = excluded.name";
const REMOVE_EXPIRED: &str =
    "DELETE FROM invites WHERE expires_at <= (SELECT max(value ->> 0) FROM json_each(?))";
const REMOVE_INVITE: &str =
    "DELETE FROM invites WHERE token IN (SELECT unhex(value ->> 0) FROM json_each(?))";
/// What stays claimed stays, so that it stays proven. What is said to be claimed after now was noted by a clock that was wrong.
const UNCLAIM: &str = "DELETE FROM claims WHERE tessera = unhex(?1 ->> '$[0][0]') \
     AND stripe >= (?1 ->> '$[0][1]') AND stripe < (?1 ->> '$[0][2]') AND holder = unhex(?1 ->> '$[0][3]') \
     AND (stripe, idx) NOT IN (SELECT value ->> 0, value ->> 1 FROM json_each(?1, '$[0][4]')) \
     AND claimed_at NOT BETWEEN (?1 ->> '$[0][5][0]') AND (?1 ->> '$[0][5][1]')";
const CLAIM: &str = "INSERT INTO claims SELECT unhex(value ->> 0), value ->> 1, value ->> 2, unhex(value ->> 3), \
     unhex(value ->> 4), value ->> 5, NULL FROM json_each(?) WHERE true \
     ON CONFLICT DO UPDATE SET proven_at = CASE WHEN checksum = excluded.checksum THEN proven_at END, \
     checksum = excluded.checksum, claimed_at = excluded.claimed_at";
const PROOF: &str = "UPDATE claims SET proven_at = proof.at FROM (SELECT unhex(value ->> 0) AS tessera, \
     value ->> 1 AS stripe, value ->> 2 AS idx, unhex(value ->> 3) AS holder, unhex(value ->> 4) AS checksum, \
     max(value ->> 5) AS at FROM json_each(?) GROUP BY 1, 2, 3, 4, 5) AS proof \
     WHERE claims.tessera = proof.tessera AND claims.stripe = proof.stripe AND claims.idx = proof.idx \
     AND claims.holder = proof.holder AND claims.checksum = proof.checksum";
const PLACEMENT: &str = "INSERT INTO placements SELECT unhex(value ->> 0), unhex(value ->> 1), value ->> 2, value ->> 3, \
     unhex(value ->> 4) FROM json_each(?) WHERE true ON CONFLICT \
     DO UPDATE SET version = excluded.version, by_author = excluded.by_author, signed = excluded.signed \
     WHERE (excluded.version, excluded.by_author) > (version, by_author)";
const UNPLACE: &str = "DELETE FROM placements WHERE (tessera, layout) IN ( \
     SELECT unhex(value ->> 0), unhex(value ->> 1) FROM json_each(?))";
const JOB: &str = "INSERT INTO replication_jobs SELECT value ->> 0, value ->> 1, unhex(value ->> 2), value ->> 3, \
     value ->> 4, value ->> 5, value ->> 6 FROM json_each(?) WHERE true \
     ON CONFLICT DO UPDATE SET state = excluded.state, changed_at = excluded.changed_at, told = excluded.told";
/// Of those that have ended the last to do so are kept: whoever waits for the first of thousands still learns what came of it.
/// These are looked up only when there are others.
const OLD_JOBS: &str = "WITH kept (jobs) AS (SELECT max(value ->> 0) FROM json_each(?)) \
     DELETE FROM replication_jobs WHERE state <> 1 AND id <= (SELECT max(id) FROM replication_jobs) - (SELECT jobs FROM kept) \
     AND id NOT IN (SELECT id FROM replication_jobs WHERE state <> 1 ORDER BY changed_at DESC, id DESC \
     LIMIT (SELECT jobs FROM kept))";
const LOOKED: &str = "UPDATE watched SET next_at = row.next_at, looked_at = row.looked_at, margin = row.margin, \
     survives = row.survives, below_since = row.below_since, due_at = row.due_at, repair_bytes = row.repair_bytes, \
     proven_at = row.proven_at FROM (SELECT unhex(value ->> 0) AS tessera, value ->> 1 AS next_at, \
     value ->> 2 AS looked_at, value ->> 3 AS margin, value ->> 4 AS survives, value ->> 5 AS below_since, \
     value ->> 6 AS due_at, value ->> 7 AS repair_bytes, value ->> 8 AS proven_at FROM json_each(?)) AS row \
     WHERE watched.tessera = row.tessera";
const LOOK_AT: &str =
    "UPDATE watched SET next_at = 0 WHERE tessera IN (SELECT unhex(value ->> 0) FROM json_each(?))";
/// The list has one row for each time that it is asked for: it says nothing.
const LOOK_AT_ALL: &str = "UPDATE watched SET next_at = 0 WHERE json_array_length(?) > 0";
const WATCH: &str = "INSERT OR IGNORE INTO watched (tessera) SELECT unhex(value ->> 0) FROM json_each(?)";
/// What came while the last fragment was being dropped: nobody else deletes it.
const UNPLACE_STRAYS: &str = "DELETE FROM placements WHERE tessera IN (SELECT unhex(value ->> 0) FROM json_each(?)) \
     AND tessera NOT IN (SELECT tessera FROM tesseras)";
const UNWATCH: &str = "DELETE FROM watched WHERE tessera IN (SELECT unhex(value ->> 0) FROM json_each(?)) \
     AND tessera NOT IN (SELECT tessera FROM placements)";
const DAMAGE_SEEN: &str = "DELETE FROM fresh_damage WHERE id <= (SELECT max(value ->> 0) FROM json_each(?))";
const ALLOWANCE: &str = "INSERT INTO repair_allowance SELECT 1, value ->> 0, value ->> 1 FROM json_each(?) WHERE true \
     ON CONFLICT DO UPDATE SET bytes = excluded.bytes, at = excluded.at";
const DOUBT: &str = "INSERT INTO doubted SELECT unhex(value ->> 0), unhex(value ->> 1), value ->> 2 FROM json_each(?) \
     WHERE true ON CONFLICT DO UPDATE SET at = excluded.at";
const BELIEVE: &str = "DELETE FROM doubted WHERE (tessera, holder) IN ( \
     SELECT unhex(value ->> 0), unhex(value ->> 1) FROM json_each(?))";
const DROP_CLAIM: &str = "DELETE FROM claims WHERE (tessera, stripe, idx, holder) IN ( \
     SELECT unhex(value ->> 0), value ->> 1, value ->> 2, unhex(value ->> 3) FROM json_each(?))";
const FORGET_CLAIMS: &str =
    "DELETE FROM claims WHERE tessera IN (SELECT unhex(value ->> 0) FROM json_each(?))";
const RETRACTED: &str = "INSERT OR IGNORE INTO retractions SELECT unhex(value ->> 0), unhex(value ->> 1), \
     unhex(value ->> 2), unhex(value ->> 3), value ->> 4 FROM json_each(?)";
const RETRACTION_DUE: &str = "INSERT OR IGNORE INTO retraction_due SELECT unhex(value ->> 0), unhex(value ->> 1) \
     FROM json_each(?)";
const OLD_RETRACTIONS: &str = "DELETE FROM retractions WHERE tessera IN (SELECT tessera FROM ( \
     SELECT tessera, most, row_number() OVER (PARTITION BY r.purse ORDER BY r.at DESC, r.tessera) AS place \
     FROM (SELECT DISTINCT unhex(value ->> 0) AS purse, value ->> 1 AS most FROM json_each(?)) AS full \
     JOIN retractions r ON r.purse = full.purse) WHERE place > most) \
     AND tessera NOT IN (SELECT tessera FROM retraction_due)";
const RETRACTION_TAKEN: &str = "DELETE FROM retraction_due WHERE (tessera, node) IN ( \
     SELECT unhex(value ->> 0), unhex(value ->> 1) FROM json_each(?))";
const ADOPTED: &str =
    "INSERT OR IGNORE INTO adopted SELECT unhex(value ->> 0), value ->> 1 FROM json_each(?)";
const ABANDONED: &str = "DELETE FROM adopted WHERE tessera IN (SELECT unhex(value ->> 0) FROM json_each(?))";
const LEAVING: &str = "INSERT OR IGNORE INTO leaving SELECT 1, value ->> 0 FROM json_each(?)";
const STAYING: &str = "DELETE FROM leaving WHERE id IN (SELECT value ->> 0 FROM json_each(?))";
