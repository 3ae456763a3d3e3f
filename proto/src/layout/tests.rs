//! Layouts of every length: what stands where, and what is refused.

use super::*;
use crate::{
    keys::AuthorKey,
    manifest::{Description, Manifest, Visibility},
};

fn key() -> AuthorKey {
    AuthorKey::from_seed([1; 32])
}

fn manifest(content_len: u64) -> SignedManifest {
    let manifest = Manifest {
        author: key().id(),
        created_at_ms: 0,
        visibility: Visibility::Public,
        content_len,
        content_hash: Checksum::of(b""),
        description: Description::default(),
        supersedes: None,
        part_of: None,
        rights: None,
    };
    manifest.sign(&key()).unwrap()
}

fn checksums(count: u64) -> Vec<Checksum> {
    (0..count).map(|number| Checksum::of(&number.to_le_bytes())).collect()
}

fn built(k: u16, m: u16, content_len: u64) -> (Layout, Vec<Bytes>) {
    let code = Code::new(k, m).unwrap();
    let id = manifest(content_len).id();
    let count = Layout::empty(id, code, 4096, content_len).unwrap().fragments();
    Layout::build(id, code, 4096, content_len, &checksums(count)).unwrap()
}

#[test]
fn last_stripe_has_fewer_chunks_and_the_same_parity() {
    let (layout, _) = built(3, 2, 4096 * 7 + 100);
    assert_eq!((layout.stripes(), layout.fragments()), (3, 8 + 6));
    assert_eq!(layout.stripe_width(0), (3, 2));
    assert_eq!(layout.stripe_width(2), (2, 2));
    assert_eq!(layout.stripe_width(3), (0, 0));
    let lengths: Vec<_> = (0..5).map(|index| layout.fragment_len_at(2, index)).collect();
    assert_eq!(lengths, [4096, 100, 4096, 4096, 0]);
}

#[test]
fn lone_short_chunk_is_coded_in_whole_blocks() {
    let (layout, _) = built(3, 2, 100);
    let lengths: Vec<_> = (0..4).map(|index| layout.fragment_len_at(0, index)).collect();
    assert_eq!(lengths, [100, 128, 128, 0]);
}

#[test]
fn number_and_position_are_inverse() {
    for (k, m, content_len) in [(1, 0, 9), (1, 2, 12_289), (3, 2, 4096 * 7 + 1), (16, 8, 4096 * 40)] {
        let (layout, _) = built(k, m, content_len);
        let mut before = None;
        for number in 0..layout.fragments() {
            let place = layout.position(number);
            assert!(place > before, "{number}");
            before = place;
            let (stripe, index) = place.unwrap();
            assert_eq!(layout.number(stripe, index), Some(number));
        }
        assert_eq!(layout.position(layout.fragments()), None);
        assert_eq!(layout.number(layout.stripes(), 0), None);
        assert_eq!(layout.number(0, layout.code().k() + layout.code().m()), None);
    }
}

#[test]
fn layouts_of_one_tessera_name_no_fragment_alike() {
    let content_len = 4096 * 7 + 100;
    let (whole, _) = built(1, 0, content_len);
    let (coded, pages) = built(3, 2, content_len);
    let coded = coded.beginning_at(whole.stripe_numbers().end).unwrap();
    let places = |layout: &Layout| (0..).map_while(|at| layout.position(at)).collect::<Vec<_>>();
    assert_eq!((whole.stripe_numbers(), coded.stripe_numbers()), (0..8, 8..11));
    assert!(places(&coded).iter().all(|place| !places(&whole).contains(place)));
    assert_eq!((coded.stripe(7), coded.number(7, 0), coded.position(0)), (None, None, Some((8, 0))));
    assert_eq!((coded.stripe_width(10), coded.number(10, 1)), ((2, 2), Some(11)));
    let chunks: Vec<_> = [0, 2, 3, 7, 8].into_iter().map(|number| coded.chunk(number)).collect();
    assert_eq!(chunks, [Some((8, 0)), Some((8, 2)), Some((9, 0)), Some((10, 1)), None]);

    let signed = coded.sign(&key()).unwrap();
    let parsed = SignedLayout::parse(signed.bytes().clone(), &manifest(content_len)).unwrap();
    assert_eq!(parsed.layout(), &coded);
    assert!(coded.page(0, pages[0].clone()).is_ok());
    let error = coded.beginning_at(u32::MAX - 2).unwrap_err().to_string();
    assert!(error.contains("do not fit 32 bits"), "{error}");
}

