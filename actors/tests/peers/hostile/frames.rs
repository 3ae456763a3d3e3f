//! Frames that are nearly requests: cut, changed, mixed up, and streams that end at every point.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use actors::conn_pool::raw::{self, Raw};
use fastrand::Rng;
use proto::{AuthorKey, NodeKey};
use quinn::{Connection, ConnectionError, ReadError, ReadToEndError, RecvStream, SendStream, VarInt};
use tokio::{sync::Semaphore, task::JoinSet, time::timeout};

use super::{
    Honest, Vitals,
    models::{Model, models},
    scaled, seed, tell,
    twist::{Case, Ending, case},
    verdict::answered,
};
use crate::support::{Node, Tessera, pair, until};

/// What came back, and how often.
type Tally = Arc<Mutex<BTreeMap<&'static str, u64>>>;

/// A peer that sends them.
struct Caller {
    raw: Raw,
    key: NodeKey,
    author: AuthorKey,
    tessera: Tessera,
    tally: Tally,
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_are_nearly_requests_are_answered_refused_or_cut_off() {
    let (seed, (a, b)) = (seed(), pair().await);
    let tally = Tally::default();
    let mut callers = Vec::new();
    for number in 0..CALLERS {
        callers.push(Arc::new(Caller::new(number, &b, tally.clone()).await));
    }
    let honest = Honest::arrive(&a, &b).await;
    let frames = scaled(100_000, 5_000_000);
    attack(&callers, &b, frames / 5, seed.wrapping_add(1)).await;
    let before = Vitals::now();
    attack(&callers, &b, frames / 5 * 4, seed).await;
    let visits = honest.leave();
    until("the callers' leaving", async || b.system.pool.status().await.unwrap().connections.len() <= 1)
        .await;
    until("rest", async || b.system.waiting().iter().all(|(_, waiting)| *waiting == 0)).await;
    let after = Vitals::now();
    let longest = visits[visits.len() - 1];
    tell(&format!("{:?}", tally.lock().unwrap()));
    tell(&format!("{} honest visits, at most {longest:?}; {before:?}, {after:?}", visits.len()));
    let tally = tally.lock().unwrap();
    for expected in ["malformed", "unsupported", "have", "fragment", "claim", "dropped", CUT_OFF] {
        assert!(tally.contains_key(expected), "{expected} is not among {tally:?}");
    }
    assert!(b.system.standing.borrow().actors.iter().all(|actor| actor.restarts == 0));
    assert!(after.memory_bytes < before.memory_bytes + MEMORY_GROWTH_BYTES_MAX, "{before:?} {after:?}");
    assert!(visits.len() >= VISITS_MIN && longest < VISIT_MAX, "{} visits, {longest:?}", visits.len());
}

/// So many frames from all of them together.
async fn attack(callers: &[Arc<Caller>], b: &Node, frames: u64, seed: u64) {
    let left = Arc::new(AtomicU64::new(frames));
    let (holder, address) = (b.id(), b.address());
    let mut tasks = JoinSet::new();
    for (number, caller) in callers.iter().cloned().enumerate() {
        let (left, rng) = (left.clone(), Rng::with_seed(seed.wrapping_add(number as u64)));
        tasks.spawn(async move { caller.run(holder, address, &left, rng).await });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
}

impl Caller {
    /// One that `b` knows, and keeps something for.
    async fn new(number: u8, b: &Node, tally: Tally) -> Self {
        let (key, author) =
            (NodeKey::from_seed([100 + number; 32]), AuthorKey::from_seed([100 + number; 32]));
        let raw = Raw::bind(&key, SocketAddr::from(([127, 0, 0, 1], 0)), Default::default()).unwrap();
        b.knows_at(key.id(), raw.address().unwrap(), None).await;
        let tessera = Tessera::new(&author, number.into(), 40_000);
        Self { raw, key, author, tessera, tally }
    }

    /// Calls until none are left to be sent, and again whenever it is cut off.
    async fn run(
        self: Arc<Self>,
        holder: proto::NodeId,
        address: SocketAddr,
        left: &Arc<AtomicU64>,
        mut rng: Rng,
    ) {
        while left.load(Ordering::Relaxed) > 0 {
            let connection = match self.raw.dial(holder, address).await {
                Ok(connection) => connection,
                Err(error) => panic!("it is not let in any more: {error}"),
            };
            let binding = raw::binding(&connection).unwrap();
            let models: Arc<[Model]> = models(&self.key, &self.author, holder, binding, &self.tessera).into();
            self.use_up(&connection, &models, left, &mut rng).await;
            connection.close(VarInt::from_u32(0), b"");
        }
    }

    /// Many streams at a time, until the connection is closed.
    async fn use_up(
        self: &Arc<Self>,
        connection: &Connection,
        models: &Arc<[Model]>,
        left: &Arc<AtomicU64>,
        rng: &mut Rng,
    ) {
        let (places, mut streams) = (Arc::new(Semaphore::new(STREAMS)), JoinSet::new());
        let take = |left: u64| left.checked_sub(1);
        while connection.close_reason().is_none()
            && left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
        {
            let place = places.clone().acquire_owned().await.unwrap();
            let (caller, connection, left) = (self.clone(), connection.clone(), left.clone());
            let case = case(rng, models);
            streams.spawn(async move {
                let outcome = caller.send(&connection, &case).await;
                if outcome == Ok(CUT_OFF) {
                    // It never got there.
                    left.fetch_add(1, Ordering::Relaxed);
                }
                let outcome =
                    outcome.unwrap_or_else(|what| panic!("{what} {:?}: {}", case.ending, hex(&case.bytes)));
                *caller.tally.lock().unwrap().entry(outcome).or_default() += 1;
                drop(place);
            });
            while let Some(ended) = streams.try_join_next() {
                ended.unwrap();
            }
        }
        while let Some(ended) = streams.join_next().await {
            ended.unwrap();
        }
    }

    async fn send(&self, connection: &Connection, case: &Case) -> Result<&'static str, String> {
        let (mut send, receive) = match connection.open_bi().await {
            Ok(stream) => stream,
            Err(error) => return lost(&error),
        };
        let at = match case.ending {
            Ending::Finish | Ending::Deaf => case.bytes.len(),
            Ending::Reset(at) | Ending::Dangle(at) | Ending::Truncate(at) => at,
        };
        // It may be stopped: the answer says why.
        let _ = send.write_all(&case.bytes[..at]).await;
        match case.ending {
            Ending::Reset(_) => drop(send.reset(VarInt::from_u32(9))),
            Ending::Dangle(_) => tokio::time::sleep(DANGLE).await,
            Ending::Deaf => drop(receive),
            Ending::Finish | Ending::Truncate(_) => return hear(send, receive).await,
        }
        Ok("given up")
    }
}

async fn hear(mut send: SendStream, mut receive: RecvStream) -> Result<&'static str, String> {
    let _ = send.finish();
    match timeout(PATIENCE, receive.read_to_end(ANSWER_BYTES_MAX)).await {
        Err(_) => Err("no answer".to_owned()),
        Ok(Ok(bytes)) => answered(&bytes),
        Ok(Err(ReadToEndError::Read(ReadError::ConnectionLost(error)))) => lost(&error),
        Ok(Err(error)) => Err(format!("{error:?}")),
    }
}

