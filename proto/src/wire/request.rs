//! The requests, one on each stream. Those that change something may be repeated: a second one finds it done.

use std::ops::Range;

use bytes::Bytes;
use minicbor::Decoder;

use super::{check_greeting, check_length, frame, read};
use crate::{
    cbor::{self, Fields, Writer},
    compare::Question,
    error::ProtoError,
    fragment::FragmentId,
    ids::{AccountId, Checksum, TesseraId},
    limits::{
        ADDRESS_BYTES_MAX, ADDRESSES_MAX, CREDENTIAL_BYTES_MAX, DROP_ORDER_BYTES_MAX, FRAGMENT_BYTES_MAX,
        FRAME_BYTES_MAX, PROOF_GROUPS_MAX, SOFTWARE_BYTES_MAX,
    },
    record::DocumentKind,
};

/// What one node asks of another.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Request {
    /// Who I am beside my key. The first request on a connection.
    Hello {
        /// Name and version of the software, at most [`SOFTWARE_BYTES_MAX`].
        software: String,
        /// Where I can be dialled, `host:port`, at most [`ADDRESSES_MAX`].
        addresses: Vec<String>,
        /// The author I act for: a signed [`Credential`](crate::credential::Credential).
        credential: Option<Bytes>,
        /// The secret of an invitation.
        invite: Option<[u8; 32]>,
        /// Please try whether I can be dialled at the first address.
        dial_back: bool,
    },
    /// Keep this document of a tessera; its bytes follow.
    PutDocument {
        /// The tessera.
        tessera: TesseraId,
        /// Which of its documents.
        document: DocumentKind,
        /// The layout that a page belongs to; there for a page and for nothing else.
        layout: Option<Checksum>,
        /// How many bytes follow.
        length: u32,
    },
    /// Send a document of a tessera.
    GetDocument {
        /// The tessera.
        tessera: TesseraId,
        /// Which of its documents.
        document: DocumentKind,
        /// The one with this checksum; `None` for the one that counts.
        hash: Option<Checksum>,
    },
    /// Keep this fragment; its bytes follow.
    PutFragment {
        /// Where it stands.
        fragment: FragmentId,
        /// Its checksum.
        checksum: Checksum,
        /// How many bytes follow.
        length: u32,
        /// The layout that names the checksum.
        layout: Checksum,
    },
    /// Send a fragment.
    GetFragment {
        /// Where it stands.
        fragment: FragmentId,
        /// The one with this checksum; `None` for whichever is held.
        checksum: Option<Checksum>,
    },
    /// An author no longer wants some fragments.
    DropFragments {
        /// A signed [`DropOrder`](crate::order::DropOrder).
        order: Bytes,
    },
    /// Say what you hold of a tessera.
    Attest {
        /// The tessera.
        tessera: TesseraId,
        /// Of which stripes; those behind the last are no mistake.
        stripes: Range<u32>,
        /// Random, so that an old claim is no answer.
        nonce: [u8; 32],
    },
    /// Tell sums and digests of what you hold for an account.
    Compare {
        /// The account.
        account: AccountId,
        /// How much of it.
        question: Question,
    },
    /// Prove that you have the bytes of a fragment.
    Prove {
        /// The checksum of the fragment.
        checksum: Checksum,
        /// The group that is to be sent.
        group: u32,
        /// Random, so that answers can be told apart.
        nonce: [u8; 32],
    },
    /// Name some peers.
    Peers,
}

impl Request {
    /// The number that stands for it in a head.
    pub const fn kind(&self) -> u8 {
        match self {
            Self::Hello { .. } => HELLO,
            Self::PutDocument { .. } => PUT_DOCUMENT,
            Self::GetDocument { .. } => GET_DOCUMENT,
            Self::PutFragment { .. } => PUT_FRAGMENT,
            Self::GetFragment { .. } => GET_FRAGMENT,
            Self::DropFragments { .. } => DROP_FRAGMENTS,
            Self::Attest { .. } => ATTEST,
            Self::Compare { .. } => COMPARE,
            Self::Prove { .. } => PROVE,
            Self::Peers => PEERS,
        }
    }

