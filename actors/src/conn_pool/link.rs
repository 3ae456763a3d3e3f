//! A connection of the pool, and what it takes to use it.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use proto::{AuthorId, NodeId};
use quinn::{Connection, RecvStream, SendStream};
use tokio::{
    runtime::Handle,
    sync::{Notify, OnceCell, OwnedSemaphorePermit, Semaphore, SemaphorePermit},
    task::JoinSet,
    time::timeout,
};

use super::{
    identity,
    limits::{BULK_BYTES_MAX, BULK_BYTES_MIN, LAST_WORDS, LITTLE_BYTES, OPENED_WITHIN, STREAMS_MAX},
    reap::{Entry, Origin},
    strikes::Strikes,
    trouble::PeerTrouble,
};

/// Milliseconds since the pool began. Copies count from the same moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock(Instant);

impl Clock {
    pub(super) fn new() -> Self {
        Self(Instant::now())
    }

    pub(super) fn now_ms(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// A connection, and how it is used. The pool and the tasks that serve it share it.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) node: NodeId,
    pub(super) connection: Connection,
    /// The thread that drives it.
    thread: Handle,
    pub(super) origin: Origin,
    /// Whether packets are sent to hold it open.
    pub(super) is_kept: bool,
    /// The connection's own secret (RFC 5705): what is signed for it is no use on another.
    binding: [u8; 32],
    clock: Clock,
    /// Leases that are held, and [`RETIRED`].
    in_use: AtomicUsize,
    /// Told when nobody uses it any more.
    unused: Notify,
    last_used_ms: AtomicU64,
    /// Packets that do nothing but hold it open, and when the reaper last found that there were more.
    pings: AtomicU64,
    held_ms: AtomicU64,
    /// Set when this node has introduced itself on it.
    introduced: OnceCell<()>,
    /// The author that the other side acts for, once it has shown that on it.
    acts_for: OnceLock<AuthorId>,
    /// Places for what the other side brings, for what it is answered, and for what this node brings it.
    brought: Arc<Semaphore>,
    answered: Arc<Semaphore>,
    bringing: Semaphore,
    outgoing: Mutex<Outgoing>,
    /// What the other side may send and not be read, as it was last told, in bytes.
    incoming_bytes: Mutex<u32>,
    /// Whether its other end has dialled anew, and knows it no longer.
    is_dead: AtomicBool,
    /// How much more than at first may be parked on it, both directions together, in bytes.
    granted_bytes: AtomicU64,
    /// What was wrong with what came on it.
    strikes: Mutex<Strikes>,
}

/// What may be sent and not be acknowledged, in bytes.
#[derive(Debug, Default)]
struct Outgoing {
    /// What may lie here until the other side takes it. `None` as long as it is what a connection begins with.
    window_bytes: Option<u32>,
    /// Beside it, what this node brings: it is in memory until it is answered, whatever the window is, and many small windows full of
    /// it would each wait for the other side.
    brought_bytes: u64,
}

/// Bytes that this node brings, until this is dropped.
pub(crate) struct Bringing<'a> {
    link: &'a Link,
    bytes: u64,
    _places: Option<SemaphorePermit<'a>>,
}

impl Link {
    /// A connection whose handshake is done. Must run on the endpoint's thread. `None` when it does not say who is at its
    /// other end.
    pub(super) fn new(
        connection: Connection,
        dialler: Option<NodeId>,
        is_kept: bool,
        clock: Clock,
    ) -> Option<Self> {
        let node = identity::peer(&connection)?;
        let mut binding = [0; 32];
        connection.export_keying_material(&mut binding, BINDING_LABEL, b"").ok()?;
        let now_ms = clock.now_ms();
        let origin = Origin { dialler: dialler.unwrap_or(node), opened_at_ms: now_ms };
        let (in_use, last_used_ms) = (AtomicUsize::new(0), AtomicU64::new(now_ms));
        let [brought, answered, bringing] = [(); 3].map(|()| Semaphore::new(BULK_PLACES as usize));
        let strikes = Mutex::default();
        let pings = AtomicU64::new(connection.stats().frame_rx.ping);
        Some(Self {
            node,
            connection,
            thread: Handle::current(),
            origin,
            is_kept,
            binding,
            clock,
            in_use,
            unused: Notify::new(),
            last_used_ms,
            pings,
            held_ms: AtomicU64::new(0),
            introduced: OnceCell::new(),
            acts_for: OnceLock::new(),
            brought: Arc::new(brought),
            answered: Arc::new(answered),
            bringing,
            outgoing: Mutex::default(),
            incoming_bytes: Mutex::default(),
            is_dead: AtomicBool::new(false),
            granted_bytes: AtomicU64::new(0),
            strikes,
        })
    }

