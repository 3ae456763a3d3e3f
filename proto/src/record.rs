//! The codec of a segment's records. A segment is a sequence of records, each starting at a multiple of 64 bytes:
//! a header of 64 bytes, the payload, and zeros up to the next multiple. Numbers are little-endian.
//!
//! | bytes | header field |
//! |---|---|
//! | 0..4 | magic `TSG1` |
//! | 4 | format version, 1 |
//! | 5 | kind |
//! | 6..12 | salt |
//! | 12..16 | payload length |
//! | 16..24 | sequence number |
//! | 24..56 | BLAKE3 of the payload |
//! | 56..64 | the first 8 bytes of BLAKE3 of bytes 0..56 |

use bytes::Bytes;

use crate::{
    error::ProtoError,
    fragment::FragmentId,
    ids::{AccountId, Checksum, TesseraId},
    limits::{
        DOCUMENT_BYTES_MAX, FRAME_BYTES_MAX, LAYOUT_SENT_BYTES_MAX, MANIFEST_BYTES_MAX, PLACEMENT_BYTES_MAX,
        RECORD_ALIGN_BYTES, RECORD_HEADER_BYTES, RECORD_PAYLOAD_BYTES_MAX, RETRACTION_BYTES_MAX,
    },
};

/// What a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Bytes, addressed by their BLAKE3.
    Blob,
    /// A document of a tessera, byte for byte as received.
    Document,
    /// An account wants a fragment.
    Ref,
    /// An account no longer wants a fragment.
    Drop,
    /// A session is complete.
    Commit,
    /// Nobody wants anything of a tessera any more.
    Forget,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Blob, Self::Document, Self::Ref, Self::Drop, Self::Commit, Self::Forget];

    /// The number that stands for it in a header.
    pub const fn code(self) -> u8 {
        match self {
            Self::Blob => 1,
            Self::Document => 2,
            Self::Ref => 3,
            Self::Drop => 4,
            Self::Commit => 5,
            Self::Forget => 6,
        }
    }
}

/// A writing session. 0 stands for *none*: such a record counts at once. Any other counts from its `Commit` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

impl SessionId {
    /// No session: the record counts at once.
    pub const NONE: Self = Self(0);
}

/// Which document of a tessera.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DocumentKind {
    /// The signed description of the content; its hash is the tessera id.
    Manifest,
    /// The signed root of the layout.
    Layout,
    /// A page of checksums under the layout's root.
    LayoutPage,
    /// Who keeps the fragments. It changes, so it is sent like the others and stands in no segment.
    Placement,
    /// That nobody is to keep it any more. It outlasts the tessera, so it stands in no segment either.
    Retraction,
}

impl DocumentKind {
    const ALL: [Self; 5] =
        [Self::Manifest, Self::Layout, Self::LayoutPage, Self::Placement, Self::Retraction];

    /// The number that stands for it in a record and in the index.
    pub const fn code(self) -> u8 {
        match self {
            Self::Manifest => 1,
            Self::Layout => 2,
            Self::LayoutPage => 3,
            // The vectors have 4 as a kind that nobody knows, and are kept for ever.
            Self::Placement => 5,
            Self::Retraction => 6,
        }
    }

    /// Whether it stands in a segment.
    const fn is_recorded(self) -> bool {
        matches!(self, Self::Manifest | Self::Layout | Self::LayoutPage)
    }

    /// As people read it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Manifest => "manifest",
            Self::Layout => "layout",
            Self::LayoutPage => "layout page",
            Self::Placement => "placement",
            Self::Retraction => "retraction",
        }
    }

    /// The longest that one of them may be, in bytes.
    pub const fn bytes_max(self) -> usize {
        match self {
            Self::Manifest => MANIFEST_BYTES_MAX,
            Self::Layout => DOCUMENT_BYTES_MAX,
            Self::LayoutPage => FRAME_BYTES_MAX,
            Self::Placement => PLACEMENT_BYTES_MAX,
            Self::Retraction => RETRACTION_BYTES_MAX,
        }
    }

    /// The longest of them that nodes take from each other, in bytes.
    pub const fn sent_bytes_max(self) -> usize {
        match self {
            Self::Layout => LAYOUT_SENT_BYTES_MAX,
            _ => self.bytes_max(),
        }
    }

    /// The kind with this number, if there is one.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }
}