    /// Its name in one word, for metrics and errors.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Hello { .. } => "hello",
            Self::PutDocument { .. } => "put_document",
            Self::GetDocument { .. } => "get_document",
            Self::PutFragment { .. } => "put_fragment",
            Self::GetFragment { .. } => "get_fragment",
            Self::DropFragments { .. } => "drop_fragments",
            Self::Attest { .. } => "attest",
            Self::Compare { .. } => "compare",
            Self::Prove { .. } => "prove",
            Self::Peers => "peers",
        }
    }

    /// How many raw bytes follow the frame; 0 for none.
    pub const fn bulk_len(&self) -> u32 {
        match self {
            Self::PutDocument { length, .. } | Self::PutFragment { length, .. } => *length,
            _ => 0,
        }
    }

    /// Head and body. What is outside the limits would be refused: see [`Request::check`].
    pub fn frame(&self) -> Vec<u8> {
        debug_assert_eq!(self.check(), Ok(()));
        frame(self.kind(), self.body())
    }

    /// Reads the body of a request of this kind, whose length the head gave. `None` for what only later software knows
    /// (a kind of request, of document or of question), to be answered as unsupported. Errors with
    /// [`ProtoError::Malformed`] and [`ProtoError::TooLong`].
    pub fn decode(kind: u8, body: &[u8]) -> Result<Option<Self>, ProtoError> {
        let request = match kind {
            HELLO => read("hello", body, read_hello),
            PUT_DOCUMENT => read("put_document", body, read_put_document),
            GET_DOCUMENT => read("get_document", body, read_get_document),
            PUT_FRAGMENT => read("put_fragment", body, read_put_fragment),
            GET_FRAGMENT => read("get_fragment", body, read_get_fragment),
            DROP_FRAGMENTS => read("drop_fragments", body, read_drop_fragments),
            ATTEST => read("attest", body, read_attest),
            COMPARE => read("compare", body, read_compare),
            PROVE => read("prove", body, read_prove),
            PEERS => read("peers", body, |_| Ok(Some(Self::Peers))),
            _ => return Ok(None),
        }?;
        request.iter().try_for_each(Self::check)?;
        Ok(request)
    }

    /// Whether it is one that a peer accepts. Errors with [`ProtoError::Malformed`] and [`ProtoError::TooLong`].
    pub fn check(&self) -> Result<(), ProtoError> {
        let what = self.name();
        let refuse = |reason: &str| Err(ProtoError::malformed(what, reason));
        match self {
            Self::Hello { software, addresses, .. } => {
                check_greeting(what, software, addresses, ADDRESSES_MAX)?;
            }
            Self::PutDocument { document, layout, length, .. } => {
                if layout.is_some() != (*document == DocumentKind::LayoutPage) {
                    return refuse("a page names its layout, and nothing else does");
                }
                check_length(what, *length, document.bytes_max())?;
            }
            Self::PutFragment { length, .. } => check_length(what, *length, FRAGMENT_BYTES_MAX)?,
            Self::Attest { stripes, .. } if stripes.start > stripes.end => {
                return refuse("stripes that end before they start");
            }
            Self::Compare { question: Question::Pair { prefix, after: Some(after) }, .. }
                if !after.as_bytes().starts_with(prefix) =>
            {
                return refuse("it continues outside its prefix");
            }
            Self::Prove { group, .. } if *group as usize >= PROOF_GROUPS_MAX => {
                return refuse("a group that no fragment has");
            }
            _ => {}
        }
        Ok(())
    }

    fn body(&self) -> Writer {
        let mut out = Writer::new();
        match self {
            Self::Hello { software, addresses, credential, invite, dial_back } => {
                out.text(1, software);
                out.texts(2, addresses);
                credential.iter().for_each(|credential| out.bytes(3, credential));
                invite.iter().for_each(|invite| out.bytes(4, invite));
                out.flag(5, *dial_back);
            }
            Self::PutDocument { tessera, document, layout, length } => {
                out.bytes(1, tessera.as_bytes());
                out.unsigned(2, document.code());
                layout.iter().for_each(|layout| out.bytes(3, layout.as_bytes()));
                out.unsigned(4, *length);
            }
            Self::GetDocument { tessera, document, hash } => {
                out.bytes(1, tessera.as_bytes());
                out.unsigned(2, document.code());
                hash.iter().for_each(|hash| out.bytes(3, hash.as_bytes()));
            }
            Self::PutFragment { fragment, checksum, length, layout } => {
                write_fragment(&mut out, fragment);
                out.bytes(4, checksum.as_bytes());
                out.unsigned(5, *length);
                out.bytes(6, layout.as_bytes());
            }
            Self::GetFragment { fragment, checksum } => {
                write_fragment(&mut out, fragment);
                checksum.iter().for_each(|checksum| out.bytes(4, checksum.as_bytes()));
            }
            Self::DropFragments { order } => out.bytes(1, order),
            Self::Attest { tessera, stripes, nonce } => {
                out.bytes(1, tessera.as_bytes());
                out.unsigned(2, stripes.start);
                out.unsigned(3, stripes.end);
                out.bytes(4, nonce);
            }
            Self::Compare { account, question } => {
                out.bytes(1, account.as_bytes());
                write_question(&mut out, question);
            }
            Self::Prove { checksum, group, nonce } => {
                out.bytes(1, checksum.as_bytes());
                out.unsigned(2, *group);
                out.bytes(3, nonce);
            }
            Self::Peers => {}
        }
        out
    }
}