#[test]
fn empty_content_has_no_stripe() {
    let (layout, pages) = built(3, 2, 0);
    assert_eq!((layout.stripes(), layout.fragments(), pages.len()), (0, 0, 0));
    assert_eq!((layout.stripe(0), layout.position(0)), (None, None));
}

#[test]
fn layout_signed_and_parsed_is_the_same() {
    let content_len = 4096 * 3000;
    let (layout, pages) = built(1, 1, content_len);
    let signed = layout.sign(&key()).unwrap();
    let parsed = SignedLayout::parse(signed.bytes().clone(), &manifest(content_len)).unwrap();
    assert_eq!(parsed, signed);
    assert_eq!(parsed.layout(), &layout);
    let all = checksums(6000);
    for (number, checksum) in (0..).zip(&all) {
        let (page, at) = layout.page_of(number);
        let page = layout.page(page, pages[page].clone()).unwrap();
        assert_eq!(page.checksum(at).as_ref(), Some(checksum));
    }
    assert_eq!(layout.page(2, pages[2].clone()).unwrap().len(), 6000 - 2 * 2048);
}

#[test]
fn layout_of_another_tessera_author_or_length_is_refused() {
    let (layout, _) = built(1, 0, 100);
    let parse = |signed: SignedLayout| {
        SignedLayout::parse(signed.bytes().clone(), &manifest(100)).unwrap_err().to_string()
    };
    let other = Layout { tessera: TesseraId::from_bytes([0; 32]), ..layout.clone() };
    assert!(parse(other.sign(&key()).unwrap()).contains("it is of tess1"));
    let longer = Layout { content_len: 101, ..layout.clone() };
    assert!(parse(longer.sign(&key()).unwrap()).contains("its content has 101 bytes"));
    let stolen = layout.sign(&AuthorKey::from_seed([2; 32])).unwrap();
    assert!(parse(stolen).contains("signature of the layout"));
}

#[test]
fn inconsistent_layout_is_refused() {
    let id = TesseraId::from_bytes([0; 32]);
    let refused = |fragment_len, content_len, given: u64, reason: &str| {
        let built = Layout::build(id, Code::WHOLE, fragment_len, content_len, &checksums(given));
        let error = built.unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    };
    refused(4096, 4097, 1, "1 checksums for 2 fragments");
    refused(4097, 4097, 1, "a power of two");
    refused(2048, 4097, 3, "a power of two");
    refused(1 << 21, 4097, 1, "a power of two");
    refused(4096, CONTENT_BYTES_MAX + 1, 1, "content is");
    refused(4096, CONTENT_BYTES_MAX, 1, "more than 32 bits count");

    let (layout, _) = built(1, 0, 100);
    let unpaged = Layout { pages: Vec::new(), ..layout }.sign(&key()).unwrap();
    let error = SignedLayout::parse(unpaged.bytes().clone(), &manifest(100)).unwrap_err().to_string();
    assert!(error.contains("0 pages instead of 1"), "{error}");
}

#[test]
fn page_that_does_not_fit_is_refused() {
    let (layout, pages) = built(1, 0, 8192);
    let page = pages[0].clone();
    assert!(matches!(layout.page(0, page.slice(32..)), Err(ProtoError::Mismatch { .. })));
    assert!(matches!(layout.page(1, page.clone()), Err(ProtoError::Malformed { .. })));
    for length in [0, 31, 33] {
        let part = Bytes::from(vec![0; length]);
        assert!(matches!(LayoutPage::parse(Checksum::of(&part), part), Err(ProtoError::Malformed { .. })));
    }
    let long = Bytes::from(vec![0; FRAME_BYTES_MAX + 32]);
    assert!(matches!(LayoutPage::parse(Checksum::of(&long), long), Err(ProtoError::TooLong { .. })));
    let shorter = Layout { pages: vec![Checksum::of(&page[..32])], ..layout };
    let error = shorter.page(0, page.slice(..32)).unwrap_err().to_string();
    assert!(error.contains("1 checksums instead of 2"), "{error}");
}
