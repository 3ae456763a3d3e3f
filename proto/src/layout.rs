//! The layout: how the content of a tessera is spread over fragments, and the checksum of each of them. It stands
//! apart from the manifest so that a tessera keeps its id when its layout changes.
//!
//! Content is cut into chunks of `fragment_len` bytes, the last one shorter. A stripe is `k` chunks (the last stripe
//! may have fewer) and `m` parity fragments. Fragments are numbered by stripe and, inside it, by index: data first,
//! then parity, without gaps. Their checksums stand in that order in pages of at most 2048, which are plain
//! concatenations of 32-byte BLAKE3 values; the signed root pins each page by its BLAKE3.
//!
//! A tessera may have several layouts at once: that of a whole copy, one that holders keep, and one that they are moving
//! to. Fragments are named by stripe and index alone, so each layout numbers its stripes from where it begins, and those
//! of one tessera do not overlap.
//!
//! | field | holds |
//! |---|---|
//! | 0 | version, 1 |
//! | 1 | tessera, 32 bytes |
//! | 2 | name of the code, text: `rs-leopard16` |
//! | 3 | k, data fragments of a stripe |
//! | 4 | m, parity fragments of a stripe |
//! | 5 | fragment length in bytes, a power of two |
//! | 6 | content length in bytes |
//! | 7 | BLAKE3 of each page one after another, one byte string |
//! | 8 | the number of the first stripe; absent for 0 |

use std::ops::Range;

use bytes::Bytes;
use minicbor::Decoder;

pub use crate::stripe::{Code, Stripe, Wanted};
use crate::{
    cbor::{self, Fields, Writer},
    error::ProtoError,
    ids::{Checksum, TesseraId},
    keys::AuthorKey,
    limits::{
        CHECKSUM_BYTES, CONTENT_BYTES_MAX, DOCUMENT_BYTES_MAX, FRAGMENT_BYTES_MAX, FRAGMENT_BYTES_MIN,
        FRAME_BYTES_MAX, LAYOUT_PAGE_CHECKSUMS_MAX,
    },
    manifest::SignedManifest,
    signed::Form,
};

/// How content is spread over fragments. Only consistent ones exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    tessera: TesseraId,
    code: Code,
    fragment_len: u32,
    content_len: u64,
    first_stripe: u32,
    stripes: u32,
    pages: Vec<Checksum>,
}

impl Layout {
    /// The layout of a content whose fragments have these checksums, in order, and its pages. Errors with
    /// [`ProtoError::Malformed`] when there are more or fewer checksums than fragments or when `fragment_len` is not
    /// a power of two between [`FRAGMENT_BYTES_MIN`] and [`FRAGMENT_BYTES_MAX`], with [`ProtoError::TooLong`] above
    /// [`CONTENT_BYTES_MAX`].
    pub fn build(
        tessera: TesseraId,
        code: Code,
        fragment_len: u32,
        content_len: u64,
        checksums: &[Checksum],
    ) -> Result<(Self, Vec<Bytes>), ProtoError> {
        let mut layout = Self::empty(tessera, code, fragment_len, content_len)?;
        let (expected, given) = (layout.fragments(), checksums.len());
        if expected != given as u64 {
            return Err(ProtoError::malformed(WHAT, format!("{given} checksums for {expected} fragments")));
        }
        let pages: Vec<_> = checksums.chunks(LAYOUT_PAGE_CHECKSUMS_MAX).map(join).collect();
        layout.pages = pages.iter().map(|page| Checksum::of(page)).collect();
        Ok((layout, pages))
    }

    /// The same with other numbers for its stripes. Errors with [`ProtoError::Malformed`] when the last of them does not fit
    /// 32 bits.
    pub fn beginning_at(self, first_stripe: u32) -> Result<Self, ProtoError> {
        if first_stripe.checked_add(self.stripes).is_none() {
            let reason = format!("{} stripes from {first_stripe} on do not fit 32 bits", self.stripes);
            return Err(ProtoError::malformed(WHAT, reason));
        }
        Ok(Self { first_stripe, ..self })
    }

