//! What holds for every input, by proptest: round trips, refusal of every changed byte, and independence of the way
//! there. The pre-pass has `properties_cbor.rs`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::ops::Range;

use bytes::Bytes;
use proptest::{collection::vec, option, prelude::*, sample::Index};
use proto::{
    AccountId, AuthorKey, Checksum, Fragment, FragmentId, NodeKey, ProtoError, TesseraId,
    attestation::{Claim, ClaimedFragment, Expect, SignedClaim},
    chunks::{Chunker, Cut, fragment_len_for},
    erasure::Coder,
    layout::{Code, Layout, SignedLayout, Stripe},
    manifest::{Description, Manifest, SignedManifest, Visibility},
    prefix::IdPrefix,
    record::{self, DocumentKind, Header, Kind, Record, Salt, SessionId},
};

fn tessera() -> impl Strategy<Value = TesseraId> + Clone {
    any::<[u8; 32]>().prop_map(TesseraId::from_bytes)
}

fn checksum() -> impl Strategy<Value = Checksum> + Clone {
    any::<[u8; 32]>().prop_map(Checksum::from_bytes)
}

fn author() -> AuthorKey {
    AuthorKey::from_seed([1; 32])
}

fn node() -> NodeKey {
    NodeKey::from_seed([2; 32])
}

/// Any text that a manifest may hold.
fn text() -> impl Strategy<Value = String> {
    "\\PC{1,20}"
}

fn description() -> impl Strategy<Value = Description> {
    let texts = (option::of(text()), option::of(text()), option::of(text()), option::of(text()));
    (texts, vec(text(), 0..3), vec(text(), 0..3)).prop_map(|((title, language, place, era), tags, people)| {
        Description { title, language, place, era, tags, people }
    })
}

fn manifest() -> impl Strategy<Value = Manifest> {
    let numbers = (0..=i64::MAX as u64, 0..=1_u64 << 45, checksum());
    let relations = (option::of(tessera()), option::of(tessera()), option::of(text()));
    (numbers, relations, option::of(description())).prop_map(|(numbers, relations, public)| Manifest {
        author: author().id(),
        created_at_ms: numbers.0,
        visibility: if public.is_some() { Visibility::Public } else { Visibility::Private },
        content_len: numbers.1,
        content_hash: numbers.2,
        description: public.unwrap_or_default(),
        supersedes: relations.0,
        part_of: relations.1,
        rights: relations.2,
    })
}

fn code() -> impl Strategy<Value = Code> {
    (1..=16_u16).prop_flat_map(|k| (Just(k), 0..=24 - k)).prop_map(|(k, m)| Code::new(k, m).unwrap())
}

/// A layout with checksums that follow from the numbers of the fragments.
fn layout(tessera: TesseraId, code: Code, content_len: u64) -> (Layout, Vec<Bytes>, Vec<Checksum>) {
    let chunks = content_len.div_ceil(4096);
    let fragments = chunks + chunks.div_ceil(code.k().into()) * u64::from(code.m());
    let checksums: Vec<_> = (0..fragments).map(|number| Checksum::of(&number.to_le_bytes())).collect();
    let (layout, pages) = Layout::build(tessera, code, 4096, content_len, &checksums).unwrap();
    (layout, pages, checksums)
}

fn expect() -> Expect {
    let verifier = NodeKey::from_seed([3; 32]).id();
    let tessera = TesseraId::from_bytes([6; 32]);
    Expect { node: node().id(), verifier, nonce: [4; 32], binding: [5; 32], tessera }
}

fn claim() -> impl Strategy<Value = Claim> {
    let fragment = (0..50_u32, any::<u16>(), checksum(), 1..=1_u32 << 20, option::of(any::<u64>()));
    (vec(fragment, 0..20), any::<bool>(), 0..=i64::MAX as u64).prop_map(|(fragments, more, made_at_ms)| {
        let mut fragments: Vec<_> = fragments
            .into_iter()
            .map(|(stripe, index, checksum, length, verified_age_ms)| ClaimedFragment {
                stripe,
                index,
                checksum,
                length,
                verified_age_ms,
            })
            .collect();
        fragments.sort_by_key(|fragment| (fragment.stripe, fragment.index));
        fragments.dedup_by_key(|fragment| (fragment.stripe, fragment.index));
        let Expect { node, verifier, nonce, binding, tessera } = expect();
        let (stripes, next_stripe) = (0..50, more.then_some(50));
        Claim { node, verifier, nonce, binding, tessera, made_at_ms, stripes, next_stripe, fragments }
    })
}

