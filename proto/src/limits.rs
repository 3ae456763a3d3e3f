//! Every bound of the format, named with its unit.

/// The longest fragment, in bytes.
pub const FRAGMENT_BYTES_MAX: usize = 1 << 20;
/// The shortest `fragment_len` a layout may name, in bytes (the last fragment of a tessera may be shorter).
pub const FRAGMENT_BYTES_MIN: usize = 4 << 10;
/// The longest document (manifest, layout, page), in bytes.
pub const DOCUMENT_BYTES_MAX: usize = 16 << 20;
/// The longest control frame and the longest page of a layout, in bytes.
pub const FRAME_BYTES_MAX: usize = 64 << 10;
/// The longest manifest, signature included: it fits into one control frame, in bytes.
pub const MANIFEST_BYTES_MAX: usize = FRAME_BYTES_MAX;
/// The longest attestation claim, signature included: it fits into one control frame, in bytes.
pub const CLAIM_BYTES_MAX: usize = FRAME_BYTES_MAX;
/// The most fragments in one claim; more are claimed page by page.
pub const CLAIM_FRAGMENTS_MAX: usize = 1024;
/// The most checksums in one page of a layout.
pub const LAYOUT_PAGE_CHECKSUMS_MAX: usize = FRAME_BYTES_MAX / CHECKSUM_BYTES;
/// Length of the head in front of every frame's body, in bytes. [`FRAME_BYTES_MAX`] is that of the body.
pub const FRAME_HEAD_BYTES: usize = 8;
/// The longest name of a software in a greeting, in bytes.
pub const SOFTWARE_BYTES_MAX: usize = 64;
/// The longest address, `host:port`, in bytes.
pub const ADDRESS_BYTES_MAX: usize = 255;
/// The most addresses that a node names as its own.
pub const ADDRESSES_MAX: usize = 8;
/// The most peers in one sample.
pub const PEER_SAMPLE_MAX: usize = 32;
/// The most addresses of one peer in a sample: fewer than it may have itself, so that a sample fits into a frame.
pub const PEER_SAMPLE_ADDRESSES_MAX: usize = 4;
/// The longest reason of a refusal, in bytes.
pub const REASON_BYTES_MAX: usize = 256;
/// The longest receipt, signature included, in bytes.
pub const RECEIPT_BYTES_MAX: usize = 1 << 10;
/// The longest credential, signature included, in bytes.
pub const CREDENTIAL_BYTES_MAX: usize = 1 << 10;
/// The longest layout that nodes take from each other, in bytes: that of ten terabytes.
pub const LAYOUT_SENT_BYTES_MAX: usize = 256 << 10;
/// The longest placement, signature included, in bytes.
pub const PLACEMENT_BYTES_MAX: usize = 1 << 10;
/// The longest retraction, signature included, in bytes.
pub const RETRACTION_BYTES_MAX: usize = 1 << 10;
/// The most holders of a tessera in one network, as long as there are enough others.
pub const NETWORK_HOLDERS_MAX: u16 = 2;
/// The longest order to drop, signature included, in bytes.
pub const DROP_ORDER_BYTES_MAX: usize = 16 << 10;
/// A repairer's placement may be so many versions ahead of what is known. A repair makes a few.
pub const PLACEMENT_VERSIONS_AHEAD_MAX: u64 = 1 << 16;
/// The most fragments in one order to drop.
pub const DROP_FRAGMENTS_MAX: usize = 1024;
/// How many sums one level of a comparison has: one for each value of a byte.
pub const COMPARE_SUMS: usize = 256;
/// The most tesserae in one page of a comparison.
pub const COMPARE_TESSERAS_MAX: usize = 512;
/// The most fragments in one page of a comparison.
pub const COMPARE_FRAGMENTS_MAX: usize = 1024;
/// A proof is about a group of this many bytes; the last group of a fragment may be shorter.
pub const PROOF_GROUP_BYTES: usize = 16 << 10;
/// The most groups in a fragment.
pub const PROOF_GROUPS_MAX: usize = FRAGMENT_BYTES_MAX / PROOF_GROUP_BYTES;
/// The longest slice: the pairs of chaining values on the way to a group, and the group, in bytes.
pub const PROOF_SLICE_BYTES_MAX: usize =
    PROOF_GROUPS_MAX.ilog2() as usize * 2 * CHECKSUM_BYTES + PROOF_GROUP_BYTES;