    /// Makes the document. Errors with [`ProtoError::TooLong`].
    pub fn sign(&self, key: &AuthorKey) -> Result<SignedLayout, ProtoError> {
        let bytes = FORM.sign(self.encode(), |message| key.sign(message))?;
        Ok(SignedLayout { layout: self.clone(), checksum: Checksum::of(&bytes), bytes })
    }

    /// The tessera it is a layout of.
    pub fn tessera(&self) -> TesseraId {
        self.tessera
    }

    /// Data and parity fragments of a full stripe.
    pub fn code(&self) -> Code {
        self.code
    }

    /// Length of every chunk but the last, in bytes.
    pub fn fragment_len(&self) -> u32 {
        self.fragment_len
    }

    /// Length of the content, in bytes.
    pub fn content_len(&self) -> u64 {
        self.content_len
    }

    /// BLAKE3 of each page.
    pub fn pages(&self) -> &[Checksum] {
        &self.pages
    }

    /// How many stripes there are.
    pub fn stripes(&self) -> u32 {
        self.stripes
    }

    /// The numbers of the stripes.
    pub fn stripe_numbers(&self) -> Range<u32> {
        self.first_stripe..self.first_stripe + self.stripes
    }

    /// How many data fragments there are: the chunks that the content is cut into.
    pub fn data_fragments(&self) -> u64 {
        self.content_len.div_ceil(self.fragment_len.into())
    }

    /// How many fragments there are, data and parity.
    pub fn fragments(&self) -> u64 {
        self.data_fragments() + u64::from(self.stripes) * u64::from(self.code.m())
    }

    /// The shape of a stripe; `None` for a number that none has.
    pub fn stripe(&self, stripe: u32) -> Option<Stripe> {
        let (stripe, last) = (stripe.checked_sub(self.first_stripe)?, self.stripes.checked_sub(1)?);
        let (k, chunk_len) = (self.code.k(), self.fragment_len);
        if stripe < last {
            return Some(Stripe::new(k, self.code.m(), chunk_len, chunk_len));
        }
        let data = u16::try_from(self.data_fragments() - u64::from(last) * u64::from(k)).ok()?;
        let before = (self.data_fragments() - 1) * u64::from(chunk_len);
        let last_len = u32::try_from(self.content_len - before).ok()?;
        (stripe == last).then(|| Stripe::new(data, self.code.m(), chunk_len, last_len))
    }

    /// Data and parity fragments of a stripe; none for a number that no stripe has.
    pub fn stripe_width(&self, stripe: u32) -> (u16, u16) {
        self.stripe(stripe).map_or((0, 0), |stripe| (stripe.data(), stripe.parity()))
    }

    /// Length of a fragment in bytes; 0 where there is none.
    pub fn fragment_len_at(&self, stripe: u32, index: u16) -> u32 {
        self.stripe(stripe).and_then(|stripe| stripe.fragment_len(index)).unwrap_or_default()
    }

    /// Stripe and index of the fragment with this number; `None` behind the last.
    pub fn position(&self, number: u64) -> Option<(u32, u16)> {
        let (stripe, index) = (number / self.code.width(), number % self.code.width());
        let stripe = self.first_stripe + u32::try_from(stripe).ok()?;
        (number < self.fragments()).then_some((stripe, u16::try_from(index).ok()?))
    }

    /// Stripe and index of this chunk of the content, from 0; `None` behind the last.
    pub fn chunk(&self, number: u64) -> Option<(u32, u16)> {
        let (stripe, index) = (number / u64::from(self.code.k()), number % u64::from(self.code.k()));
        let stripe = self.first_stripe + u32::try_from(stripe).ok()?;
        (number < self.data_fragments()).then_some((stripe, u16::try_from(index).ok()?))
    }

    /// The number of the fragment at this place; `None` where there is none.
    pub fn number(&self, stripe: u32, index: u16) -> Option<u64> {
        let here = index < self.stripe(stripe)?.width();
        here.then(|| u64::from(stripe - self.first_stripe) * self.code.width() + u64::from(index))
    }

    /// The page that the checksum of a fragment stands in, and its place there.
    #[expect(clippy::cast_possible_truncation, reason = "a number in a layout divided by 2048 fits 32 bits")]
    pub fn page_of(&self, number: u64) -> (usize, usize) {
        let per_page = LAYOUT_PAGE_CHECKSUMS_MAX as u64;
        ((number / per_page) as usize, (number % per_page) as usize)
    }