fn read_hello(fields: &mut Fields<'_, '_>) -> Result<Option<Request>, ProtoError> {
    Ok(Some(Request::Hello {
        software: fields.required(1, cbor::text)?,
        addresses: fields.required(2, cbor::texts_within::<ADDRESSES_MAX>)?,
        credential: fields.optional(3, cbor::bytes_within::<CREDENTIAL_BYTES_MAX>)?,
        invite: fields.optional(4, cbor::bytes32)?,
        dial_back: fields.required(5, Decoder::bool)?,
    }))
}

fn read_put_document(fields: &mut Fields<'_, '_>) -> Result<Option<Request>, ProtoError> {
    let tessera = fields.required(1, cbor::bytes32)?;
    let Some(document) = read_document(fields)? else { return Ok(None) };
    let layout = fields.optional(3, cbor::bytes32)?;
    let length = fields.required(4, Decoder::u32)?;
    Ok(Some(Request::PutDocument { tessera, document, layout, length }))
}

fn read_get_document(fields: &mut Fields<'_, '_>) -> Result<Option<Request>, ProtoError> {
    let tessera = fields.required(1, cbor::bytes32)?;
    let Some(document) = read_document(fields)? else { return Ok(None) };
    Ok(Some(Request::GetDocument { tessera, document, hash: fields.optional(3, cbor::bytes32)? }))
}

fn read_put_fragment(fields: &mut Fields<'_, '_>) -> Result<Option<Request>, ProtoError> {
    Ok(Some(Request::PutFragment {
        fragment: read_fragment(fields)?,
        checksum: fields.required(4, cbor::bytes32)?,
        length: fields.required(5, Decoder::u32)?,
        layout: fields.required(6, cbor::bytes32)?,
    }))
}

fn read_get_fragment(fields: &mut Fields<'_, '_>) -> Result<Option<Request>, ProtoError> {
    let (fragment, checksum) = (read_fragment(fields)?, fields.optional(4, cbor::bytes32)?);
    Ok(Some(Request::GetFragment { fragment, checksum }))
}

fn read_drop_fragments(fields: &mut Fields<'_, '_>) -> Result<Option<Request>, ProtoError> {
    let order = fields.required(1, cbor::bytes_within::<DROP_ORDER_BYTES_MAX>)?;
    Ok(Some(Request::DropFragments { order }))
}

fn read_attest(fields: &mut Fields<'_, '_>) -> Result<Option<Request>, ProtoError> {
    Ok(Some(Request::Attest {
        tessera: fields.required(1, cbor::bytes32)?,
        stripes: fields.required(2, Decoder::u32)?..fields.required(3, Decoder::u32)?,
        nonce: fields.required(4, cbor::bytes32)?,
    }))
}

fn read_compare(fields: &mut Fields<'_, '_>) -> Result<Option<Request>, ProtoError> {
    let account = fields.required(1, cbor::bytes32)?;
    let question = match fields.required(2, Decoder::u64)? {
        0 => Question::All,
        1 => {
            let [first] = fields.required(3, cbor::array)?;
            Question::Under(first)
        }
        2 => Question::Pair {
            prefix: fields.required(3, cbor::array)?,
            after: fields.optional(4, cbor::bytes32)?,
        },
        3 => Question::Tessera {
            tessera: fields.required(4, cbor::bytes32)?,
            from: (fields.required(5, Decoder::u32)?, fields.required(6, Decoder::u16)?),
        },
        _ => return Ok(None),
    };
    Ok(Some(Request::Compare { account, question }))
}

