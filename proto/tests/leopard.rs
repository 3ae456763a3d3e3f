//! `rs-leopard16` once more, from the formulas of `FORMAT.md` alone: slow, short, and without the library.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::collections::HashMap;

use proto::{Fragment, erasure::Coder};

/// A number stands for the sum of the elements of the Cantor basis that its bits choose.
fn field(number: u16) -> u16 {
    (0..16).filter(|bit| (number >> bit) & 1 == 1).fold(0, |sum, bit| sum ^ CANTOR_BASIS[bit])
}

/// Multiplication of polynomials over GF(2) modulo x¹⁶ + x⁵ + x³ + x² + 1.
fn times(a: u16, b: u16) -> u16 {
    (0..16).rev().fold(0, |product: u16, bit| {
        let doubled = (product << 1) ^ if product >> 15 == 1 { 0x002d } else { 0 };
        doubled ^ if (b >> bit) & 1 == 1 { a } else { 0 }
    })
}

/// The power 2¹⁶ − 2, which is the product of the squares a², a⁴ … up to 2¹⁵.
fn inverse(a: u16) -> u16 {
    let squares = std::iter::successors(Some(times(a, a)), |square| Some(times(*square, *square)));
    squares.take(15).fold(1, times)
}

/// The Lagrange polynomial that is 1 at point `j` and 0 at the other points below `c`, at point `x`.
fn lagrange(c: u16, j: u16, x: u16) -> u16 {
    let others = (0..c).filter(|t| *t != j);
    others.fold(1, |product, t| times(product, times(field(x ^ t), inverse(field(j ^ t)))))
}

/// How much of data fragment `i` is in parity fragment `j`.
fn coefficient(data: u16, parity: u16, i: u16, j: u16) -> u16 {
    let (d, m) = (data.next_power_of_two(), parity.next_power_of_two());
    if m <= d { lagrange(m, j, m + i) } else { lagrange(d, i, d + j) }
}

/// The 16-bit elements of a shard: in each block of 64 bytes the low halves, then the high halves.
fn elements(shard: &[u8]) -> Vec<u16> {
    let element = |block: &[u8], at| u16::from_le_bytes([block[at], block[at + 32]]);
    shard.chunks(64).flat_map(|block| (0..32).map(move |at| element(block, at))).collect()
}

fn shard(seed: u16) -> Fragment {
    let mut bytes = vec![0; 128];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    Fragment::hash(bytes.into()).unwrap()
}

#[test]
fn parity_follows_the_written_formula() {
    let numbers: HashMap<u16, u16> = (0..=u16::MAX).map(|number| (field(number), number)).collect();
    for (data, parity) in [(1, 2), (2, 1), (3, 2), (2, 3), (4, 4), (3, 4), (5, 3), (9, 2), (2, 9), (16, 8)] {
        let shards: Vec<Fragment> = (0..data).map(shard).collect();
        let coded = Coder::new().encode(&shards, parity).unwrap();
        for (j, coded) in (0..parity).zip(&coded) {
            let mut expected = vec![0; 64];
            for (i, shard) in (0..data).zip(&shards) {
                let coefficient = coefficient(data, parity, i, j);
                for (sum, element) in expected.iter_mut().zip(elements(shard.bytes())) {
                    *sum ^= numbers[&times(coefficient, field(element))];
                }
            }
            assert_eq!(elements(coded.bytes()), expected, "{data}+{parity}, parity {j}");
        }
    }
}

const CANTOR_BASIS: [u16; 16] = [
    0x0001, 0xacca, 0x3c0e, 0x163e, 0xc582, 0xed2e, 0x914c, 0x4012, 0x6c98, 0x10d8, 0x6a72, 0xb900, 0xfdb8,
    0xfb34, 0xff38, 0x991e,
];
