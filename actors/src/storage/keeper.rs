//! A connection that keeps the index open while the storage actor falls and starts again.
//!
//! Whoever closes an index last has SQLite empty its log into the database, and whoever opens it meanwhile waits for
//! that. With this connection a fall closes nothing last.

use std::sync::Arc;

use sqlx::{Connection, SqliteConnection};
use tokio::sync::Mutex;

use super::pragmas::Database;
use crate::error::ActorError;

/// The connection, over restarts of the actor. It is asked nothing.
#[derive(Clone, Default)]
pub(super) struct Keeper(Arc<Mutex<Option<SqliteConnection>>>);

impl Keeper {
    /// Keeps this index open from here on, unless one is kept already. Without it a fall only takes longer.
    pub(super) async fn hold(&self, database: &Database) {
        let mut kept = self.0.lock().await;
        if kept.is_none() {
            match reading(database).await {
                Ok(connection) => *kept = Some(connection),
                Err(error) => tracing::warn!(%error, "the index is not kept open while storage starts again"),
            }
        }
    }

    /// Lets it go: before it is closed for good, or set aside.
    pub(super) async fn let_go(&self) {
        if let Some(connection) = self.0.lock().await.take()
            && let Err(error) = connection.close().await
        {
            tracing::debug!(%error, "a connection was not closed in good order");
        }
    }
}

/// One that has read nothing does not count as a user of the index.
async fn reading(database: &Database) -> Result<SqliteConnection, ActorError> {
    let mut connection = database.planner().await?;
    sqlx::query("PRAGMA schema_version").execute(&mut connection).await?;
    Ok(connection)
}