fn read_prove(fields: &mut Fields<'_, '_>) -> Result<Option<Request>, ProtoError> {
    Ok(Some(Request::Prove {
        checksum: fields.required(1, cbor::bytes32)?,
        group: fields.required(2, Decoder::u32)?,
        nonce: fields.required(3, cbor::bytes32)?,
    }))
}

/// Field 2, if this software knows the document.
fn read_document(fields: &mut Fields<'_, '_>) -> Result<Option<DocumentKind>, ProtoError> {
    let code = fields.required(2, Decoder::u64)?;
    Ok(u8::try_from(code).ok().and_then(DocumentKind::from_code))
}

/// Fields 1 to 3.
fn read_fragment(fields: &mut Fields<'_, '_>) -> Result<FragmentId, ProtoError> {
    Ok(FragmentId {
        tessera: fields.required(1, cbor::bytes32)?,
        stripe: fields.required(2, Decoder::u32)?,
        index: fields.required(3, Decoder::u16)?,
    })
}

fn write_fragment(out: &mut Writer, fragment: &FragmentId) {
    out.bytes(1, fragment.tessera.as_bytes());
    out.unsigned(2, fragment.stripe);
    out.unsigned(3, fragment.index);
}

/// Fields 2 to 6.
fn write_question(out: &mut Writer, question: &Question) {
    match question {
        Question::All => out.unsigned(2, 0_u8),
        Question::Under(first) => {
            out.unsigned(2, 1_u8);
            out.bytes(3, &[*first]);
        }
        Question::Pair { prefix, after } => {
            out.unsigned(2, 2_u8);
            out.bytes(3, prefix);
            after.iter().for_each(|after| out.bytes(4, after.as_bytes()));
        }
        Question::Tessera { tessera, from: (stripe, index) } => {
            out.unsigned(2, 3_u8);
            out.bytes(4, tessera.as_bytes());
            out.unsigned(5, *stripe);
            out.unsigned(6, *index);
        }
    }
}

const HELLO: u8 = 1;
const PUT_DOCUMENT: u8 = 2;
const GET_DOCUMENT: u8 = 3;
const PUT_FRAGMENT: u8 = 4;
const GET_FRAGMENT: u8 = 5;
const DROP_FRAGMENTS: u8 = 6;
const ATTEST: u8 = 7;
const COMPARE: u8 = 8;
const PROVE: u8 = 9;
const PEERS: u8 = 10;

/// The longest greeting: heads and keys of at most 8 bytes for each field, and the values.
const HELLO_BYTES_MAX: usize =
    6 * 8 + SOFTWARE_BYTES_MAX + ADDRESSES_MAX * (2 + ADDRESS_BYTES_MAX) + CREDENTIAL_BYTES_MAX + 32;
