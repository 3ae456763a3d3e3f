//! Fetching: a tessera that others keep is brought back, stripe by stripe, and then all of it compared with what its author
//! signed. What comes is kept at once, and what is here already is not fetched again.

use std::{future::ready, time::Duration};

use futures::{StreamExt, TryStreamExt, stream};
use proto::{AccountId, Checksum, Fragment, FragmentId, TesseraId, layout::SignedLayout};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::sleep,
};

use super::{
    Reserved, Tools,
    copy::Copy,
    gathering::{Manners, Wanted},
    meeting::unknown,
    message::{Progress, Step},
    pages::{self, Pages},
    sources::{Located, Nobody, Sources, Waits, find},
    told::Told,
};
use crate::{
    error::ActorError,
    storage::{Note, StorageHandle},
    store::{Deposited, FragmentStore},
};

/// Brings a tessera here.
pub(super) async fn fetch(
    tools: &Tools,
    tessera: TesseraId,
    progress: &watch::Sender<Progress>,
) -> Result<Told, ActorError> {
    if let Some(reason) = tools.peers.book().blocked_tesseras.get(&tessera) {
        let what = format!("{tessera} is blocked here ({reason}): `unblock` it first");
        return Err(ActorError::Conflict { what });
    }
    let copy = copy_of(tools, tessera).await?;
    let (mut pause, mut waits) = (LOOK_AGAIN_FIRST, Waits::ForEnough);
    loop {
        progress.send_replace(Progress::of(Step::Asking, 0));
        match fetch_once(tools, tessera, copy, waits, progress).await {
            // Those that were the first to answer may have nothing, whatever they say.
            Err(_) if waits == Waits::ForEnough => waits = Waits::ForAll,
            // Somebody may just be started again.
            Err(Nobody { may_be_more: true, .. }) if pause <= LOOK_AGAIN_LAST => {
                sleep(pause).await;
                pause *= 2;
            }
            outcome => return outcome.map_err(|nobody| nobody.error),
        }
    }
}