fn record() -> impl Strategy<Value = Record> {
    let fragment = (tessera(), any::<u32>(), any::<u16>());
    let claim = (any::<u64>(), any::<[u8; 32]>(), fragment, checksum(), any::<u32>());
    let claim =
        claim.prop_map(|(session, account, (tessera, stripe, index), checksum, length)| record::Claim {
            session: SessionId(session),
            account: AccountId::from_bytes(account),
            fragment: FragmentId { tessera, stripe, index },
            checksum,
            length,
        });
    let bytes = || vec(any::<u8>(), 0..200).prop_map(Bytes::from);
    let kinds = [DocumentKind::Manifest, DocumentKind::Layout, DocumentKind::LayoutPage];
    let document = (any::<u64>(), tessera(), any::<Index>(), bytes());
    prop_oneof![
        bytes().prop_map(Record::Blob),
        document.prop_map(move |(session, tessera, kind, bytes)| Record::Document {
            session: SessionId(session),
            tessera,
            kind: *kind.get(&kinds),
            bytes,
        }),
        claim.clone().prop_map(Record::Ref),
        claim.prop_map(Record::Drop),
        (any::<u64>(), tessera())
            .prop_map(|(session, tessera)| Record::Commit { session: SessionId(session), tessera }),
        tessera().prop_map(|tessera| Record::Forget { tessera }),
    ]
}

/// The same bytes with one of them changed.
fn changed(bytes: &Bytes, at: Index, flip: u8) -> Bytes {
    let mut bytes = bytes.to_vec();
    let at = at.index(bytes.len());
    bytes[at] ^= flip;
    bytes.into()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_prefix_of_an_id_contains_it(id in tessera(), cut in any::<Index>()) {
        let whole = id.to_string();
        let letters = 1 + cut.index(whole.len() - "tess1".len());
        let prefix: IdPrefix<TesseraId> = whole[.."tess1".len() + letters].parse().unwrap();
        prop_assert!(prefix.contains(&id));
        prop_assert!(prefix.first() <= id && id <= prefix.last());
        let low = prefix.first().to_string();
        let shown = ("tess1".len() + letters).min("tess1".len() + 51);
        prop_assert_eq!(&low[..shown], &whole[..shown]);
        prop_assert_eq!(whole.parse(), Ok(id));
    }

    #[test]
    fn any_text_is_parsed_or_refused(text in "(tess1)?[a-z0-9]{0,70}|\\PC{0,20}") {
        if let Ok(id) = text.parse::<TesseraId>() {
            prop_assert_eq!(id.to_string(), text.to_ascii_lowercase());
        }
        if let Ok(prefix) = text.parse::<IdPrefix<TesseraId>>() {
            prop_assert_eq!(prefix.to_string(), text.to_ascii_lowercase());
        }
    }

    #[test]
    fn record_written_and_read_is_the_same(
        record in record(), salt in any::<[u8; Salt::BYTES]>(), sequence in any::<u64>(),
    ) {
        let (payload, salt) = (record.payload(), Salt(salt));
        let hash = Checksum::of(&payload);
        let header = Header::new(record.kind(), salt, sequence, payload.len(), hash).unwrap();
        prop_assert_eq!(Header::decode(&header.encode()), Ok(header));
        prop_assert_eq!(Salt::of_header(&header.encode()), salt);
        prop_assert_eq!(Record::decode(header.kind, &payload), Ok(record));
    }

    #[test]
    fn header_with_a_changed_byte_is_refused(hash in checksum(), at in any::<Index>(), flip in 1..=u8::MAX) {
        let header = Header::new(Kind::Blob, Salt([3; 6]), 7, 100, hash).unwrap().encode();
        let changed = changed(&Bytes::copy_from_slice(&header), at, flip);
        prop_assert!(Header::decode(changed.first_chunk().unwrap()).is_err());
    }

    #[test]
    fn payload_of_any_length_is_read_or_refused(kind in any::<Index>(), bytes in vec(any::<u8>(), 0..200)) {
        let kind = *kind.get(&Kind::ALL);
        if let Ok(record) = Record::decode(kind, &bytes.clone().into()) {
            prop_assert_eq!(record.payload().len(), bytes.len());
        }
    }

    #[test]
    fn number_and_position_are_inverse(
        code in code(), content_len in 0..3_000_000_u64, first in 0..u32::MAX - 1000, at in any::<Index>(),
    ) {
        let (layout, pages, checksums) = layout(TesseraId::from_bytes([0; 32]), code, content_len);
        let layout = layout.beginning_at(first).unwrap();
        let (mut number, mut bytes) = (0, 0);
        for stripe in layout.stripe_numbers() {
            let (data, parity) = layout.stripe_width(stripe);
            for index in 0..data + parity {
                prop_assert_eq!(layout.number(stripe, index), Some(number));
                prop_assert_eq!(layout.position(number), Some((stripe, index)));
                let length = u64::from(layout.fragment_len_at(stripe, index));
                prop_assert!(length > 0);
                bytes += if index < data { length } else { 0 };
                number += 1;
            }
        }
        prop_assert_eq!((number, bytes), (layout.fragments(), content_len));
        prop_assert_eq!(layout.position(number), None);
        if !checksums.is_empty() {
            let number = at.index(checksums.len());
            let (page, place) = layout.page_of(number as u64);
            let page = layout.page(page, pages[page].clone()).unwrap();
            prop_assert_eq!(page.checksum(place), Some(checksums[number]));
        }
    }
}

