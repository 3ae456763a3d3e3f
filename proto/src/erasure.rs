//! The erasure code `rs-leopard16`: Leopard Reed–Solomon over GF(2¹⁶), systematic, as the crate `reed-solomon-simd`
//! does it; `FORMAT.md` gives the formulas. Any `data` fragments of a stripe bring back all of them.
//!
//! A damaged shard decodes silently into wrong data. Therefore fragments come in as [`Fragment`], whose hash was
//! checked, are compared with the checksums of the layout before decoding, and so is what comes out.
//!
//! Stripes are coded in columns of [`CODING_COLUMN_BYTES`], which gives the same bytes as coding whole shards, is
//! faster, and needs working space for one column only.

use bytes::Bytes;
use reed_solomon_simd::{Error, ReedSolomonDecoder, ReedSolomonEncoder};

use crate::{
    buffer::Buffer, error::ProtoError, fragment::Fragment, ids::Checksum, limits::CODING_COLUMN_BYTES,
    stripe::Stripe,
};

/// Codes stripes one after another and reuses its working space, about 4 MiB for the widest. The tables of the
/// library, about 9 MiB, come with the first stripe and are shared by all coders of a process.
#[derive(Default)]
pub struct Coder {
    encoder: Option<ReedSolomonEncoder>,
    decoder: Option<ReedSolomonDecoder>,
    /// The column of a shard that ends before the column does.
    padded: Vec<u8>,
}

impl Coder {
    /// Without working space, which comes with the first stripe.
    pub fn new() -> Self {
        Self::default()
    }

    /// The parity fragments of a stripe from all its data fragments, in order. Each is [`Stripe::shard_len`] bytes
    /// long. Errors with [`ProtoError::Malformed`] as [`Stripe::of`].
    pub fn encode(&mut self, data: &[Fragment], parity: u16) -> Result<Vec<Fragment>, ProtoError> {
        let stripe = Stripe::of(data, parity)?;
        let data: Vec<&[u8]> = data.iter().map(|fragment| &fragment.bytes()[..]).collect();
        let parity = self.encode_columns(&stripe, &data)?;
        parity.into_iter().map(Fragment::hash).collect()
    }

    /// Checks that the parity fragments of this data have these checksums, so that a stripe can be brought back
    /// from them. Errors with [`ProtoError::Mismatch`] for the first that has not, otherwise as
    /// [`Coder::encode`].
    pub fn verify(&mut self, data: &[Fragment], parity: &[Checksum]) -> Result<(), ProtoError> {
        let count = u16::try_from(parity.len()).unwrap_or(u16::MAX);
        for (coded, expected) in self.encode(data, count)?.iter().zip(parity) {
            if coded.checksum() != *expected {
                return Err(ProtoError::Mismatch { expected: *expected, found: coded.checksum() });
            }
        }
        Ok(())
    }

    /// The `wanted` fragments of a stripe, by index and in that order, from any [`Stripe::data`] of them.
    /// `checksums` are those of the whole stripe in the layout. Errors with [`ProtoError::TooFew`], with
    /// [`ProtoError::Mismatch`] when a held fragment is another than the layout says, and with
    /// [`ProtoError::Malformed`] when an index is outside the stripe or the layout itself is wrong: its parity is not
    /// that of its data.
    pub fn reconstruct(
        &mut self,
        stripe: &Stripe,
        checksums: &[Checksum],
        held: &[(u16, Fragment)],
        wanted: &[u16],
    ) -> Result<Vec<Fragment>, ProtoError> {
        if checksums.len() != usize::from(stripe.width()) {
            let (given, width) = (checksums.len(), stripe.width());
            return Err(ProtoError::malformed(WHAT, format!("{given} checksums for {width} fragments")));
        }
        let places = placed(stripe, checksums, held)?;
        let restored = self.decode_columns(stripe, &places)?;
        let parity = if wanted.iter().any(|index| *index >= stripe.data()) {
            let data: Vec<&[u8]> = whole_data(stripe, &places, &restored);
            self.encode_columns(stripe, &data)?
        } else {
            Vec::new()
        };
        let rebuilt: Vec<Option<Bytes>> = restored
            .into_iter()
            .map(|bytes| bytes.map(Bytes::from))
            .chain(parity.into_iter().map(Some))
            .collect();
        wanted.iter().map(|index| pick(*index, checksums, held, &rebuilt)).collect()
    }

