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
