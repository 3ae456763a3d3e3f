//! Whether a fragment is taken: decided before a byte of it is read.
//!
//! What is kept is charged to the author of its tessera, whoever brings it. An author that no peer acts for is a stranger,
//! and keys cost nothing: so all strangers together have an account of their own as well, and whoever brings what is
//! theirs may bring so much a day, each node and each network.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use config::Hold;
use proto::{
    AuthorId,
    manifest::Visibility,
    wire::{Refusal, RefusalKind},
};

/// All that counts when a fragment is offered, beside what it costs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Offered {
    pub(super) author: AuthorId,
    pub(super) visibility: Visibility,
    /// What is held for others here.
    pub(super) hold: Hold,
    /// How many bytes may be kept for the author; `None` when nobody has granted any.
    pub(super) allowance: Option<u64>,
}

/// Whose allowance it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Purse {
    Author(AuthorId),
    /// All authors that no peer acts for.
    Strangers,
}

/// What is in a purse. Lengths in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Used {
    /// How much is kept.
    pub(super) bytes: u64,
    /// How much more the disk takes, if that is known.
    pub(super) room: Option<u64>,
}

/// Refuses what is not wanted here.
pub(super) fn wanted(offered: &Offered) -> Result<u64, Refusal> {
    match (offered.hold, offered.visibility) {
        (Hold::None, _) => return Err(RefusalKind::Forbidden.because("this node holds nothing for others")),
        (Hold::Private, Visibility::Public) => {
            return Err(RefusalKind::Forbidden.because("this node holds only what is encrypted"));
        }
        (Hold::Any, _) | (Hold::Private, Visibility::Private) => {}
    }
    offered.allowance.ok_or_else(|| {
        let reason = format!("nothing is kept here for {}: no peer of this node acts for it", offered.author);
        RefusalKind::QuotaExceeded.because(reason)
    })
}

/// Refuses what has no place.
fn fits(purse: Purse, cost: u64, allowance: u64, used: Used) -> Result<(), Refusal> {
    let Used { bytes, room } = used;
    if bytes.saturating_add(cost) > allowance {
        let whom = match purse {
            Purse::Author(author) => author.to_string(),
            Purse::Strangers => "all authors that no peer of this node acts for".to_owned(),
        };
        let reason = format!("{bytes} of {allowance} bytes are used for {whom}: {cost} more are too many");
        return Err(RefusalKind::QuotaExceeded.because(reason));
    }
    match room {
        Some(room) if room < cost => {
            Err(RefusalKind::InsufficientStorage.because("the disk here has no room"))
        }
        _ => Ok(()),
    }
}

/// What is known of each account, so that not every fragment has to ask the index.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    known: Mutex<HashMap<Purse, Arc<Account>>>,
    debts: Debts,
}

/// What is known of one. Whoever holds it decides: many at once cannot together exceed what each of them keeps to.
type Account = tokio::sync::Mutex<Option<Known>>;

/// Only ever more than the truth: what was admitted counts whether or not it arrives.
#[derive(Debug, Clone, Copy)]
struct Known {
    asked_at: Instant,
    /// How much was used and on its way then.
    used: Used,
    /// What was admitted since.
    admitted: u64,
    /// What was refused when there was so much on its way.
    refused: Option<(u64, u64)>,
}

impl Accounts {
    /// Admits so many bytes to a purse, or refuses them. `ask` tells what is in it.
    pub(super) async fn admit(
        &self,
        purse: Purse,
        cost: u64,
        allowance: u64,
        ask: impl AsyncFnOnce() -> Result<Used, Refusal>,
    ) -> Result<Debt, Refusal> {
        let account = self.account(purse);
        let mut account = account.lock().await;
        if let Some(known) = account.as_ref().filter(|known| known.refuses(purse, cost, &self.debts)) {
            fits(purse, cost, allowance, known.now())?;
        }
        if let Some(known) = account.as_mut().filter(|known| known.asked_at.elapsed() < ASKED_FOR)
            && fits(purse, cost, allowance, known.now()).is_ok()
        {
            known.admitted += cost;
            return Ok(self.debts.owe(purse, cost));
        }
        // First what is on its way, then what has arrived: what does so in between is counted twice, and not left out.
        let owed = self.debts.of(purse);
        let asked_at = Instant::now();
        let Used { bytes, room } = ask().await?;
        let room = room.map(|room| room.saturating_sub(self.debts.total()));
        let used = Used { bytes: bytes.saturating_add(owed), room };
        let mut known = Known { asked_at, used, admitted: 0, refused: None };
        let fits = fits(purse, cost, allowance, used);
        match &fits {
            Ok(()) => known.admitted = cost,
            Err(_) => known.refused = Some((cost, owed)),
        }
        *account = Some(known);
        fits.map(|()| self.debts.owe(purse, cost))
    }

    /// What is on its way for all.
    #[cfg(feature = "faults")]
    pub(super) fn owed(&self) -> u64 {
        self.debts.total()
    }

    fn account(&self, purse: Purse) -> Arc<Account> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= ACCOUNTS_MAX && !known.contains_key(&purse) {
            // Those that nobody is asking for: what was admitted of them is asked for again.
            known.retain(|_, account| Arc::strong_count(account) > 1);
        }
        known.entry(purse).or_default().clone()
    }
}

