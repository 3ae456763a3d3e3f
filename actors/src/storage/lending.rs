//! Connections that read the index, lent to one question at a time.
//!
//! sqlx's pool asks a connection behind every question whether it is still there, which costs SQLite's thread and two
//! of ours as much as a short answer. Only one whose question failed, or was given up, goes back through the pool.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sqlx::{Sqlite, SqliteConnection, SqlitePool, pool::PoolConnection};
use tokio::sync::Semaphore;

use super::pragmas::Database;
use crate::error::ActorError;

/// The connections.
#[derive(Debug, Clone)]
pub(super) struct Lending {
    pool: SqlitePool,
    /// Taken from the pool and at hand.
    idle: Arc<Mutex<Vec<PoolConnection<Sqlite>>>>,
    /// As many as the pool has: who waits for a connection waits for one that is lent.
    turns: Arc<Semaphore>,
}

impl Lending {
    pub(super) fn new(database: &Database) -> Self {
        let connections = database.readers.options().get_max_connections();
        Self {
            pool: database.readers.clone(),
            idle: Arc::default(),
            turns: Arc::new(Semaphore::new(connections as usize)),
        }
    }

    /// Asks as soon as a connection is free.
    pub(super) async fn lend<T>(
        &self,
        question: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, ActorError>,
    ) -> Result<T, ActorError> {
        let _turn = self.turns.acquire().await.map_err(|_| sqlx::Error::PoolClosed)?;
        let idle = self.idle().pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => self.pool.acquire().await?,
        };
        let answer = question(&mut connection).await?;
        self.idle().push(connection);
        Ok(answer)
    }

    /// Lets all connections go as soon as nobody has one. Whoever asks afterwards is refused.
    pub(super) async fn close(&self) {
        let all = self.turns.acquire_many(self.pool.options().get_max_connections()).await;
        self.turns.close();
        self.idle().clear();
        drop(all);
    }

    fn idle(&self) -> MutexGuard<'_, Vec<PoolConnection<Sqlite>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, future::join_all};
    use sqlx::{Connection, query_scalar};
    use tokio::sync::oneshot;

    use super::*;
    use crate::storage::pragmas::open_in_memory;

    async fn two(index: &mut SqliteConnection) -> Result<u32, ActorError> {
        Ok(query_scalar("SELECT 1 + 1").fetch_one(index).await?)
    }

    #[tokio::test]
    async fn question_waits_while_all_connections_are_lent() {
        let database = open_in_memory().await.unwrap();
        let lending = Lending::new(&database);
        let connections = lending.turns.available_permits();
        let (hold, held): (Vec<_>, Vec<_>) = (0..connections).map(|_| oneshot::channel::<()>()).unzip();
        let long = held.into_iter().map(|held| {
            let lending = lending.clone();
            tokio::spawn(async move {
                lending
                    .lend(async |index| {
                        let answer = two(index).await;
                        held.await.unwrap();
                        answer
                    })
                    .await
            })
        });
        let long: Vec<_> = long.collect();
        while lending.turns.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let mut late = Box::pin(lending.lend(two));
        assert!(late.as_mut().now_or_never().is_none());
        hold.into_iter().for_each(|hold| hold.send(()).unwrap());
        assert_eq!(late.await.unwrap(), 2);
        for answer in join_all(long).await {
            assert_eq!(answer.unwrap().unwrap(), 2);
        }
        assert_eq!(lending.idle().len(), connections, "they stay at hand");
    }

    #[tokio::test]
    async fn connection_of_a_question_that_failed_or_was_given_up_is_replaced() {
        let database = open_in_memory().await.unwrap();
        let lending = Lending::new(&database);
        for _ in 0..2 * lending.turns.available_permits() {
            let failed = lending.lend(async |index| {
                sqlx::query("SELECT nothing").execute(index).await?;
                Ok(())
            });
            failed.await.unwrap_err();
            let given_up = lending.lend(async |index| {
                let _begun = index.begin().await?;
                std::future::pending::<Result<(), ActorError>>().await
            });
            let timeout = tokio::time::timeout(std::time::Duration::from_millis(5), given_up);
            timeout.await.unwrap_err();
            assert_eq!(lending.lend(two).await.unwrap(), 2);
        }
    }

    #[tokio::test]
    async fn closed_means_that_nobody_has_a_connection_and_nobody_gets_one() {
        let database = open_in_memory().await.unwrap();
        let lending = Lending::new(&database);
        lending.lend(two).await.unwrap();
        let (hold, held) = oneshot::channel();
        let mut long = Box::pin(lending.lend(async |index| {
            held.await.unwrap();
            two(index).await
        }));
        assert!(long.as_mut().now_or_never().is_none());
        let mut close = Box::pin(lending.close());
        assert!(close.as_mut().now_or_never().is_none());
        hold.send(()).unwrap();
        assert_eq!(long.await.unwrap(), 2);
        close.await;
        lending.lend(two).await.unwrap_err();
        database.close().await;
    }
}
