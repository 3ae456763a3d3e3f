//! Memory for requests: reserved once, here at the outermost door, so that nothing further in waits for it. Who waits
//! for it makes those give way that hold some and are slow.

use std::{sync::Arc, time::Duration};

use actors::budget::Budget;
use tokio::{sync::OwnedSemaphorePermit, time::timeout};

use super::pace::{Pace, Paces};
use crate::problem::{Kind, Problem};

/// What requests may hold together, and whatever else shares the budget.
#[derive(Debug, Clone)]
pub(crate) struct Memory {
    budget: Budget,
    paces: Paces,
}

/// Memory that is spoken for, until it is dropped.
#[derive(Debug)]
pub(crate) struct Reserved {
    permits: OwnedSemaphorePermit,
    memory: Memory,
}

/// Memory that was spoken for, and will be again.
#[derive(Debug)]
pub(crate) struct Released {
    wanted: u32,
    memory: Memory,
}

impl Reserved {
    /// For whoever holds it while a caller is waited for, that may be waited for so long over one step.
    pub(crate) fn pace(&self, patience: Duration) -> Arc<Pace> {
        self.memory.paces.join(patience)
    }

    /// Lets others have it for a while.
    pub(crate) fn release(self) -> Released {
        let wanted = u32::try_from(self.permits.num_permits()).unwrap_or(u32::MAX);
        Released { wanted, memory: self.memory }
    }
}

impl Released {
    /// Waits for it again, as [`Memory::reserve`] does.
    pub(crate) async fn reserve(self) -> Result<Reserved, Problem> {
        self.memory.reserve_mib(self.wanted).await
    }
}

impl Memory {
    /// Out of this budget.
    pub(crate) fn new(budget: Budget) -> Self {
        Self { budget, paces: Paces::default() }
    }

    /// Waits until so many bytes are free. Fails with [`Kind::Busy`] when that takes too long. What needs more than
    /// there is gets all of it.
    pub(crate) async fn reserve(&self, bytes: usize) -> Result<Reserved, Problem> {
        self.reserve_mib(self.budget.permits(bytes as u64)).await
    }

    /// How much is spoken for.
    pub(crate) fn held_bytes(&self) -> u64 {
        self.budget.held_bytes()
    }

    async fn reserve_mib(&self, wanted: u32) -> Result<Reserved, Problem> {
        match timeout(ADMISSION_DEADLINE, self.free(wanted)).await {
            Ok(Some(permits)) => Ok(Reserved { permits, memory: self.clone() }),
            Ok(None) | Err(_) => Err(busy(wanted)),
        }
    }

    /// Waits for so much, and makes others give way meanwhile.
    async fn free(&self, wanted: u32) -> Option<OwnedSemaphorePermit> {
        let free = self.budget.reserve(wanted);
        tokio::pin!(free);
        loop {
            tokio::select! {
                biased;
                permits = free.as_mut() => return permits,
                () = tokio::time::sleep(PRESSURE_INTERVAL) => self.paces.cut_slowest(),
            }
        }
    }
}

fn busy(wanted: u32) -> Problem {
    let waited = ADMISSION_DEADLINE.as_secs();
    let detail = format!(
        "{wanted} MiB of memory were not free within {waited} s: other requests are under way. \
         Try again later, or raise performance.memory_budget_mb"
    );
    Problem::new(Kind::Busy, detail)
}

/// Whoever waits makes one more give way each time.
const PRESSURE_INTERVAL: Duration = Duration::from_millis(250);
/// How long a request waits for admission.
const ADMISSION_DEADLINE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn request_that_finds_no_memory_waits_and_is_then_refused_as_busy() {
        let memory = Memory::new(Budget::new(10 << 20));
        let first = memory.reserve(6 << 20).await.unwrap();
        assert_eq!(memory.reserve(5 << 20).await.unwrap_err().kind(), Kind::Busy);
        let waiting = memory.reserve(5 << 20);
        let (second, ()) = tokio::join!(waiting, async { drop(first) });
        assert!(second.is_ok());
        assert_eq!(memory.held_bytes(), 5 << 20);
    }

    #[tokio::test]
    async fn request_for_more_than_there_is_gets_all() {
        let memory = Memory::new(Budget::new(10 << 20));
        assert!(memory.reserve(1 << 30).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_is_slow_gives_way_to_those_who_wait() {
        let memory = Memory::new(Budget::new(10 << 20));
        let slow = memory.reserve(10 << 20).await.unwrap();
        let pace = slow.pace(Duration::from_secs(5));
        let held = async {
            let outcome = pace.wait(std::future::pending::<()>()).await;
            (outcome, slow.release())
        };
        let ((outcome, released), second) = tokio::join!(held, memory.reserve(1));
        assert!(outcome.is_none() && second.is_ok());
        assert_eq!(memory.held_bytes(), 1 << 20);
        let (again, ()) = tokio::join!(released.reserve(), async { drop(second) });
        assert!(again.is_ok() && memory.held_bytes() == 10 << 20, "as much as before");
    }
}
