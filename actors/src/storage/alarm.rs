//! What was found damaged lately, and which tesserae that is of: these are looked at at once.
//!
//! Damage is noted by the bytes, in the transaction that marks them; the index finds fragments by their ids. So all fragments
//! are looked through once for all that was found since the last time.

use proto::TesseraId;
use sqlx::SqliteConnection;
use tokio::sync::watch;

use super::{health, readers::Readers};
use crate::error::ActorError;

/// Wakes whoever looks after tesserae when something was found damaged. The damage itself is in the index, so an alarm that
/// nobody hears is only late.
#[derive(Debug, Clone)]
pub(crate) struct Alarm(watch::Sender<()>);

impl Alarm {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(()))
    }

    /// Something was found damaged, and the index knows it.
    pub(crate) fn sound(&self) {
        self.0.send_replace(());
    }

    /// Sees every alarm from now on; several at once as one.
    pub(crate) fn listen(&self) -> watch::Receiver<()> {
        self.0.subscribe()
    }
}

/// What was found damaged and not looked up yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FreshDamage {
    /// The tesserae that it is of and that others keep as well; `None` when these are too many to be named.
    pub tesserae: Option<Vec<TesseraId>>,
    /// The number of what was found last.
    pub upto: i64,
}

/// What was found damaged since [`Note::DamageSeen`](super::Note::DamageSeen) was last noted; `None` when nothing was.
pub(super) async fn fresh(index: &Readers) -> Result<Option<FreshDamage>, ActorError> {
    let newest = async |index: &mut SqliteConnection| {
        Ok(sqlx::query_scalar::<_, Option<i64>>(NEWEST).fetch_one(index).await?)
    };
    let Some(upto) = index.as_it_is(newest).await? else { return Ok(None) };
    // What is found meanwhile may be among them, and is looked up once more: its number is higher.
    let found = health::through(index, TESSERAE, health::FRAGMENTS_PER_PART, TESSERAE_MAX).await?;
    let tesserae = (found.len() <= TESSERAE_MAX).then_some(found);
    Ok(Some(FreshDamage { tesserae, upto }))
}

/// Tesserae that are named: with more the disk is about to fail, and all are looked at.
const TESSERAE_MAX: usize = 1024;
const _: () = assert!(TESSERAE_MAX < super::NOTE_ROWS_MAX, "they are noted together");
const NEWEST: &str = "SELECT max(id) FROM fresh_damage";
const TESSERAE: &str = "SELECT DISTINCT tessera FROM (SELECT tessera, checksum FROM fragments \
     WHERE (tessera, stripe, idx) > (?, ?, ?) ORDER BY tessera, stripe, idx LIMIT ? + 0) \
     WHERE checksum IN (SELECT checksum FROM fresh_damage) AND tessera IN (SELECT tessera FROM watched) ORDER BY tessera";

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;
    use crate::storage::{
        lending::Lending,
        pragmas::{Database, open_in_memory},
        readers::Progress,
    };

    async fn execute(database: &Database, sql: &'static str) {
        sqlx::raw_sql(sql).execute(&database.writer).await.unwrap();
    }

    /// So many tesserae of one fragment each, all of them watched but the first; each of bytes of its own.
    async fn filled(tesserae: usize) -> (Database, Readers) {
        let database = open_in_memory().await.unwrap();
        let fill = "INSERT INTO fragments SELECT unhex(printf('%064x', value)), 0, 0, unhex(printf('%064x', 100000 + value)), 1, 0 \
             FROM (WITH RECURSIVE n(value) AS (SELECT 0 UNION ALL SELECT value + 1 FROM n LIMIT ?) SELECT value FROM n)";
        let watch =
            "INSERT INTO watched (tessera) SELECT tessera FROM fragments WHERE tessera > zeroblob(32)";
        let mut writer = database.writer.acquire().await.unwrap();
        // Their tesserae would have rows of their own.
        sqlx::query("PRAGMA foreign_keys = OFF").execute(&mut *writer).await.unwrap();
        sqlx::query(fill).bind(u32::try_from(tesserae).unwrap()).execute(&mut *writer).await.unwrap();
        sqlx::query(watch).execute(&mut *writer).await.unwrap();
        drop(writer);
        let readers = Readers::new(Lending::new(&database), Progress::new());
        (database, readers)
    }

    const ALL: &str = "INSERT INTO jobs SELECT checksum, 1, 0 FROM fragments";

    #[tokio::test]
    async fn damage_is_told_by_tessera_until_it_was_seen() {
        let (database, index) = filled(4).await;
        assert_eq!(fresh(&index).await.unwrap(), None);
        execute(
            &database,
            "INSERT INTO jobs SELECT checksum, 1, 0 FROM fragments WHERE tessera < unhex(printf('%064x', 3))",
        )
        .await;
        let tessera = |number: u8| {
            let mut id = [0; 32];
            id[31] = number;
            TesseraId::from_bytes(id)
        };
        let found = FreshDamage { tesserae: Some(vec![tessera(1), tessera(2)]), upto: 3 };
        assert_eq!(fresh(&index).await.unwrap(), Some(found), "of the first nobody else keeps anything");
        // Mended or not, and found again while it was looked up.
        execute(&database, "DELETE FROM jobs; INSERT INTO jobs SELECT checksum, 1, 0 FROM fragments; DELETE FROM fresh_damage WHERE id <= 3").await;
        assert_eq!(
            fresh(&index).await.unwrap(),
            Some(FreshDamage { tesserae: Some(vec![tessera(3)]), upto: 4 })
        );
        execute(&database, "DELETE FROM fresh_damage").await;
        assert_eq!(fresh(&index).await.unwrap(), None);
    }

    #[tokio::test]
    async fn disk_that_fails_everywhere_names_none() {
        let (database, index) = filled(TESSERAE_MAX + 2).await;
        execute(&database, ALL).await;
        let upto = i64::try_from(TESSERAE_MAX + 2).unwrap();
        assert_eq!(fresh(&index).await.unwrap(), Some(FreshDamage { tesserae: None, upto }));
    }

    #[test]
    fn alarms_are_heard_as_one() {
        let alarm = Alarm::new();
        let mut heard = alarm.listen();
        assert!(heard.changed().now_or_never().is_none());
        (0..3).for_each(|_| alarm.sound());
        assert!(heard.changed().now_or_never().is_some());
        assert!(heard.changed().now_or_never().is_none());
    }
}
