//! Every bound of the network side, named with its unit.

use std::time::Duration;

use proto::limits::FRAGMENT_BYTES_MAX;

/// What may be in flight to us on one stream before we have read it, in bytes: one fragment.
pub(crate) const STREAM_WINDOW_BYTES: u32 = 1 << 20;
/// What all peers together may have parked here, in bytes: sent to us and not read yet, or sent to them and not taken.
pub(crate) const PARKED_BYTES_MAX: u64 = 64 << 20;
/// What one peer may have in flight, on all streams together, in either direction, in bytes.
pub(crate) const WINDOW_BYTES_MAX: u32 = 4 * STREAM_WINDOW_BYTES;
/// The same, at least, however many connections there may be. With more than 1024 of them more than
/// [`PARKED_BYTES_MAX`] is parked at the worst.
pub(crate) const WINDOW_BYTES_MIN: u32 = 16 << 10;
/// A node that the operator wants gets this part of what is left of [`PARKED_BYTES_MAX`].
pub(crate) const GRANT_SHARE: u64 = 4;
/// Packets that the other side need not acknowledge at once, if it knows the extension: an answer of a few KiB then goes
/// without a packet back, or with the next request. No more, or a line that loses much would wait for each flight.
pub(crate) const UNACKNOWLEDGED_MAX: u32 = 4;
/// Streams that a peer may have open to us.
pub(crate) const STREAMS_MAX: u32 = 128;
/// The same for a guest.
pub(crate) const GUEST_STREAMS_MAX: u32 = 32;
/// How long it may take until a stream may be opened: as long as what is little may take to be asked and answered, for more of
/// anything else is not sent to one node at a time.
pub(crate) const OPENED_WITHIN: Duration = Duration::from_secs(40);
/// How long a connection may be silent before it counts as lost, beyond what the pool lets it idle.
pub(crate) const SILENCE: Duration = Duration::from_secs(30);
/// How often a packet holds open a connection that is kept: routers forget a UDP flow within 30 seconds.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// The same where connections may not idle for long: this part of the time, so that the other side sees it in time.
pub(crate) const KEEP_ALIVE_SHARE: u32 = 4;
/// But never more often than this.
pub(crate) const KEEP_ALIVE_MIN: Duration = Duration::from_millis(250);
/// How long a handshake may take, ours or theirs.
pub(crate) const HANDSHAKE: Duration = Duration::from_secs(5);
/// Handshakes with addresses that have not shown that they receive what is sent: this part of those that may run.
pub(crate) const HANDSHAKES_UNVALIDATED_SHARE: usize = 8;
/// Handshakes that one network may have waiting or under way: this part of those that may run.
pub(crate) const HANDSHAKES_PREFIX_SHARE: usize = 4;
/// After the work of a handshake, the next is not begun for so many times as long.
pub(crate) const HANDSHAKE_PAUSE: u32 = 29;
/// But never for longer: as many as may wait, unless the settings say otherwise, begin before those who dial give up.
pub(crate) const HANDSHAKE_PAUSE_MAX: Duration = Duration::from_millis(60);
const _: () = assert!(64 * HANDSHAKE_PAUSE_MAX.as_millis() < HANDSHAKE.as_millis());
/// Connections that nodes of one network may have, unless the operator wants them: this part of all.
pub(crate) const PREFIX_SHARE: usize = 8;
/// They may have so many in any case.
pub(crate) const PREFIX_PLACES_MIN: usize = 4;
/// At most this part of all places is kept for nodes that the operator wants.
pub(crate) const RESERVED_SHARE: usize = 2;
/// Buffers asked of the system for the UDP socket, in bytes; it may grant less.
pub(crate) const SOCKET_BUFFER_BYTES: usize = 8 << 20;
/// Connections that have come and whose handshake has not begun.
pub(crate) const INCOMING_MAX: usize = 1024;
/// What those may have sent before, all together, in bytes.
pub(crate) const INCOMING_BYTES_MAX: u64 = 4 << 20;
/// How long a node that stops leaves streams that are under way to end: a fragment of 1 MiB at 2 Mbit/s.
pub(crate) const FINISHING: Duration = Duration::from_secs(5);
/// How long what was said last may take beyond two round trips to arrive: whoever acknowledges waits so long (RFC 9000
/// §18.2), and twice, for something may be lost.
pub(crate) const LAST_WORDS: Duration = Duration::from_millis(50);
/// How long closing all connections may take.
pub(crate) const CLOSING: Duration = Duration::from_secs(2);
/// Bytes of fragments and documents that one peer brings at a time, or is answered with, or is brought: more adds no throughput,
/// and makes others wait.
pub(crate) const BULK_BYTES_MAX: u32 = 8 << 20;
/// What each of them counts for, at least.
pub(crate) const BULK_BYTES_MIN: u32 = 64 << 10;
/// But what is no longer than this does not count: how many streams there may be bounds it.
pub(crate) const LITTLE_BYTES: u32 = 4 << 10;
/// How often a peer may break the protocol before its connection is closed.
pub(crate) const STRIKES_MAX: u32 = 64;
/// After so long one of those is forgiven, in milliseconds.
pub(crate) const STRIKE_FORGIVEN_MS: u64 = 10_000;
/// Streams that peers have opened and nobody has begun to serve.
pub(crate) const INBOUND_MAX: usize = 256;

const _: () = assert!(KEEP_ALIVE_MIN.as_millis() < KEEP_ALIVE.as_millis());
const _: () = assert!(GUEST_STREAMS_MAX <= STREAMS_MAX && WINDOW_BYTES_MIN <= WINDOW_BYTES_MAX);
const _: () = assert!(STREAM_WINDOW_BYTES as usize == FRAGMENT_BYTES_MAX);