proptest! {
    // Signatures are slow without optimisation.
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn manifest_is_read_as_written_and_in_no_other_way(
        manifest in manifest(), at in any::<Index>(), flip in 1..=u8::MAX,
    ) {
        let signed = manifest.sign(&author()).unwrap();
        let parsed = SignedManifest::parse(signed.bytes().clone()).unwrap();
        prop_assert_eq!(parsed.manifest(), &manifest);
        prop_assert_eq!(parsed.manifest().sign(&author()).unwrap(), signed.clone());
        prop_assert!(SignedManifest::parse(changed(signed.bytes(), at, flip)).is_err());
        prop_assert!(SignedManifest::parse(signed.bytes().slice(..at.index(signed.bytes().len()))).is_err());
    }

    #[test]
    fn layout_is_read_as_written_and_in_no_other_way(
        manifest in manifest(), code in code(), content_len in 0..1_000_000_u64,
        at in any::<Index>(), flip in 1..=u8::MAX,
    ) {
        let manifest = Manifest { content_len, ..manifest }.sign(&author()).unwrap();
        let (layout, ..) = layout(manifest.id(), code, content_len);
        let signed = layout.sign(&author()).unwrap();
        let parsed = SignedLayout::parse(signed.bytes().clone(), &manifest).unwrap();
        prop_assert_eq!(parsed.layout(), &layout);
        prop_assert_eq!(parsed.checksum(), Checksum::of(signed.bytes()));
        prop_assert!(SignedLayout::parse(changed(signed.bytes(), at, flip), &manifest).is_err());
    }

    #[test]
    fn claim_is_read_as_written_and_in_no_other_way(
        claim in claim(), at in any::<Index>(), flip in 1..=u8::MAX,
    ) {
        let signed = claim.sign(&node()).unwrap();
        prop_assert_eq!(SignedClaim::verify(signed.bytes(), &expect()), Ok(claim));
        prop_assert!(SignedClaim::verify(&changed(signed.bytes(), at, flip), &expect()).is_err());
    }
}

#[test]
fn every_byte_of_a_document_counts() {
    let manifest = Manifest {
        author: author().id(),
        created_at_ms: 1,
        visibility: Visibility::Public,
        content_len: 5000,
        content_hash: Checksum::of(b"content"),
        description: Description { title: Some("title".into()), ..Description::default() },
        supersedes: None,
        part_of: None,
        rights: None,
    };
    let manifest = manifest.sign(&author()).unwrap();
    let (layout, ..) = layout(manifest.id(), Code::new(3, 2).unwrap(), 5000);
    let each = |bytes: &Bytes, refused: &dyn Fn(Bytes) -> bool| {
        for at in 0..bytes.len() {
            let mut changed = bytes.to_vec();
            changed[at] ^= 1;
            assert!(refused(changed.into()), "byte {at}");
        }
    };
    each(manifest.bytes(), &|changed| SignedManifest::parse(changed).is_err());
    let layout = layout.sign(&author()).unwrap();
    each(layout.bytes(), &|changed| SignedLayout::parse(changed, &manifest).is_err());
}

/// Data fragments of a stripe: all of the first length, the last one of its own.
fn data(count: u16, blocks: usize, last: usize, seed: u64) -> Vec<Fragment> {
    let mut content = vec![0; (usize::from(count) - 1) * blocks * 64 + last];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut content);
    let content = Bytes::from(content);
    (0..content.len())
        .step_by(blocks * 64)
        .map(|start| Fragment::hash(content.slice(start..content.len().min(start + blocks * 64))).unwrap())
        .collect()
}

