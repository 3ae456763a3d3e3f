//! Who keeps what.

use proto::{
    AuthorId, NodeKey, TesseraId,
    placement::{Placement, SignedPlacement},
};
use serde_json::{Value, json};

use crate::{Codec, author, bytes32, hex, read, unhex};

#[test]
fn placement_vectors_hold() {
    fn encode(vector: &Value) -> Value {
        let placement: Placement = read(&vector["input"]["placement"]);
        let signed = match placement.repairer {
            None => placement.sign(&author(vector)),
            Some(_) => placement.sign_as_repairer(&NodeKey::from_seed(bytes32(&vector["seed"]))),
        };
        json!(hex(signed.unwrap().bytes()))
    }
    fn decode(vector: &Value) -> Value {
        let input = &vector["input"];
        let (tessera, author): (TesseraId, AuthorId) =
            (read(&input["placement"]["tessera"]), read(&input["author"]));
        let signed = SignedPlacement::parse(unhex(&vector["output"]).into(), tessera, author).unwrap();
        json!({"author": author, "placement": signed.placement()})
    }
    Codec { file: "placements.json", encode, decode }.check();
}