    /// All parity shards of a stripe. Shorter data counts as if zeros followed.
    fn encode_columns(&mut self, stripe: &Stripe, data: &[&[u8]]) -> Result<Vec<Bytes>, ProtoError> {
        let shard_len = stripe.shard_len() as usize;
        let mut parity: Vec<_> = (0..stripe.parity()).map(|_| Buffer::for_just(shard_len)).collect();
        if parity.is_empty() {
            return Ok(Vec::new());
        }
        for (start, length) in columns(shard_len) {
            let encoder = encoder(&mut self.encoder, stripe, length).map_err(refuse)?;
            for shard in data {
                encoder.add_original_shard(column(shard, start, length, &mut self.padded)).map_err(refuse)?;
            }
            let coded = encoder.encode().map_err(refuse)?;
            for (out, column) in parity.iter_mut().zip(coded.recovery_iter()) {
                out.fill(column);
            }
        }
        Ok(parity.into_iter().map(Buffer::freeze).collect())
    }

    /// Per data fragment: its bytes if it is not among `places`, which are by index and at least as many as there
    /// are data fragments.
    fn decode_columns(
        &mut self,
        stripe: &Stripe,
        places: &[Option<&[u8]>],
    ) -> Result<Vec<Option<Vec<u8>>>, ProtoError> {
        let shard_len = stripe.shard_len() as usize;
        let (data, parity) = places.split_at(stripe.data().into());
        let mut restored: Vec<Option<Vec<u8>>> =
            data.iter().map(|place| place.is_none().then(|| Vec::with_capacity(shard_len))).collect();
        let missing = restored.iter().flatten().count();
        if missing == 0 {
            return Ok(restored);
        }
        for (start, length) in columns(shard_len) {
            let decoder = decoder(&mut self.decoder, stripe, length).map_err(refuse)?;
            for (index, shard) in present(data) {
                let column = column(shard, start, length, &mut self.padded);
                decoder.add_original_shard(index, column).map_err(refuse)?;
            }
            for (index, shard) in present(parity).take(missing) {
                let column = column(shard, start, length, &mut self.padded);
                decoder.add_recovery_shard(index, column).map_err(refuse)?;
            }
            let decoded = decoder.decode().map_err(refuse)?;
            for (index, out) in restored.iter_mut().enumerate() {
                if let (Some(out), Some(column)) = (out, decoded.restored_original(index)) {
                    out.extend_from_slice(column);
                }
            }
        }
        for (index, bytes) in (0..).zip(&mut restored) {
            let length = stripe.fragment_len(index).unwrap_or_default() as usize;
            bytes.iter_mut().for_each(|bytes| bytes.truncate(length));
        }
        Ok(restored)
    }
}

/// What is held, by index. Each was compared with the layout.
fn placed<'a>(
    stripe: &Stripe,
    checksums: &[Checksum],
    held: &'a [(u16, Fragment)],
) -> Result<Vec<Option<&'a [u8]>>, ProtoError> {
    let mut places = vec![None; stripe.width().into()];
    for (index, fragment) in held {
        let at = usize::from(*index);
        let (Some(place), Some(expected), Some(length)) =
            (places.get_mut(at), checksums.get(at), stripe.fragment_len(*index))
        else {
            return Err(outside(*index));
        };
        if fragment.checksum() != *expected {
            return Err(ProtoError::Mismatch { expected: *expected, found: fragment.checksum() });
        }
        if fragment.bytes().len() != length as usize {
            let found = fragment.bytes().len();
            return Err(ProtoError::malformed(
                WHAT,
                format!("fragment {index} has {found} bytes, not {length}"),
            ));
        }
        *place = Some(&fragment.bytes()[..]);
    }
    match u16::try_from(places.iter().flatten().count()) {
        Ok(held) if held < stripe.data() => Err(ProtoError::TooFew { held, needed: stripe.data() }),
        _ => Ok(places),
    }
}

/// The data of a stripe: what was held, and what was restored.
fn whole_data<'a>(
    stripe: &Stripe,
    places: &[Option<&'a [u8]>],
    restored: &'a [Option<Vec<u8>>],
) -> Vec<&'a [u8]> {
    let data = places.iter().take(stripe.data().into());
    data.zip(restored).filter_map(|(held, restored)| held.or(restored.as_deref())).collect()
}

