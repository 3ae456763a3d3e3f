//! Looking through the whole index, a part at a time: a bit that has changed in it may be in a row that nobody asks for.

use proto::TesseraId;
use sqlx::{Row, SqliteConnection};

use super::{pragmas, queries, readers::Readers, recount};
use crate::error::ActorError;

/// Looks at some tesserae from one on, before the first of them at the pages of the index; where to go on.
///
/// Errors as damage of the index when anything contradicts anything.
pub(crate) async fn through(index: &Readers, from: TesseraId) -> Result<Option<TesseraId>, ActorError> {
    if from == FIRST {
        let wrong = index.aside(async |index| Ok(pragmas::wrong(index).await?)).await?;
        if let Some(wrong) = wrong {
            return Err(ActorError::damaged_index(wrong));
        }
        index.aside(async |index| recount::check(index).await).await?;
    }
    let listed = async |index: &mut _| tesserae(index, from).await;
    let mut tesserae = index.as_it_is(listed).await?;
    let next = if tesserae.len() > TESSERAE_PER_PART { tesserae.pop() } else { None };
    for tessera in tesserae {
        if !index.about(tessera, async |index| queries::adds_up(index, tessera).await).await? {
            return Err(ActorError::damaged_index(format!("the rows of {tessera} do not add up")));
        }
    }
    Ok(next)
}

async fn tesserae(index: &mut SqliteConnection, from: TesseraId) -> Result<Vec<TesseraId>, ActorError> {
    let sql = "SELECT tessera FROM tesseras WHERE tessera >= ? ORDER BY tessera LIMIT ?";
    // One more tells where to go on.
    let limit = TESSERAE_PER_PART as i64 + 1;
    let rows = sqlx::query(sql).bind(from.as_bytes().as_slice()).bind(limit).fetch_all(index).await?;
    rows.iter().map(|row| Ok(TesseraId::try_from(row.try_get::<&[u8], _>(0)?)?)).collect()
}

const FIRST: TesseraId = TesseraId::from_bytes([0; 32]);
const TESSERAE_PER_PART: usize = 16;
