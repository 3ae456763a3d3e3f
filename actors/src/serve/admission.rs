//! Whether a fragment is taken: decided before a byte of it is read.

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

/// All that counts when a fragment is offered. Lengths in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Offered {
    pub(super) author: AuthorId,
    pub(super) length: u64,
    pub(super) visibility: Visibility,
    /// What is held for others here.
    pub(super) hold: Hold,
    /// How much may be kept for the author; `None` when nobody has granted any.
    pub(super) allowance: Option<u64>,
    /// How much is kept for the author, and on its way.
    pub(super) used: u64,
    /// How much more the disk takes, if that is known.
    pub(super) room: Option<u64>,
}

/// Refuses what is not wanted here, or has no place.
pub(super) fn admit(offered: &Offered) -> Result<(), Refusal> {
    let Offered { author, length, used, .. } = *offered;
    match (offered.hold, offered.visibility) {
        (Hold::None, _) => return Err(RefusalKind::Forbidden.because("this node holds nothing for others")),
        (Hold::Private, Visibility::Public) => {
            return Err(RefusalKind::Forbidden.because("this node holds only what is encrypted"));
        }
        (Hold::Any, _) | (Hold::Private, Visibility::Private) => {}
    }
    let Some(allowance) = offered.allowance else {
        let reason = format!("nothing is kept here for {author}: no peer of this node acts for it");
        return Err(RefusalKind::QuotaExceeded.because(reason));
    };
    if used.saturating_add(length) > allowance {
        let reason = format!("{used} of {allowance} bytes are used for {author}: {length} more are too many");
        return Err(RefusalKind::QuotaExceeded.because(reason));
    }
    match offered.room {
        Some(room) if room < length => {
            Err(RefusalKind::InsufficientStorage.because("the disk here has no room"))
        }
        _ => Ok(()),
    }
}

/// What is known of each author's account, so that not every fragment has to ask the index.
#[derive(Debug, Default)]
pub(super) struct Accounts(tokio::sync::Mutex<HashMap<AuthorId, Account>>);

/// What is known of one. Only ever more than the truth: what was admitted counts whether or not it arrives.
#[derive(Debug, Clone, Copy)]
struct Account {
    asked_at: Instant,
    /// How much was kept for the author and on its way then.
    used: u64,
    /// How much more the disk took then.
    room: Option<u64>,
    /// What was admitted since.
    admitted: u64,
}

impl Accounts {
    /// Admits a fragment, or refuses it. One at a time, so that many at once cannot together exceed what each of them keeps
    /// to. `ask` tells how much is kept for the author, how much is on its way, and how much more the disk takes.
    pub(super) async fn admit(
        &self,
        offered: &Offered,
        debts: &Debts,
        ask: impl AsyncFnOnce() -> Result<(u64, Option<u64>), Refusal>,
    ) -> Result<Debt, Refusal> {
        let mut accounts = self.0.lock().await;
        let author = offered.author;
        let known = accounts.get_mut(&author).filter(|account| account.asked_at.elapsed() < ASKED_FOR);
        if let Some(account) = known
            && admit(&account.applied(offered)).is_ok()
        {
            account.admitted += offered.length;
            return Ok(debts.owe(author, offered.length));
        }
        // First what is on its way, then what has arrived: what does so in between is counted twice, and not left out.
        let owed = debts.of(author);
        let (used, room) = ask().await?;
        let used = used.saturating_add(owed);
        let mut account = Account { asked_at: Instant::now(), used, room, admitted: 0 };
        let admitted = admit(&account.applied(offered));
        if admitted.is_ok() {
            account.admitted = offered.length;
        }
        if accounts.len() >= ACCOUNTS_MAX {
            accounts.clear();
        }
        accounts.insert(author, account);
        admitted.map(|()| debts.owe(author, offered.length))
    }
}

impl Account {
    fn applied(&self, offered: &Offered) -> Offered {
        Offered {
            used: self.used.saturating_add(self.admitted),
            room: self.room.map(|room| room.saturating_sub(self.admitted)),
            ..offered.clone()
        }
    }
}

/// Bytes that are on their way, by author: so many streams at once cannot together exceed an allowance that each of them
/// keeps to.
#[derive(Debug, Clone, Default)]
pub(super) struct Debts(Arc<Mutex<HashMap<AuthorId, u64>>>);

/// Bytes of one transfer, until it has ended.
#[derive(Debug)]
pub(super) struct Debt {
    author: AuthorId,
    bytes: u64,
    debts: Debts,
}

impl Debts {
    /// What is on its way for an author.
    pub(super) fn of(&self, author: AuthorId) -> u64 {
        self.lock().get(&author).copied().unwrap_or_default()
    }

    /// What is on its way for all.
    #[cfg(feature = "faults")]
    pub(super) fn total(&self) -> u64 {
        self.lock().values().sum()
    }

    /// More is, from now on.
    pub(super) fn owe(&self, author: AuthorId, bytes: u64) -> Debt {
        *self.lock().entry(author).or_default() += bytes;
        Debt { author, bytes, debts: self.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<AuthorId, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Debt {
    fn drop(&mut self) {
        let mut debts = self.debts.lock();
        if let Some(owed) = debts.get_mut(&self.author) {
            *owed = owed.saturating_sub(self.bytes);
            if *owed == 0 {
                debts.remove(&self.author);
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
            length: 10,
            visibility: Visibility::Private,
            hold: Hold::Any,
            allowance: Some(100),
            used: 90,
            room: Some(10),
        }
    }

    #[track_caller]
    fn check(offered: Offered, expected: Option<RefusalKind>) {
        assert_eq!(admit(&offered).err().map(|refusal| refusal.kind()), expected, "{offered:?}");
    }

    #[test]
    fn fragment_is_taken_up_to_the_last_byte_there_is_for_it() {
        check(offered(), None);
        check(Offered { used: 91, ..offered() }, Some(RefusalKind::QuotaExceeded));
        check(Offered { used: u64::MAX, ..offered() }, Some(RefusalKind::QuotaExceeded));
        check(Offered { allowance: None, used: 0, ..offered() }, Some(RefusalKind::QuotaExceeded));
        check(Offered { room: Some(9), ..offered() }, Some(RefusalKind::InsufficientStorage));
        check(Offered { room: None, ..offered() }, None);
    }

    #[test]
    fn fragment_that_is_not_wanted_is_refused() {
        let public = Visibility::Public;
        check(Offered { visibility: public, ..offered() }, None);
        check(Offered { hold: Hold::Private, ..offered() }, None);
        let forbidden = Some(RefusalKind::Forbidden);
        check(Offered { hold: Hold::Private, visibility: public, ..offered() }, forbidden);
        check(Offered { hold: Hold::None, ..offered() }, forbidden);
    }

    #[tokio::test]
    async fn index_is_asked_once_in_a_while_and_before_anything_is_refused() {
        let (accounts, debts) = (Accounts::default(), Debts::default());
        let asked = std::cell::Cell::new(0);
        let ask = async || {
            asked.set(asked.get() + 1);
            Ok((60, Some(1000)))
        };
        let admit = async || accounts.admit(&offered(), &debts, ask).await;
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

    #[test]
    fn what_is_on_its_way_counts_until_it_has_arrived() {
        let (debts, author) = (Debts::default(), AuthorId::from_bytes([1; 32]));
        let first = debts.owe(author, 5);
        let second = debts.owe(author, 7);
        assert_eq!(debts.of(author), 12);
        drop(first);
        assert_eq!(debts.of(author), 7);
        drop(second);
        assert_eq!(debts.of(author), 0);
        assert!(debts.lock().is_empty());
    }
}
