//! Connections that read the index, lent to one question at a time.
//!
//! sqlx's pool asks a connection behind every question whether it is still there, which costs SQLite's thread and two
//! of ours as much as a short answer. Here it stays at hand. One whose question failed is closed, and the pool opens
//! another: sqlx may believe in a transaction that SQLite has ended by itself, and then open one that never ends.
//!
//! # Invariants
//! 1. Connections at hand and connections lent are never more than there are turns, which are as many as the pool opens:
//!    whoever has a turn has a connection, or gets one from the pool.
//! 2. Every question can be cut, whatever it is at.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sqlx::{Connection, Sqlite, SqliteConnection, SqlitePool, pool::PoolConnection};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{
    leash::{Leash, Leashes},
    pragmas::Database,
};
use crate::error::ActorError;

/// All connections that read.
#[derive(Debug, Clone)]
pub(super) struct Lending {
    pool: SqlitePool,
    /// Taken from the pool and at hand.
    idle: Arc<Mutex<Vec<Lent>>>,
    turns: Arc<Semaphore>,
    /// Of those that take long.
    turns_aside: Arc<Semaphore>,
    leashes: Leashes,
}

/// A connection, and what ends the question it is asked.
#[derive(Debug)]
struct Lent {
    connection: PoolConnection<Sqlite>,
    leash: Leash,
}

impl Lending {
    pub(super) fn new(database: &Database) -> Self {
        let connections = database.readers.options().get_max_connections();
        Self {
            pool: database.readers.clone(),
            idle: Arc::default(),
            turns: Arc::new(Semaphore::new(connections as usize)),
            turns_aside: Arc::new(Semaphore::new(ASIDE_MAX)),
            leashes: Leashes::default(),
        }
    }

    /// Asks as soon as a connection is free.
    ///
    /// Errors with [`ActorError::Sqlite`] when none is for too long, and after [`Lending::close`]; with [`ActorError::Cut`]
    /// when it took too long while much was written.
    pub(super) async fn lend<T>(
        &self,
        question: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, ActorError>,
    ) -> Result<T, ActorError> {
        let _turn = self.turn().await?;
        // In a statement of its own: the lock is not held while the pool opens one.
        let idle = self.idle().pop();
        let mut lent = match idle {
            Some(lent) => lent,
            None => {
                let mut connection = self.pool.acquire().await?;
                let leash = Leash::of(&mut connection).await?;
                Lent { connection, leash }
            }
        };
        let leash = lent.leash.clone();
        let answer = self.leashes.hold(&leash, question(&mut lent.connection)).await;
        match answer {
            Ok(_) if !leash.is_cut() => self.idle().push(lent),
            _ => lent.connection.close_on_drop(),
        }
        answer
    }

    /// Asks on a connection of its own, for what takes long: the others are not kept waiting for it. Few do so at a time.
    pub(super) async fn aside<T>(
        &self,
        question: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, ActorError>,
    ) -> Result<T, ActorError> {
        let _turn = self.turns_aside.acquire().await.map_err(|_| sqlx::Error::PoolClosed)?;
        self.leashed(SqliteConnection::connect_with(&self.pool.connect_options()).await?, question).await
    }

    /// Asks on this connection, and then closes it.
    pub(super) async fn leashed<T>(
        &self,
        mut connection: SqliteConnection,
        question: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, ActorError>,
    ) -> Result<T, ActorError> {
        let leash = Leash::of(&mut connection).await?;
        let answer = self.leashes.hold(&leash, question(&mut connection)).await?;
        connection.close().await?;
        Ok(answer)
    }

    /// Waits until nobody has a connection; questions that take longer than this meanwhile are cut. Whoever comes waits
    /// until what is returned is dropped. Also returns how many were cut.
    pub(super) async fn alone(&self, patience: Duration) -> (Option<SemaphorePermit<'_>>, usize) {
        let all = self.turns.acquire_many(self.pool.options().get_max_connections());
        tokio::pin!(all);
        if let Ok(all) = tokio::time::timeout(patience, &mut all).await {
            // Those aside have no turn.
            return (all.ok(), self.leashes.cut(patience));
        }
        // All that had a connection before are as old as this by now.
        let cut = self.leashes.cut(patience);
        let all = tokio::time::timeout(CUT_DEADLINE, all).await;
        (all.ok().and_then(Result::ok), cut)
    }

    /// Lets all connections go as soon as nobody has one, so that the pool can be closed. Whoever has one for long is cut.
    pub(super) async fn close(&self) {
        let all = self.turns.acquire_many(self.pool.options().get_max_connections());
        tokio::pin!(all);
        let in_time = tokio::time::timeout(CLOSE_PATIENCE, &mut all).await;
        // Those aside would keep the database open.
        self.turns_aside.close();
        self.leashes.cut(Duration::ZERO);
        let all = match in_time {
            Ok(all) => all,
            Err(_) => all.await,
        };
        self.turns.close();
        self.idle().clear();
        drop(all);
    }

