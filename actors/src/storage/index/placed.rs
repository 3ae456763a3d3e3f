//! Writing receipts, and beside them what they come to: for each holder and tessera how many there are and their digest, and
//! for each holder sums of these. All in one transaction.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use proto::{
    Checksum, FragmentId, NodeId, TesseraId,
    compare::{Digest, Sum},
};
use serde_json::{Value, json};
use sqlx::{Row, SqliteConnection};

use super::notes::{execute, hex, hex_of};
use crate::{
    error::ActorError,
    storage::{
        notes::{Note, Receipt},
        sums,
    },
};

/// How many fragments a holder has signed to have of a tessera, and their digest; or how much more.
pub(crate) type Groups = BTreeMap<(NodeId, TesseraId), (i64, Digest)>;

/// Writes what notes say of receipts. A receipt counts as the last note of it says.
pub(super) async fn write(
    connection: &mut SqliteConnection,
    notes: &[Arc<[Note]>],
) -> Result<(), ActorError> {
    let mut receipts = BTreeMap::new();
    for note in notes.iter().flat_map(|notes| notes.iter()) {
        match note {
            Note::Receipt(receipt) => {
                receipts.insert((receipt.holder, receipt.fragment), Some(receipt));
            }
            Note::Dropped { holder, tessera, fragments } => {
                let ids = fragments.iter().map(|(stripe, index)| FragmentId {
                    tessera: *tessera,
                    stripe: *stripe,
                    index: *index,
                });
                receipts.extend(ids.map(|id| ((*holder, id), None)));
            }
            Note::Forget { tessera } => {
                apply(connection, std::mem::take(&mut receipts)).await?;
                forget(connection, *tessera).await?;
            }
            _ => {}
        }
    }
    apply(connection, receipts).await
}

/// Sets these receipts, or deletes them.
async fn apply(
    connection: &mut SqliteConnection,
    receipts: BTreeMap<(NodeId, FragmentId), Option<&Receipt>>,
) -> Result<(), ActorError> {
    if receipts.is_empty() {
        return Ok(());
    }
    let mut groups = Groups::new();
    let mut count = |holder, id: &FragmentId, by: i64, checksum: &Checksum| {
        let (fragments, digest) = groups.entry((holder, id.tessera)).or_default();
        let one = Digest::of(id, checksum);
        *fragments += by;
        *digest = if by > 0 { digest.plus(one) } else { digest.minus(one) };
    };
    let keys: Vec<_> = receipts.keys().map(|(holder, id)| key(holder, id)).collect();
    for row in sqlx::query(KNOWN).bind(Value::Array(keys).to_string()).fetch_all(&mut *connection).await? {
        let holder = NodeId::try_from(row.try_get::<&[u8], _>(0)?)?;
        let tessera = TesseraId::try_from(row.try_get::<&[u8], _>(1)?)?;
        let id = FragmentId { tessera, stripe: row.try_get(2)?, index: row.try_get(3)? };
        count(holder, &id, -1, &Checksum::try_from(row.try_get::<&[u8], _>(4)?)?);
    }
    let (mut kept, mut gone) = (Vec::new(), Vec::new());
    for ((holder, id), receipt) in &receipts {
        match receipt {
            Some(receipt) => {
                count(*holder, id, 1, &receipt.checksum);
                kept.push(row(receipt));
            }
            None => gone.push(key(holder, id)),
        }
    }
    execute(connection, RECEIPT, kept).await?;
    execute(connection, DROP, gone).await?;
    change(connection, groups).await
}

/// All receipts for a tessera go.
async fn forget(connection: &mut SqliteConnection, tessera: TesseraId) -> Result<(), ActorError> {
    let rows = sqlx::query("SELECT holder FROM placed WHERE tessera = ?")
        .bind(tessera.as_bytes().as_slice())
        .fetch_all(&mut *connection)
        .await?;
    let holders = rows.iter().map(|row| Ok(NodeId::try_from(row.try_get::<&[u8], _>(0)?)?));
    let holders = holders.collect::<Result<Vec<_>, ActorError>>()?;
    let keys: Vec<_> = holders.iter().map(|holder| (*holder, tessera)).collect();
    let kept = read(connection, keys.iter()).await?;
    let gone: Vec<_> =
        holders.iter().map(|holder| json!([hex(holder.as_bytes()), hex(tessera.as_bytes())])).collect();
    execute(connection, FORGET, gone).await?;
    let less =
        |(key, (fragments, digest)): (_, (i64, Digest))| (key, (-fragments, Digest::default().minus(digest)));
    change(connection, kept.into_iter().map(less).collect()).await
}

