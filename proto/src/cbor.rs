//! The small part of CBOR (RFC 8949) that documents are written in, with exactly one way to write each value.
//!
//! Allowed are integers, byte strings, UTF-8 text, arrays, `false`, `true`, and maps whose keys are unsigned
//! integers in strictly ascending order. Lengths are definite and every number has its shortest form, so this is
//! the core deterministic encoding of RFC 8949 §4.2.1. minicbor reads more than that (duplicate keys, trailing
//! bytes, longer forms): two decoders, two meanings, one signature. Therefore [`check`] comes first.

use bytes::Bytes;
use minicbor::{Decoder, Encoder, decode};

use crate::{error::ProtoError, limits::CBOR_DEPTH_MAX};

/// Refuses everything but one item in the form described above. Errors with [`ProtoError::Malformed`], which names
/// `what`, the place and the rule.
pub fn check(what: &'static str, bytes: &[u8]) -> Result<(), ProtoError> {
    let mut scan = Scan { what, length: bytes.len(), rest: bytes };
    scan.item(CBOR_DEPTH_MAX)?;
    if scan.rest.is_empty() { Ok(()) } else { Err(scan.refuse("bytes behind the end")) }
}

/// Walks over bytes without building anything.
struct Scan<'a> {
    what: &'static str,
    length: usize,
    rest: &'a [u8],
}

impl<'a> Scan<'a> {
    fn item(&mut self, depth: u8) -> Result<(), ProtoError> {
        match self.head()? {
            (UNSIGNED | NEGATIVE, _) => Ok(()),
            (BYTES, length) => self.take(length).map(drop),
            (TEXT, length) => match std::str::from_utf8(self.take(length)?) {
                Ok(_) => Ok(()),
                Err(_) => Err(self.refuse("text that is not UTF-8")),
            },
            (ARRAY, count) => {
                let depth = self.deeper(depth)?;
                (0..count).try_for_each(|_| self.item(depth))
            }
            (MAP, count) => self.map(count, depth),
            (SIMPLE, FALSE | TRUE) => Ok(()),
            (SIMPLE, _) => Err(self.refuse("a float, null or another simple value")),
            _ => Err(self.refuse("a tag")),
        }
    }

    fn map(&mut self, count: u64, depth: u8) -> Result<(), ProtoError> {
        let depth = self.deeper(depth)?;
        let mut before = None;
        for _ in 0..count {
            let (major, key) = self.head()?;
            if major != UNSIGNED {
                return Err(self.refuse("a key that is not an unsigned integer"));
            }
            if before.is_some_and(|before| key <= before) {
                return Err(self.refuse("a key that is repeated or out of order"));
            }
            before = Some(key);
            self.item(depth)?;
        }
        Ok(())
    }

    /// The major type and the argument of the next item (RFC 8949 §3).
    fn head(&mut self) -> Result<(u8, u64), ProtoError> {
        let [initial] = self.array()?;
        let (argument, least) = match initial & 0x1f {
            small @ 0..=23 => (u64::from(small), 0),
            24 => (u8::from_be_bytes(self.array()?).into(), 24),
            25 => (u16::from_be_bytes(self.array()?).into(), 1 << 8),
            26 => (u32::from_be_bytes(self.array()?).into(), 1 << 16),
            27 => (u64::from_be_bytes(self.array()?), 1 << 32),
            31 => return Err(self.refuse("an indefinite length")),
            _ => return Err(self.refuse("a reserved form")),
        };
        if argument < least {
            return Err(self.refuse("a number that is not in its shortest form"));
        }
        Ok((initial >> 5, argument))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ProtoError> {
        let (head, rest) = self.rest.split_first_chunk().ok_or_else(|| self.refuse(TOO_SHORT))?;
        self.rest = rest;
        Ok(*head)
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], ProtoError> {
        let split = usize::try_from(length).ok().and_then(|length| self.rest.split_at_checked(length));
        let (head, rest) = split.ok_or_else(|| self.refuse(TOO_SHORT))?;
        self.rest = rest;
        Ok(head)
    }

    fn deeper(&self, depth: u8) -> Result<u8, ProtoError> {
        depth.checked_sub(1).ok_or_else(|| self.refuse("deeper nesting than is allowed"))
    }

    fn refuse(&self, reason: &str) -> ProtoError {
        let at = self.length - self.rest.len();
        ProtoError::malformed(self.what, format!("{reason} before byte {at}"))
    }
}

/// Reads the numbered fields of a map in ascending order; numbers that nobody asks for are skipped, so that later
/// versions may add some. Only for bytes that passed [`check`].
pub(crate) struct Fields<'d, 'b> {
    what: &'static str,
    decoder: &'d mut Decoder<'b>,
    /// Fields whose number was not read yet.
    left: u64,
    /// A number that was read, its value was not.
    number: Option<u64>,
}

impl<'d, 'b> Fields<'d, 'b> {
    /// Enters the map that comes next. Errors with [`ProtoError::Malformed`] when there is none.
    pub(crate) fn enter(what: &'static str, decoder: &'d mut Decoder<'b>) -> Result<Self, ProtoError> {
        match decoder.map() {
            Ok(Some(left)) => Ok(Self { what, decoder, left, number: None }),
            _ => Err(ProtoError::malformed(what, "not a map of numbered fields")),
        }
    }