    async fn turn(&self) -> Result<SemaphorePermit<'_>, sqlx::Error> {
        let turn = tokio::time::timeout(TURN_DEADLINE, self.turns.acquire()).await;
        turn.map_err(|_| sqlx::Error::PoolTimedOut)?.map_err(|_| sqlx::Error::PoolClosed)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Lent>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A question that was cut ends at once, unless the disk hangs.
const CUT_DEADLINE: Duration = Duration::from_secs(1);
/// Each takes a thread, descriptors and memory. Looking through the index takes one at a start and one for verifying: one
/// is left to whoever asks.
const ASIDE_MAX: usize = 3;
/// How long questions may still take at the end.
const CLOSE_PATIENCE: Duration = Duration::from_secs(3);
/// How long a question waits for a connection: a disk that hangs keeps those that have one.
const TURN_DEADLINE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use futures::{FutureExt, future::join_all};
    use sqlx::query_scalar;
    use tokio::sync::{Barrier, oneshot};

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

    /// A transaction that SQLite ends by itself, as it does when it cannot read a page.
    async fn fail_in_a_transaction(index: &mut SqliteConnection) -> Result<(), ActorError> {
        let mut snapshot = index.begin().await?;
        sqlx::raw_sql("ROLLBACK").execute(&mut *snapshot).await?;
        sqlx::query("SELECT nothing").execute(&mut *snapshot).await?;
        Ok(())
    }

    /// What each connection sees.
    async fn next_seqs(lending: &Lending) -> Vec<u32> {
        let connections = lending.turns.available_permits();
        let all_lent = Barrier::new(connections);
        let questions = (0..connections).map(|_| {
            lending.lend(async |index| {
                all_lent.wait().await;
                drop(index.begin().await?);
                Ok(query_scalar("SELECT next_seq FROM log").fetch_one(index).await?)
            })
        });
        join_all(questions).await.into_iter().map(Result::unwrap).collect()
    }

    #[tokio::test]
    async fn question_that_failed_or_was_given_up_leaves_no_old_snapshot() {
        let database = open_in_memory().await.unwrap();
        let lending = Lending::new(&database);
        let write = async |next_seq: u32| {
            let written = sqlx::query("UPDATE log SET next_seq = ?").bind(next_seq);
            written.execute(&database.writer).await.unwrap();
            let seen = next_seqs(&lending).await;
            assert!(seen.iter().all(|seen| *seen == next_seq), "{seen:?} and not {next_seq}");
        };
        lending.lend(fail_in_a_transaction).await.unwrap_err();
        write(2).await;
        write(3).await;
        let (begin, begun) = oneshot::channel();
        let mut given_up = Box::pin(lending.lend(async |index| {
            let mut snapshot = index.begin().await?;
            two(&mut snapshot).await?;
            begin.send(()).unwrap();
            std::future::pending::<Result<(), ActorError>>().await
        }));
        tokio::select! {
            _ = &mut given_up => unreachable!(),
            begun = begun => begun.unwrap(),
        }
        drop(given_up);
        write(4).await;
        write(5).await;
    }

    async fn endless(index: &mut SqliteConnection) -> Result<u32, ActorError> {
        let sql = "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers) \
                   SELECT count(*) FROM numbers";
        Ok(query_scalar(sql).fetch_one(index).await?)
    }

    async fn holding(index: &mut SqliteConnection) -> Result<u32, ActorError> {
        let mut snapshot = index.begin().await?;
        two(&mut snapshot).await?;
        std::future::pending().await
    }

    /// Whatever a question is at, on a connection that is lent or on one of its own.
    #[tokio::test]
    async fn question_that_is_cut_ends_at_once_and_leaves_no_snapshot() {
        let database = open_in_memory().await.unwrap();
        let lending = Lending::new(&database);
        let cut = async || {
            assert_eq!(lending.leashes.cut(Duration::from_secs(3600)), 0);
            while lending.leashes.cut(Duration::ZERO) == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        for aside in [false, true] {
            let (answer, ()) = tokio::join!(
                async { if aside { lending.aside(endless).await } else { lending.lend(endless).await } },
                cut()
            );
            assert!(matches!(answer, Err(ActorError::Cut)), "{answer:?}");
            let (answer, ()) = tokio::join!(
                async { if aside { lending.aside(holding).await } else { lending.lend(holding).await } },
                cut()
            );
            assert!(matches!(answer, Err(ActorError::Cut)), "{answer:?}");
        }
        assert_eq!(lending.leashes.cut(Duration::ZERO), 0, "none is under way");
        sqlx::query("UPDATE log SET next_seq = 7").execute(&database.writer).await.unwrap();
        assert!(next_seqs(&lending).await.iter().all(|seen| *seen == 7));
        // Were one of them still there, this would wait for it.
        let moved: (i64, i64, i64) =
            sqlx::query_as("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&database.writer).await.unwrap();
        assert_eq!(moved.0, 0);
        lending.close().await;
        database.close().await;
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