/// How a connection may end.
fn lost(error: &ConnectionError) -> Result<&'static str, String> {
    match error {
        ConnectionError::ApplicationClosed(closed) if closed.reason.starts_with(b"too much of what came") => {
            Ok(CUT_OFF)
        }
        ConnectionError::ApplicationClosed(closed) if closed.reason.starts_with(b"there is another") => {
            Ok("replaced")
        }
        // What said so was lost, and the node no longer knows the connection.
        ConnectionError::Reset => Ok(CUT_OFF),
        ConnectionError::LocallyClosed => Ok("left"),
        error => Err(error.to_string()),
    }
}

/// Bytes as they are written down.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const CUT_OFF: &str = "cut off";
const CALLERS: u8 = 8;
/// Of one caller at a time.
const STREAMS: usize = 24;
const DANGLE: Duration = Duration::from_millis(20);
/// Longer than the node waits for anything.
const PATIENCE: Duration = Duration::from_secs(40);
const ANSWER_BYTES_MAX: usize = 17 << 20;
/// Nothing of it stays, but an allocator keeps a little of what it was given back.
const MEMORY_GROWTH_BYTES_MAX: u64 = 32 << 20;
const VISITS_MIN: usize = 20;
const VISIT_MAX: Duration = Duration::from_secs(10);
