//! Answering other nodes: one task for each stream that a peer opens. A file per request.
//!
//! # Invariants
//! 1. Admission comes before bytes: nothing that will be refused is read first, and nothing is stored that was not
//!    admitted.
//! 2. Every request is answered, with what was asked for or with a typed refusal; what breaks the protocol is counted
//!    against the peer.
//! 3. What a peer parks here is bounded: by its windows, its streams, and the room that all transfers share.
//! 4. Absent on purpose: any table or connection of its own. Storage keeps, the pool connects, and this holds their
//!    handles.

mod absent;
mod admission;
mod asked;
mod compare;
mod delivered;
mod finishing;
mod hello;
mod looking_after;
mod papers;
mod placement;
mod put;
mod replaced;
mod retraction;
mod room;

use std::{
    fmt,
    sync::{Arc, Mutex, atomic::AtomicBool},
    time::{Duration, Instant},
};

use admission::Accounts;
use bytes::Bytes;
use config::NetworkConfig;
use delivered::Delivered;
use looking_after::Hints;
use papers::Papers;
use proto::{
    NodeId, NodeKey, ProtoError,
    limits::FRAME_HEAD_BYTES,
    wire::{Answer, Refusal, RefusalKind, Request},
};
use quinn::VarInt;
use replaced::Caught;
use room::{Place, Room, SMALL_BYTES};
use tokio::{runtime::Handle, sync::mpsc, time::timeout};

use crate::{
    attestation::AttestationHandle,
    cache::CacheHandle,
    conn_pool::{ConnPoolHandle, Inbound},
    error::ActorError,
    frames::{self, FRAME_DEADLINE, FrameError, GAVE_WAY},
    metrics::RequestMetrics,
    peers::Peers,
    remote::Remote,
    replication::ReplicationHandle,
    scrub::ScrubHandle,
    storage::StorageHandle,
    throttle::Throttles,
};

/// What answers are made of.
pub(crate) struct Server {
    pub(crate) key: NodeKey,
    pub(crate) config: NetworkConfig,
    pub(crate) storage: StorageHandle,
    pub(crate) cache: CacheHandle<StorageHandle>,
    pub(crate) attestation: AttestationHandle,
    pub(crate) scrub: ScrubHandle,
    pub(crate) peers: Peers,
    pub(crate) pool: ConnPoolHandle,
    pub(crate) remote: Remote,
    pub(crate) replication: ReplicationHandle,
    pub(crate) metrics: RequestMetrics,
    pub(crate) throttles: Arc<Throttles>,
    pub(crate) state: State,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Server({})", self.key.id())
    }
}

/// What answering keeps in memory.
pub(crate) struct State {
    /// Documents of tesserae that fragments are coming of: from nodes that the operator wants, and from the others.
    papers: Papers,
    guest_papers: Papers,
    /// What is used of each allowance.
    accounts: Accounts,
    /// What strangers have brought.
    delivered: Arc<Mutex<Delivered>>,
    /// What was asked for that this node does by itself as well.
    hints: Hints,
    /// Who has told what others refute.
    caught: Caught,
    /// Memory for what is on its way, in or out: for nodes that the operator wants, and for the others.
    room: Room,
    guest_room: Room,
    draining: AtomicBool,
}

impl State {
    /// With so much memory for what is on its way, in bytes.
    pub(crate) fn new(transfer_bytes_max: u64) -> Self {
        Self {
            papers: Papers::default(),
            guest_papers: Papers::default(),
            accounts: Accounts::default(),
            delivered: Arc::new(Mutex::new(Delivered::new(Instant::now()))),
            hints: Hints::default(),
            caught: Caught::default(),
            room: Room::new(transfer_bytes_max / 2),
            guest_room: Room::new(transfer_bytes_max / 2),
            draining: AtomicBool::new(false),
        }
    }
}

/// What transfers hold.
#[cfg(feature = "faults")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parked {
    /// Counted against accounts and not arrived yet.
    pub owed_bytes: u64,
    /// Memory for transfers that is taken.
    pub room_bytes: u64,
}

/// What is said to a request: an answer, and the bytes that follow it.
type Reply = Result<(Answer, Bytes), Refusal>;

