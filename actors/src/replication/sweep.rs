//! The sweep: every tessera that others keep is looked at once in a while, and what has lost too much is mended, what is
//! worst off first. Each has its own time, so that a node never asks about all of them at once.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures::{StreamExt, future::join_all, stream};
use proto::{
    AccountId, AuthorId, AuthorKey, NodeId, TesseraId, placement::SignedPlacement, repair::repairers,
    wire::RefusalKind,
};
use ractor::ActorRef;
use tokio::{
    sync::{Notify, watch},
    time::timeout,
};

use super::{
    Tools, adopt, crowding,
    damage::{Damage, TOGETHER},
    meeting::look_for_once,
    message::{Progress, ReplicationMsg, Step},
    own::claim_ours,
    repair,
    retiring::tidy,
    sources::{self, Waits},
    standing::{self, Found, Known, Since},
    turn::{self, Turn},
};
use crate::{
    clock,
    conn_pool::{self, PeerBook},
    error::ActorError,
    remote::{self, Unproven},
    storage::{Note, RepairAllowance, Watched, Which},
};

/// Looks at what others keep, as long as the node runs.
pub(super) async fn run(tools: Arc<Tools>, actor: ActorRef<ReplicationMsg>, wake: Arc<Notify>) {
    // Just started, nobody is known yet.
    while tools.peers.refresh().await.is_err() {
        tokio::time::sleep(AGAIN).await;
    }
    let (sweep, mut book) = (Sweep { tools: &tools, actor }, tools.peers.watch());
    let (mut damage, mut alarms) = (Damage::new(), tools.storage.records().alarms());
    let mut wanted = wanted(&book.borrow_and_update());
    let pause = (tools.config.repair.interval / 8).clamp(PAUSE_MIN, PAUSE_MAX);
    loop {
        if let Err(error) = sweep.round(&mut damage).await {
            tracing::warn!(%error, "what others keep cannot be looked at now");
        }
        tokio::select! {
            () = wake.notified() => {}
            () = tokio::time::sleep(pause) => {}
            Ok(()) = alarms.changed() => tokio::time::sleep(TOGETHER).await,
            Ok(()) = book.changed() => {
                let now = self::wanted(&book.borrow_and_update());
                if !wanted.is_subset(&now) {
                    sweep.look_at_all().await;
                }
                wanted = now;
            }
        }
    }
}

/// The nodes that may keep anything. Who was only named by others, and has never said who it acts for, keeps nothing.
fn wanted(book: &PeerBook) -> BTreeSet<NodeId> {
    let may_keep = |node: &NodeId, known: &conn_pool::Known| {
        (known.is_configured || known.author.is_some()) && !book.blocked.contains_key(node)
    };
    book.peers.iter().filter(|(node, known)| may_keep(node, known)).map(|(node, _)| *node).collect()
}

struct Sweep<'a> {
    tools: &'a Arc<Tools>,
    actor: ActorRef<ReplicationMsg>,
}