fn cut(content: &[u8], splits: &[Range<usize>]) -> (Cut, Vec<Fragment>) {
    let mut chunks = Vec::new();
    let mut sink = |chunk| -> Result<(), ProtoError> {
        chunks.push(chunk);
        Ok(())
    };
    let mut chunker = Chunker::new();
    for split in splits {
        chunker.push(&content[split.clone()], &mut sink).unwrap();
    }
    let cut = chunker.finish(&mut sink).unwrap();
    (cut, chunks)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_fragments_as_many_as_data_bring_back_all(
        code in code(), blocks in 1..40_usize, last in any::<Index>(), seed in any::<u64>(),
        order in Just((0..24_u16).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let last = 1 + last.index(blocks * 64);
        let content_len = u64::from(code.k() - 1) * blocks as u64 * 64 + last as u64;
        let data = data(code.k(), blocks, last, seed);
        prop_assert_eq!(data.iter().map(|chunk| chunk.bytes().len() as u64).sum::<u64>(), content_len);
        let mut coder = Coder::new();
        let all = [&data[..], &coder.encode(&data, code.m()).unwrap()].concat();
        let checksums: Vec<_> = all.iter().map(Fragment::checksum).collect();
        let order: Vec<_> = order.into_iter().filter(|index| usize::from(*index) < all.len()).collect();
        let (kept, lost) = order.split_at(code.k().into());
        let held: Vec<_> = kept.iter().map(|index| (*index, all[usize::from(*index)].clone())).collect();

        let stripe = Stripe::of(&data, code.m()).unwrap();
        let rebuilt = coder.reconstruct(&stripe, &checksums, &held, lost).unwrap();
        for (index, fragment) in lost.iter().zip(&rebuilt) {
            prop_assert_eq!(fragment, &all[usize::from(*index)]);
        }
        let few = coder.reconstruct(&stripe, &checksums, &held[1..], lost);
        let (needed, held) = (code.k(), code.k() - 1);
        prop_assert_eq!(few, Err(ProtoError::TooFew { held, needed }));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn coding_in_columns_is_coding_whole_shards(
        code in code().prop_filter("parity", |code| code.m() > 0), blocks in 1000..3000_usize, seed in any::<u64>(),
    ) {
        let data = data(code.k(), blocks, blocks * 64, seed);
        let whole = reed_solomon_simd::encode(
            code.k().into(), code.m().into(), data.iter().map(Fragment::bytes),
        ).unwrap();
        let coded = Coder::new().encode(&data, code.m()).unwrap();
        prop_assert!(coded.iter().map(|parity| &parity.bytes()[..]).eq(whole.iter().map(|parity| &parity[..])));
    }

    #[test]
    fn cut_does_not_depend_on_how_content_arrives(
        content_len in prop_oneof![0..200_000_usize, 7_500_000..10_000_000_usize],
        mut at in vec(any::<Index>(), 0..20),
    ) {
        let mut content = vec![0; content_len];
        blake3::Hasher::new().update(b"content").finalize_xof().fill(&mut content);
        let mut ends: Vec<_> = at.drain(..).map(|at| at.index(content_len + 1)).collect();
        ends.push(content_len);
        ends.sort_unstable();
        let starts = std::iter::once(0).chain(ends.iter().copied());
        let splits: Vec<_> = starts.zip(&ends).map(|(start, end)| start..*end).collect();
        let (cut, chunks) = cut(&content, &splits);
        prop_assert_eq!(cut.fragment_len, fragment_len_for(content_len as u64));
        prop_assert_eq!(cut.content_len, content_len as u64);
        prop_assert_eq!(cut.content_hash, Checksum::of(&content));
        let expected = content.chunks(cut.fragment_len as usize);
        prop_assert!(chunks.iter().map(|chunk| &chunk.bytes()[..]).eq(expected));
    }

    #[test]
    fn content_survives_the_loss_of_all_its_parity_allows(
        code in code(), content_len in 1..400_000_usize,
        order in Just((0..24_u16).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let mut content = vec![0; content_len];
        blake3::Hasher::new().update(b"survivor").finalize_xof().fill(&mut content);
        let (cut, chunks) = cut(&content, std::slice::from_ref(&(0..content_len)));
        let mut coder = Coder::new();
        let stripes: Vec<Vec<Fragment>> = chunks
            .chunks(code.k().into())
            .map(|data| [data, &coder.encode(data, code.m()).unwrap()].concat())
            .collect();
        let checksums: Vec<_> = stripes.iter().flatten().map(Fragment::checksum).collect();
        let id = TesseraId::from_bytes([0; 32]);
        let (layout, _) = Layout::build(id, code, cut.fragment_len, cut.content_len, &checksums).unwrap();
        let mut back = Vec::new();
        for (number, all) in (0..layout.stripes()).zip(&stripes) {
            let stripe = layout.stripe(number).unwrap();
            prop_assert_eq!(all.len(), usize::from(stripe.width()));
            let here = order.iter().filter(|index| **index < stripe.width()).take(stripe.data().into());
            let held: Vec<_> = here.map(|index| (*index, all[usize::from(*index)].clone())).collect();
            let wanted: Vec<_> = (0..stripe.data()).collect();
            let checksums: Vec<_> = all.iter().map(Fragment::checksum).collect();
            for fragment in coder.reconstruct(&stripe, &checksums, &held, &wanted).unwrap() {
                back.extend_from_slice(fragment.bytes());
            }
        }
        prop_assert_eq!(Checksum::of(&back), cut.content_hash);
    }
}