impl Server {
    /// Answers what comes, on the endpoint's thread, until nobody can hand anything over any more.
    pub(crate) fn run(self: Arc<Self>, thread: &Handle, mut inbound: mpsc::Receiver<Inbound>) {
        thread.spawn(async move {
            while let Some(stream) = inbound.recv().await {
                if self.is_draining() {
                    tokio::spawn(self.clone().turn_away(stream));
                } else {
                    tokio::spawn(self.clone().serve(stream));
                }
            }
        });
    }

    /// What is under way now.
    #[cfg(feature = "faults")]
    pub(crate) fn parked(&self) -> Parked {
        let State { accounts, room, guest_room, .. } = &self.state;
        Parked { owed_bytes: accounts.owed(), room_bytes: room.taken_bytes() + guest_room.taken_bytes() }
    }

    async fn serve(self: Arc<Self>, mut stream: Inbound) {
        let begun = Instant::now();
        let (verb, reply) = match self.hear(&mut stream).await {
            Ok(Some(request)) => (request.name(), self.in_time(request, &mut stream).await),
            Ok(None) => (UNKNOWN, Err(unsupported())),
            Err(FrameError::Malformed(error @ ProtoError::NewerVersion { .. })) => {
                (UNKNOWN, Err(RefusalKind::Unsupported.because(error.to_string())))
            }
            // That is nobody's fault but this node's.
            Err(FrameError::GaveWay) => (UNKNOWN, Err(busy("no memory is free for it at the moment"))),
            // Who opens streams and says nothing on them is no better than who talks nonsense.
            Err(error) => {
                let Some(what) = malformed(error) else { return };
                stream.lease.strike(&what);
                (UNKNOWN, Err(RefusalKind::Malformed.because(what)))
            }
        };
        let reply = match reply {
            Ok((answer, bulk, place)) => self.paced((answer, bulk)).await.map(|said| (said, place)),
            Err(refusal) => Err(refusal),
        };
        if let Err(refusal) = &reply {
            self.metrics.refused(refusal.kind().name());
            tracing::debug!(node = %stream.lease.node(), verb, %refusal, "refused");
        }
        let ((answer, bulk), place) =
            reply.unwrap_or_else(|refusal| ((Answer::Refused(refusal), Bytes::new()), None));
        if self.say(&mut stream, &answer, bulk, place).await.is_ok() {
            self.metrics.served(verb, begun.elapsed().as_secs_f64());
            self.until_taken(&mut stream).await;
        }
    }

    async fn hear(&self, stream: &mut Inbound) -> Result<Option<Request>, FrameError> {
        let room = self.room(stream.lease.node());
        let frame = frames::within(FRAME_DEADLINE, async {
            let head = frames::read_head(&mut stream.receive).await?;
            // Almost every request is small. Memory for a large one is that for transfers.
            match head.body_len as usize {
                length if length > SMALL_FRAME_BYTES => {
                    let place = room.reserve(stream.lease.node(), length).await.ok_or(FrameError::GaveWay)?;
                    place.unless_it_stalls(frames::read_body(&mut stream.receive, head)).await
                }
                _ => frames::read_body(&mut stream.receive, head).await,
            }
        });
        let frame = frame.await?;
        self.metrics.received(FRAME_HEAD_BYTES + frame.body.len());
        frames::request(&frame)
    }

    async fn say(
        &self,
        stream: &mut Inbound,
        answer: &Answer,
        bulk: Bytes,
        place: Option<Place>,
    ) -> Result<(), FrameError> {
        let frame = answer.frame();
        self.metrics.sent(frame.len() + bulk.len());
        match place {
            Some(place) => {
                frames::write(&mut stream.send, frame, Bytes::new()).await?;
                if let Err(error) = place.send(&mut stream.send, bulk).await {
                    // Else it would end as if that were all.
                    let _ = stream.send.reset(GAVE_WAY);
                    return Err(error);
                }
            }
            // Little goes into the connection's own window, and is not waited for.
            None => frames::write(&mut stream.send, frame, bulk).await?,
        }
        // What is left of the request is not wanted; a stream that was given up has ended as well.
        let _ = stream.receive.stop(VarInt::from_u32(0));
        let _ = stream.send.finish();
        Ok(())
    }