    /// What the reaper has to know of it.
    pub(super) fn entry(&self) -> Entry {
        Entry {
            node: self.node,
            in_use: self.leases(),
            last_used_ms: self.last_used_ms.load(Ordering::Acquire),
            is_kept: self.is_kept,
            held_ms: Some(self.held_ms.load(Ordering::Acquire)).filter(|at_ms| *at_ms > 0),
        }
    }

    /// Notes whether the other side has held it open since the last time.
    pub(super) fn listen(&self) {
        let pings = self.connection.stats().frame_rx.ping;
        if self.pings.swap(pings, Ordering::AcqRel) != pings {
            self.held_ms.store(self.clock.now_ms(), Ordering::Release);
        }
    }

    /// Whether the other side has dialled.
    pub(super) fn is_inbound(&self) -> bool {
        self.origin.dialler == self.node
    }

    pub(super) fn is_in_use(&self) -> bool {
        self.leases() > 0
    }

    /// Whether it may be closed: then nobody uses it, and nobody begins to. Whoever asks for it meanwhile gets another.
    pub(super) fn retire(&self) -> bool {
        let retired = self.in_use.compare_exchange(0, RETIRED, Ordering::AcqRel, Ordering::Acquire);
        retired.is_ok() || retired == Err(RETIRED)
    }

    fn leases(&self) -> usize {
        self.in_use.load(Ordering::Acquire) & !RETIRED
    }

    /// Waits until nobody uses it, and what was said last on it has had its time to arrive.
    pub(super) async fn finished(&self) {
        loop {
            let unused = self.unused.notified();
            if !self.is_in_use() {
                break;
            }
            unused.await;
        }
        let (_, idle_ms) = self.ages_ms();
        let on_its_way = 2 * self.connection.rtt() + LAST_WORDS;
        tokio::time::sleep(on_its_way.saturating_sub(Duration::from_millis(idle_ms))).await;
    }

    /// The address at the other end, an IPv4 one written as such.
    pub(super) fn address(&self) -> SocketAddr {
        canonical(self.connection.remote_address())
    }

    /// Since when it is open, and since when it was last used, in milliseconds.
    pub(super) fn ages_ms(&self) -> (u64, u64) {
        let now_ms = self.clock.now_ms();
        let last_used_ms = if self.is_in_use() { now_ms } else { self.entry().last_used_ms };
        (now_ms.saturating_sub(self.origin.opened_at_ms), now_ms.saturating_sub(last_used_ms))
    }

    /// What it was made with: so many bytes may come and not be read.
    pub(super) fn begins_with(&self, window_bytes: u32) {
        *self.incoming_bytes.lock().unwrap_or_else(PoisonError::into_inner) = window_bytes;
    }

    /// Changes what may come and not be read.
    fn incoming(&self, change: impl FnOnce(&mut u32)) {
        let mut window_bytes = self.incoming_bytes.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut window_bytes);
        self.connection.set_receive_window((*window_bytes).into());
    }

    /// Sends something that has to be acknowledged, by a window that is a byte wider. Whoever has been started anew and does not know
    /// the connection any more says so then, and nobody waits for more of it.
    pub(super) fn prod(&self) {
        self.incoming(|window_bytes| *window_bytes = window_bytes.saturating_add(1));
    }

    /// Closes it, for its other end has dialled anew. Whoever waits on it may ask again on the new one.
    pub(super) fn give_up(&self, reason: &str) {
        self.is_dead.store(true, Ordering::Release);
        self.connection.close(Close::Duplicate.code(), reason.as_bytes());
    }

    /// Widens it by so many bytes in either direction, and lets as many streams be open as a node may have that the
    /// operator wants.
    pub(super) fn widen(&self, first: u32, more: u32) {
        self.granted_bytes.store(2 * u64::from(more), Ordering::Relaxed);
        let window = first.saturating_add(more);
        self.incoming(|window_bytes| *window_bytes = window);
        self.outgoing(|outgoing| outgoing.window_bytes = Some(window));
        self.connection.set_max_concurrent_bi_streams(STREAMS_MAX.into());
    }

    /// Changes what may be sent.
    fn outgoing(&self, change: impl FnOnce(&mut Outgoing)) {
        let mut outgoing = self.outgoing.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut outgoing);
        if let Some(window) = outgoing.window_bytes {
            self.connection.set_send_window(u64::from(window) + outgoing.brought_bytes);
        }
    }

    /// How much it was widened, both directions together, in bytes.
    pub(super) fn granted_bytes(&self) -> u64 {
        self.granted_bytes.load(Ordering::Relaxed)
    }

    fn touch(&self) {
        self.last_used_ms.store(self.clock.now_ms(), Ordering::Release);
    }
}