    /// Reads page `number`. Errors with [`ProtoError::Malformed`] when there is none or it holds another number of
    /// checksums than this layout needs, and with [`ProtoError::Mismatch`].
    pub fn page(&self, number: usize, bytes: Bytes) -> Result<LayoutPage, ProtoError> {
        let expected = self
            .pages
            .get(number)
            .ok_or_else(|| ProtoError::malformed(PAGE, format!("this layout has no page {number}")))?;
        let page = LayoutPage::parse(*expected, bytes)?;
        let before = number as u64 * LAYOUT_PAGE_CHECKSUMS_MAX as u64;
        let needed = (self.fragments() - before).min(LAYOUT_PAGE_CHECKSUMS_MAX as u64);
        if page.len() as u64 == needed {
            Ok(page)
        } else {
            Err(ProtoError::malformed(PAGE, format!("{} checksums instead of {needed}", page.len())))
        }
    }

    /// Checks the figures; the pages are still missing.
    fn empty(
        tessera: TesseraId,
        code: Code,
        fragment_len: u32,
        content_len: u64,
    ) -> Result<Self, ProtoError> {
        let allowed = FRAGMENT_BYTES_MIN..=FRAGMENT_BYTES_MAX;
        if !fragment_len.is_power_of_two() || !allowed.contains(&(fragment_len as usize)) {
            let reason = format!(
                "fragments of {fragment_len} bytes: a power of two from {FRAGMENT_BYTES_MIN} to {FRAGMENT_BYTES_MAX} is expected"
            );
            return Err(ProtoError::malformed(WHAT, reason));
        }
        if content_len > CONTENT_BYTES_MAX {
            return Err(ProtoError::TooLong {
                what: "content",
                length: content_len,
                limit: CONTENT_BYTES_MAX,
            });
        }
        let stripes = content_len.div_ceil(u64::from(fragment_len)).div_ceil(code.k().into());
        let stripes = u32::try_from(stripes).map_err(|_| {
            ProtoError::malformed(WHAT, format!("{stripes} stripes are more than 32 bits count"))
        })?;
        Ok(Self { tessera, code, fragment_len, content_len, first_stripe: 0, stripes, pages: Vec::new() })
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Writer::document(VERSION);
        out.bytes(1, self.tessera.as_bytes());
        out.text(2, CODE_NAME);
        out.unsigned(3, self.code.k());
        out.unsigned(4, self.code.m());
        out.unsigned(5, self.fragment_len);
        out.unsigned(6, self.content_len);
        out.bytes(7, &join(&self.pages));
        if self.first_stripe > 0 {
            out.unsigned(8, self.first_stripe);
        }
        out.finish()
    }

    fn decode(map: &[u8]) -> Result<Self, ProtoError> {
        let mut decoder = Decoder::new(map);
        let mut fields = Fields::enter(WHAT, &mut decoder)?;
        fields.version(VERSION)?;
        let tessera = fields.required(1, cbor::bytes32)?;
        let name = fields.required(2, Decoder::str)?;
        if name != CODE_NAME {
            return Err(ProtoError::malformed(WHAT, format!("unknown erasure code {name:?}")));
        }
        let code = Code::new(fields.required(3, Decoder::u16)?, fields.required(4, Decoder::u16)?)?;
        let fragment_len = fields.required(5, Decoder::u32)?;
        let content_len = fields.required(6, Decoder::u64)?;
        let pages = split(fields.required(7, Decoder::bytes)?)?;
        let first_stripe = fields.optional(8, Decoder::u32)?.unwrap_or_default();
        let mut layout = Self::empty(tessera, code, fragment_len, content_len)?.beginning_at(first_stripe)?;
        let needed = layout.fragments().div_ceil(LAYOUT_PAGE_CHECKSUMS_MAX as u64);
        if pages.len() as u64 != needed {
            return Err(ProtoError::malformed(WHAT, format!("{} pages instead of {needed}", pages.len())));
        }
        layout.pages = pages;
        Ok(layout)
    }
}

