//! Floods of handshakes: callers with ever new keys, and first packets that nobody stands behind.

use std::{
    collections::HashSet,
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use actors::conn_pool::raw::Raw;
use config::Accept;
use proto::{NodeId, NodeKey};

use super::{Vitals, tell};
use crate::support::{Node, Tessera, until};

/// What comes until it is dropped, on a thread of its own.
struct Flood {
    over: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

/// Bytes sent to a node, and by it.
#[derive(Default)]
struct Bytes {
    to: AtomicU64,
    from: AtomicU64,
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_with_ever_new_keys_hold_up_nobody_who_is_connected() {
    let handshakes = Arc::new(AtomicU64::new(0));
    let done = handshakes.clone();
    under_flood(|node, address| Flood::of_callers(node, address, done)).await;
    tell(&format!("{} handshakes", handshakes.load(Ordering::Relaxed)));
    assert!(handshakes.load(Ordering::Relaxed) > HANDSHAKES_MIN);
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_first_packets_are_answered_with_fewer_bytes_and_hold_up_nobody() {
    let packets = first_packets().await;
    let bytes = Arc::new(Bytes::default());
    let counted = bytes.clone();
    under_flood(|_, address| Flood::of_packets(address, packets, counted)).await;
    let (to, from) = (bytes.to.load(Ordering::Relaxed), bytes.from.load(Ordering::Relaxed));
    tell(&format!("{to} bytes sent, {from} came back"));
    assert!(to > PACKETS_MIN * 1200 && from > 0, "{to} {from}");
    assert!(from <= to, "{from} bytes for {to}");
}

/// An honest peer asks, before and meanwhile; another comes in meanwhile.
async fn under_flood(flood: impl FnOnce(NodeId, SocketAddr) -> Flood) {
    let (a, b) = (Node::start(1).await, Node::with(2, |network| network.accept = Accept::Any).await);
    b.knows(&a).await;
    a.knows(&b).await;
    let c = Node::start(3).await;
    b.knows(&c).await;
    c.knows(&b).await;
    let tessera = Tessera::new(&a.author, 1, 40_000);
    tessera.give_all(&a, b.id()).await;
    let idle = best_p99(&a, &b, &tessera);
    let before = Vitals::now();
    let flood = flood(b.id(), b.address());
    thread::sleep(RAMP);
    let flooded = best_p99(&a, &b, &tessera);
    let came_in = Instant::now();
    c.system.remote.hello(b.id(), false, None).await.unwrap();
    let came_in = came_in.elapsed();
    let after = Vitals::now();
    drop(flood);
    tell(&format!(
        "p99 {idle:?}, under the flood {flooded:?}; a newcomer waited {came_in:?}; {before:?} {after:?}"
    ));
    assert!(flooded <= idle * 3 + NOISE, "{flooded:?}, without the flood {idle:?}");
    assert!(after.memory_bytes < before.memory_bytes + MEMORY_GROWTH_BYTES_MAX, "{before:?} {after:?}");
    assert!(b.system.standing.borrow().actors.iter().all(|actor| actor.restarts == 0));
    // Those who were cut off in the midst of it are noticed later.
    let left = async || b.system.pool.status().await.unwrap().connections.len();
    until("the callers' leaving", async || left().await <= 2 + usize::from(CALLERS)).await;
}

/// The best of a few rounds: what else this machine does is not what is measured.
fn best_p99(a: &Node, b: &Node, tessera: &Tessera) -> Duration {
    (0..ROUNDS).map(|_| tokio::task::block_in_place(|| p99(a, b, tessera))).min().unwrap()
}

fn p99(a: &Node, b: &Node, tessera: &Tessera) -> Duration {
    let runtime = tokio::runtime::Handle::current();
    let fragment = &tessera.fragments[0];
    let mut visits: Vec<_> = (0..VISITS)
        .map(|_| {
            let begun = Instant::now();
            let got = a.system.remote.fragment(b.id(), tessera.fragment(0), fragment.checksum());
            assert_eq!(&runtime.block_on(got).unwrap(), fragment);
            begun.elapsed()
        })
        .collect();
    visits.sort_unstable();
    visits[VISITS * 99 / 100]
}

impl Flood {
    fn begin(flood: impl FnOnce(&AtomicBool) + Send + 'static) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let is_over = over.clone();
        let thread = thread::spawn(move || {
            // Only what nobody else needs of this machine: it is the node that is measured.
            let _ = rustix::process::setpriority_process(None, 19);
            flood(&is_over);
        });
        Self { over, thread: Some(thread) }
    }

    fn of_callers(holder: NodeId, address: SocketAddr, done: Arc<AtomicU64>) -> Self {
        Self::begin(move |over| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                for caller in 0..CALLERS {
                    let from = SocketAddr::from(([127, 2, caller, 1], 0));
                    let raw = Raw::bind(&NodeKey::from_seed([caller; 32]), from, Default::default()).unwrap();
                    let done = done.clone();
                    tokio::spawn(async move {
                        for number in 0_u64.. {
                            let mut seed = [caller; 32];
                            seed[..8].copy_from_slice(&number.to_le_bytes());
                            let raw = raw.with_key(&NodeKey::from_seed(seed)).unwrap();
                            if raw.dial(holder, address).await.is_ok() {
                                done.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                    });
                }
                while !over.load(Ordering::Relaxed) {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            });
        })
    }

    fn of_packets(address: SocketAddr, packets: Vec<Vec<u8>>, bytes: Arc<Bytes>) -> Self {
        Self::begin(move |over| {
            let sockets: Vec<_> = (0..SOCKETS)
                .map(|number| {
                    let socket = UdpSocket::bind(SocketAddr::from(([127, 3, number, 1], 0))).unwrap();
                    socket.set_nonblocking(true).unwrap();
                    socket
                })
                .collect();
            for (packet, socket) in packets.iter().cycle().zip(sockets.iter().cycle()) {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                if let Ok(sent) = socket.send_to(packet, address) {
                    bytes.to.fetch_add(sent as u64, Ordering::Relaxed);
                }
                bytes.from.fetch_add(received(socket), Ordering::Relaxed);
                thread::sleep(PACKET_EVERY);
            }
            // What was on its way, and what is sent again.
            thread::sleep(Duration::from_secs(2));
            let late: u64 = sockets.iter().map(received).sum();
            bytes.from.fetch_add(late, Ordering::Relaxed);
        })
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || thread::panicking());
    }
}

fn received(socket: &UdpSocket) -> u64 {
    let mut packet = [0; 2048];
    std::iter::from_fn(|| socket.recv(&mut packet).ok()).map(|length| length as u64).sum()
}

/// Packets that open a handshake, as real callers send them, each with ids of its own.
async fn first_packets() -> Vec<Vec<u8>> {
    let caught = UdpSocket::bind("127.0.0.1:0").unwrap();
    caught.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let from = SocketAddr::from(([127, 0, 0, 1], 0));
    let raw = Raw::bind(&NodeKey::from_seed([9; 32]), from, Default::default()).unwrap();
    let (mut packets, mut ids) = (Vec::new(), HashSet::new());
    while packets.len() < PACKETS {
        let config = raw.client(raw.node(), b"tesseras/1").unwrap();
        let connecting = raw.endpoint().connect_with(config, caught.local_addr().unwrap(), "raw").unwrap();
        // Its first packet is written by a task of its own.
        let mut packet = [0; 2048];
        let length = tokio::task::block_in_place(|| caught.recv(&mut packet).unwrap());
        drop(connecting);
        // Whoever gives up says so in a packet of the same kind.
        let id = packet[6..6 + usize::from(packet[5])].to_vec();
        if length >= 1200 && ids.insert(id) {
            packets.push(packet[..length].to_vec());
        }
    }
    packets
}

const CALLERS: u8 = 32;
const HANDSHAKES_MIN: u64 = 100;
const SOCKETS: u8 = 64;
const PACKETS: usize = 1000;
const PACKETS_MIN: u64 = 1000;
/// Some thousands a second.
const PACKET_EVERY: Duration = Duration::from_micros(200);
const RAMP: Duration = Duration::from_millis(500);
const ROUNDS: usize = 5;
const VISITS: usize = 400;
/// What three builders beside it do to the slowest of a hundred requests.
const NOISE: Duration = Duration::from_millis(3);
const MEMORY_GROWTH_BYTES_MAX: u64 = 32 << 20;
