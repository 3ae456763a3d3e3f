//! What nodes sign for each other, compare, and prove.

use proto::{
    Checksum, FragmentId, NodeKey, TesseraId,
    compare::{Digest, Sum},
    credential::{Credential, SignedCredential},
    limits::PROOF_GROUP_BYTES,
    order::{DropOrder, SignedDropOrder},
    proof::{self, Outboard},
    receipt::{Receipt, SignedReceipt},
    retraction::{Retraction, SignedRetraction},
};
use serde_json::{Value, json};

use crate::{Codec, author, bytes32, content, hex, read, unhex};

#[test]
fn receipt_vectors_hold() {
    fn encode(vector: &Value) -> Value {
        let input = &vector["input"];
        let receipt = Receipt {
            holder: read(&input["holder"]),
            deliverer: read(&input["deliverer"]),
            author: read(&input["author"]),
            fragment: read(&input["fragment"]),
            checksum: read(&input["checksum"]),
            length: read(&input["length"]),
            held_at_ms: read(&input["held_at_ms"]),
        };
        json!(hex(receipt.sign(&NodeKey::from_seed(bytes32(&vector["seed"]))).unwrap().bytes()))
    }
    fn decode(vector: &Value) -> Value {
        let holder = read(&vector["input"]["holder"]);
        json!(SignedReceipt::verify(&unhex(&vector["output"]), holder).unwrap())
    }
    Codec { file: "receipts.json", encode, decode }.check();
}

#[test]
fn credential_vectors_hold() {
    fn encode(vector: &Value) -> Value {
        let credential: Credential = read(&vector["input"]);
        json!(hex(credential.sign(&author(vector)).unwrap().bytes()))
    }
    fn decode(vector: &Value) -> Value {
        let node = read(&vector["input"]["node"]);
        json!(SignedCredential::verify(&unhex(&vector["output"]), node).unwrap())
    }
    Codec { file: "credentials.json", encode, decode }.check();
}

#[test]
fn retraction_vectors_hold() {
    fn encode(vector: &Value) -> Value {
        let retraction: Retraction = read(&vector["input"]);
        json!(hex(retraction.sign(&author(vector)).unwrap().bytes()))
    }
    fn decode(vector: &Value) -> Value {
        let (tessera, author) = (read(&vector["input"]["tessera"]), read(&vector["input"]["author"]));
        let signed = SignedRetraction::parse(unhex(&vector["output"]).into(), tessera, author).unwrap();
        json!(signed.retraction())
    }
    Codec { file: "retractions.json", encode, decode }.check();
}

#[test]
fn drop_order_vectors_hold() {
    fn encode(vector: &Value) -> Value {
        let input = &vector["input"];
        let order = DropOrder {
            author: read(&input["author"]),
            holder: read(&input["holder"]),
            binding: bytes32(&input["binding"]),
            tessera: read(&input["tessera"]),
            fragments: read(&input["fragments"]),
        };
        json!(hex(order.sign(&author(vector)).unwrap().bytes()))
    }
    fn decode(vector: &Value) -> Value {
        let input = &vector["input"];
        let (holder, binding) = (read(&input["holder"]), bytes32(&input["binding"]));
        let order = SignedDropOrder::verify(&unhex(&vector["output"]), holder, &binding).unwrap();
        json!({
            "author": order.author, "holder": order.holder, "binding": hex(&order.binding),
            "tessera": order.tessera, "fragments": order.fragments,
        })
    }
    Codec { file: "drop_orders.json", encode, decode }.check();
}

/// A tessera and what is held of it: stripe, index and checksum of each fragment.
#[test]
fn compare_vectors_hold() {
    fn encode(vector: &Value) -> Value {
        let tessera: TesseraId = read(&vector["input"]["tessera"]);
        let fragments: Vec<(u32, u16, Checksum)> = read(&vector["input"]["fragments"]);
        let digest = fragments.iter().fold(Digest::default(), |digest, (stripe, index, checksum)| {
            let id = FragmentId { tessera, stripe: *stripe, index: *index };
            digest.plus(Digest::of(&id, checksum))
        });
        json!({"digest": hex(&digest.to_bytes()), "sum": Sum::of(tessera, &digest).get()})
    }
    Codec { file: "compare.json", encode, decode: |vector| vector["input"].clone() }.check();
}

/// Of a slice the parents stand in the file; behind them come the bytes of the group.
#[test]
fn proof_vectors_hold() {
    fn fragment(vector: &Value) -> Vec<u8> {
        content(&vector["input"]["seed"], read(&vector["input"]["length"]))
    }
    fn group(bytes: &[u8], group: u32) -> &[u8] {
        bytes.chunks(PROOF_GROUP_BYTES).nth(group as usize).unwrap()
    }
    fn encode(vector: &Value) -> Value {
        let (bytes, number) = (fragment(vector), read(&vector["input"]["group"]));
        let (outboard, group) = (Outboard::of(&bytes), group(&bytes, number));
        let slice = outboard.slice(bytes.len().try_into().unwrap(), number, group).unwrap();
        json!({
            "checksum": Checksum::of(&bytes),
            "outboard": hex(outboard.bytes()),
            "parents": hex(slice.strip_suffix(group).unwrap()),
        })
    }
    fn decode(vector: &Value) -> Value {
        let (bytes, number) = (fragment(vector), read(&vector["input"]["group"]));
        let slice = [&unhex(&vector["output"]["parents"])[..], group(&bytes, number)].concat();
        let length = read(&vector["input"]["length"]);
        proof::verify(read(&vector["output"]["checksum"]), length, number, &slice).unwrap();
        if length as usize > PROOF_GROUP_BYTES {
            let outboard = Outboard::parse(unhex(&vector["output"]["outboard"]).into()).unwrap();
            assert_eq!(outboard.root(length), Ok(read(&vector["output"]["checksum"])));
        }
        vector["input"].clone()
    }
    Codec { file: "proofs.json", encode, decode }.check();
}
