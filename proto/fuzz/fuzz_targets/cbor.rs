//! What the strict pre-pass accepts, minicbor reads to the end, finds in order, and writes back as the same bytes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use minicbor::{
    Encoder,
    data::Type,
    decode::{Decoder, Tokenizer},
};

fuzz_target!(|bytes: &[u8]| {
    if proto::cbor::check("input", bytes).is_err() {
        return;
    }
    let mut decoder = Decoder::new(bytes);
    walk(&mut decoder);
    assert_eq!(decoder.position(), bytes.len());
    let tokens: Vec<_> = Tokenizer::new(bytes).map(|token| token.expect("a token")).collect();
    let mut again = Encoder::new(Vec::new());
    again.tokens(&tokens).expect("a Vec takes everything");
    assert_eq!(again.into_writer(), bytes);
});

/// Reads one item; the keys of maps are unsigned and ascend.
fn walk(decoder: &mut Decoder<'_>) {
    match decoder.datatype().expect("a type") {
        Type::Array => (0..decoder.array().expect("an array").expect("a length")).for_each(|_| walk(decoder)),
        Type::Map => {
            let mut before = None;
            for _ in 0..decoder.map().expect("a map").expect("a length") {
                let key = decoder.u64().expect("an unsigned key");
                assert!(before.replace(key).is_none_or(|before| before < key), "key {key} is out of order");
                walk(decoder);
            }
        }
        _ => decoder.skip().expect("a value"),
    }
}
