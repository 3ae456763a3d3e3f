//! The requests, one on each stream. Those that change something may be repeated: a second one finds it done.

mod fields;

use std::ops::Range;

use bytes::Bytes;
use fields::{
    read_attest, read_compare, read_drop_fragments, read_get_document, read_get_fragment, read_hello,
    read_introduce, read_look_after, read_prove, read_put_document, read_put_fragment, write_fragment,
    write_question,
};

use super::{check_greeting, check_length, frame, read};
use crate::{
    cbor::Writer,
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
    /// Learn what a tessera is, in one: what [`Request::PutDocument`] would bring of its manifest, a layout, and the only page
    /// of that; the three follow, together at most [`FRAME_BYTES_MAX`].
    Introduce {
        /// The tessera.
        tessera: TesseraId,
        /// How many bytes the manifest has.
        manifest: u32,
        /// How many bytes the layout has.
        layout: u32,
        /// How many bytes the page has.
        page: u32,
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
    /// Look how a tessera fares that you keep some of, and mend it if it needs that: I have all of it, and am no holder.
    LookAfter {
        /// The tessera.
        tessera: TesseraId,
    },
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
            Self::LookAfter { .. } => LOOK_AFTER,
            Self::Introduce { .. } => INTRODUCE,
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
            Self::LookAfter { .. } => "look_after",
            Self::Introduce { .. } => "introduce",
        }
    }

    /// How many raw bytes follow the frame; 0 for none.
    pub const fn bulk_len(&self) -> u32 {
        match self {
            Self::PutDocument { length, .. } | Self::PutFragment { length, .. } => *length,
            Self::Introduce { manifest, layout, page, .. } => {
                manifest.saturating_add(*layout).saturating_add(*page)
            }
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
            LOOK_AFTER => read("look_after", body, read_look_after),
            INTRODUCE => read("introduce", body, read_introduce),
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
            Self::Introduce { manifest, layout, page, .. } => {
                for length in [*manifest, *layout, *page, self.bulk_len()] {
                    check_length(what, length, FRAME_BYTES_MAX)?;
                }
            }
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
            Self::LookAfter { tessera } => out.bytes(1, tessera.as_bytes()),
            Self::Introduce { tessera, manifest, layout, page } => {
                out.bytes(1, tessera.as_bytes());
                out.unsigned(2, *manifest);
                out.unsigned(3, *layout);
                out.unsigned(4, *page);
            }
        }
        out
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
// The vectors have 11 as a kind that nobody knows, and are kept for ever.
const LOOK_AFTER: u8 = 12;
const INTRODUCE: u8 = 13;

/// The longest greeting: heads and keys of at most 8 bytes for each field, and the values.
const HELLO_BYTES_MAX: usize =
    6 * 8 + SOFTWARE_BYTES_MAX + ADDRESSES_MAX * (2 + ADDRESS_BYTES_MAX) + CREDENTIAL_BYTES_MAX + 32;
const _: () = assert!(HELLO_BYTES_MAX <= FRAME_BYTES_MAX);
const _: () = assert!(8 + DROP_ORDER_BYTES_MAX <= FRAME_BYTES_MAX);

#[cfg(test)]
mod tests;
