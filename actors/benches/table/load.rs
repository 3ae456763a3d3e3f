//! Clients that put, each as soon as its last put is durable.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::future::BoxFuture;
use proto::{Checksum, Fragment, FragmentId, TesseraId};
use tokio::task::JoinSet;

use crate::{
    Result,
    rounds::{Contender, Work},
};

/// What is put, and by how many.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) bytes: usize,
    pub(crate) clients: u32,
    /// How many tesserae the fragments belong to; a client puts into one of them.
    pub(crate) tesseras: u32,
}

/// Whatever takes a fragment and returns when it is durable.
pub(crate) trait Put: Clone + Send + Sync + 'static {
    fn put(&self, id: FragmentId, fragment: Fragment) -> impl Future<Output = Result<()>> + Send;

    /// Returns when nothing is left to be done for what was put: nobody's round is paid for by the next one.
    fn settle(&self) -> impl Future<Output = Result<()>> + Send {
        std::future::ready(Ok(()))
    }
}

/// A contender that puts.
pub(crate) struct Puts<T> {
    name: &'static str,
    target: T,
    load: Load,
    /// The next stripe, as a publisher numbers them: whichever client comes next takes it.
    stripe: Arc<AtomicU32>,
}

struct Client<T> {
    target: T,
    tessera: TesseraId,
    stripe: Arc<AtomicU32>,
    bytes: Vec<u8>,
    work: Work,
}

impl<T: Put> Puts<T> {
    pub(crate) fn new(name: &'static str, target: T, load: Load) -> Self {
        Self { name, target, load, stripe: Arc::default() }
    }

    /// Puts this many fragments.
    pub(crate) async fn fill(&self, fragments: u32) -> Result<()> {
        self.all(move |_, stripe| stripe < fragments).await.map(|_| ())
    }

    /// Lets all clients put, as long as they may at this time and with this stripe.
    async fn all(&self, may: impl Fn(Instant, u32) -> bool + Copy + Send + Sync + 'static) -> Result<Work> {
        let mut clients = JoinSet::new();
        for number in 0..self.load.clients {
            let client = Client {
                target: self.target.clone(),
                tessera: tessera_id(number % self.load.tesseras),
                stripe: self.stripe.clone(),
                bytes: vec![0; self.load.bytes],
                work: Work::default(),
            };
            clients.spawn(client.put_while(may));
        }
        let start = Instant::now();
        let work = Work::of_all(clients).await?;
        self.target.settle().await?;
        Ok(Work { seconds: start.elapsed().as_secs_f64(), ..work })
    }
}

impl<T: Put> Contender for Puts<T> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn round(&mut self, length: Duration) -> BoxFuture<'_, Result<Work>> {
        let end = Instant::now() + length;
        Box::pin(self.all(move |now, _| now < end))
    }
}

impl<T: Put> Client<T> {
    async fn put_while(mut self, may: impl Fn(Instant, u32) -> bool) -> Result<Work> {
        loop {
            let stripe = self.stripe.fetch_add(1, Ordering::Relaxed);
            if !may(Instant::now(), stripe) {
                return Ok(self.work);
            }
            let fragment = self.fragment(stripe)?;
            let id = FragmentId { tessera: self.tessera, stripe, index: 0 };
            let start = Instant::now();
            self.target.put(id, fragment).await?;
            self.work.note(start.elapsed())?;
        }
    }

    /// Bytes unlike any other of this load: they begin with their id.
    fn fragment(&mut self, stripe: u32) -> Result<Fragment> {
        let id = self.tessera.as_bytes().iter().copied().take(4).chain(stripe.to_le_bytes());
        self.bytes.iter_mut().zip(id).for_each(|(byte, id)| *byte = id);
        Ok(Fragment::hash(Bytes::copy_from_slice(&self.bytes))?)
    }
}

/// The id of one of the tesserae: a hash, as real ids are.
pub(crate) fn tessera_id(number: u32) -> TesseraId {
    TesseraId::from_bytes(*Checksum::of(&number.to_le_bytes()).as_bytes())
}