/// The use of a connection. As long as one is held the connection is neither reaped nor evicted.
#[derive(Debug)]
pub struct Lease(Arc<Link>);

impl Lease {
    /// The use of a connection, unless it is about to be closed.
    pub(super) fn take(link: &Arc<Link>) -> Option<Self> {
        let one_more = |present: usize| (present & RETIRED == 0).then_some(present + 1);
        link.in_use.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more).ok()?;
        link.touch();
        Some(Self(link.clone()))
    }

    /// The same, even of one that is about to be closed.
    pub(super) fn new(link: &Arc<Link>) -> Self {
        link.in_use.fetch_add(1, Ordering::AcqRel);
        link.touch();
        Self(link.clone())
    }

    /// The node at the other end.
    pub fn node(&self) -> NodeId {
        self.0.node
    }

    /// What signatures are bound to, so that they are no use on another connection.
    pub fn binding(&self) -> [u8; 32] {
        self.0.binding
    }

    /// The address at the other end, as it is seen from here.
    pub fn address(&self) -> SocketAddr {
        self.0.address()
    }

    /// See [`Link::prod`].
    pub(crate) fn prod(&self) {
        self.0.prod();
    }

    /// Whether the other side has made a new connection instead of it.
    pub(crate) fn is_dead(&self) -> bool {
        self.0.is_dead.load(Ordering::Acquire)
    }

    /// Packets that have come on it. More of them come for as long as the other side is there and is sent something.
    pub(crate) fn heard(&self) -> u64 {
        self.0.connection.stats().udp_rx.datagrams
    }

    /// Opens a stream; waits while as many are open as the other side allows. Whoever allows none keeps nobody waiting for ever, nor
    /// what that one shares with others.
    pub(crate) async fn open(&self) -> Result<(SendStream, RecvStream), PeerTrouble> {
        let opened = timeout(OPENED_WITHIN, self.0.connection.open_bi()).await;
        let silent =
            || PeerTrouble::Silent { what: "take another request", seconds: OPENED_WITHIN.as_secs() };
        Ok(opened.map_err(|_| silent())??)
    }

    /// Does something on the thread that drives the connection, and no longer than anybody waits for it. `None` when the
    /// thread has ended.
    pub(crate) async fn on_its_thread<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        // What is in a set goes with it.
        let mut alone = JoinSet::new();
        alone.spawn_on(work, &self.0.thread);
        alone.join_next().await?.ok()
    }

    /// Introduces this node on the connection, unless that was done. Whoever comes meanwhile waits for it.
    pub(crate) async fn introduce(
        &self,
        greet: impl Future<Output = Result<(), PeerTrouble>>,
    ) -> Result<(), PeerTrouble> {
        self.0.introduced.get_or_try_init(|| greet).await.map(drop)
    }

    /// The other side has shown that it acts for an author. What it showed first counts.
    pub(crate) fn acts_for(&self, author: AuthorId) {
        let _ = self.0.acts_for.set(author);
    }

    /// The author that the other side acts for, if it has shown one.
    pub(crate) fn author(&self) -> Option<AuthorId> {
        self.0.acts_for.get().copied()
    }

    /// Places for so many bytes that the other side brings; waits while it brings as many as it may.
    pub(crate) async fn brought(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        // It is never closed.
        self.0.brought.clone().acquire_many_owned(places(bytes)).await.ok()
    }

    /// Places for an answer of so many bytes; waits while the other side is answered with as many as it may be.
    pub(crate) async fn answered(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        // It is never closed.
        self.0.answered.clone().acquire_many_owned(places(bytes)).await.ok()
    }

    /// The same, if there are some now.
    pub(crate) fn try_answered(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        self.0.answered.clone().try_acquire_many_owned(places(bytes)).ok()
    }

    /// Places for so many bytes that this node brings. The other side reads no more at a time: whatever else is sent lies in the
    /// connection's window until that is full, and what is being read does not come on.
    pub(crate) async fn bringing(&self, bytes: usize) -> Bringing<'_> {
        // It is never closed.
        let places = self.0.bringing.acquire_many(places(bytes)).await.ok();
        let bytes = if bytes > BULK_BYTES_MIN as usize { bytes as u64 } else { 0 };
        if bytes > 0 {
            self.0.outgoing(|outgoing| outgoing.brought_bytes += bytes);
        }
        Bringing { link: &self.0, bytes, _places: places }
    }

    /// Something came that breaks the protocol. Whoever does it again and again is cut off.
    pub(crate) fn strike(&self, what: &dyn std::fmt::Display) {
        let mut strikes = self.0.strikes.lock().unwrap_or_else(PoisonError::into_inner);
        if strikes.strike(self.0.clock.now_ms()) && self.0.connection.close_reason().is_none() {
            tracing::warn!(node = %self.0.node, address = %self.0.address(), %what, "cut off");
            self.close(Close::Malformed, "too much of what came breaks the protocol");
        }
    }

    /// Ends the connection, for a reason the other side is told. Nobody begins to use it any more.
    pub(crate) fn close(&self, close: Close, reason: &str) {
        self.0.in_use.fetch_or(RETIRED, Ordering::AcqRel);
        self.0.connection.close(close.code(), reason.as_bytes());
    }
}