/// The longest outboard: a chaining value for each group, in bytes.
pub const OUTBOARD_BYTES_MAX: usize = PROOF_GROUPS_MAX * CHECKSUM_BYTES;
/// Length of a checksum, in bytes.
pub const CHECKSUM_BYTES: usize = 32;
/// Length of the Ed25519 signature that ends a document, in bytes.
pub const SIGNATURE_BYTES: usize = 64;
/// How deep arrays and maps may be nested in a document.
pub const CBOR_DEPTH_MAX: u8 = 8;
/// The longest content of a tessera, in bytes. With it every layout's root fits into a document.
pub const CONTENT_BYTES_MAX: u64 = 1 << 45;
/// The latest time that fits the index, in milliseconds since 1970.
pub const TIME_MS_MAX: u64 = i64::MAX.unsigned_abs();
/// The most content that `create` buffers before it settles on the largest fragment length, in bytes.
pub const CONTENT_BUFFER_BYTES_MAX: usize = 16 << 20;
/// A tessera is cut so that it has about this many fragments, as long as the lengths allow it.
pub const FRAGMENTS_PER_TESSERA_AIM: u64 = 16;
/// The most data fragments in a stripe.
pub const STRIPE_DATA_MAX: u16 = 16;
/// The most fragments (data and parity) in a stripe.
pub const STRIPE_TOTAL_MAX: u16 = 24;
/// Shards are coded in blocks of this many bytes; the last chunk is padded to it, for coding only.
pub const CODING_BLOCK_BYTES: usize = 64;
/// Stripes are coded this many bytes of each shard at a time.
pub const CODING_COLUMN_BYTES: usize = 64 << 10;
/// Records in a segment start at multiples of this many bytes.
pub const RECORD_ALIGN_BYTES: usize = 64;
/// Length of a record's header, in bytes.
pub const RECORD_HEADER_BYTES: usize = 64;
/// The longest payload of a record: a document with the fields before it, in bytes.
pub const RECORD_PAYLOAD_BYTES_MAX: usize = DOCUMENT_BYTES_MAX + 64;

const _: () = assert!(FRAGMENT_BYTES_MAX <= RECORD_PAYLOAD_BYTES_MAX);
const _: () = assert!(FRAGMENT_BYTES_MIN < FRAGMENT_BYTES_MAX);
const _: () =
    assert!(CONTENT_BUFFER_BYTES_MAX as u64 == FRAGMENTS_PER_TESSERA_AIM * FRAGMENT_BYTES_MAX as u64);
const _: () = assert!(FRAGMENT_BYTES_MIN.is_multiple_of(CODING_BLOCK_BYTES));
const _: () = assert!(CODING_COLUMN_BYTES.is_multiple_of(CODING_BLOCK_BYTES));
const _: () = assert!(STRIPE_DATA_MAX < STRIPE_TOTAL_MAX);
const _: () =
    assert!(PROOF_GROUPS_MAX.is_power_of_two() && PROOF_GROUP_BYTES.is_multiple_of(blake3::CHUNK_LEN));
const _: () =
    assert!(PROOF_GROUP_BYTES.is_power_of_two() && FRAGMENT_BYTES_MAX.is_multiple_of(PROOF_GROUP_BYTES));
const _: () = assert!(PEER_SAMPLE_ADDRESSES_MAX <= ADDRESSES_MAX);
const _: () = assert!(DROP_FRAGMENTS_MAX >= STRIPE_TOTAL_MAX as usize);
const _: () = assert!(MANIFEST_BYTES_MAX <= DOCUMENT_BYTES_MAX);
const _: () = assert!(CLAIM_FRAGMENTS_MAX >= STRIPE_TOTAL_MAX as usize);
// The root of the largest layout: one fragment per chunk and stripe, as much parity as there may be.
const _: () = assert!(
    CONTENT_BYTES_MAX / FRAGMENT_BYTES_MAX as u64 * STRIPE_TOTAL_MAX as u64
        / LAYOUT_PAGE_CHECKSUMS_MAX as u64
        * CHECKSUM_BYTES as u64
        + 1024
        < DOCUMENT_BYTES_MAX as u64
);
const _: () = assert!(RECORD_HEADER_BYTES.is_multiple_of(RECORD_ALIGN_BYTES));
const _: () = assert!(RECORD_PAYLOAD_BYTES_MAX < u32::MAX as usize);