/// Who wants (`Ref`) or no longer wants (`Drop`) which fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Claim {
    /// The session whose `Commit` makes it count; [`SessionId::NONE`] for at once. Always none in a `Drop`.
    pub session: SessionId,
    /// The account it is charged to.
    pub account: AccountId,
    /// The fragment.
    pub fragment: FragmentId,
    /// Its checksum.
    pub checksum: Checksum,
    /// Its length in bytes, so that totals are right even when the bytes themselves are lost.
    pub length: u32,
}

/// A decoded record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// These bytes; nothing about who wants them.
    Blob(Bytes),
    /// A document of a tessera.
    Document {
        /// The session whose `Commit` makes it count.
        session: SessionId,
        /// The tessera it belongs to.
        tessera: TesseraId,
        /// Which of its documents.
        kind: DocumentKind,
        /// The document, as received.
        bytes: Bytes,
    },
    /// An account wants a fragment.
    Ref(Claim),
    /// An account no longer wants a fragment.
    Drop(Claim),
    /// The session is complete: its blobs, documents and refs count from here on.
    Commit {
        /// The session.
        session: SessionId,
        /// The tessera that it made.
        tessera: TesseraId,
    },
    /// Nobody wants anything of a tessera any more: documents of it with a lower sequence number no longer count.
    Forget {
        /// The tessera.
        tessera: TesseraId,
    },
}

/// What the records of one store have in common and nobody else knows: whoever looks for records behind damage tells
/// by it those that the store wrote from those that somebody else put into a payload. Random, made once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Salt(pub [u8; Self::BYTES]);

impl Salt {
    /// Its length in bytes.
    pub const BYTES: usize = 6;

    /// The salt as it stands in a header, whether or not anything else in it is right.
    pub fn of_header(bytes: &[u8; RECORD_HEADER_BYTES]) -> Self {
        let mut salt = [0; Self::BYTES];
        salt.iter_mut().zip(bytes.iter().skip(SALT_AT)).for_each(|(to, from)| *to = *from);
        Self(salt)
    }
}

/// The fixed part in front of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What the record says.
    pub kind: Kind,
    /// Of the store that wrote it. Whoever reads a record decides whose records count.
    pub salt: Salt,
    /// Grows by at least one with each record; a copy of what ends others keeps the one it had.
    pub sequence: u64,
    /// Length of the payload in bytes.
    pub payload_len: u32,
    /// BLAKE3 of the payload.
    pub payload_hash: Checksum,
}

impl Header {
    /// The header for a payload whose hash is known. Errors with [`ProtoError::TooLong`].
    pub fn new(
        kind: Kind,
        salt: Salt,
        sequence: u64,
        length: usize,
        payload_hash: Checksum,
    ) -> Result<Self, ProtoError> {
        match u32::try_from(length) {
            Ok(payload_len) if length <= RECORD_PAYLOAD_BYTES_MAX => {
                Ok(Self { kind, salt, sequence, payload_len, payload_hash })
            }
            _ => Err(ProtoError::TooLong {
                what: "record",
                length: length as u64,
                limit: RECORD_PAYLOAD_BYTES_MAX as u64,
            }),
        }
    }

