//! What the answers to a comparison carry: a block of sums, or a page of a list that ascends.

use minicbor::{Decoder, decode};

use super::check_count;
use crate::{
    cbor::{self, Fields, Writer},
    compare::{Digest, Sum},
    error::ProtoError,
    ids::{Checksum, TesseraId},
    limits::{COMPARE_FRAGMENTS_MAX, COMPARE_SUMS, COMPARE_TESSERAS_MAX, FRAME_BYTES_MAX},
};

/// A tessera and what is held of it.
type Tessera = (TesseraId, Digest);
/// Stripe, index and checksum of a fragment.
type Fragment = (u32, u16, Checksum);

pub(super) fn check_tesseras(what: &'static str, list: &[Tessera], more: bool) -> Result<(), ProtoError> {
    check_page(what, list, more, COMPARE_TESSERAS_MAX, |(before, _), (after, _)| before < after)
}

pub(super) fn check_fragments(what: &'static str, list: &[Fragment], more: bool) -> Result<(), ProtoError> {
    check_page(what, list, more, COMPARE_FRAGMENTS_MAX, |(stripe, index, _), (other, place, _)| {
        (stripe, index) < (other, place)
    })
}

/// Field 1: a byte string of all sums one after another, each as eight bytes, little-endian, below 2⁶².
pub(super) fn read_sums(fields: &mut Fields<'_, '_>) -> Result<Box<[Sum; COMPARE_SUMS]>, ProtoError> {
    fields.required(1, |decoder| {
        let (numbers, rest) = decoder.bytes()?.as_chunks();
        let numbers: &[[u8; 8]; COMPARE_SUMS] = numbers
            .try_into()
            .ok()
            .filter(|_| rest.is_empty())
            .ok_or_else(|| decode::Error::message(format!("{COMPARE_SUMS} sums are expected")))?;
        let numbers = numbers.map(u64::from_le_bytes);
        if numbers.iter().any(|number| *number > Sum::MASK) {
            return Err(decode::Error::message("a sum of more than 62 bits"));
        }
        Ok(Box::new(numbers.map(Sum::wrapped)))
    })
}

/// Field 1: an array of maps; field 2: whether there are more.
pub(super) fn read_tesseras(fields: &mut Fields<'_, '_>) -> Result<(Vec<Tessera>, bool), ProtoError> {
    let list = fields.maps(1, COMPARE_TESSERAS_MAX, |fields| {
        Ok((fields.required(0, cbor::bytes32)?, fields.required(1, cbor::bytes32)?))
    })?;
    Ok((list, fields.required(2, Decoder::bool)?))
}

/// Field 1: an array of maps; field 2: whether there are more.
pub(super) fn read_fragments(fields: &mut Fields<'_, '_>) -> Result<(Vec<Fragment>, bool), ProtoError> {
    let list = fields.maps(1, COMPARE_FRAGMENTS_MAX, |fields| {
        let (stripe, index) = (fields.required(0, Decoder::u32)?, fields.required(1, Decoder::u16)?);
        Ok((stripe, index, fields.required(2, cbor::bytes32)?))
    })?;
    Ok((list, fields.required(2, Decoder::bool)?))
}

pub(super) fn write_sums(out: &mut Writer, sums: &[Sum; COMPARE_SUMS]) {
    out.bytes(1, sums.map(|sum| sum.get().to_le_bytes()).as_flattened());
}

pub(super) fn write_tesseras(out: &mut Writer, list: &[Tessera], more: bool) {
    let each = |(tessera, digest): &Tessera| {
        let mut out = Writer::new();
        out.bytes(0, tessera.as_bytes());
        out.bytes(1, &digest.to_bytes());
        out
    };
    out.maps(1, list.iter().map(each));
    out.flag(2, more);
}

pub(super) fn write_fragments(out: &mut Writer, list: &[Fragment], more: bool) {
    let each = |(stripe, index, checksum): &Fragment| {
        let mut out = Writer::new();
        out.unsigned(0, *stripe);
        out.unsigned(1, *index);
        out.bytes(2, checksum.as_bytes());
        out
    };
    out.maps(1, list.iter().map(each));
    out.flag(2, more);
}

/// Refuses a page that is too long, out of order, or without an end to continue from.
fn check_page<T>(
    what: &'static str,
    list: &[T],
    more: bool,
    most: usize,
    ascends: impl Fn(&T, &T) -> bool,
) -> Result<(), ProtoError> {
    check_count(what, list.len(), most)?;
    if !list.is_sorted_by(ascends) {
        return Err(ProtoError::malformed(what, "items repeated or out of order"));
    }
    if more && list.is_empty() {
        return Err(ProtoError::malformed(what, "no items, and more of them"));
    }
    Ok(())
}

/// Head of the map, two keys, the head of the list, and the flag.
const REST_BYTES_MAX: usize = 1 + 2 + 3 + 1;
/// Each with a head, two keys, two values of 34 bytes.
const TESSERAS_BYTES_MAX: usize = COMPARE_TESSERAS_MAX * (1 + 2 + 2 * 34);
/// Each with a head, three keys, values of 5, 3 and 34 bytes.
const FRAGMENTS_BYTES_MAX: usize = COMPARE_FRAGMENTS_MAX * (1 + 3 + 5 + 3 + 34);
const _: () = assert!(REST_BYTES_MAX + TESSERAS_BYTES_MAX <= FRAME_BYTES_MAX);
const _: () = assert!(REST_BYTES_MAX + FRAGMENTS_BYTES_MAX <= FRAME_BYTES_MAX);
const _: () = assert!(REST_BYTES_MAX + COMPARE_SUMS * size_of::<Sum>() <= FRAME_BYTES_MAX);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_256_numbers_of_62_bits() {
        let read = |bytes: &[u8]| {
            let mut out = Writer::new();
            out.bytes(1, bytes);
            let body = out.finish();
            read_sums(&mut Fields::enter("sums", &mut Decoder::new(&body)).unwrap())
        };
        let first = |number| {
            let mut sums = [Sum::default(); COMPARE_SUMS];
            sums[0] = Sum::wrapped(number);
            Ok(Box::new(sums))
        };
        assert_eq!(read(&[0; 2048]), first(0));
        let mut bytes = [0; 2048];
        bytes[..8].copy_from_slice(&[1, 2, 3, 4, 5, 6, 7, 0x38]);
        assert_eq!(read(&bytes), first(0x3807_0605_0403_0201));
        bytes[7] = 0x40;
        assert!(read(&bytes).unwrap_err().to_string().contains("62 bits"));
        for length in [0, 2040, 2047, 2049, 2056] {
            assert!(read(&vec![0; length]).unwrap_err().to_string().contains("256 sums"), "{length}");
        }
    }

    #[test]
    fn longest_page_is_as_long_as_its_bound() {
        let mut out = Writer::new();
        write_tesseras(&mut out, &[(TesseraId::from_bytes([9; 32]), Digest::default()); 512], true);
        assert_eq!(out.finish().len(), REST_BYTES_MAX + TESSERAS_BYTES_MAX);
        let mut out = Writer::new();
        write_fragments(&mut out, &[(u32::MAX, u16::MAX, Checksum::of(b"x")); 1024], true);
        assert_eq!(out.finish().len(), REST_BYTES_MAX + FRAGMENTS_BYTES_MAX);
    }
}
