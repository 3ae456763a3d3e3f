//! A line between two nodes that can be cut.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::net::UdpSocket;

/// Lines that are cut together. Copies share one state.
#[derive(Debug, Clone, Default)]
pub(super) struct Lines(Arc<State>);

#[derive(Debug, Default)]
struct State {
    is_cut: AtomicBool,
    /// Whoever dials chooses an id each time.
    dialled_in_vain: Mutex<BTreeSet<Vec<u8>>>,
}

impl Lines {
    /// Where each of these two finds the other from now on, the second first.
    pub(super) async fn between(&self, one: SocketAddr, other: SocketAddr) -> (SocketAddr, SocketAddr) {
        let bind = async || Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap());
        let (near, far) = (bind().await, bind().await);
        let found = (near.local_addr().unwrap(), far.local_addr().unwrap());
        tokio::spawn(carry(near.clone(), far.clone(), other, self.clone()));
        tokio::spawn(carry(far, near, one, self.clone()));
        found
    }

    /// From now on nobody new gets through, or does again. Connections that are there are ended by whoever cuts.
    pub(super) fn cut(&self, cut: bool) {
        self.0.is_cut.store(cut, Ordering::SeqCst);
    }

    /// How often somebody has dialled who did not get through.
    pub(super) fn dialled_in_vain(&self) -> usize {
        self.0.dialled_in_vain.lock().unwrap().len()
    }

    /// Whether it goes no further than this.
    fn stops(&self, packet: &[u8]) -> bool {
        let stops = self.0.is_cut.load(Ordering::SeqCst) && is_long(packet);
        if stops {
            self.0.dialled_in_vain.lock().unwrap().insert(id(&packet[5..]).0.to_vec());
        }
        stops
    }
}

/// Carries what comes to one end to the node at the other.
async fn carry(from: Arc<UdpSocket>, to: Arc<UdpSocket>, node: SocketAddr, lines: Lines) {
    let mut packet = vec![0; PACKET_BYTES_MAX];
    loop {
        let Ok((length, sender)) = from.recv_from(&mut packet).await else { continue };
        let packet = &packet[..length];
        let sent = match lines.stops(packet) {
            true => from.send_to(&turned_away(packet), sender).await,
            false => to.send_to(packet, node).await,
        };
        // What is lost is sent again.
        drop(sent);
    }
}

/// Whether it belongs to a handshake (RFC 9000 §17.2).
fn is_long(packet: &[u8]) -> bool {
    packet.len() > 6 && packet[0] & 0x80 != 0
}

/// That no version is spoken here (RFC 9000 §17.2.1): whoever dials sees at once that nobody is there, and need not wait for as
/// long as a handshake may take.
fn turned_away(packet: &[u8]) -> Vec<u8> {
    let (theirs, rest) = id(&packet[5..]);
    let (ours, _) = id(rest);
    [&[0x80, 0, 0, 0, 0], ours, theirs, &NO_VERSION].concat()
}

/// A connection id with its length, and what follows.
fn id(bytes: &[u8]) -> (&[u8], &[u8]) {
    let length = bytes.first().map_or(0, |length| usize::from(*length) + 1);
    bytes.split_at(length.min(bytes.len()))
}

const PACKET_BYTES_MAX: usize = 65_535;
/// One that is kept for this (RFC 9000 §15).
const NO_VERSION: [u8; 4] = [0x1a, 0x2a, 0x3a, 0x4a];
