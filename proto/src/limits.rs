//! Every bound of the format, named with its unit.

/// The longest fragment, in bytes.
pub const FRAGMENT_BYTES_MAX: usize = 1 << 20;
/// The shortest `fragment_len` a layout may name, in bytes (the last fragment of a tessera may be shorter).
pub const FRAGMENT_BYTES_MIN: usize = 4 << 10;
/// The longest document (manifest, layout, page), in bytes.
pub const DOCUMENT_BYTES_MAX: usize = 16 << 20;
/// The longest control frame and the longest page of a layout, in bytes.
pub const FRAME_BYTES_MAX: usize = 64 << 10;
/// The most content that `create` buffers before it settles on the largest fragment length, in bytes.
pub const CONTENT_BUFFER_BYTES_MAX: usize = 16 << 20;
/// A tessera is cut so that it has about this many fragments, as long as the lengths allow it.
pub const FRAGMENTS_PER_TESSERA_AIM: u64 = 16;
/// The most data fragments in a stripe.
pub const STRIPE_DATA_MAX: u16 = 16;
/// The most fragments (data and parity) in a stripe.
pub const STRIPE_TOTAL_MAX: u16 = 24;
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
const _: () = assert!(RECORD_HEADER_BYTES.is_multiple_of(RECORD_ALIGN_BYTES));
const _: () = assert!(RECORD_PAYLOAD_BYTES_MAX < u32::MAX as usize);
