//! The strict pre-pass against an encoder of its own: what that writes is accepted, and every way to write the same
//! value differently is refused.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::collections::BTreeMap;

use minicbor::{Decoder, data::Type};
use proptest::{collection, prelude::*, sample::Index};
use proto::cbor;

/// Everything that documents may hold.
#[derive(Debug, Clone, PartialEq)]
enum Value {
    Unsigned(u64),
    Negative(u64),
    Bytes(Vec<u8>),
    Text(String),
    Array(Vec<Value>),
    Map(BTreeMap<u64, Value>),
    Bool(bool),
}

/// Numbers of all lengths, not only large ones.
fn number() -> impl Strategy<Value = u64> {
    (any::<u64>(), 0..64_u32).prop_map(|(number, shift)| number >> shift)
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        number().prop_map(Value::Unsigned),
        number().prop_map(Value::Negative),
        collection::vec(any::<u8>(), 0..300).prop_map(Value::Bytes),
        "\\PC{0,30}".prop_map(Value::Text),
        any::<bool>().prop_map(Value::Bool),
    ];
    leaf.prop_recursive(6, 40, 8, |inner| {
        prop_oneof![
            collection::vec(inner.clone(), 0..8).prop_map(Value::Array),
            collection::btree_map(number(), inner, 0..8).prop_map(Value::Map),
        ]
    })
}

/// Writes values; one head, counted from 0, in a longer form than it needs, if there is one.
struct Encoder {
    out: Vec<u8>,
    heads: usize,
    longer: Option<(usize, u8)>,
}

impl Encoder {
    fn head(&mut self, major: u8, argument: u64) {
        let least: u8 = match argument {
            0..24 => 0,
            24..0x100 => 1,
            0x100..0x1_0000 => 2,
            0x1_0000..0x1_0000_0000 => 3,
            _ => 4,
        };
        let more = self.longer.filter(|(head, _)| *head == self.heads).map_or(0, |(_, more)| more);
        self.heads += 1;
        let form = (least + more).min(4);
        let small = u8::try_from(argument).unwrap_or_default();
        self.out.push((major << 5) | if form == 0 { small } else { 23 + form });
        let bytes = argument.to_be_bytes();
        let length = if form == 0 { 0 } else { 1 << (form - 1) };
        self.out.extend_from_slice(&bytes[8 - length..]);
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Unsigned(number) => self.head(0, *number),
            Value::Negative(number) => self.head(1, *number),
            Value::Bytes(bytes) => {
                self.head(2, bytes.len() as u64);
                self.out.extend_from_slice(bytes);
            }
            Value::Text(text) => {
                self.head(3, text.len() as u64);
                self.out.extend_from_slice(text.as_bytes());
            }
            Value::Array(values) => {
                self.head(4, values.len() as u64);
                values.iter().for_each(|value| self.value(value));
            }
            Value::Map(fields) => {
                self.head(5, fields.len() as u64);
                for (number, value) in fields {
                    self.head(0, *number);
                    self.value(value);
                }
            }
            Value::Bool(value) => self.out.push(if *value { 0xf5 } else { 0xf4 }),
        }
    }
}

fn encode(value: &Value, longer: Option<(usize, u8)>) -> (Vec<u8>, usize) {
    let mut encoder = Encoder { out: Vec::new(), heads: 0, longer };
    encoder.value(value);
    (encoder.out, encoder.heads)
}

/// Reads with minicbor, which is not strict.
fn decode(decoder: &mut Decoder<'_>) -> Value {
    match decoder.datatype().unwrap() {
        Type::Bytes => Value::Bytes(decoder.bytes().unwrap().to_vec()),
        Type::String => Value::Text(decoder.str().unwrap().to_owned()),
        Type::Bool => Value::Bool(decoder.bool().unwrap()),
        Type::Array => {
            let count = decoder.array().unwrap().unwrap();
            Value::Array((0..count).map(|_| decode(decoder)).collect())
        }
        Type::Map => {
            let count = decoder.map().unwrap().unwrap();
            Value::Map((0..count).map(|_| (decoder.u64().unwrap(), decode(decoder))).collect())
        }
        _ => match i128::from(decoder.int().unwrap()) {
            number @ 0.. => Value::Unsigned(number.try_into().unwrap()),
            number => Value::Negative((-1 - number).try_into().unwrap()),
        },
    }
}

/// A map with its fields in this order.
fn in_order(fields: &[(u64, Value)]) -> Vec<u8> {
    let mut encoder = Encoder { out: Vec::new(), heads: 0, longer: None };
    encoder.head(5, fields.len() as u64);
    for (number, value) in fields {
        encoder.head(0, *number);
        encoder.value(value);
    }
    encoder.out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn canonical_form_is_accepted_and_reads_back(value in value()) {
        let (bytes, _) = encode(&value, None);
        prop_assert_eq!(cbor::check("value", &bytes), Ok(()));
        prop_assert_eq!(decode(&mut Decoder::new(&bytes)), value);
    }

    #[test]
    fn longer_form_anywhere_is_refused(value in value(), at in any::<Index>(), more in 1..=4_u8) {
        let (canonical, heads) = encode(&value, None);
        prop_assume!(heads > 0);
        let (bytes, _) = encode(&value, Some((at.index(heads), more)));
        // The longest numbers have no longer form.
        prop_assume!(bytes != canonical);
        prop_assert!(cbor::check("value", &bytes).is_err());
    }

    #[test]
    fn fields_out_of_order_or_repeated_are_refused(fields in collection::btree_map(number(), value(), 2..5)) {
        let mut fields: Vec<_> = fields.into_iter().collect();
        prop_assert_eq!(cbor::check("map", &in_order(&fields)), Ok(()));
        fields.swap(0, 1);
        prop_assert!(cbor::check("map", &in_order(&fields)).is_err());
        fields[1] = fields[0].clone();
        prop_assert!(cbor::check("map", &in_order(&fields)).is_err());
    }

    #[test]
    fn more_or_fewer_bytes_are_refused(value in value(), more in any::<u8>(), at in any::<Index>()) {
        let (mut bytes, _) = encode(&value, None);
        prop_assert!(cbor::check("value", &bytes[..at.index(bytes.len())]).is_err());
        bytes.push(more);
        prop_assert!(cbor::check("value", &bytes).is_err());
    }

    #[test]
    fn what_is_accepted_has_no_second_form(value in value(), at in any::<Index>(), flip in 1..=u8::MAX) {
        let (mut bytes, _) = encode(&value, None);
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        if cbor::check("value", &bytes).is_ok() {
            let (again, _) = encode(&decode(&mut Decoder::new(&bytes)), None);
            prop_assert_eq!(again, bytes);
        }
    }
}