impl Sweep<'_> {
    /// Looks at those whose time has come, and mends those whose turn it is.
    async fn round(&self, damage: &mut Damage) -> Result<(), ActorError> {
        let records = self.tools.storage.records();
        loop {
            // Between looks: what one finds that began before would undo it.
            damage.look_up(&records).await;
            let now_ms = clock::now_ms();
            let latest_ms = now_ms.saturating_add(self.longest_ms());
            let next = records.watched(Which::Next { now_ms, latest_ms, limit: AT_ONCE }).await?;
            if next.is_empty() {
                break;
            }
            let looks = next.into_iter().map(|before| self.next(before));
            let found: Vec<_> = stream::iter(looks).buffer_unordered(LOOKS_AT_ONCE).collect().await;
            records.note(found.into_iter().map(Note::Looked).collect()).await?;
            // Thousands may be looked at, and what is worst off does not wait for the last of them.
            self.mend().await?;
        }
        self.mend().await?;
        self.measure().await
    }

    /// A peer is gone for good: its fragments are missed at once, and not with the next look.
    async fn look_at_all(&self) {
        if let Err(error) = self.tools.storage.records().note(vec![Note::LookAtAll]).await {
            tracing::warn!(%error, "a peer is gone, and what it kept is looked at later");
        }
    }

    /// Looks at one, unless its time is still to be settled.
    async fn next(&self, before: Watched) -> Watched {
        let now_ms = clock::now_ms();
        let looked = match before.next_at_ms {
            None => self.settle(&before).await,
            Some(_) => self.look(&before).await,
        };
        looked.unwrap_or_else(|error| {
            tracing::warn!(tessera = %before.tessera, %error, "it cannot be looked at");
            let soon_ms = now_ms.saturating_add(clock::ms(LOOK_AGAIN));
            Watched { next_at_ms: Some(self.later(now_ms).min(soon_ms)), ..before }
        })
    }

    /// What has just come is looked at some time, and never all at once.
    async fn settle(&self, before: &Watched) -> Result<Watched, ActorError> {
        let now_ms = clock::now_ms();
        let known = self.known(before.tessera).await?;
        let is_nothing_to_us = match known {
            Some(known) => !self.concerns_us(&known) && !self.is_adopted(before.tessera).await?,
            None => true,
        };
        let within = fastrand::i64(0..=clock::ms(self.tools.config.repair.interval));
        let looked_at_ms = is_nothing_to_us.then_some(now_ms);
        Ok(Watched { next_at_ms: Some(now_ms.saturating_add(within)), looked_at_ms, ..*before })
    }

    /// Asks all holders what they have, and some to show it.
    async fn look(&self, before: &Watched) -> Result<Watched, ActorError> {
        let (tools, tessera, now_ms) = (self.tools, before.tessera, clock::now_ms());
        let nothing = Watched {
            next_at_ms: Some(self.later(now_ms)),
            looked_at_ms: Some(now_ms),
            margin: None,
            survives: None,
            below_since_ms: None,
            due_at_ms: None,
            repair_bytes: 0,
            proven_at_ms: None,
            ..*before
        };
        // Whoever still keeps some is told, and nobody misses what others have dropped.
        if tools.storage.records().is_taken_back(tessera).await? {
            return self.forget_if_gone(nothing).await;
        }
        let known = self.known(tessera).await?;
        let ours = known.filter(|known| self.concerns_us(known));
        let Some(mut known) = ours else {
            if self.is_adopted(tessera).await? {
                return self.look_after(nothing).await;
            }
            return self.look_around(nothing).await;
        };
        let Seen { absent, lacking, found } = self.see(&mut known, now_ms).await?;
        let is_below = found.claimed_margin < self.margin_wanted(&known);
        let is_safe = found.guarantee.survives >= Some(tools.config.wanted.survive);
        let alive = living(&known, tools.peers.us(), &absent);
        let authors = if is_below { self.authors(known.author).await } else { self.own(known.author) };
        let order = repairers(tessera, &authors, &alive);
        let rank = order.iter().position(|node| *node == tools.peers.us());
        let proven_at_ms = match rank {
            Some(rank) => self.prove(tessera, &alive, rank, now_ms).await?.filter(|_| rank == 0),
            None => None,
        };
        if !is_below
            && is_safe
            && let Some(key) = tools.author.as_ref().filter(|key| key.id() == known.author)
        {
            self.tidy(key, &known).await?;
        }
        // Where nothing is missing, machines are too few: that is mended only when there are more of them.
        let is_missing = is_below && found.missing_bytes > 0;
        let is_content = is_safe && !is_below;
        let crowded = if is_missing || is_content { 0 } else { crowding::bytes(tools, &known).await };
        let needs_it = is_missing || crowded > 0;
        let mut turn = turn::next(before.below_since_ms, needs_it, rank, tools.config.repair.grace, now_ms);
        // Nobody comes back with what was damaged here, and nobody else has anything to do with it.
        if lacking > 0 && found.missing_bytes == lacking && absent.is_empty() {
            // Not later than before: else it would never be due when it is looked again whether it is.
            turn.due_at_ms = Some(before.due_at_ms.map_or(now_ms, |due_ms| due_ms.min(now_ms)));
        }
        let Turn { below_since_ms, due_at_ms } = turn;
        // Without a copy of the whole, as many others of the stripe are read as it takes.
        let times = if self.own(known.author).is_empty() { known.layout.layout().code().k() + 1 } else { 1 };
        let repair_bytes = (found.missing_bytes + crowded).saturating_mul(times.into());
        let (margin, survives) = (Some(found.claimed_margin), found.guarantee.survives);
        Ok(Watched { margin, survives, below_since_ms, due_at_ms, repair_bytes, proven_at_ms, ..nothing })
    }

    /// What is kept here for others may have come from a repairer, and by whom else it is kept is not known: others are asked.
    async fn look_around(&self, looked: Watched) -> Result<Watched, ActorError> {
        let tessera = looked.tessera;
        if !self.is_kept_for_others(tessera).await? {
            return self.forget_if_gone(looked).await;
        }
        let next_at_ms = if self.learn(tessera).await? { None } else { looked.next_at_ms };
        Ok(Watched { next_at_ms, ..looked })
    }

    /// What is not here is looked at no more.
    async fn forget_if_gone(&self, looked: Watched) -> Result<Watched, ActorError> {
        self.tools.storage.records().note(vec![Note::Unwatch { tessera: looked.tessera }]).await?;
        Ok(looked)
    }

    /// Asks the holders; and if something is missing, whether others keep it by now, which are asked then.
    async fn see(&self, known: &mut Known, now_ms: i64) -> Result<Seen, ActorError> {
        let (mut absent, mut lacking) = self.ask(known).await?;
        let mut found = known.found(self.tools, Since::now(self.tools).or_since(now_ms)).await?;
        let is_missing = found.claimed_margin < self.margin_wanted(known) || lacking > 0;
        if is_missing
            && self.learn(known.placement.tessera).await?
            && let Some(newer) = standing::known(self.tools, known.placement.tessera).await?
        {
            *known = newer;
            (absent, lacking) = self.ask(known).await?;
            found = known.found(self.tools, Since::now(self.tools).or_since(now_ms)).await?;
        }
        Ok(Seen { absent, lacking, found })
    }

    /// Below this margin a tessera is mended.
    fn margin_wanted(&self, known: &Known) -> i32 {
        let config = &self.tools.config;
        config.repair.margin_wanted(config.wanted.survive, known.layout.layout().code().m())
    }

    /// Who comes back after it was replaced has what somebody else keeps now. As long as a job is about it, nobody has: the one
    /// that is just being given it would be told to drop it.
    async fn tidy(&self, key: &AuthorKey, known: &Known) -> Result<(), ActorError> {
        let (tools, tessera) = (self.tools, known.placement.tessera);
        let turn = tools.turn_of(tessera);
        let Ok(_first) = turn.try_lock() else { return Ok(()) };
        let is_as_it_was = standing::known(tools, tessera).await?.is_some_and(|now| {
            (now.layout.checksum(), &now.placement) == (known.layout.checksum(), &known.placement)
        });
        if !is_as_it_was {
            return Ok(());
        }
        tidy(tools, key, known).await
    }

    async fn is_adopted(&self, tessera: TesseraId) -> Result<bool, ActorError> {
        Ok(self.tools.storage.records().adopted_since(tessera).await?.is_some())
    }

    /// What is adopted is mended by one of its holders.
    async fn look_after(&self, looked: Watched) -> Result<Watched, ActorError> {
        let (progress, _) = watch::channel(Progress::of(Step::Asking, 0));
        let told = adopt::look_after(self.tools, looked.tessera, Duration::ZERO, &progress).await?;
        let (margin, survives) =
            told.guarantee.map_or((None, None), |found| (Some(found.margin), found.survives));
        Ok(Watched { margin, survives, ..looked })
    }

    /// Its author's node and its holders look after a tessera.
    fn concerns_us(&self, known: &Known) -> bool {
        self.tools.acts_for(known.author) || known.placement.indices(self.tools.peers.us()).next().is_some()
    }

    /// Asks the holders what they have. Those that are not to be counted on, and how many bytes this node lacks itself.
    async fn ask(&self, known: &Known) -> Result<(BTreeSet<NodeId>, u64), ActorError> {
        let (tools, placement) = (self.tools, &known.placement);
        let lacking = match placement.indices(tools.peers.us()).next() {
            Some(_) => claim_ours(tools, known.layout.layout(), placement).await?,
            None => 0,
        };
        look_for_once(tools, placement).await;
        let gone = repair::gone(tools, placement.tessera, placement).await?;
        Ok((gone.all().into_iter().map(|one| one.node).collect(), lacking))
    }

    /// Asks others whether somebody else keeps it by now, and goes by that from now on. Whether that is so.
    async fn learn(&self, tessera: TesseraId) -> Result<bool, ActorError> {
        let (tools, records) = (self.tools, self.tools.storage.records());
        let sources = match sources::find(tools, tessera, Waits::ForAll).await {
            Ok(sources) => sources,
            Err(nobody) => {
                tracing::debug!(%tessera, error = %nobody.error, "nobody else knows of it");
                return Ok(false);
            }
        };
        let (layouts, kept) = (tools.storage.layouts(tessera).await?, records.placements(tessera).await?);
        let is_newer = |signed: &&SignedPlacement| {
            let said = signed.placement();
            if !layouts.iter().flatten().any(|layout| layout.checksum() == said.layout) {
                return false;
            }
            let kept = kept.iter().find(|kept| kept.layout == said.layout);
            kept.is_none_or(|kept| (kept.version, kept.is_by_author) < said.rank())
        };
        let newer = sources.layouts.iter().filter_map(|located| located.credible().filter(is_newer));
        let notes: Vec<_> = newer.map(|signed| Note::Placement(signed.into())).collect();
        if notes.is_empty() {
            return Ok(false);
        }
        records.note(notes).await.map(|_| true)
    }

    /// What is known of who keeps a tessera. A placement that came while the last fragment was being dropped tells nothing.
    async fn known(&self, tessera: TesseraId) -> Result<Option<Known>, ActorError> {
        if self.tools.storage.records().keepers(tessera).await?.is_empty() {
            return Ok(None);
        }
        standing::known(self.tools, tessera).await
    }

    /// Whether anything of it is kept here that somebody else has brought.
    async fn is_kept_for_others(&self, tessera: TesseraId) -> Result<bool, ActorError> {
        let keepers = self.tools.storage.records().keepers(tessera).await?;
        Ok(keepers.iter().any(|account| *account != AccountId::LOCAL))
    }

    /// The nodes that act for an author and are there.
    async fn authors(&self, author: AuthorId) -> Vec<NodeId> {
        let own = self.own(author);
        if !own.is_empty() {
            return own;
        }
        let book = self.tools.peers.book();
        let known = book.peers.iter().filter(|(_, known)| known.author == Some(author));
        let asked = known.map(|(node, _)| async move {
            let hello = self.tools.remote.hello(*node, false, None);
            timeout(PATIENCE, hello).await.is_ok_and(|said| said.is_ok()).then_some(*node)
        });
        join_all(asked).await.into_iter().flatten().collect()
    }

    /// This node, if it acts for this author.
    fn own(&self, author: AuthorId) -> Vec<NodeId> {
        self.tools.acts_for(author).then(|| self.tools.peers.us()).into_iter().collect()
    }

    /// Has those holders show a piece whose last proof is long ago. The repairer that comes first does so before half the time is
    /// over for which a proof counts, and each further one after as long again: it may be the first that lies. Of the one whose
    /// proof is longest ago, when that was.
    async fn prove(
        &self,
        tessera: TesseraId,
        alive: &[NodeId],
        rank: usize,
        now_ms: i64,
    ) -> Result<Option<i64>, ActorError> {
        let (tools, us) = (self.tools, self.tools.peers.us());
        let records = tools.storage.records();
        let proven = async || -> Result<Vec<(NodeId, i64)>, ActorError> {
            let holders = records.holders(tessera).await?.into_iter();
            let others = holders.filter(|one| one.node != us && alive.contains(&one.node));
            Ok(others.map(|one| (one.node, one.proven_at_ms.unwrap_or(0))).collect())
        };
        let doubted = records.doubted(tessera).await?;
        let turns = u32::try_from(rank).unwrap_or(u32::MAX).saturating_add(1);
        let before_ms = now_ms.saturating_sub(clock::ms((tools.prove_within / 2).saturating_mul(turns)));
        let asked = proven()
            .await?
            .into_iter()
            .filter(|(node, at_ms)| !(before_ms..=now_ms).contains(at_ms) || doubted.contains(node));
        let checksums = tools.storage.checksums_door();
        let long_ago_ms = now_ms.saturating_sub(clock::ms(tools.prove_within));
        let prove = |(node, at_ms)| {
            let proof = tools.remote.prove_one(&records, &checksums, node, tessera);
            async move {
                let (why, is_damaged) = match timeout(PROVEN_WITHIN, proof).await {
                    Ok(Ok(_)) => return None,
                    Ok(Err(Unproven { error: error @ ActorError::Peer { .. }, .. })) => {
                        (error.to_string(), remote::refused(&error) == Some(RefusalKind::Corrupt))
                    }
                    // What is wrong here says nothing of it.
                    Ok(Err(_)) => return None,
                    Err(_) => (format!("it did not answer within {} s", PROVEN_WITHIN.as_secs()), false),
                };
                tracing::info!(%node, %tessera, why, "a holder has not proven what it claims");
                // It answers, and has put that off for as long as a proof counts. Who has found damage says so himself.
                (at_ms < long_ago_ms && !is_damaged).then_some(Note::Doubted {
                    holder: node,
                    tessera,
                    at_ms: now_ms,
                })
            }
        };
        let doubts: Vec<_> = join_all(asked.map(prove)).await.into_iter().flatten().collect();
        if !doubts.is_empty() {
            records.note(doubts).await?;
        }
        Ok(proven().await?.into_iter().map(|(_, at_ms)| at_ms).min())
    }

    /// Begins to mend those whose turn it is.
    async fn mend(&self) -> Result<(), ActorError> {
        let (tools, records) = (self.tools, self.tools.storage.records());
        let left = self.charge().await?;
        // Who goes mends nothing: the next holder does.
        while tools.peers.book().leaving_since_ms.is_none() {
            let Ok(permit) = tools.mending.clone().try_acquire_owned() else { return Ok(()) };
            let now_ms = clock::now_ms();
            let due = records.watched(Which::Due { now_ms, limit: 1 }).await?;
            let Some(before) = due.first() else { return Ok(()) };
            if left.is_some_and(|left| left.saturating_sub_unsigned(tools.spending.promised()) <= 0) {
                return Ok(());
            }
            // Somebody else may have done it meanwhile.
            let now = self.next(*before).await;
            if now.due_at_ms.is_none_or(|due_at_ms| due_at_ms > now_ms) {
                records.note(vec![Note::Looked(now)]).await?;
                continue;
            }
            records
                .note(vec![Note::Looked(Watched { below_since_ms: None, due_at_ms: None, ..now })])
                .await?;
            let mending = tools.spending.begin(now.repair_bytes, permit);
            let (tessera, since_ms) = (now.tessera, now.below_since_ms);
            if self.actor.send_message(ReplicationMsg::Mend { tessera, since_ms, mending }).is_err() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Charges what was moved to mend anything. What may still be moved today, if that is bounded.
    async fn charge(&self) -> Result<Option<i64>, ActorError> {
        let (tools, records, now_ms) = (self.tools, self.tools.storage.records(), clock::now_ms());
        let moved = tools.spending.take_moved();
        let Some(per_day) = tools.config.repair.per_day else { return Ok(None) };
        let RepairAllowance { left, at_ms } =
            turn::allowance(records.repair_allowance().await?, per_day, now_ms);
        let left = left.saturating_sub_unsigned(moved);
        if moved > 0
            && let Err(error) =
                records.note(vec![Note::RepairAllowance(RepairAllowance { left, at_ms })]).await
        {
            tools.spending.moved(moved);
            return Err(error);
        }
        Ok(Some(left))
    }

    /// Brings up to date what is counted.
    async fn measure(&self) -> Result<(), ActorError> {
        let totals = self.tools.storage.records().watched_totals(self.tools.config.wanted.survive).await?;
        self.tools.metrics.watched(&totals, clock::now_ms());
        Ok(())
    }

    /// When it is looked again at what was just looked at.
    fn later(&self, now_ms: i64) -> i64 {
        let repair = &self.tools.config.repair;
        let jitter = fastrand::i64(0..=clock::ms(repair.jitter));
        now_ms.saturating_add(clock::ms(repair.interval)).saturating_add(jitter)
    }

    fn longest_ms(&self) -> i64 {
        let repair = &self.tools.config.repair;
        clock::ms(repair.interval.saturating_add(repair.jitter))
    }
}

/// What came of asking the holders of a tessera.
struct Seen {
    /// Those that did not answer, or could not show what they claim.
    absent: BTreeSet<NodeId>,
    /// How many bytes of it this node lacks itself.
    lacking: u64,
    found: Found,
}

/// The holders that answer, this node among them.
fn living(known: &Known, us: NodeId, absent: &BTreeSet<NodeId>) -> Vec<NodeId> {
    let holders: BTreeSet<_> = known.placement.holders.iter().flatten().copied().collect();
    holders.into_iter().filter(|node| *node == us || !absent.contains(node)).collect()
}

/// Those that are looked up together.
const AT_ONCE: u32 = 16;
const LOOKS_AT_ONCE: usize = 4;
/// How long a node may take to say that it is there.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a holder may take to show a piece.
const PROVEN_WITHIN: Duration = Duration::from_secs(15);
/// How often it is looked whether anything is to be done.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// When it is looked again at what could not be looked at, for a reason that lies here.
const LOOK_AGAIN: Duration = Duration::from_secs(600);
const AGAIN: Duration = Duration::from_millis(500);