/// The fragment at this index, held or rebuilt, and in either case the one that the layout names.
fn pick(
    index: u16,
    checksums: &[Checksum],
    held: &[(u16, Fragment)],
    rebuilt: &[Option<Bytes>],
) -> Result<Fragment, ProtoError> {
    if let Some((_, fragment)) = held.iter().find(|(at, _)| *at == index) {
        return Ok(fragment.clone());
    }
    let at = usize::from(index);
    let (Some(expected), Some(Some(bytes))) = (checksums.get(at), rebuilt.get(at)) else {
        return Err(outside(index));
    };
    Fragment::check_to_keep(*expected, bytes.clone()).map_err(|_| {
        ProtoError::malformed(
            "layout",
            format!("fragment {index} does not follow from the others of its stripe"),
        )
    })
}

/// Start and length of each column of a shard.
fn columns(shard_len: usize) -> impl Iterator<Item = (usize, usize)> {
    let starts = (0..shard_len).step_by(CODING_COLUMN_BYTES);
    starts.map(move |start| (start, CODING_COLUMN_BYTES.min(shard_len - start)))
}

/// A column of a shard, filled up with zeros where the shard ends before it.
fn column<'a>(shard: &'a [u8], start: usize, length: usize, padded: &'a mut Vec<u8>) -> &'a [u8] {
    if let Some(column) = shard.get(start..start + length) {
        return column;
    }
    padded.clear();
    padded.extend_from_slice(shard.get(start..).unwrap_or_default());
    padded.resize(length, 0);
    padded
}

fn present<'a>(places: &[Option<&'a [u8]>]) -> impl Iterator<Item = (usize, &'a [u8])> {
    places.iter().enumerate().filter_map(|(index, place)| Some((index, (*place)?)))
}

fn encoder<'a>(
    kept: &'a mut Option<ReedSolomonEncoder>,
    stripe: &Stripe,
    length: usize,
) -> Result<&'a mut ReedSolomonEncoder, Error> {
    let (data, parity) = (stripe.data().into(), stripe.parity().into());
    match kept {
        Some(encoder) => encoder.reset(data, parity, length).map(|()| encoder),
        none => Ok(none.insert(ReedSolomonEncoder::new(data, parity, length)?)),
    }
}

fn decoder<'a>(
    kept: &'a mut Option<ReedSolomonDecoder>,
    stripe: &Stripe,
    length: usize,
) -> Result<&'a mut ReedSolomonDecoder, Error> {
    let (data, parity) = (stripe.data().into(), stripe.parity().into());
    match kept {
        Some(decoder) => decoder.reset(data, parity, length).map(|()| decoder),
        none => Ok(none.insert(ReedSolomonDecoder::new(data, parity, length)?)),
    }
}

fn outside(index: u16) -> ProtoError {
    ProtoError::malformed(WHAT, format!("it has no fragment {index}"))
}

/// The shape was checked before, so the library has nothing to refuse; if it does, its words say what.
fn refuse(error: Error) -> ProtoError {
    ProtoError::malformed(WHAT, error.to_string())
}

const WHAT: &str = "stripe";

#[cfg(test)]
mod tests {
    use super::*;

    /// Data fragments of these lengths, filled with bytes that do not repeat.
    fn data(lengths: &[usize]) -> Vec<Fragment> {
        let fill = |(seed, length): (u64, &usize)| {
            let mut bytes = vec![0; *length];
            blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
            Fragment::hash(bytes.into()).unwrap()
        };
        (0..).zip(lengths).map(fill).collect()
    }

    /// A whole stripe: its shape, its fragments, their checksums.
    fn stripe(lengths: &[usize], parity: u16) -> (Stripe, Vec<Fragment>, Vec<Checksum>) {
        let mut all = data(lengths);
        let shape = Stripe::of(&all, parity).unwrap();
        all.extend(Coder::new().encode(&all, parity).unwrap());
        let checksums = all.iter().map(Fragment::checksum).collect();
        (shape, all, checksums)
    }

    fn held(all: &[Fragment], indexes: &[u16]) -> Vec<(u16, Fragment)> {
        indexes.iter().map(|index| (*index, all[usize::from(*index)].clone())).collect()
    }

    #[test]
    fn parity_of_a_lone_fragment_is_its_copy_in_whole_blocks() {
        let (_, all, _) = stripe(&[100], 3);
        for parity in &all[1..] {
            assert_eq!(parity.bytes()[..100], all[0].bytes()[..]);
            assert_eq!(parity.bytes()[100..], [0; 28]);
        }
    }