async fn fetch_once(
    tools: &Tools,
    tessera: TesseraId,
    copy: Option<Checksum>,
    waits: Waits,
    progress: &watch::Sender<Progress>,
) -> Result<Told, Nobody> {
    let mut sources = find(tools, tessera, waits).await?;
    // What is here is looked through first, and what is missing of it is got from others.
    sources.layouts.sort_by_key(|located| Some(located.layout.checksum()) != copy);
    let (mut last, mut in_vain) = (None, Vec::<Fetching<'_>>::new());
    for located in &sources.layouts {
        // Where two layouts begin at one number, what is here by one is in the other's way.
        for other in in_vain.extract_if(.., |other| other.meets(&located.layout)) {
            other.drop_again().await?;
        }
        let fetching = Fetching::new(tools, &sources, located, copy, progress);
        match fetching.run().await {
            Ok(told) => {
                for other in in_vain {
                    other.drop_again().await?;
                }
                return Ok(told);
            }
            // Of another layout there may be enough.
            Err(error @ ActorError::Conflict { .. }) => {
                last = Some(error);
                in_vain.extend((!fetching.is_of_before()).then_some(fetching));
            }
            Err(error) => return Err(error.into()),
        }
    }
    let error = last.unwrap_or_else(|| ActorError::not_found(format!("a layout of {tessera}")));
    Err(Nobody::too_few(error, sources.may_be_more))
}

/// The layout by which this node keeps something of it for itself.
async fn copy_of(tools: &Tools, tessera: TesseraId) -> Result<Option<Checksum>, ActorError> {
    let records = tools.storage.records();
    // What is here for others alone is no copy.
    if !records.keepers(tessera).await?.contains(&AccountId::LOCAL) {
        return Ok(None);
    }
    match records.tessera(tessera).await {
        Ok(row) if row.fragments > 0 => {
            match Copy::open(tools.storage.clone(), tessera).await {
                Ok(copy) => Ok(Some(copy.layout().checksum())),
                // What says how it is put together comes with what is fetched, and mends it.
                Err(ActorError::NotFound { .. } | ActorError::CorruptDocument { .. }) => Ok(None),
                Err(error) => Err(error),
            }
        }
        Ok(_) | Err(ActorError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A tessera on its way here.
struct Fetching<'a> {
    tools: &'a Tools,
    sources: &'a Sources,
    located: &'a Located,
    /// The layout by which this node kept some of it for itself before.
    copy: Option<Checksum>,
    progress: &'a watch::Sender<Progress>,
    manners: Manners,
    pages: Pages<'a>,
}

/// The data fragments of a stripe, all of which are being kept.
struct Whole {
    data: Vec<Fragment>,
    keeping: Keeping,
    _memory: Reserved,
}

/// Where it is told that something could not be kept. It is open as long as anything is being kept.
type Failures = mpsc::UnboundedSender<ActorError>;

/// Keeps the data of a stripe as it comes, and with it the documents that say what it is. What has begun ends by itself.
struct Keeping {
    storage: StorageHandle,
    tessera: TesseraId,
    stripe: u32,
    /// For each index; `None` when it is being kept.
    documents: Vec<Option<Vec<Deposited>>>,
    under_way: Vec<JoinHandle<()>>,
    failures: Failures,
}

impl Keeping {
    /// Begins to keep one, unless it has begun. Parity is not kept.
    fn keep(&mut self, index: u16, fragment: &Fragment) {
        let documents = self.documents.get_mut(usize::from(index)).and_then(Option::take);
        let Some(documents) = documents else { return };
        let id = FragmentId { tessera: self.tessera, stripe: self.stripe, index };
        let (storage, fragment, failures) = (self.storage.clone(), fragment.clone(), self.failures.clone());
        self.under_way.push(tokio::spawn(async move {
            if let Err(error) = storage.deposit(AccountId::LOCAL, id, fragment, documents).await {
                // Nobody listens any more when the job was given up.
                let _ = failures.send(error);
            }
        }));
    }
}

impl Whole {
    /// Waits until it is kept. Returns how many bytes it is.
    async fn kept(self) -> Result<u64, ActorError> {
        for one in self.keeping.under_way {
            one.await.map_err(std::io::Error::other)?;
        }
        Ok(self.data.iter().map(|chunk| chunk.bytes().len() as u64).sum())
    }
}

impl<'a> Fetching<'a> {
    fn new(
        tools: &'a Tools,
        sources: &'a Sources,
        located: &'a Located,
        copy: Option<Checksum>,
        progress: &'a watch::Sender<Progress>,
    ) -> Self {
        let pages = Pages::new(tools, located.layout.clone(), located.known_to.clone());
        let manners = Manners::with_silent(&sources.silent);
        Self { tools, sources, located, copy, progress, manners, pages }
    }

    async fn run(&self) -> Result<Told, ActorError> {
        let (layout, manifest) = (self.layout().layout(), self.sources.manifest.manifest());
        self.introduce().await?;
        let (failures, mut failed) = mpsc::unbounded_channel();
        let mut first = None;
        let outcome = tokio::select! {
            biased;
            Some(error) = failed.recv() => Err(first.insert(error).clone()),
            outcome = self.receive(failures) => outcome,
        };
        // What is being kept ends first: it may be dropped again.
        while let Some(error) = failed.recv().await {
            first.get_or_insert(error);
        }
        if let Some(error) = first {
            return Err(error);
        }
        if outcome? != manifest.content_hash {
            let kept = if self.is_of_before() {
                "what is here of it was left as it is"
            } else {
                self.drop_again().await?;
                "nothing of it was kept"
            };
            let what = format!(
                "the fragments of {} are those of its layout, but the content is not what its author signed: {kept}",
                layout.tessera()
            );
            return Err(ActorError::Conflict { what });
        }
        self.keep_placement().await?;
        Ok(Told::fetched(layout.content_len()))
    }

    /// Brings the data of all stripes here, in order. What it hashes to.
    async fn receive(&self, failures: Failures) -> Result<Checksum, ActorError> {
        let layout = self.layout().layout();
        self.progress.send_replace(Progress::of(Step::Receiving, layout.content_len()));
        let mut hasher = blake3::Hasher::new();
        let stripes =
            stream::iter(layout.stripe_numbers()).map(|stripe| self.stripe(stripe, failures.clone()));
        let stripes = stripes.buffered(STRIPES_AHEAD).inspect_ok(|whole| {
            for chunk in &whole.data {
                hasher.update(chunk.bytes());
            }
        });
        // One is written while the next comes.
        let kept = stripes.map_ok(Whole::kept).try_buffered(STRIPES_AHEAD);
        kept.try_for_each(|length| {
            self.tools.metrics.received(length);
            self.progress.send_modify(|progress| progress.done_bytes += length);
            ready(Ok(()))
        })
        .await?;
        Ok(Checksum::from_bytes(*hasher.finalize().as_bytes()))
    }

    /// Keeps who else has it: without that it could not be repaired from here, nor said how safe it is. In one note with that they
    /// are asked what they have: else the sweep may find it in between, and does so some time.
    async fn keep_placement(&self) -> Result<(), ActorError> {
        let Some(signed) = self.located.credible() else { return Ok(()) };
        let (kept, tessera) = (Note::Placement(signed.into()), signed.placement().tessera);
        self.tools.storage.records().note(vec![kept, Note::LookAt { tessera }]).await.map(drop)
    }

    /// Whether it has a number of a stripe that another layout has.
    fn meets(&self, other: &SignedLayout) -> bool {
        let (ours, theirs) = (self.layout().layout().stripe_numbers(), other.layout().stripe_numbers());
        ours.start < theirs.end && theirs.start < ours.end
    }

    /// Whether some of it was here by this layout before.
    fn is_of_before(&self) -> bool {
        self.copy == Some(self.layout().checksum())
    }

    /// Drops what was kept under this layout. A copy under another one stays, as it may be right: also where an author who knew
    /// nothing of this one has begun another at the same number.
    async fn drop_again(&self) -> Result<(), ActorError> {
        let layout = self.layout().layout();
        let storage = &self.tools.storage;
        let stripes = layout.stripe_numbers();
        let mut from = (stripes.start, 0);
        loop {
            let rows = storage.checksums(layout.tessera(), from, DROPPED_AT_ONCE).await?;
            for row in rows.iter().filter(|row| stripes.contains(&row.stripe)) {
                let (data, parity) = layout.stripe_width(row.stripe);
                // Of a page that nobody has nothing was kept.
                let Ok(checksums) = self.pages.checksums(row.stripe, data + parity).await else { continue };
                if checksums.get(usize::from(row.index)) != Some(&row.checksum) {
                    continue;
                }
                let id = FragmentId { tessera: layout.tessera(), stripe: row.stripe, index: row.index };
                match storage.drop_fragment(AccountId::LOCAL, id).await {
                    Ok(()) | Err(ActorError::NotFound { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            match rows.last() {
                Some(last) if rows.len() == DROPPED_AT_ONCE as usize && last.stripe < stripes.end => {
                    from = (last.stripe, last.index.saturating_add(1));
                }
                _ => return Ok(()),
            }
        }
    }

    fn layout(&self) -> &SignedLayout {
        &self.located.layout
    }

    /// Learns where holders are that are not known here, from those that are.
    async fn introduce(&self) -> Result<(), ActorError> {
        let unknown = unknown(self.tools, self.located.nodes());
        if !unknown.is_empty() {
            let (remote, among) = (&self.tools.remote, self.located.known_to.clone());
            self.tools.peers.look_around(remote, among, &unknown, ASKED_MAX).await?;
        }
        Ok(())
    }

    /// The data of a stripe, from here and from others.
    async fn stripe(&self, number: u32, failures: Failures) -> Result<Whole, ActorError> {
        let layout = self.layout().layout();
        let stripe =
            layout.stripe(number).ok_or_else(|| ActorError::not_found(format!("stripe {number}")))?;
        let width = u64::from(stripe.data()) + u64::from(stripe.parity());
        let memory = self.tools.memory.reserve(width * u64::from(layout.fragment_len())).await;
        let checksums = self.pages.checksums(number, stripe.width()).await?;
        let mut here = Vec::new();
        for (index, checksum) in (0..stripe.data()).zip(&checksums) {
            if let Some(fragment) =
                self.held(FragmentId { tessera: layout.tessera(), stripe: number, index }, *checksum).await?
            {
                here.push((index, fragment));
            }
        }
        let wanted = Wanted {
            tools: self.tools,
            located: self.located,
            manners: &self.manners,
            stripe: number,
            checksums: &checksums,
            needed: stripe.data().into(),
        };
        let mut keeping = self.keeping(number, stripe.data(), failures).await?;
        here.iter().for_each(|(index, fragment)| keeping.keep(*index, fragment));
        let gathered = wanted.gather(here, |index, fragment| keeping.keep(index, fragment)).await?;
        let data =
            self.tools.coders.rebuild(stripe, checksums, gathered, (0..stripe.data()).collect()).await?;
        (0..).zip(&data).for_each(|(index, fragment)| keeping.keep(index, fragment));
        Ok(Whole { data, keeping, _memory: memory })
    }

    /// A fragment that is kept here for this node itself.
    async fn held(&self, id: FragmentId, checksum: Checksum) -> Result<Option<Fragment>, ActorError> {
        match self.tools.storage.get(id).await {
            Ok(fragment) if fragment.checksum() == checksum => Ok(Some(fragment)),
            Ok(_) | Err(ActorError::NotFound { .. } | ActorError::Corrupt { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn keeping(&self, stripe: u32, data: u16, failures: Failures) -> Result<Keeping, ActorError> {
        let (layout, mut documents) = (self.layout().layout(), Vec::with_capacity(data.into()));
        for index in 0..data {
            let number = layout.number(stripe, index).unwrap_or_default();
            let page = self.pages.page(layout.page_of(number).0).await?;
            documents.push(Some(pages::documents(&self.sources.manifest, self.layout(), &page)));
        }
        let (storage, tessera) = (self.tools.storage.clone(), layout.tessera());
        Ok(Keeping { storage, tessera, stripe, documents, under_way: Vec::new(), failures })
    }
}

/// Nodes that are asked where holders are.
const ASKED_MAX: usize = 16;
/// Stripes that are on their way at a time.
const STRIPES_AHEAD: usize = 2;
/// How long to wait before everybody is asked once more, at first and at last.
const LOOK_AGAIN_FIRST: Duration = Duration::from_millis(500);
const LOOK_AGAIN_LAST: Duration = Duration::from_secs(4);
/// Rows of the index that are read together.
const DROPPED_AT_ONCE: u32 = 256;