impl Drop for Bringing<'_> {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.link.outgoing(|outgoing| outgoing.brought_bytes -= self.bytes);
        }
    }
}

impl Clone for Lease {
    fn clone(&self) -> Self {
        Self::new(&self.0)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.touch();
        if self.0.in_use.fetch_sub(1, Ordering::AcqRel) & !RETIRED == 1 {
            self.0.unused.notify_waiters();
        }
    }
}

/// An IPv4 address that came through an IPv6 socket, as the IPv4 address it is.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

pub use close::Close;

mod close {
    use quinn::{ConnectionError, VarInt};

    /// Why a connection is closed; the other side gets the number and a sentence.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub enum Close {
        /// This node stops.
        Stopping,
        /// Nobody has used it for long.
        Idle,
        /// Another one needs its place.
        Evicted,
        /// There is another one between the same nodes.
        Duplicate,
        /// The node is not known here.
        NotKnown,
        /// The node is blocked here.
        Blocked,
        /// There is no place for it.
        Full,
        /// What came on it breaks the protocol.
        Malformed,
    }

    impl Close {
        const ALL: [Self; 8] = [
            Self::Stopping,
            Self::Idle,
            Self::Evicted,
            Self::Duplicate,
            Self::NotKnown,
            Self::Blocked,
            Self::Full,
            Self::Malformed,
        ];

        pub(crate) fn code(self) -> VarInt {
            VarInt::from_u32(match self {
                Self::Stopping => 1,
                Self::Idle => 2,
                Self::Evicted => 3,
                Self::Duplicate => 4,
                Self::NotKnown => 5,
                Self::Blocked => 6,
                Self::Full => 7,
                Self::Malformed => 8,
            })
        }

        pub(crate) fn from_code(code: VarInt) -> Option<Self> {
            Self::ALL.into_iter().find(|close| close.code() == code)
        }

        /// What the other side gave as its reason, if it has closed the connection for one.
        pub(crate) fn told(error: &ConnectionError) -> Option<Self> {
            match error {
                ConnectionError::ApplicationClosed(closed) => Self::from_code(closed.error_code),
                _ => None,
            }
        }

        /// Whether whoever is told this had better leave the other side alone for a while.
        pub(crate) fn is_rebuff(self) -> bool {
            matches!(self, Self::NotKnown | Self::Blocked | Self::Full | Self::Malformed)
        }

        /// Whether the same request may well succeed on a new connection.
        pub(crate) fn is_passing(self) -> bool {
            matches!(self, Self::Idle | Self::Evicted | Self::Duplicate)
        }
    }
}

/// How many places so many bytes take. What is little waits for nothing that is long.
fn places(bytes: usize) -> u32 {
    match u32::try_from(bytes).unwrap_or(u32::MAX) {
        ..=LITTLE_BYTES => 0,
        bytes => bytes.div_ceil(BULK_BYTES_MIN).min(BULK_PLACES),
    }
}

/// Places for fragments and documents on their way, in either direction.
const BULK_PLACES: u32 = BULK_BYTES_MAX / BULK_BYTES_MIN;
/// Set when a connection is about to be closed for want of use: more than anybody holds leases.
const RETIRED: usize = 1 << (usize::BITS - 1);
pub(super) const BINDING_LABEL: &[u8] = b"EXPORTER-tesseras/1 binding";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_taken_by_bytes_and_by_what_is_little_not_at_all() {
        let taken = [0, 4 << 10, (4 << 10) + 1, 64 << 10, (64 << 10) + 1, 1 << 20, 8 << 20, 16 << 20];
        assert_eq!(taken.map(places), [0, 0, 1, 1, 2, 16, 128, 128]);
    }
}
