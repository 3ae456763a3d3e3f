//! The frames of answers.

use proto::{
    Checksum, TesseraId,
    compare::{Digest, Sum},
    wire::{Answer, Bound, PeerSample, Refusal, RefusalKind},
};
use serde_json::{Value, json};

use crate::{Codec, bytes32, hex, optional_bytes, optional_hex, read, requests::parts, unhex};

#[test]
fn answer_vectors_hold() {
    fn encode(vector: &Value) -> Value {
        json!(hex(&answer(&vector["input"]).frame()))
    }
    fn decode(vector: &Value) -> Value {
        let frame = unhex(&vector["output"]);
        let (head, body) = parts(&frame).unwrap();
        described(&Answer::decode(head.kind, body).unwrap().unwrap())
    }
    Codec { file: "answers.json", encode, decode }.check();
}

fn answer(input: &Value) -> Answer {
    let length = || read(&input["length"]);
    match input["answer"].as_str().unwrap() {
        "hello" => Answer::Hello {
            software: read(&input["software"]),
            addresses: read(&input["addresses"]),
            observed: read(&input["observed"]),
            dial_back: read(&input["dial_back"]),
            credential: optional_bytes(&input["credential"]),
            allowance_bytes: read(&input["allowance_bytes"]),
            bound: input.get("bound").map(|number| Bound::ALL[read::<usize>(number) - 1]),
        },
        "done" => Answer::Done,
        "document" => Answer::Document { length: length() },
        "have" => Answer::Have { receipt: unhex(&input["receipt"]).into() },
        "stored" => Answer::Stored { receipt: unhex(&input["receipt"]).into() },
        "fragment" => Answer::Fragment { checksum: read(&input["checksum"]), length: length() },
        "dropped" => Answer::Dropped { count: read(&input["count"]) },
        "claim" => Answer::Claim { length: length() },
        "sums" => Answer::Sums(Box::new(sums(&input["step"]))),
        "tesseras" => Answer::Tesseras { list: list(input, tessera), more: read(&input["more"]) },
        "fragments" => Answer::Fragments { list: list(input, read), more: read(&input["more"]) },
        "proof" => Answer::Proof {
            nonce: bytes32(&input["nonce"]),
            fragment_len: read(&input["fragment_len"]),
            length: length(),
        },
        "peers" => Answer::Peers(list(input, peer)),
        "refused" => Answer::Refused(refusal(input)),
        other => panic!("answer {other}"),
    }
}

fn list<T>(input: &Value, each: impl Fn(&Value) -> T) -> Vec<T> {
    input["list"].as_array().unwrap().iter().map(each).collect()
}

/// Sum n is n times the step, modulo 2⁶².
fn sums(step: &Value) -> [Sum; 256] {
    let step: u64 = read(step);
    std::array::from_fn(|at| Sum::wrapped(step.wrapping_mul(at as u64)))
}

fn tessera(pair: &Value) -> (TesseraId, Digest) {
    (read(&pair[0]), Digest::from(bytes32(&pair[1])))
}

fn peer(pair: &Value) -> PeerSample {
    PeerSample { node: read(&pair[0]), addresses: read(&pair[1]) }
}

fn refusal(input: &Value) -> Refusal {
    let named = |kind: &RefusalKind| input["kind"] == kind.name();
    let kind = match RefusalKind::ALL.into_iter().find(named).unwrap() {
        RefusalKind::Busy { .. } => RefusalKind::Busy { retry_after_ms: read(&input["retry_after_ms"]) },
        other => other,
    };
    kind.because(input["reason"].as_str().unwrap())
}

fn described(answer: &Answer) -> Value {
    let mut out = match answer {
        Answer::Hello { software, addresses, observed, dial_back, credential, allowance_bytes, bound } => {
            let mut out = json!({
                "software": software, "addresses": addresses, "observed": observed, "dial_back": dial_back,
                "credential": optional_hex(credential.as_deref()), "allowance_bytes": allowance_bytes,
            });
            if let Some(bound) = bound {
                out["bound"] = json!(1 + Bound::ALL.iter().position(|one| one == bound).unwrap());
            }
            out
        }
        Answer::Done => json!({}),
        Answer::Document { length } | Answer::Claim { length } => json!({"length": length}),
        Answer::Have { receipt } | Answer::Stored { receipt } => json!({"receipt": hex(receipt)}),
        Answer::Fragment { checksum, length } => json!({"checksum": checksum, "length": length}),
        Answer::Dropped { count } => json!({"count": count}),
        Answer::Sums(sums) => {
            let step = json!(sums[1].get());
            assert_eq!(**sums, self::sums(&step));
            json!({"step": step})
        }
        Answer::Tesseras { list, more } => {
            let pair = |(tessera, digest): &(TesseraId, Digest)| json!([tessera, hex(&digest.to_bytes())]);
            json!({"list": list.iter().map(pair).collect::<Vec<_>>(), "more": more})
        }
        Answer::Fragments { list, more } => {
            let place = |(stripe, index, sum): &(u32, u16, Checksum)| json!([stripe, index, sum]);
            json!({"list": list.iter().map(place).collect::<Vec<_>>(), "more": more})
        }
        Answer::Proof { nonce, fragment_len, length } => {
            json!({"nonce": hex(nonce), "fragment_len": fragment_len, "length": length})
        }
        Answer::Peers(peers) => {
            let pair = |peer: &PeerSample| json!([peer.node, peer.addresses]);
            json!({"list": peers.iter().map(pair).collect::<Vec<_>>()})
        }
        Answer::Refused(refusal) => {
            let mut out = json!({"kind": refusal.kind().name(), "reason": refusal.reason()});
            if let RefusalKind::Busy { retry_after_ms } = refusal.kind() {
                out["retry_after_ms"] = json!(retry_after_ms);
            }
            out
        }
        other => panic!("{other:?}"),
    };
    out["answer"] = json!(answer.name());
    out
}
