//! The frames of requests, and what becomes of frames that break a rule or come from later software.

use proto::{
    FragmentId, ProtoError,
    compare::Question,
    limits::FRAME_HEAD_BYTES,
    record::DocumentKind,
    wire::{Answer, Head, Request},
};
use serde_json::{Value, json};

use crate::{Codec, bytes32, hex, optional_bytes, optional_hex, read, unhex};

#[test]
fn request_vectors_hold() {
    fn encode(vector: &Value) -> Value {
        json!(hex(&request(&vector["input"]).frame()))
    }
    fn decode(vector: &Value) -> Value {
        let frame = unhex(&vector["output"]);
        let (head, body) = parts(&frame).unwrap();
        described(&Request::decode(head.kind, body).unwrap().unwrap())
    }
    Codec { file: "requests.json", encode, decode }.check();
}

/// The output is the name of the request or answer, `unknown`, `newer` or `refused`.
#[test]
fn frame_vectors_hold() {
    fn outcome(frame: &[u8]) -> Result<&'static str, ProtoError> {
        let (head, body) = parts(frame)?;
        let request = Request::decode(head.kind, body)?.map(|request| request.name());
        let answer = Answer::decode(head.kind, body)?.map(|answer| answer.name());
        Ok(request.or(answer).unwrap_or("unknown"))
    }
    fn encode(vector: &Value) -> Value {
        match outcome(&unhex(&vector["input"])) {
            Ok(name) => json!(name),
            Err(ProtoError::NewerVersion { .. }) => json!("newer"),
            Err(_) => json!("refused"),
        }
    }
    Codec { file: "frames.json", encode, decode: |vector| vector["input"].clone() }.check();
}

/// Head and body of a frame that is whole.
pub(crate) fn parts(frame: &[u8]) -> Result<(Head, &[u8]), ProtoError> {
    let (head, body) = frame.split_first_chunk::<FRAME_HEAD_BYTES>().unwrap();
    let head = Head::parse(*head)?;
    assert_eq!(head.body_len as usize, body.len());
    Ok((head, body))
}

fn request(input: &Value) -> Request {
    let fragment = || FragmentId {
        tessera: read(&input["tessera"]),
        stripe: read(&input["stripe"]),
        index: read(&input["index"]),
    };
    let document = || DocumentKind::from_code(read(&input["document"])).unwrap();
    match input["request"].as_str().unwrap() {
        "hello" => Request::Hello {
            software: read(&input["software"]),
            addresses: read(&input["addresses"]),
            credential: optional_bytes(&input["credential"]),
            invite: optional_bytes(&input["invite"]).map(|invite| invite[..].try_into().unwrap()),
            dial_back: read(&input["dial_back"]),
        },
        "put_document" => Request::PutDocument {
            tessera: read(&input["tessera"]),
            document: document(),
            layout: read(&input["layout"]),
            length: read(&input["length"]),
        },
        "get_document" => Request::GetDocument {
            tessera: read(&input["tessera"]),
            document: document(),
            hash: read(&input["hash"]),
        },
        "put_fragment" => Request::PutFragment {
            fragment: fragment(),
            checksum: read(&input["checksum"]),
            length: read(&input["length"]),
            layout: read(&input["layout"]),
        },
        "get_fragment" => Request::GetFragment { fragment: fragment(), checksum: read(&input["checksum"]) },
        "drop_fragments" => Request::DropFragments { order: unhex(&input["order"]).into() },
        "attest" => Request::Attest {
            tessera: read(&input["tessera"]),
            stripes: read(&input["stripes"][0])..read(&input["stripes"][1]),
            nonce: bytes32(&input["nonce"]),
        },
        "compare" => Request::Compare { account: read(&input["account"]), question: question(input) },
        "prove" => Request::Prove {
            checksum: read(&input["checksum"]),
            group: read(&input["group"]),
            nonce: bytes32(&input["nonce"]),
        },
        "peers" => Request::Peers,
        "look_after" => Request::LookAfter { tessera: read(&input["tessera"]) },
        "introduce" => Request::Introduce {
            tessera: read(&input["tessera"]),
            manifest: read(&input["manifest"]),
            layout: read(&input["layout"]),
            page: read(&input["page"]),
        },
        other => panic!("request {other}"),
    }
}

fn question(input: &Value) -> Question {
    let prefix = || unhex(&input["prefix"]);
    match read(&input["level"]) {
        0 => Question::All,
        1 => Question::Under(prefix()[0]),
        2 => Question::Pair { prefix: prefix().try_into().unwrap(), after: read(&input["after"]) },
        3 => Question::Tessera { tessera: read(&input["tessera"]), from: read(&input["from"]) },
        5 => Question::Tesserae { after: read(&input["after"]) },
        other => panic!("level {other}"),
    }
}

fn described(request: &Request) -> Value {
    let mut out = match request {
        Request::Hello { software, addresses, credential, invite, dial_back } => json!({
            "software": software, "addresses": addresses, "credential": optional_hex(credential.as_deref()),
            "invite": optional_hex(invite.as_ref().map(|invite| &invite[..])), "dial_back": dial_back,
        }),
        Request::PutDocument { tessera, document, layout, length } => {
            json!({"tessera": tessera, "document": document.code(), "layout": layout, "length": length})
        }
        Request::GetDocument { tessera, document, hash } => {
            json!({"tessera": tessera, "document": document.code(), "hash": hash})
        }
        Request::PutFragment {
            fragment: FragmentId { tessera, stripe, index },
            checksum,
            length,
            layout,
        } => {
            json!({
                "tessera": tessera, "stripe": stripe, "index": index, "checksum": checksum, "length": length,
                "layout": layout,
            })
        }
        Request::GetFragment { fragment: FragmentId { tessera, stripe, index }, checksum } => {
            json!({"tessera": tessera, "stripe": stripe, "index": index, "checksum": checksum})
        }
        Request::DropFragments { order } => json!({"order": hex(order)}),
        Request::Attest { tessera, stripes, nonce } => {
            json!({"tessera": tessera, "stripes": [stripes.start, stripes.end], "nonce": hex(nonce)})
        }
        Request::Compare { account, question } => {
            let mut out = described_question(question);
            out["account"] = json!(account);
            out
        }
        Request::Prove { checksum, group, nonce } => {
            json!({"checksum": checksum, "group": group, "nonce": hex(nonce)})
        }
        Request::Peers => json!({}),
        Request::LookAfter { tessera } => json!({"tessera": tessera}),
        Request::Introduce { tessera, manifest, layout, page } => {
            json!({"tessera": tessera, "manifest": manifest, "layout": layout, "page": page})
        }
        other => panic!("{other:?}"),
    };
    out["request"] = json!(request.name());
    out
}

fn described_question(question: &Question) -> Value {
    match question {
        Question::All => json!({"level": 0}),
        Question::Under(first) => json!({"level": 1, "prefix": hex(&[*first])}),
        Question::Pair { prefix, after } => json!({"level": 2, "prefix": hex(prefix), "after": after}),
        Question::Tessera { tessera, from } => json!({"level": 3, "tessera": tessera, "from": from}),
        Question::Tesserae { after } => json!({"level": 5, "after": after}),
    }
}