    /// The 64 bytes on disk.
    pub fn encode(&self) -> [u8; RECORD_HEADER_BYTES] {
        let mut out = [0; RECORD_HEADER_BYTES];
        let mut put = Cursor { out: &mut out, at: 0 };
        put.bytes(&MAGIC);
        put.bytes(&[FORMAT_VERSION, self.kind.code()]);
        put.bytes(&self.salt.0);
        put.bytes(&self.payload_len.to_le_bytes());
        put.bytes(&self.sequence.to_le_bytes());
        put.bytes(self.payload_hash.as_bytes());
        let check = header_check(&out);
        Cursor { out: &mut out, at: CHECKED_BYTES }.bytes(&check);
        out
    }

    /// Reads a header. Errors with [`ProtoError::Malformed`] for anything that is not one, and with
    /// [`ProtoError::NewerVersion`] for one of a later format.
    pub fn decode(bytes: &[u8; RECORD_HEADER_BYTES]) -> Result<Self, ProtoError> {
        let mut take = Reader { rest: bytes };
        if take.array::<4>()? != MAGIC {
            return Err(ProtoError::malformed(WHAT, "no magic"));
        }
        if !bytes.ends_with(&header_check(bytes)) {
            return Err(ProtoError::malformed(WHAT, "the header's checksum does not fit"));
        }
        let [version, kind] = take.array()?;
        if version != FORMAT_VERSION {
            let (version, known) = (version.into(), FORMAT_VERSION.into());
            return Err(ProtoError::NewerVersion { what: WHAT, version, known });
        }
        let kind = Kind::ALL
            .into_iter()
            .find(|known| known.code() == kind)
            .ok_or_else(|| ProtoError::malformed(WHAT, format!("unknown kind {kind}")))?;
        let salt = Salt(take.array()?);
        let payload_len = u32::from_le_bytes(take.array()?);
        let sequence = u64::from_le_bytes(take.array()?);
        let payload_hash = Checksum::from_bytes(take.array()?);
        Self::new(kind, salt, sequence, payload_len as usize, payload_hash)
    }

    /// Length of the whole record on disk, padding included, in bytes.
    pub fn record_len(&self) -> u64 {
        record_len(self.payload_len as usize)
    }
}

impl Record {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Blob(_) => Kind::Blob,
            Self::Document { .. } => Kind::Document,
            Self::Ref(_) => Kind::Ref,
            Self::Drop(_) => Kind::Drop,
            Self::Commit { .. } => Kind::Commit,
            Self::Forget { .. } => Kind::Forget,
        }
    }

    /// The payload as it stands on disk, without padding.
    pub fn payload(&self) -> Bytes {
        match self {
            Self::Blob(bytes) => bytes.clone(),
            Self::Document { session, tessera, kind, bytes } => {
                let mut out = Vec::with_capacity(DOCUMENT_FIELDS_BYTES + bytes.len());
                out.extend_from_slice(&session.0.to_le_bytes());
                out.extend_from_slice(tessera.as_bytes());
                out.extend_from_slice(&[kind.code(), 0, 0, 0, 0, 0, 0, 0]);
                out.extend_from_slice(bytes);
                out.into()
            }
            Self::Ref(claim) | Self::Drop(claim) => claim.payload().into(),
            Self::Commit { session, tessera } => {
                [&session.0.to_le_bytes()[..], tessera.as_bytes()].concat().into()
            }
            Self::Forget { tessera } => Bytes::copy_from_slice(tessera.as_bytes()),
        }
    }

    /// Reads a payload whose hash was already found right. Errors with [`ProtoError::Malformed`].
    pub fn decode(kind: Kind, payload: &Bytes) -> Result<Self, ProtoError> {
        let mut take = Reader { rest: payload };
        let record = match kind {
            Kind::Blob => return Ok(Self::Blob(payload.clone())),
            Kind::Document => {
                let session = SessionId(u64::from_le_bytes(take.array()?));
                let tessera = TesseraId::from_bytes(take.array()?);
                let [code, ..] = take.array::<8>()?;
                let kind = DocumentKind::from_code(code)
                    .filter(|kind| kind.is_recorded())
                    .ok_or_else(|| ProtoError::malformed(WHAT, format!("unknown document kind {code}")))?;
                let bytes = payload.slice(DOCUMENT_FIELDS_BYTES..);
                return Ok(Self::Document { session, tessera, kind, bytes });
            }
            Kind::Ref => Self::Ref(Claim::read(&mut take)?),
            Kind::Drop => Self::Drop(Claim::read(&mut take)?),
            Kind::Commit => Self::Commit {
                session: SessionId(u64::from_le_bytes(take.array()?)),
                tessera: TesseraId::from_bytes(take.array()?),
            },
            Kind::Forget => Self::Forget { tessera: TesseraId::from_bytes(take.array()?) },
        };
        if take.rest.is_empty() {
            Ok(record)
        } else {
            Err(ProtoError::malformed(WHAT, "the payload is too long"))
        }
    }
}