    #[test]
    fn one_coder_serves_stripes_of_any_shape() {
        let mut coder = Coder::new();
        for (lengths, parity) in [(&[4096, 4096, 70][..], 2), (&[70_016; 5], 3), (&[1], 1), (&[64; 16], 8)] {
            let (shape, all, checksums) = stripe(lengths, parity);
            let data = &all[..lengths.len()];
            assert_eq!(coder.encode(data, parity).unwrap(), all[lengths.len()..]);
            let last: Vec<u16> = (parity..shape.width()).collect();
            let lost: Vec<u16> = (0..parity).collect();
            let rebuilt = coder.reconstruct(&shape, &checksums, &held(&all, &last), &lost).unwrap();
            assert_eq!(rebuilt, all[..usize::from(parity)], "{shape:?}");
        }
    }

    #[test]
    fn parity_and_held_fragments_may_be_wanted() {
        let (shape, all, checksums) = stripe(&[4096, 4096, 5], 2);
        let held = held(&all, &[0, 2, 4]);
        let rebuilt = Coder::new().reconstruct(&shape, &checksums, &held, &[3, 1, 0]).unwrap();
        assert_eq!(rebuilt, [all[3].clone(), all[1].clone(), all[0].clone()]);
    }

    #[test]
    fn too_few_fragments_are_refused_with_their_number() {
        let (shape, all, checksums) = stripe(&[64, 64, 64], 2);
        let twice = held(&all, &[1, 1, 4]);
        let refused = Coder::new().reconstruct(&shape, &checksums, &twice, &[0]);
        assert_eq!(refused, Err(ProtoError::TooFew { held: 2, needed: 3 }));
    }

    #[test]
    fn fragment_of_another_place_is_refused_before_decoding() {
        let (shape, all, checksums) = stripe(&[64, 64], 1);
        let swapped = vec![(0, all[1].clone()), (2, all[2].clone())];
        let refused = Coder::new().reconstruct(&shape, &checksums, &swapped, &[1]);
        let (expected, found) = (checksums[0], checksums[1]);
        assert_eq!(refused, Err(ProtoError::Mismatch { expected, found }));
    }

    #[test]
    fn layout_with_wrong_parity_is_found_out() {
        let (shape, mut all, mut checksums) = stripe(&[64, 64], 1);
        all[2] = data(&[64, 64, 64]).remove(2);
        checksums[2] = all[2].checksum();
        assert!(Coder::new().verify(&all[..2], &checksums[2..]).is_err());
        let refused = Coder::new().reconstruct(&shape, &checksums, &held(&all, &[0, 2]), &[1]);
        let error = refused.unwrap_err().to_string();
        assert!(error.contains("fragment 1 does not follow from the others"), "{error}");
    }

    #[test]
    fn stripe_that_cannot_be_is_refused() {
        let mut coder = Coder::new();
        let mut refused = |lengths: &[usize], parity, reason: &str| {
            let error = coder.encode(&data(lengths), parity).unwrap_err().to_string();
            assert!(error.contains(reason), "{lengths:?}: {error}");
        };
        refused(&[], 1, "no data fragment");
        refused(&[0], 1, "data fragments of [0] bytes");
        refused(&[64, 128], 1, "data fragments of [64, 128] bytes");
        refused(&[128, 64, 128], 1, "data fragments of [128, 64, 128] bytes");
        refused(&[100, 100], 1, "data fragments of [100, 100] bytes");
        refused(&[64; 17], 1, "17 data and 1 parity fragments");
        refused(&[64; 16], 9, "16 data and 9 parity fragments");

        let (shape, all, checksums) = stripe(&[64, 64], 1);
        let held = held(&all, &[0, 2]);
        for (checksums, wanted) in [(&checksums[..2], 1), (&checksums[..], 3)] {
            let refused = coder.reconstruct(&shape, checksums, &held, &[wanted]);
            assert!(matches!(refused, Err(ProtoError::Malformed { .. })));
        }
    }

    #[test]
    fn fragment_longer_than_its_place_is_refused() {
        let (shape, mut all, mut checksums) = stripe(&[64, 64], 1);
        all[0] = data(&[128]).remove(0);
        checksums[0] = all[0].checksum();
        let refused = Coder::new().reconstruct(&shape, &checksums, &held(&all, &[0, 2]), &[1]);
        assert!(refused.unwrap_err().to_string().contains("fragment 0 has 128 bytes, not 64"));
    }

    #[test]
    fn verified_parity_is_that_of_the_data() {
        let (_, all, checksums) = stripe(&[64, 64], 2);
        assert_eq!(Coder::new().verify(&all[..2], &checksums[2..]), Ok(()));
        assert_eq!(Coder::new().verify(&all[..2], &[]), Ok(()));
    }
}