/// A layout together with the file it stands in, whose signature was made or checked here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedLayout {
    layout: Layout,
    checksum: Checksum,
    bytes: Bytes,
}

impl SignedLayout {
    /// Reads the file, which must be signed by the author of this manifest and fit it. Errors with
    /// [`ProtoError::TooLong`], [`ProtoError::Malformed`], [`ProtoError::NewerVersion`] and
    /// [`ProtoError::BadSignature`].
    pub fn parse(bytes: Bytes, manifest: &SignedManifest) -> Result<Self, ProtoError> {
        let layout = Layout::decode(FORM.map(&bytes)?)?;
        if layout.tessera != manifest.id() {
            let reason = format!("it is of {}, not of {}", layout.tessera, manifest.id());
            return Err(ProtoError::malformed(WHAT, reason));
        }
        let (here, there) = (layout.content_len, manifest.manifest().content_len);
        if here != there {
            let reason = format!("its content has {here} bytes, that of the manifest {there}");
            return Err(ProtoError::malformed(WHAT, reason));
        }
        FORM.verify(&bytes, manifest.manifest().author.as_bytes())?;
        Ok(Self { layout, checksum: Checksum::of(&bytes), bytes })
    }

    /// What it says.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The file, as it was received.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// BLAKE3 of the file.
    pub fn checksum(&self) -> Checksum {
        self.checksum
    }
}

/// A page of checksums, which has the hash its layout pins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayoutPage {
    bytes: Bytes,
}

impl LayoutPage {
    /// Reads a page; [`Layout::page`] also checks that it holds as many as it must. Errors with
    /// [`ProtoError::Mismatch`], with [`ProtoError::TooLong`] above [`FRAME_BYTES_MAX`], and with
    /// [`ProtoError::Malformed`] when it is empty or no whole number of checksums.
    pub fn parse(expected: Checksum, bytes: Bytes) -> Result<Self, ProtoError> {
        let length = bytes.len();
        if length > FRAME_BYTES_MAX {
            let (length, limit) = (length as u64, FRAME_BYTES_MAX as u64);
            return Err(ProtoError::TooLong { what: PAGE, length, limit });
        }
        if length == 0 || !length.is_multiple_of(CHECKSUM_BYTES) {
            return Err(ProtoError::malformed(
                PAGE,
                format!("{length} bytes are no whole number of checksums"),
            ));
        }
        match Checksum::of(&bytes) {
            found if found == expected => Ok(Self { bytes }),
            found => Err(ProtoError::Mismatch { expected, found }),
        }
    }

    /// The checksum at this place; `None` behind the last.
    pub fn checksum(&self, at: usize) -> Option<Checksum> {
        let (checksums, _) = self.bytes.as_chunks::<CHECKSUM_BYTES>();
        checksums.get(at).copied().map(Checksum::from_bytes)
    }

    /// How many checksums it holds, at least one.
    #[expect(clippy::len_without_is_empty, reason = "no page is empty")]
    pub fn len(&self) -> usize {
        self.bytes.len() / CHECKSUM_BYTES
    }

    /// Its checksums, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Checksum> + '_ {
        let (checksums, _) = self.bytes.as_chunks::<CHECKSUM_BYTES>();
        checksums.iter().copied().map(Checksum::from_bytes)
    }

    /// The page, as it was received.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

fn join(checksums: &[Checksum]) -> Bytes {
    checksums.iter().flat_map(Checksum::as_bytes).copied().collect()
}

fn split(bytes: &[u8]) -> Result<Vec<Checksum>, ProtoError> {
    match bytes.as_chunks() {
        (checksums, []) => Ok(checksums.iter().copied().map(Checksum::from_bytes).collect()),
        _ => Err(ProtoError::malformed(WHAT, "field 7 is no whole number of checksums")),
    }
}

const WHAT: &str = "layout";
const PAGE: &str = "layout page";
const VERSION: u64 = 1;
/// Leopard Reed–Solomon over GF(2¹⁶), as `erasure` does it.
const CODE_NAME: &str = "rs-leopard16";
const FORM: Form = Form { what: WHAT, context: b"tesseras/1 layout\0", bytes_max: DOCUMENT_BYTES_MAX };

#[cfg(test)]
mod tests;