impl Known {
    /// Whether as much was refused just now, and nothing has become free since. Only of the purse of all strangers: anybody
    /// may offer something, and to ask for that one takes all accounts.
    fn refuses(&self, purse: Purse, cost: u64, debts: &Debts) -> bool {
        let is_fresh = self.asked_at.elapsed() < ASKED_FOR;
        let is_as_much =
            self.refused.is_some_and(|(refused, owed)| cost >= refused && debts.of(purse) >= owed);
        purse == Purse::Strangers && is_fresh && is_as_much
    }

    fn now(&self) -> Used {
        Used {
            bytes: self.used.bytes.saturating_add(self.admitted),
            room: self.used.room.map(|room| room.saturating_sub(self.admitted)),
        }
    }
}

/// Bytes that are on their way, by purse: so many streams at once cannot together exceed an allowance that each of them
/// keeps to.
#[derive(Debug, Clone, Default)]
struct Debts(Arc<Mutex<HashMap<Purse, u64>>>);

/// Bytes of one transfer, until it has ended.
#[derive(Debug)]
pub(super) struct Debt {
    purse: Purse,
    bytes: u64,
    debts: Debts,
}

impl Debts {
    /// What is on its way for all.
    fn total(&self) -> u64 {
        self.lock().values().sum()
    }

    /// What is on its way.
    fn of(&self, purse: Purse) -> u64 {
        self.lock().get(&purse).copied().unwrap_or_default()
    }

    /// More is, from now on.
    fn owe(&self, purse: Purse, bytes: u64) -> Debt {
        *self.lock().entry(purse).or_default() += bytes;
        Debt { purse, bytes, debts: self.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Purse, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Debt {
    fn drop(&mut self) {
        let mut debts = self.debts.lock();
        if let Some(owed) = debts.get_mut(&self.purse) {
            *owed = owed.saturating_sub(self.bytes);
            if *owed == 0 {
                debts.remove(&self.purse);
            }
        }
    }
}

/// How long what the index has told of an account is good enough. It is asked again before anything is refused.
const ASKED_FOR: Duration = Duration::from_secs(1);
/// Accounts that are remembered.
const ACCOUNTS_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn offered() -> Offered {
        Offered {
            author: AuthorId::from_bytes([1; 32]),
            visibility: Visibility::Private,
            hold: Hold::Any,
            allowance: Some(100),
        }
    }

    fn purse() -> Purse {
        Purse::Author(AuthorId::from_bytes([1; 32]))
    }

    #[test]
    fn fragment_is_taken_up_to_the_last_byte_there_is_for_it() {
        let check = |bytes, room, expected: Option<RefusalKind>| {
            let refused = fits(purse(), 10, 100, Used { bytes, room }).err();
            assert_eq!(refused.map(|refusal| refusal.kind()), expected, "{bytes} {room:?}");
        };
        check(90, Some(10), None);
        check(91, Some(10), Some(RefusalKind::QuotaExceeded));
        check(u64::MAX, None, Some(RefusalKind::QuotaExceeded));
        check(90, Some(9), Some(RefusalKind::InsufficientStorage));
        check(90, None, None);
    }

    #[test]
    fn fragment_that_is_not_wanted_is_refused() {
        let check = |offered: Offered, expected: Result<u64, RefusalKind>| {
            assert_eq!(wanted(&offered).map_err(|refusal| refusal.kind()), expected, "{offered:?}");
        };
        let public = Visibility::Public;
        check(offered(), Ok(100));
        check(Offered { visibility: public, ..offered() }, Ok(100));
        check(Offered { hold: Hold::Private, ..offered() }, Ok(100));
        check(Offered { allowance: None, ..offered() }, Err(RefusalKind::QuotaExceeded));
        let forbidden = Err(RefusalKind::Forbidden);
        check(Offered { hold: Hold::Private, visibility: public, ..offered() }, forbidden);
        check(Offered { hold: Hold::None, ..offered() }, forbidden);
    }

    #[tokio::test]
    async fn index_is_asked_once_in_a_while_and_before_anything_is_refused() {
        let accounts = Accounts::default();
        let asked = std::cell::Cell::new(0);
        let ask = async || {
            asked.set(asked.get() + 1);
            Ok(Used { bytes: 60, room: Some(1000) })
        };
        let admit = async || accounts.admit(purse(), 10, 100, ask).await;
        let mut taken = Vec::new();
        for _ in 0..4 {
            taken.push(admit().await.unwrap());
        }
        assert_eq!(asked.get(), 1);
        assert_eq!(admit().await.unwrap_err().kind(), RefusalKind::QuotaExceeded);
        assert_eq!(asked.get(), 2);
        // Two did not arrive.
        taken.truncate(2);
        taken.push(admit().await.unwrap());
        taken.push(admit().await.unwrap());
        assert!(admit().await.is_err());
    }

    #[tokio::test]
    async fn account_that_is_being_asked_for_holds_up_no_other() {
        let accounts = Accounts::default();
        let never = accounts.admit(purse(), 10, 100, async || std::future::pending().await);
        let other = accounts.admit(Purse::Strangers, 10, 100, async || Ok(Used { bytes: 0, room: None }));
        tokio::select! {
            biased;
            _ = never => panic!("nobody has answered"),
            admitted = other => assert!(admitted.is_ok()),
        }
    }

    #[test]
    fn what_is_on_its_way_counts_until_it_has_arrived() {
        let debts = Debts::default();
        let first = debts.owe(purse(), 5);
        let second = debts.owe(purse(), 7);
        assert_eq!((debts.of(purse()), debts.of(Purse::Strangers)), (12, 0));
        drop(first);
        assert_eq!(debts.of(purse()), 7);
        drop(second);
        assert_eq!(debts.of(purse()), 0);
        assert!(debts.lock().is_empty());
    }
}
