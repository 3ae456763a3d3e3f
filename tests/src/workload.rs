//! Many clients of one store, each with places of its own, so that what each place must hold is known although all
//! of them work at once.

use std::sync::Arc;

use actors::{ActorError, FragmentStore, PutOutcome, System, SystemConfig, storage::StorageHandle};
use config::StorageConfig;
use fastrand::Rng;
use proto::{AccountId, NodeKey};
use tokio::{io::AsyncReadExt, task::JoinSet};

use crate::{
    content::{Content, DOCUMENT_KINDS, SHARED_CONTENTS, Spot, document, session_contents, tessera_id},
    inspect::inspect,
    journal::{Journal, Line, Start, write},
    ledger::{Answer, Deed, Wish},
};

/// A node for a crash test: segments so small that rotation and compaction never stop.
fn system_config(start: &Start) -> SystemConfig {
    let storage = StorageConfig {
        segment_bytes: SEGMENT_BYTES,
        min_free_bytes: start.min_free_bytes,
        sqlite_synchronous_full: start.synchronous_full,
        ..StorageConfig::with_defaults(&start.folder)
    };
    SystemConfig::new(storage, NodeKey::from_seed([1; 32]))
}

/// Opens the store, compares it with the ledger, and works on it until standard input ends or the process does.
pub async fn run(start: Start) {
    let system = match System::start(system_config(&start)).await {
        Ok(system) => system,
        Err(error) => return write(&Line::NotOpened(error.to_string())),
    };
    let opening = match inspect(&system, start.ledger, &created()).await {
        Ok(opening) => opening,
        Err(faults) => return faults.into_iter().for_each(|fault| write(&Line::Fault(fault))),
    };
    let journal = Arc::new(Journal::new(opening.ledger.clone()));
    write(&Line::Opened(opening));
    let mut rng = Rng::with_seed(start.seed);
    let mut clients = JoinSet::new();
    // Whether there is a cache must be invisible.
    for number in 0..PUTTERS / 2 {
        clients.spawn(Client::new(&system, system.storage.clone(), &journal, &mut rng).put_and_drop(number));
    }
    for number in PUTTERS / 2..PUTTERS {
        clients.spawn(Client::new(&system, system.cache.clone(), &journal, &mut rng).put_and_drop(number));
    }
    for number in 0..CREATORS {
        clients
            .spawn(Client::new(&system, system.cache.clone(), &journal, &mut rng).create_and_forget(number));
    }
    // An error of standard input ends it as well.
    let _ = tokio::io::stdin().read(&mut [0]).await;
    clients.shutdown().await;
    // A life is often over before a compaction is. What that must come to in the end, the next start finds.
    if let Err(error) = system.storage.compact().await {
        write(&Line::Fault(format!("the last compaction: {error}")));
    }
    system.drain().await;
    write(&Line::Closed);
}

/// The tesserae that sessions may make.
pub fn created() -> Vec<u32> {
    (0..CREATORS).flat_map(own_tesserae).collect()
}

struct Client<S> {
    /// For single fragments.
    store: S,
    /// For everything else.
    storage: StorageHandle,
    journal: Arc<Journal>,
    rng: Rng,
}

impl<S: FragmentStore> Client<S> {
    fn new(system: &System, store: S, journal: &Arc<Journal>, rng: &mut Rng) -> Self {
        Self { store, storage: system.storage.clone(), journal: journal.clone(), rng: rng.fork() }
    }

    /// Single fragments, some wanted by two accounts. All clients share the tesserae; each has stripes of its own.
    async fn put_and_drop(mut self, number: u32) {
        loop {
            let spot = Spot {
                tessera: 1 + self.rng.u32(..PUT_TESSERAE),
                stripe: number,
                index: self.rng.u16(..INDEXES),
                account: self.rng.u8(..ACCOUNTS),
            };
            match self.rng.u32(..1000) {
                ..400 => self.put(spot).await,
                400..700 => self.drop_fragment(spot).await,
                700..985 => self.read(spot, self.journal.fragment(spot)).await,
                _ => self.compact().await,
            }
        }
    }

    /// Whole tesserae.
    async fn create_and_forget(mut self, number: u32) {
        loop {
            let tessera = self.rng.choice(own_tesserae(number)).unwrap_or_default();
            let wishes = self.journal.of_tessera(tessera);
            let whole =
                wishes.len() == session_contents(tessera).len() && wishes.iter().all(|(_, wish)| wish.sure);
            match self.rng.u8(..100) {
                ..25 if wishes.is_empty() => self.abandon(tessera).await,
                _ if wishes.is_empty() => self.create(tessera).await,
                ..50 if whole => self.read_tessera(tessera, &wishes).await,
                ..70 => self.forget(tessera).await,
                _ => self.create(tessera).await,
            }
        }
    }