    /// The answer to a request, while whoever asks still waits for it. What is given takes as long as it takes to come.
    async fn in_time(
        &self,
        request: Request,
        stream: &mut Inbound,
    ) -> Result<(Answer, Bytes, Option<Place>), Refusal> {
        let is_given = request.bulk_len() > 0;
        let answered = self.place_and_answer(request, stream);
        if is_given {
            return answered.await;
        }
        timeout(ANSWER_WITHIN, answered).await.unwrap_or_else(|_| Err(busy("too much is asked of this node")))
    }

    /// The answer to a request, and a place for what follows it. What has to wait for a place does not lie in memory
    /// meanwhile: it is read once more. Whoever could have many large answers wait would fill the memory with them.
    async fn place_and_answer(
        &self,
        request: Request,
        stream: &mut Inbound,
    ) -> Result<(Answer, Bytes, Option<Place>), Refusal> {
        let is_read = matches!(request, Request::GetFragment { .. } | Request::GetDocument { .. });
        let room = self.room(stream.lease.node());
        let reading = if is_read { room.read().await } else { None };
        let (answer, bulk) = self.answer(request.clone(), stream).await?;
        if bulk.len() <= SMALL_BYTES {
            return Ok((answer, bulk, None));
        }
        let length = bulk.len();
        if let Some(place) = room.try_enter(&stream.lease, length) {
            return Ok((answer, bulk, Some(place)));
        }
        drop((bulk, reading));
        let Some(place) = room.enter(&stream.lease, length).await else {
            return Err(busy("no memory is free for it at the moment"));
        };
        let (answer, bulk) = self.answer(request, stream).await?;
        Ok((answer, bulk, Some(place)))
    }

    /// What follows an answer waits for its turn; whoever would wait for too long is told to come again.
    async fn paced(&self, (answer, bulk): (Answer, Bytes)) -> Reply {
        match self.throttles.upload.pass(bulk.len(), TURN).await {
            Ok(()) => Ok((answer, bulk)),
            Err(wait) => Err(too_fast(wait)),
        }
    }

    /// The memory that a node's transfers share: that of those that the operator wants is apart, so that no guest takes it.
    fn room(&self, node: NodeId) -> &Room {
        if self.is_wanted(node) { &self.state.room } else { &self.state.guest_room }
    }

    /// The documents that are remembered of what a node brings, apart for the same reason.
    fn papers(&self, node: NodeId) -> &Papers {
        if self.is_wanted(node) { &self.state.papers } else { &self.state.guest_papers }
    }

    fn is_wanted(&self, node: NodeId) -> bool {
        self.peers.book().is_wanted(node)
    }

    /// Whether a node may have something kept or dropped here: it is known, or acts for the author of a peer, or anybody may.
    fn may_change(&self, stream: &Inbound) -> bool {
        let book = self.peers.book();
        let acts_for_a_peer = || stream.lease.author().is_some_and(|author| book.is_of_a_peer(author));
        stream.is_known || book.accepts_any || acts_for_a_peer()
    }

    async fn answer(&self, request: Request, stream: &mut Inbound) -> Reply {
        if self.is_draining() {
            return Err(finishing::stopping());
        }
        if let Some(reason) = self.peers.book().blocked.get(&stream.lease.node()) {
            return Err(RefusalKind::Blocked.because(reason));
        }
        if !is_for_anybody(&request) && !self.may_change(stream) {
            return Err(RefusalKind::NotKnown.because(NOT_KNOWN));
        }
        let lease = &stream.lease;
        match request {
            Request::Hello { addresses, credential, invite, dial_back, .. } => {
                self.hello(lease, hello::Greeted { addresses, credential, invite, dial_back }).await
            }
            Request::PutDocument { tessera, document, layout, length } => {
                self.put_document(stream, papers::Document { tessera, document, layout }, length).await
            }
            Request::GetDocument { tessera, document, hash } => self.document(tessera, document, hash).await,
            Request::PutFragment { fragment, checksum, length, layout } => {
                self.put_fragment(stream, put::Offer { id: fragment, checksum, length, layout }).await
            }
            Request::GetFragment { fragment, checksum } => self.fragment(fragment, checksum).await,
            Request::DropFragments { order } => self.drop_fragments(lease, &order).await,
            Request::Attest { tessera, stripes, nonce } => self.attest(lease, tessera, stripes, nonce).await,
            Request::Compare { account, question } => self.compare(lease, account, question).await,
            Request::Prove { checksum, group, nonce } => self.prove(checksum, group, nonce).await,
            Request::Peers => Ok((self.sample(lease.node()), Bytes::new())),
            Request::LookAfter { tessera } => self.look_after(lease, tessera).await,
            Request::Introduce { tessera, manifest, layout, page } => {
                self.introduce(stream, tessera, [manifest, layout, page]).await
            }
            _ => Err(unsupported()),
        }
    }
}