    /// Reads field 0, the version, which only changes when older software must not read on. Errors with
    /// [`ProtoError::NewerVersion`] above `known`.
    pub(crate) fn version(&mut self, known: u64) -> Result<(), ProtoError> {
        match self.required(0, Decoder::u64)? {
            0 => Err(ProtoError::malformed(self.what, "version 0")),
            version if version > known => Err(ProtoError::NewerVersion { what: self.what, version, known }),
            _ => Ok(()),
        }
    }

    /// The field with this number, which must be there. Errors with [`ProtoError::Malformed`].
    pub(crate) fn required<T>(
        &mut self,
        number: u64,
        read: impl FnOnce(&mut Decoder<'b>) -> Result<T, decode::Error>,
    ) -> Result<T, ProtoError> {
        self.optional(number, read)?
            .ok_or_else(|| ProtoError::malformed(self.what, format!("field {number} is missing")))
    }

    /// The field with this number, if it is there. Errors with [`ProtoError::Malformed`] when it is of another type.
    pub(crate) fn optional<T>(
        &mut self,
        number: u64,
        read: impl FnOnce(&mut Decoder<'b>) -> Result<T, decode::Error>,
    ) -> Result<Option<T>, ProtoError> {
        while let Some(next) = self.next_number()? {
            if next > number {
                return Ok(None);
            }
            self.number = None;
            if next == number {
                let what = self.what;
                return read(self.decoder)
                    .map(Some)
                    .map_err(|error| ProtoError::malformed(what, format!("field {number}: {error}")));
            }
            self.read(Decoder::skip)?;
        }
        Ok(None)
    }

    /// The field with this number, an array of at most `most` maps. Errors with [`ProtoError::Malformed`].
    pub(crate) fn maps<T>(
        &mut self,
        number: u64,
        most: usize,
        mut each: impl FnMut(&mut Fields<'_, 'b>) -> Result<T, ProtoError>,
    ) -> Result<Vec<T>, ProtoError> {
        let count = self.required(number, Decoder::array)?.unwrap_or(u64::MAX);
        if count > most as u64 {
            return Err(ProtoError::malformed(
                self.what,
                format!("field {number} has more than {most} items"),
            ));
        }
        (0..count)
            .map(|_| {
                let mut fields = Fields::enter(self.what, self.decoder)?;
                let value = each(&mut fields)?;
                fields.leave()?;
                Ok(value)
            })
            .collect()
    }

    /// Skips what is left, so that the decoder stands behind the map.
    pub(crate) fn leave(mut self) -> Result<(), ProtoError> {
        while self.next_number()?.is_some() {
            self.number = None;
            self.read(Decoder::skip)?;
        }
        Ok(())
    }

    fn next_number(&mut self) -> Result<Option<u64>, ProtoError> {
        if self.number.is_none() && self.left > 0 {
            self.left -= 1;
            self.number = Some(self.read(Decoder::u64)?);
        }
        Ok(self.number)
    }

    fn read<T>(
        &mut self,
        read: impl FnOnce(&mut Decoder<'b>) -> Result<T, decode::Error>,
    ) -> Result<T, ProtoError> {
        read(self.decoder).map_err(|error| ProtoError::malformed(self.what, error.to_string()))
    }
}

/// Reads a byte string of 32 bytes, as a newtype over it.
pub(crate) fn bytes32<T: From<[u8; 32]>>(decoder: &mut Decoder<'_>) -> Result<T, decode::Error> {
    array(decoder).map(T::from)
}

/// Reads a byte string of `N` bytes.
pub(crate) fn array<const N: usize>(decoder: &mut Decoder<'_>) -> Result<[u8; N], decode::Error> {
    let bytes = decoder.bytes()?.try_into();
    bytes.map_err(|_| decode::Error::message(format!("{N} bytes are expected")))
}

/// Reads a byte string of at most `MOST` bytes, whose length is known before anything is taken.
pub(crate) fn bytes_within<const MOST: usize>(decoder: &mut Decoder<'_>) -> Result<Bytes, decode::Error> {
    let bytes = decoder.bytes()?;
    if bytes.len() > MOST {
        return Err(decode::Error::message(format!("more than {MOST} bytes")));
    }
    Ok(Bytes::copy_from_slice(bytes))
}

/// Reads a text.
pub(crate) fn text(decoder: &mut Decoder<'_>) -> Result<String, decode::Error> {
    decoder.str().map(str::to_owned)
}

/// Reads an array of at most `MOST` texts.
pub(crate) fn texts_within<const MOST: usize>(
    decoder: &mut Decoder<'_>,
) -> Result<Vec<String>, decode::Error> {
    if decoder.probe().array()?.is_none_or(|count| count > MOST as u64) {
        return Err(decode::Error::message(format!("more than {MOST} texts")));
    }
    texts(decoder)
}

/// Reads an array of texts.
pub(crate) fn texts(decoder: &mut Decoder<'_>) -> Result<Vec<String>, decode::Error> {
    decoder.array_iter::<String>()?.collect()
}

/// Writes a map of numbered fields; they must be given in ascending order. Writing to a `Vec` cannot fail, so the
/// results of the encoder are ignored.
pub(crate) struct Writer {
    count: u8,
    highest: Option<u64>,
    /// The head, which is right in the end, and behind it the fields.
    body: Encoder<Vec<u8>>,
}

impl Writer {
    /// An empty map.
    pub(crate) fn new() -> Self {
        let mut body = Vec::with_capacity(MAP_CAPACITY);
        body.push(HEAD);
        Self { count: 0, highest: None, body: Encoder::new(body) }
    }

    /// A document of this version, which is field 0.
    pub(crate) fn document(version: u64) -> Self {
        let mut writer = Self::new();
        writer.unsigned(0, version);
        writer
    }

    /// Field `number`, an unsigned integer.
    pub(crate) fn unsigned(&mut self, number: u64, value: impl Into<u64>) {
        self.number(number).u64(value.into()).ok();
    }

    /// Field `number`, a byte string.
    pub(crate) fn bytes(&mut self, number: u64, value: &[u8]) {
        self.number(number).bytes(value).ok();
    }

    /// Field `number`, a text.
    pub(crate) fn text(&mut self, number: u64, value: &str) {
        self.number(number).str(value).ok();
    }

    /// Field `number`, `false` or `true`.
    pub(crate) fn flag(&mut self, number: u64, value: bool) {
        self.number(number).bool(value).ok();
    }

    /// Field `number`, an array of texts.
    pub(crate) fn texts(&mut self, number: u64, values: &[String]) {
        let body = self.number(number);
        body.array(values.len() as u64).ok();
        for value in values {
            body.str(value).ok();
        }
    }

    /// Field `number`, an array of maps.
    pub(crate) fn maps(&mut self, number: u64, maps: impl ExactSizeIterator<Item = Self>) {
        let body = self.number(number);
        body.array(maps.len() as u64).ok();
        for map in maps {
            body.writer_mut().extend_from_slice(&map.finish());
        }
    }

    /// The bytes of the map.
    pub(crate) fn finish(self) -> Vec<u8> {
        debug_assert!(self.count <= FIELDS_MAX, "a head of one byte");
        let mut out = self.body.into_writer();
        out.iter_mut().take(1).for_each(|head| *head = HEAD + self.count);
        out
    }

    fn number(&mut self, number: u64) -> &mut Encoder<Vec<u8>> {
        debug_assert!(self.highest.is_none_or(|highest| highest < number), "field {number} out of order");
        self.highest = Some(number);
        self.count += 1;
        self.body.u64(number).ok();
        &mut self.body
    }
}

/// The head of a map without fields.
const HEAD: u8 = MAP << 5;
/// Fields of a map whose head is one byte (RFC 8949 §3).
const FIELDS_MAX: u8 = 23;
/// Maps of which there are many have room in so many bytes.
const MAP_CAPACITY: usize = 64;
const UNSIGNED: u8 = 0;
const NEGATIVE: u8 = 1;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;
const SIMPLE: u8 = 7;
const FALSE: u64 = 20;
const TRUE: u64 = 21;
const TOO_SHORT: &str = "the end is missing";

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(bytes: &[u8], reason: &str) {
        let error = check("thing", bytes).unwrap_err().to_string();
        assert!(error.contains(reason), "{bytes:02x?}: {error}");
        assert!(error.contains("malformed thing"), "{error}");
    }

    #[test]
    fn each_deviation_is_refused_by_name() {
        refused(&[], "the end is missing");
        refused(&[0x42, 1], "the end is missing");
        refused(&[0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], "the end is missing");
        refused(&[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], "the end is missing");
        refused(&[0, 0], "bytes behind the end");
        refused(&[0x18, 23], "shortest form");
        refused(&[0x19, 0, 255], "shortest form");
        refused(&[0x1a, 0, 0, 255, 255], "shortest form");
        refused(&[0x1b, 0, 0, 0, 0, 255, 255, 255, 255], "shortest form");
        refused(&[0x58, 1, 7], "shortest form");
        refused(&[0x78, 1, b'a'], "shortest form");
        refused(&[0xb8, 1, 0, 0], "shortest form");
        refused(&[0xf8, 20], "shortest form");
        refused(&[0x5f, 0x41, 1, 0xff], "indefinite");
        refused(&[0x9f, 0xff], "indefinite");
        refused(&[0xbf, 0xff], "indefinite");
        refused(&[0xa2, 1, 0, 1, 0], "repeated or out of order");
        refused(&[0xa2, 2, 0, 1, 0], "repeated or out of order");
        refused(&[0xa1, 0x61, b'a', 0], "not an unsigned integer");
        refused(&[0xc0, 0], "a tag");
        refused(&[0xf6], "a float, null");
        refused(&[0xf9, 0x3c, 0], "a float, null");
        refused(&[0xfb, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0], "a float, null");
        refused(&[0x61, 0xff], "not UTF-8");
        refused(&[0x1c], "a reserved form");
    }

    #[test]
    fn nesting_beyond_the_limit_is_refused() {
        let mut nested = vec![0x81; usize::from(CBOR_DEPTH_MAX)];
        nested.push(0);
        assert_eq!(check("thing", &nested), Ok(()));
        nested.insert(0, 0x81);
        refused(&nested, "deeper nesting");
    }

    #[test]
    fn fields_nobody_asks_for_are_skipped() {
        let mut writer = Writer::document(1);
        writer.unsigned(3, 30_u8);
        writer.texts(5, &["a".to_owned()]);
        writer.unsigned(7, 70_u8);
        writer.bytes(9, b"later");
        let bytes = writer.finish();
        assert_eq!(check("thing", &bytes), Ok(()));

        let mut decoder = Decoder::new(&bytes);
        let mut fields = Fields::enter("thing", &mut decoder).unwrap();
        fields.version(1).unwrap();
        assert_eq!(fields.optional(2, Decoder::u8), Ok(None));
        assert_eq!(fields.required(7, Decoder::u8), Ok(70));
        assert!(fields.required(8, Decoder::u8).unwrap_err().to_string().contains("field 8 is missing"));
        fields.leave().unwrap();
        assert_eq!(decoder.position(), bytes.len());
    }

    #[test]
    fn newer_version_is_refused_as_such() {
        let bytes = Writer::document(2).finish();
        let mut decoder = Decoder::new(&bytes);
        let refused = Fields::enter("thing", &mut decoder).unwrap().version(1);
        assert_eq!(refused, Err(ProtoError::NewerVersion { what: "thing", version: 2, known: 1 }));
    }
}