impl Claim {
    fn payload(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(CLAIM_BYTES);
        out.extend_from_slice(&self.session.0.to_le_bytes());
        out.extend_from_slice(self.account.as_bytes());
        out.extend_from_slice(self.fragment.tessera.as_bytes());
        out.extend_from_slice(&self.fragment.stripe.to_le_bytes());
        out.extend_from_slice(&self.fragment.index.to_le_bytes());
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(self.checksum.as_bytes());
        out.extend_from_slice(&self.length.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out
    }

    fn read(take: &mut Reader<'_>) -> Result<Self, ProtoError> {
        let session = SessionId(u64::from_le_bytes(take.array()?));
        let account = AccountId::from_bytes(take.array()?);
        let tessera = TesseraId::from_bytes(take.array()?);
        let stripe = u32::from_le_bytes(take.array()?);
        let index = u16::from_le_bytes(take.array()?);
        take.array::<2>()?;
        let checksum = Checksum::from_bytes(take.array()?);
        let length = u32::from_le_bytes(take.array()?);
        take.array::<4>()?;
        Ok(Self { session, account, fragment: FragmentId { tessera, stripe, index }, checksum, length })
    }
}

/// Length on disk of a record with a payload of this length, padding included, in bytes.
pub const fn record_len(payload: usize) -> u64 {
    (RECORD_HEADER_BYTES + payload.next_multiple_of(RECORD_ALIGN_BYTES)) as u64
}

fn header_check(header: &[u8; RECORD_HEADER_BYTES]) -> [u8; 8] {
    let (checked, _) = header.split_at(CHECKED_BYTES);
    let mut check = [0; 8];
    blake3::Hasher::new().update(checked).finalize_xof().fill(&mut check);
    check
}

/// Fills an array from the front; writes that do not fit are a programming error the tests would see.
struct Cursor<'a> {
    out: &'a mut [u8],
    at: usize,
}

impl Cursor<'_> {
    fn bytes(&mut self, bytes: &[u8]) {
        let end = self.at + bytes.len();
        if let Some(target) = self.out.get_mut(self.at..end) {
            target.copy_from_slice(bytes);
        }
        self.at = end;
    }
}

/// Takes fixed-size pieces from the front.
struct Reader<'a> {
    rest: &'a [u8],
}

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], ProtoError> {
        let (head, rest) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or_else(|| ProtoError::malformed(WHAT, "the payload is too short"))?;
        self.rest = rest;
        Ok(*head)
    }
}

const WHAT: &str = "segment record";
const MAGIC: [u8; 4] = *b"TSG1";
const FORMAT_VERSION: u8 = 1;
const SALT_AT: usize = 6;
const CHECKED_BYTES: usize = RECORD_HEADER_BYTES - 8;
/// Bytes of a document's payload before the document itself.
pub const DOCUMENT_FIELDS_BYTES: usize = 48;
/// Length of the payload of a `Ref` or `Drop`, in bytes.
pub const CLAIM_BYTES: usize = 120;

/// Where a scan may find a record by chance: the bytes every header starts with.
pub const HEADER_MAGIC: [u8; 4] = MAGIC;
