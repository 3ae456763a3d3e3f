//! How the tesserae that are kept here fare, as far as their fragments are here.

use std::sync::{Arc, Mutex, PoisonError};

use sqlx::{Row, SqliteConnection};

use crate::error::ActorError;

/// Tesserae, by how they fare.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct TesseraHealth {
    /// Every fragment of them that is kept here is good, as far as anyone knows.
    pub intact: u64,
    /// A fragment of them that should be here is damaged or gone.
    pub damaged: u64,
}

/// The last answer. It takes a look at every fragment as soon as anything is damaged, so it is kept for as long as
/// nothing is stored, dropped, found damaged or repaired.
#[derive(Debug, Clone, Default)]
pub(crate) struct Damaged(Arc<Mutex<Option<(Kept, u64)>>>);

/// What the answer depends on: fragments and tesserae, jobs, and when the last one was queued.
type Kept = (u64, u64, i64, i64);

impl Damaged {
    /// Tesserae that lack anything, where so many tesserae and fragments are kept.
    pub(crate) async fn count(
        &self,
        index: &mut SqliteConnection,
        tesseras: u64,
        fragments: u64,
    ) -> Result<u64, ActorError> {
        let jobs = sqlx::query(JOBS).fetch_one(&mut *index).await?;
        let kept = (tesseras, fragments, jobs.try_get(0)?, jobs.try_get(1)?);
        if kept.2 == 0 {
            return Ok(0);
        }
        let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, damaged)) = last.filter(|(of, _)| *of == kept) {
            return Ok(damaged);
        }
        let damaged = sqlx::query_scalar::<_, i64>(DAMAGED).fetch_one(index).await?.cast_unsigned();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((kept, damaged));
        Ok(damaged)
    }
}

const JOBS: &str = "SELECT count(*), coalesce(max(queued_at), 0) FROM jobs";
const DAMAGED: &str = "SELECT count(DISTINCT f.tessera) FROM fragments f JOIN tesseras t USING (tessera) \
     WHERE t.session = 0 AND t.holdings > 0 AND f.checksum IN (SELECT checksum FROM jobs)";