    async fn put(&mut self, spot: Spot) {
        let new = match self.rng.bool() {
            true => Content(self.rng.u32(..SHARED_CONTENTS)),
            false => Content(self.rng.u32(FRESH_CONTENTS..)),
        };
        let content = self.journal.fragment(spot).map_or(new, |wish| wish.content);
        let put = self.store.put(spot.account(), spot.fragment(), content.fragment());
        let answer = async {
            Ok(match put.await? {
                PutOutcome::Stored => Answer::Done,
                PutOutcome::Held => Answer::Already,
            })
        };
        self.journal.carry_out(Deed::Put(spot, content), answer).await;
    }

    async fn drop_fragment(&self, spot: Spot) {
        let dropped = self.store.drop_fragment(spot.account(), spot.fragment());
        self.journal.carry_out(Deed::Drop(spot), async { dropped.await.map(|()| Answer::Done) }).await;
    }

    /// What is wanted for sure must be there, and nothing else may be.
    async fn read(&self, spot: Spot, wish: Option<Wish>) {
        let sure = wish.is_some_and(|wish| wish.sure);
        let expected = wish.map(|wish| wish.content.fragment());
        match self.store.get(spot.fragment()).await {
            Ok(found) if Some(&found) == expected.as_ref() => {}
            Err(ActorError::NotFound { .. }) if !sure => {}
            wrong @ (Ok(_) | Err(ActorError::NotFound { .. } | ActorError::Corrupt { .. })) => {
                write(&Line::Fault(format!(
                    "{spot:?} should be {expected:?} (sure: {sure}), but is {wrong:?}"
                )));
            }
            Err(error) => write(&Line::Unread(error.to_string())),
        }
    }

    async fn read_tessera(&mut self, tessera: u32, wishes: &[(Spot, Wish)]) {
        if let Some((spot, wish)) = self.rng.choice(wishes) {
            self.read(*spot, Some(*wish)).await;
        }
        for kind in DOCUMENT_KINDS {
            match self.storage.document(tessera_id(tessera), kind, None).await {
                Ok(bytes) if bytes == document(tessera, kind) => {}
                wrong @ (Ok(_) | Err(ActorError::NotFound { .. } | ActorError::CorruptDocument { .. })) => {
                    write(&Line::Fault(format!("the {kind:?} of tessera {tessera} is {wrong:?}")));
                }
                Err(error) => write(&Line::Unread(error.to_string())),
            }
        }
    }

    async fn compact(&self) {
        let compacted = async {
            match self.storage.compact().await {
                // One at a time is enough.
                Err(ActorError::Busy { .. }) => Ok(Answer::Already),
                compacted => compacted.map(|_| Answer::Done),
            }
        };
        self.journal.carry_out(Deed::Compact, compacted).await;
    }

    async fn create(&self, tessera: u32) {
        let created = self.session(tessera, true);
        self.journal.carry_out(Deed::Create(tessera), async { created.await.map(|()| Answer::Done) }).await;
    }

    async fn abandon(&self, tessera: u32) {
        let abandoned = self.session(tessera, false);
        self.journal
            .carry_out(Deed::Abandon(tessera), async { abandoned.await.map(|()| Answer::Done) })
            .await;
    }

    async fn session(&self, tessera: u32, commit: bool) -> Result<(), ActorError> {
        let contents = session_contents(tessera);
        let mut session = self.storage.open_session().await?;
        for (_, content) in &contents {
            session.put_blob(content.fragment()).await?;
        }
        for kind in DOCUMENT_KINDS {
            session.put_document(tessera_id(tessera), kind, document(tessera, kind)).await?;
        }
        let refs: Vec<_> = contents
            .iter()
            .map(|(spot, content)| (spot.stripe, spot.index, content.fragment().checksum()))
            .collect();
        session.put_refs(tessera_id(tessera), &refs).await?;
        if commit { session.commit(tessera_id(tessera)).await } else { Ok(()) }
    }

    async fn forget(&self, tessera: u32) {
        let forgotten = self.store.forget(tessera_id(tessera));
        self.journal.carry_out(Deed::Forget(tessera), async { forgotten.await.map(|()| Answer::Done) }).await;
    }
}

fn own_tesserae(creator: u32) -> std::ops::Range<u32> {
    let first = CREATED_FIRST + creator * TESSERAE_PER_CREATOR;
    first..first + TESSERAE_PER_CREATOR
}

const SEGMENT_BYTES: u64 = 256 << 10;
const PUTTERS: u32 = 24;
const PUT_TESSERAE: u32 = 3;
const INDEXES: u16 = 3;
const ACCOUNTS: u8 = 2;
const CREATORS: u32 = 3;
const CREATED_FIRST: u32 = 100;
const TESSERAE_PER_CREATOR: u32 = 5;
/// From here on a content is stored once.
const FRESH_CONTENTS: u32 = 1 << 28;
const _: () = assert!(AccountId::LOCAL.as_bytes()[0] == 0, "account 0 is the node itself");
