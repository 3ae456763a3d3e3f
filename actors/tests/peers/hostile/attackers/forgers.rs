//! First packets that nobody stands behind, from addresses that were made up.

use std::{
    collections::HashSet,
    net::{SocketAddr, UdpSocket},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use actors::conn_pool::raw::Raw;

use super::Result;

/// Bytes sent to a node, and by it.
#[derive(Default)]
pub(crate) struct Traffic {
    pub(crate) to: AtomicU64,
    pub(crate) from: AtomicU64,
}

/// Packets that open a handshake, as real callers send them, each with ids of its own. Blocks a thread.
pub(crate) fn first_packets(raw: &Raw) -> Result<Vec<Vec<u8>>> {
    let caught = UdpSocket::bind("127.0.0.1:0")?;
    caught.set_read_timeout(Some(Duration::from_secs(5)))?;
    let (mut packets, mut ids) = (Vec::new(), HashSet::new());
    while packets.len() < PACKETS {
        let config = raw.client(raw.node(), b"tesseras/1")?;
        let connecting = raw.endpoint().connect_with(config, caught.local_addr()?, "raw")?;
        // Its first packet is written by a task of its own.
        let mut packet = [0; 2048];
        let length = caught.recv(&mut packet)?;
        drop(connecting);
        let packet = packet.get(..length).unwrap_or_default();
        let id = packet.get(5).and_then(|length| packet.get(6..6 + usize::from(*length)));
        // Whoever gives up says so in a packet of the same kind.
        if length >= FIRST_PACKET_BYTES_MIN && ids.insert(id.map(<[u8]>::to_vec)) {
            packets.push(packet.to_vec());
        }
    }
    Ok(packets)
}

/// Sends them until it is over, some thousands a second. Blocks a thread.
pub(crate) fn forge(
    address: SocketAddr,
    packets: &[Vec<u8>],
    traffic: &Traffic,
    over: &AtomicBool,
) -> Result<()> {
    let mut sockets = Vec::new();
    for number in 0..SOCKETS {
        let socket = UdpSocket::bind(SocketAddr::from(([127, 3, number, 1], 0)))?;
        socket.set_nonblocking(true)?;
        sockets.push(socket);
    }
    for (packet, socket) in packets.iter().cycle().zip(sockets.iter().cycle()) {
        if over.load(Ordering::Relaxed) {
            break;
        }
        if let Ok(sent) = socket.send_to(packet, address) {
            traffic.to.fetch_add(sent as u64, Ordering::Relaxed);
        }
        traffic.from.fetch_add(received(socket), Ordering::Relaxed);
        thread::sleep(PACKET_EVERY);
    }
    // What was on its way, and what is sent again.
    thread::sleep(Duration::from_secs(2));
    traffic.from.fetch_add(sockets.iter().map(received).sum(), Ordering::Relaxed);
    Ok(())
}

fn received(socket: &UdpSocket) -> u64 {
    let mut packet = [0; 2048];
    std::iter::from_fn(|| socket.recv(&mut packet).ok()).map(|length| length as u64).sum()
}

/// A shorter one opens no handshake (RFC 9000 §14.1).
pub(crate) const FIRST_PACKET_BYTES_MIN: usize = 1200;
const SOCKETS: u8 = 64;
const PACKETS: usize = 1000;
const PACKET_EVERY: Duration = Duration::from_micros(200);
