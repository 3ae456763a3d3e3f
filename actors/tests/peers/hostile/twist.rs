//! What is done to a request before it is sent, and how it is sent.

use fastrand::Rng;
use proto::{limits::FRAME_HEAD_BYTES, wire::Head};

use super::models::Model;

/// What is sent, and how that ends.
pub(crate) struct Case {
    pub(crate) bytes: Vec<u8>,
    pub(crate) ending: Ending,
}

/// How a stream ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// As it should: the answer is waited for.
    Finish,
    /// It is given up after so many bytes.
    Reset(usize),
    /// It is finished after so many bytes; the answer is waited for.
    Truncate(usize),
    /// All is sent, and the answer is not wanted.
    Deaf,
    /// It is left open after so many bytes, for a moment.
    Dangle(usize),
}

/// One of endlessly many.
pub(crate) fn case(rng: &mut Rng, models: &[Model]) -> Case {
    let bytes = bytes(rng, models);
    let at = rng.usize(..=bytes.len());
    let ending = match rng.u8(..16) {
        0 => Ending::Reset(at),
        1 => Ending::Truncate(at),
        2 => Ending::Deaf,
        3 => Ending::Dangle(at),
        _ => Ending::Finish,
    };
    Case { bytes, ending }
}

fn bytes(rng: &mut Rng, models: &[Model]) -> Vec<u8> {
    let mut model = models[rng.usize(..models.len())].clone();
    match rng.u8(..16) {
        // As it should be.
        0..4 => {}
        4..7 => head(rng, &mut model.frame),
        // The head still fits the body, so that it is the body which is read.
        7..11 => body(rng, &mut model.frame),
        11 | 12 => bulk(rng, &mut model.bulk),
        13 => {
            let other = &models[rng.usize(..models.len())];
            return [&model.frame[..], &model.bulk, &other.frame, &other.bulk].concat();
        }
        14 => return (0..rng.usize(..200)).map(|_| rng.u8(..)).collect(),
        _ => {
            let mut bytes = [model.frame, model.bulk].concat();
            damage(rng, &mut bytes);
            return bytes;
        }
    }
    [model.frame, model.bulk].concat()
}

/// A head that promises something else.
fn head(rng: &mut Rng, frame: &mut [u8]) {
    let length = u32::try_from(frame.len() - FRAME_HEAD_BYTES).unwrap();
    match rng.u8(..6) {
        0 => frame[0] = *rng.choice(&[0, 2, 3, 255]).unwrap(),
        1 => frame[1] = rng.u8(..),
        2 => frame[rng.usize(2..4)] = rng.u8(1..),
        3 => frame[rng.usize(..FRAME_HEAD_BYTES)] ^= 1 << rng.u8(..8),
        _ => {
            let lengths =
                [0, 1, length / 2, length - 1, length + 1, 65_535, 65_536, 65_537, 1 << 24, u32::MAX];
            frame[4..8].copy_from_slice(&rng.choice(&lengths).unwrap().to_le_bytes());
        }
    }
}

/// A body that is not what its kind has.
fn body(rng: &mut Rng, frame: &mut Vec<u8>) {
    let mut body = frame.split_off(FRAME_HEAD_BYTES);
    for _ in 0..rng.u8(1..4) {
        damage(rng, &mut body);
    }
    let body_len = u32::try_from(body.len()).unwrap();
    *frame = [&Head { kind: frame[1], body_len }.encode()[..], &body].concat();
}

/// Bulk that is longer, shorter, or other than what was announced.
fn bulk(rng: &mut Rng, bulk: &mut Vec<u8>) {
    match rng.u8(..3) {
        0 => bulk.truncate(rng.usize(..=bulk.len())),
        1 => bulk.extend((0..rng.usize(1..5000)).map(|_| 0xaa)),
        _ => damage(rng, bulk),
    }
}

/// What happens to bytes.
fn damage(rng: &mut Rng, bytes: &mut Vec<u8>) {
    let (from, to) = (rng.usize(..=bytes.len()), rng.usize(..=bytes.len()));
    let some = from.min(to)..from.max(to);
    match rng.u8(..7) {
        0 => bytes.iter_mut().skip(from).take(1).for_each(|byte| *byte ^= 1 << rng.u8(..8)),
        1 => bytes.iter_mut().skip(from).take(1).for_each(|byte| *byte = rng.u8(..)),
        // What CBOR's parsers stumble over: endless and huge things, tags, breaks, halves.
        2 => {
            let word = *rng.choice(WORDS).unwrap();
            let until = bytes.len().min(from + usize::from(rng.u8(..3)));
            drop(bytes.splice(from..until, word.iter().copied()));
        }
        3 => drop(bytes.drain(some)),
        4 => bytes.truncate(from),
        5 => {
            let copy = bytes[some].to_vec();
            drop(bytes.splice(to..to, copy));
        }
        _ => {
            let noise: Vec<u8> = (0..rng.usize(1..64)).map(|_| rng.u8(..)).collect();
            drop(bytes.splice(from..from, noise));
        }
    }
}

const WORDS: &[&[u8]] = &[
    &[0x5f],
    &[0x9f],
    &[0xbf],
    &[0xff],
    &[0xf6],
    &[0xf9, 0, 0],
    &[0xc0],
    &[0xd9, 0xd9, 0xf7],
    &[0x18, 0x01],
    &[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    &[0xbb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    &[0x5b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    &[0x1b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    &[0x3b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    &[0x81; 40],
    &[0xa1; 40],
];