/// What holders have signed to have of these tesserae.
pub(crate) async fn read<'a>(
    connection: &mut SqliteConnection,
    keys: impl Iterator<Item = &'a (NodeId, TesseraId)>,
) -> Result<Groups, ActorError> {
    let keys: Vec<_> =
        keys.map(|(holder, tessera)| json!([hex(holder.as_bytes()), hex(tessera.as_bytes())])).collect();
    let rows = sqlx::query(PLACED).bind(Value::Array(keys).to_string()).fetch_all(connection).await?;
    let mut groups = Groups::new();
    for row in &rows {
        let holder = NodeId::try_from(row.try_get::<&[u8], _>(0)?)?;
        let tessera = TesseraId::try_from(row.try_get::<&[u8], _>(1)?)?;
        let digest: [u8; 32] = row.try_get::<&[u8], _>(3)?.try_into().unwrap_or_default();
        groups.insert((holder, tessera), (row.try_get(2)?, Digest::from_bytes(&digest)));
    }
    Ok(groups)
}

/// Adds this to what is kept of holders and tesserae, and to the sums.
pub(crate) async fn change(connection: &mut SqliteConnection, by: Groups) -> Result<(), ActorError> {
    let before = read(connection, by.keys()).await?;
    let (mut kept, mut gone, mut sums) = (Vec::new(), Vec::new(), HashMap::<_, Sum>::new());
    for ((holder, tessera), (more, digest)) in by {
        let old = before.get(&(holder, tessera)).copied();
        let (fragments, was) = old.unwrap_or_default();
        let (fragments, digest) = (fragments + more, was.plus(digest));
        let key = (hex(holder.as_bytes()), hex(tessera.as_bytes()));
        if fragments > 0 {
            kept.push(json!([key.0, key.1, fragments, hex(&digest.to_bytes())]));
        } else {
            gone.push(json!([key.0, key.1]));
        }
        let [first_byte, ..] = *tessera.as_bytes();
        let sum = sums.entry((holder, first_byte)).or_default();
        let now = sums::of(tessera, (fragments > 0).then_some(digest));
        *sum = sum.plus(now).minus(sums::of(tessera, old.map(|(_, digest)| digest)));
    }
    let changed = sums.into_iter().filter(|(_, sum)| *sum != Sum::default());
    let sums: Vec<_> =
        changed.map(|((holder, byte), sum)| json!([hex(holder.as_bytes()), byte, sum.get()])).collect();
    execute(connection, PLACE, kept).await?;
    execute(connection, DISPLACE, gone).await?;
    execute(connection, SUM, sums).await
}

fn key(holder: &NodeId, id: &FragmentId) -> Value {
    json!([hex(holder.as_bytes()), hex(id.tessera.as_bytes()), id.stripe, id.index])
}

fn row(receipt: &Receipt) -> Value {
    let Receipt { holder, fragment, checksum, length, author, held_at_ms, signed } = receipt;
    let (holder, tessera) = (hex(holder.as_bytes()), hex(fragment.tessera.as_bytes()));
    let (checksum, author, signed) = (hex(checksum.as_bytes()), hex(author.as_bytes()), hex_of(signed));
    json!([holder, tessera, fragment.stripe, fragment.index, checksum, length, author, held_at_ms, signed])
}

const KNOWN: &str = "SELECT r.holder, r.tessera, r.stripe, r.idx, r.checksum FROM json_each(?) k \
     CROSS JOIN receipts r ON r.holder = unhex(k.value ->> 0) AND r.tessera = unhex(k.value ->> 1) \
     AND r.stripe = k.value ->> 2 AND r.idx = k.value ->> 3";
const RECEIPT: &str = "INSERT INTO receipts SELECT unhex(value ->> 0), unhex(value ->> 1), value ->> 2, value ->> 3, \
     unhex(value ->> 4), value ->> 5, unhex(value ->> 6), value ->> 7, unhex(value ->> 8) \
     FROM json_each(?) WHERE true ON CONFLICT DO UPDATE SET checksum = excluded.checksum, len = excluded.len, \
     author = excluded.author, held_at = excluded.held_at, signed = excluded.signed";
const DROP: &str = "DELETE FROM receipts WHERE (holder, tessera, stripe, idx) IN ( \
     SELECT unhex(value ->> 0), unhex(value ->> 1), value ->> 2, value ->> 3 FROM json_each(?))";
const FORGET: &str = "DELETE FROM receipts WHERE (holder, tessera) IN ( \
     SELECT unhex(value ->> 0), unhex(value ->> 1) FROM json_each(?))";
const PLACED: &str = "SELECT p.holder, p.tessera, p.fragments, p.digest FROM json_each(?) k \
     CROSS JOIN placed p ON p.holder = unhex(k.value ->> 0) AND p.tessera = unhex(k.value ->> 1)";
const PLACE: &str = "INSERT INTO placed SELECT unhex(value ->> 0), unhex(value ->> 1), value ->> 2, \
     unhex(value ->> 3) FROM json_each(?) WHERE true \
     ON CONFLICT DO UPDATE SET fragments = excluded.fragments, digest = excluded.digest";
const DISPLACE: &str = "DELETE FROM placed WHERE (holder, tessera) IN ( \
     SELECT unhex(value ->> 0), unhex(value ->> 1) FROM json_each(?))";
const SUM: &str = "INSERT INTO placed_sums SELECT unhex(value ->> 0), value ->> 1, value ->> 2 \
     FROM json_each(?) WHERE true ON CONFLICT DO UPDATE SET sum = (sum + excluded.sum) & 4611686018427387903";