const _: () = assert!(HELLO_BYTES_MAX <= FRAME_BYTES_MAX);
const _: () = assert!(8 + DROP_ORDER_BYTES_MAX <= FRAME_BYTES_MAX);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{limits::FRAME_HEAD_BYTES, wire::Head};

    fn decoded(frame: &[u8]) -> Result<Option<Request>, ProtoError> {
        let (head, body) = frame.split_first_chunk::<FRAME_HEAD_BYTES>().unwrap();
        let head = Head::parse(*head).unwrap();
        assert_eq!(head.body_len as usize, body.len());
        Request::decode(head.kind, body)
    }

    fn hello(addresses: Vec<String>) -> Request {
        Request::Hello {
            software: "s".repeat(64),
            addresses,
            credential: Some(vec![1; 1024].into()),
            invite: Some([2; 32]),
            dial_back: true,
        }
    }

    fn all() -> Vec<Request> {
        let (tessera, checksum) = (TesseraId::from_bytes([7; 32]), Checksum::of(b"x"));
        let fragment = FragmentId { tessera, stripe: u32::MAX, index: u16::MAX };
        let compare = |question| Request::Compare { account: AccountId::from_bytes([3; 32]), question };
        let document = DocumentKind::LayoutPage;
        vec![
            hello(vec![format!("{}:1", "a".repeat(253)); 8]),
            Request::PutDocument { tessera, document, layout: Some(checksum), length: 65_536 },
            Request::GetDocument { tessera, document, hash: Some(checksum) },
            Request::PutFragment { fragment, checksum, length: 1 << 20, layout: checksum },
            Request::GetFragment { fragment, checksum: None },
            Request::DropFragments { order: vec![9; 16_384].into() },
            Request::Attest { tessera, stripes: 0..u32::MAX, nonce: [4; 32] },
            compare(Question::All),
            compare(Question::Under(255)),
            compare(Question::Pair { prefix: [7, 7], after: Some(tessera) }),
            compare(Question::Tessera { tessera, from: (1, 2) }),
            Request::Prove { checksum, group: 63, nonce: [5; 32] },
            Request::Peers,
        ]
    }

    #[test]
    fn request_written_and_read_is_the_same() {
        for request in all() {
            let frame = request.frame();
            assert!(frame.len() <= FRAME_HEAD_BYTES + FRAME_BYTES_MAX, "{request:?}");
            assert_eq!(decoded(&frame), Ok(Some(request)));
        }
    }

    #[test]
    fn request_that_breaks_a_rule_is_refused() {
        let (tessera, checksum) = (TesseraId::from_bytes([7; 32]), Checksum::of(b"x"));
        let refused = |request: Request, reason: &str| {
            let error = request.check().unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
            let read = Request::decode(request.kind(), &request.body().finish());
            assert!(read.is_err(), "{reason}: {read:?}");
        };
        let put = |document, layout, length| Request::PutDocument { tessera, document, layout, length };
        refused(put(DocumentKind::Manifest, None, 0), "a length of 0 bytes");
        refused(put(DocumentKind::Manifest, None, 65_537), "65537 bytes long; at most 65536");
        refused(put(DocumentKind::Layout, None, (16 << 20) + 1), "at most 16777216");
        refused(put(DocumentKind::Layout, Some(checksum), 1), "a page names its layout");
        refused(put(DocumentKind::LayoutPage, None, 32), "a page names its layout");
        let fragment = FragmentId { tessera, stripe: 0, index: 0 };
        let length = (1 << 20) + 1;
        refused(Request::PutFragment { fragment, checksum, length, layout: checksum }, "at most 1048576");
        let stripes = Range { start: 2, end: 1 };
        refused(Request::Attest { tessera, stripes, nonce: [0; 32] }, "end before they start");
        let question = Question::Pair { prefix: [7, 8], after: Some(tessera) };
        refused(Request::Compare { account: AccountId::LOCAL, question }, "outside its prefix");
        refused(Request::Prove { checksum, group: 64, nonce: [0; 32] }, "no fragment has");
        refused(hello(vec!["a:1".to_owned(); 9]), "9 items; at most 8");
        refused(hello(vec!["nowhere".to_owned()]), "no port");
    }

    #[test]
    fn what_only_later_software_knows_is_told_from_what_is_wrong() {
        for kind in [0, 11, 64, 65, 127, 255] {
            assert_eq!(Request::decode(kind, b"anything"), Ok(None), "{kind}");
        }
        let document = |code: u64| {
            let mut body = Writer::new();
            body.bytes(1, &[7; 32]);
            body.unsigned(2, code);
            body.finish()
        };
        assert_eq!(Request::decode(GET_DOCUMENT, &document(4)), Ok(None));
        assert_eq!(Request::decode(PUT_DOCUMENT, &document(300)), Ok(None));
        assert_eq!(Request::decode(COMPARE, &document(4)), Ok(None));
        assert!(matches!(Request::decode(PEERS, &[0xa1, 1]), Err(ProtoError::Malformed { .. })));
        assert!(matches!(Request::decode(PEERS, &[]), Err(ProtoError::Malformed { .. })));
        let long = vec![0; FRAME_BYTES_MAX + 1];
        assert!(matches!(Request::decode(PEERS, &long), Err(ProtoError::TooLong { .. })));
    }

    #[test]
    fn unknown_field_is_skipped() {
        let mut body = Request::Peers.body();
        body.text(99, "later");
        assert_eq!(Request::decode(PEERS, &body.finish()), Ok(Some(Request::Peers)));
    }
}