/// Whether a request only reads what is published, what a node says of itself, or what is kept for whoever asks: strangers may
/// ask so, too.
fn is_for_anybody(request: &Request) -> bool {
    matches!(
        request,
        Request::Hello { .. }
            | Request::GetDocument { .. }
            | Request::GetFragment { .. }
            | Request::Attest { .. }
            | Request::Compare { .. }
            | Request::Prove { .. }
            | Request::Peers
    )
}

/// What is wrong with a request that cannot be read. `None` when nobody is there any more to be told.
fn malformed(error: FrameError) -> Option<String> {
    match error {
        FrameError::Malformed(error) => Some(error.to_string()),
        // Whoever asks has nobody to make way for.
        FrameError::Ended | FrameError::GivenUp => Some("the request ended before it was whole".to_owned()),
        FrameError::Slow(deadline) => {
            Some(format!("the request did not come within {} s", deadline.as_secs()))
        }
        FrameError::Lost(_) | FrameError::GaveWay => None,
    }
}

fn unsupported() -> Refusal {
    RefusalKind::Unsupported.because("this software does not know that request")
}

fn busy(reason: &str) -> Refusal {
    RefusalKind::Busy { retry_after_ms: RETRY_AFTER_MS }.because(reason)
}

/// More is asked for than the operator wants to be sent or received in a second.
fn too_fast(wait: Duration) -> Refusal {
    let retry_after_ms = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX);
    RefusalKind::Busy { retry_after_ms }.because("this node's share of its line is used up for now")
}

/// What an actor's error means to a peer. What is wrong inside is not told.
fn refusal(error: &ActorError) -> Refusal {
    let kind = match error {
        ActorError::NotFound { .. } => RefusalKind::NotFound,
        ActorError::Corrupt { .. } | ActorError::CorruptBlob { .. } | ActorError::CorruptDocument { .. } => {
            RefusalKind::Corrupt
        }
        ActorError::InsufficientStorage { .. } => RefusalKind::InsufficientStorage,
        ActorError::Conflict { .. } => RefusalKind::Forbidden,
        ActorError::Proto(_) => RefusalKind::Malformed,
        ActorError::Busy { .. } | ActorError::ReadOnly { .. } => {
            RefusalKind::Busy { retry_after_ms: RETRY_AFTER_MS }
        }
        ActorError::Restarting { .. } => RefusalKind::Restarting,
        error => {
            tracing::warn!(%error, "a peer's request failed");
            return RefusalKind::Restarting.because("something is wrong here; try again later");
        }
    };
    kind.because(error.to_string())
}

/// What a stranger is told that wants something kept, or dropped.
const NOT_KNOWN: &str = "only nodes that are known here may have something kept: follow an invitation with `join`, or be added \
     with `peers add`";
/// A longer request needs memory of that for transfers, in bytes.
const SMALL_FRAME_BYTES: usize = 4 << 10;
/// How long a transfer may wait for its turn, when there is a bound on how fast they go.
const TURN: Duration = Duration::from_secs(10);
/// How long an answer may take to begin. Less than whoever asks waits for one.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// A request that cannot be read has no name.
const UNKNOWN: &str = "unknown";
/// When whoever was refused because too much is under way may ask again, in milliseconds.
const RETRY_AFTER_MS: u32 = 1_000;
