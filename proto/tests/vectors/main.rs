//! The test vectors in this folder, which are kept for ever, checked both ways: encoding `input` gives `output`,
//! decoding `output` gives `input`.
//!
//! A new vector is an object with `name`, `input` and, where something is signed, `seed`; running this with
//! `PROTO_VECTORS_FILL=1` adds the missing `output`. An output that is there is never changed.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod answers;
mod between_nodes;
mod placing;
mod requests;

use std::{fmt::Write as _, fs, path::PathBuf};

use bytes::Bytes;
use proto::{
    AccountId, AuthorId, AuthorKey, Checksum, Fragment, FragmentId, NodeId, NodeKey, ProtoError, TesseraId,
    attestation::{Claim, Expect, SignedClaim},
    cbor,
    chunks::Chunker,
    erasure::Coder,
    invite::Invite,
    layout::{Code, Layout, SignedLayout},
    limits::{RECORD_ALIGN_BYTES, RECORD_HEADER_BYTES},
    manifest::{Manifest, SignedManifest},
    prefix::IdPrefix,
    record::{self, DocumentKind, Header, Record, Salt, SessionId},
};
use serde_json::{Value, from_value, json};

/// What is checked of a file: its input encoded, and its output decoded.
struct Codec {
    file: &'static str,
    encode: fn(&Value) -> Value,
    decode: fn(&Value) -> Value,
}

impl Codec {
    fn check(&self) {
        let path = folder().join(self.file);
        let mut vectors: Vec<Value> = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert!(!vectors.is_empty(), "{}", self.file);
        if std::env::var_os("PROTO_VECTORS_FILL").is_some() {
            self.fill(&mut vectors);
            fs::write(&path, serde_json::to_string_pretty(&vectors).unwrap() + "\n").unwrap();
        }
        for vector in &vectors {
            let name = &vector["name"];
            assert_eq!((self.encode)(vector), vector["output"], "encoding {name} of {}", self.file);
            assert_eq!((self.decode)(vector), vector["input"], "decoding {name} of {}", self.file);
        }
    }

    fn fill(&self, vectors: &mut [Value]) {
        for vector in vectors.iter_mut().filter(|vector| vector["output"].is_null()) {
            vector["output"] = (self.encode)(vector);
        }
    }
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors")
}

#[test]
fn every_file_of_vectors_is_checked() {
    let mut files: Vec<_> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".json"))
        .collect();
    files.sort();
    let checked = [
        "answers.json",
        "cbor.json",
        "chunks.json",
        "claims.json",
        "compare.json",
        "credentials.json",
        "drop_orders.json",
        "erasure.json",
        "frames.json",
        "ids.json",
        "invites.json",
        "layouts.json",
        "manifests.json",
        "placements.json",
        "prefixes.json",
        "proofs.json",
        "receipts.json",
        "records.json",
        "requests.json",
        "retractions.json",
    ];
    assert_eq!(files, checked);
}

#[test]
fn cbor_vectors_hold() {
    let encode = |vector: &Value| json!(cbor::check("vector", &unhex(&vector["input"])).is_ok());
    Codec { file: "cbor.json", encode, decode: |vector| vector["input"].clone() }.check();
}

#[test]
fn id_vectors_hold() {
    fn encode(vector: &Value) -> Value {
        let bytes = bytes32(&vector["input"]);
        json!({
            "tessera": TesseraId::from_bytes(bytes),
            "node": NodeId::from_bytes(bytes),
            "author": AuthorId::from_bytes(bytes),
            "account": AccountId::from_bytes(bytes),
            "checksum": Checksum::from_bytes(bytes),
        })
    }
    fn decode(vector: &Value) -> Value {
        let texts = &vector["output"];
        let tessera: TesseraId = read(&texts["tessera"]);
        let node: NodeId = read(&texts["node"]);
        let author: AuthorId = read(&texts["author"]);
        let account: AccountId = read(&texts["account"]);
        let checksum: Checksum = read(&texts["checksum"]);
        let all = [tessera.as_bytes(), node.as_bytes(), author.as_bytes(), account.as_bytes()];
        assert!(all.iter().all(|bytes| *bytes == checksum.as_bytes()));
        json!(hex(checksum.as_bytes()))
    }
    Codec { file: "ids.json", encode, decode }.check();
}

#[test]
fn prefix_vectors_hold() {
    fn encode(vector: &Value) -> Value {
        match vector["input"].as_str().unwrap().parse::<IdPrefix<TesseraId>>() {
            Ok(prefix) => {
                json!({"first": hex(prefix.first().as_bytes()), "last": hex(prefix.last().as_bytes())})
            }
            Err(_) => json!("refused"),
        }
    }
    Codec { file: "prefixes.json", encode, decode: |vector| vector["input"].clone() }.check();
}

#[test]
fn invite_vectors_hold() {
    fn encode(vector: &Value) -> Value {
        let input = &vector["input"];
        let invite = Invite {
            node: read(&input["node"]),
            addresses: read(&input["addresses"]),
            token: bytes32(&input["token"]),
            expires_at_ms: read(&input["expires_at_ms"]),
            allowance_bytes: read(&input["allowance_bytes"]),
        };
        json!(invite.to_line().unwrap())
    }
    fn decode(vector: &Value) -> Value {
        let invite = Invite::read(vector["output"].as_str().unwrap()).unwrap();
        json!({
            "node": invite.node,
            "addresses": invite.addresses,
            "token": hex(&invite.token),
            "expires_at_ms": invite.expires_at_ms,
            "allowance_bytes": invite.allowance_bytes,
        })
    }
    Codec { file: "invites.json", encode, decode }.check();
}

#[test]
fn record_vectors_hold() {
    fn encode(vector: &Value) -> Value {
        let input = &vector["input"];
        let (kind, payload) = (record(input).kind(), record(input).payload());
        let (salt, sequence) = (unhex(&input["salt"]), read(&input["sequence"]));
        let salt = Salt(*salt.first_chunk().unwrap());
        let header = Header::new(kind, salt, sequence, payload.len(), Checksum::of(&payload)).unwrap();
        let mut out = [&header.encode()[..], &payload].concat();
        out.resize(out.len().next_multiple_of(RECORD_ALIGN_BYTES), 0);
        assert_eq!(out.len() as u64, header.record_len());
        json!(hex(&out))
    }
    fn decode(vector: &Value) -> Value {
        let bytes = Bytes::from(unhex(&vector["output"]));
        let header = Header::decode(bytes.first_chunk().unwrap()).unwrap();
        let payload = bytes.slice(RECORD_HEADER_BYTES..RECORD_HEADER_BYTES + header.payload_len as usize);
        assert_eq!(Checksum::of(&payload), header.payload_hash);
        let mut described = described(header.sequence, &Record::decode(header.kind, &payload).unwrap());
        described["salt"] = json!(hex(&header.salt.0));
        described
    }
    Codec { file: "records.json", encode, decode }.check();
}

fn record(input: &Value) -> Record {
    let session = || SessionId(read(&input["session"]));
    let claim = || record::Claim {
        session: session(),
        account: read(&input["account"]),
        fragment: FragmentId {
            tessera: read(&input["tessera"]),
            stripe: read(&input["stripe"]),
            index: read(&input["index"]),
        },
        checksum: read(&input["checksum"]),
        length: read(&input["length"]),
    };
    match input["kind"].as_str().unwrap() {
        "blob" => Record::Blob(unhex(&input["bytes"]).into()),
        "document" => Record::Document {
            session: session(),
            tessera: read(&input["tessera"]),
            kind: DocumentKind::from_code(read(&input["document"])).unwrap(),
            bytes: unhex(&input["bytes"]).into(),
        },
        "ref" => Record::Ref(claim()),
        "drop" => Record::Drop(claim()),
        "commit" => Record::Commit { session: session(), tessera: read(&input["tessera"]) },
        "forget" => Record::Forget { tessera: read(&input["tessera"]) },
        other => panic!("kind {other}"),
    }
}

fn described(sequence: u64, record: &Record) -> Value {
    let claimed = |kind, claim: &record::Claim| {
        let FragmentId { tessera, stripe, index } = claim.fragment;
        json!({
            "kind": kind, "sequence": sequence, "session": claim.session.0, "account": claim.account,
            "tessera": tessera, "stripe": stripe, "index": index, "checksum": claim.checksum,
            "length": claim.length,
        })
    };
    match record {
        Record::Blob(bytes) => json!({"kind": "blob", "sequence": sequence, "bytes": hex(bytes)}),
        Record::Document { session, tessera, kind, bytes } => json!({
            "kind": "document", "sequence": sequence, "session": session.0, "tessera": tessera,
            "document": kind.code(), "bytes": hex(bytes),
        }),
        Record::Ref(claim) => claimed("ref", claim),
        Record::Drop(claim) => claimed("drop", claim),
        Record::Commit { session, tessera } => {
            json!({"kind": "commit", "sequence": sequence, "session": session.0, "tessera": tessera})
        }
        Record::Forget { tessera } => json!({"kind": "forget", "sequence": sequence, "tessera": tessera}),
    }
}

#[test]
fn manifest_vectors_hold() {
    fn encode(vector: &Value) -> Value {
        let signed = read::<Manifest>(&vector["input"]).sign(&author(vector)).unwrap();
        json!({"file": hex(signed.bytes()), "id": signed.id()})
    }
    fn decode(vector: &Value) -> Value {
        let signed = SignedManifest::parse(unhex(&vector["output"]["file"]).into()).unwrap();
        assert_eq!(json!(signed.id()), vector["output"]["id"]);
        json!(signed.manifest())
    }
    Codec { file: "manifests.json", encode, decode }.check();
}

/// The checksum of fragment `n` is BLAKE3 of `n` as eight bytes, little-endian.
#[test]
fn layout_vectors_hold() {
    fn encode(vector: &Value) -> Value {
        let input = &vector["input"];
        let manifest = SignedManifest::parse(unhex(&input["manifest"]).into()).unwrap();
        let code = Code::new(read(&input["k"]), read(&input["m"])).unwrap();
        let checksums: Vec<_> =
            (0..read(&input["fragments"])).map(|number: u64| Checksum::of(&number.to_le_bytes())).collect();
        let content_len = manifest.manifest().content_len;
        let fragment_len = read(&input["fragment_len"]);
        let (layout, pages) =
            Layout::build(manifest.id(), code, fragment_len, content_len, &checksums).unwrap();
        let layout = layout
            .beginning_at(if input["first_stripe"].is_null() { 0 } else { read(&input["first_stripe"]) })
            .unwrap();
        let signed = layout.sign(&author(vector)).unwrap();
        json!({
            "file": hex(signed.bytes()),
            "checksum": signed.checksum(),
            "page_lengths": pages.iter().map(Bytes::len).collect::<Vec<_>>(),
            "last_page": hex(pages.last().unwrap()),
        })
    }
    fn decode(vector: &Value) -> Value {
        let (input, output) = (&vector["input"], &vector["output"]);
        let manifest = SignedManifest::parse(unhex(&input["manifest"]).into()).unwrap();
        let signed = SignedLayout::parse(unhex(&output["file"]).into(), &manifest).unwrap();
        let layout = signed.layout();
        let last = layout.page(layout.pages().len() - 1, unhex(&output["last_page"]).into()).unwrap();
        let (page, at) = layout.page_of(layout.fragments() - 1);
        assert_eq!((page + 1, at + 1), (layout.pages().len(), last.len()));
        assert_eq!(last.checksum(at), Some(Checksum::of(&(layout.fragments() - 1).to_le_bytes())));
        let mut read = json!({
            "manifest": hex(manifest.bytes()),
            "k": layout.code().k(),
            "m": layout.code().m(),
            "fragment_len": layout.fragment_len(),
            "fragments": layout.fragments(),
        });
        if layout.stripe_numbers().start > 0 {
            read["first_stripe"] = json!(layout.stripe_numbers().start);
        }
        read
    }
    Codec { file: "layouts.json", encode, decode }.check();
}

#[test]
fn chunk_vectors_hold() {
    fn encode(vector: &Value) -> Value {
        let content = content(&vector["input"]["seed"], read(&vector["input"]["content_len"]));
        let mut chunks: Vec<Fragment> = Vec::new();
        let mut sink = |chunk| -> Result<(), ProtoError> {
            chunks.push(chunk);
            Ok(())
        };
        let mut chunker = Chunker::new();
        chunker.push(&content, &mut sink).unwrap();
        let cut = chunker.finish(&mut sink).unwrap();
        assert!(chunks.iter().map(Fragment::bytes).eq(content.chunks(cut.fragment_len as usize)));
        json!({
            "fragment_len": cut.fragment_len,
            "content_hash": cut.content_hash,
            "chunks": chunks.iter().map(|chunk| json!([chunk.bytes().len(), chunk.checksum()])).collect::<Vec<_>>(),
        })
    }
    Codec { file: "chunks.json", encode, decode: |vector| vector["input"].clone() }.check();
}

#[test]
fn erasure_vectors_hold() {
    fn data(vector: &Value) -> Vec<Fragment> {
        let lengths: Vec<usize> = read(&vector["input"]["lengths"]);
        let seed: u64 = read(&vector["input"]["seed"]);
        let shard = |(seed, length)| Fragment::hash(content(&json!(seed), length).into()).unwrap();
        (seed..).zip(lengths).map(shard).collect()
    }
    fn encode(vector: &Value) -> Value {
        let parity = Coder::new().encode(&data(vector), read(&vector["input"]["parity"])).unwrap();
        let parity = parity.iter().map(|parity| {
            let first = &parity.bytes()[..64];
            json!({"length": parity.bytes().len(), "first": hex(first), "checksum": parity.checksum()})
        });
        parity.collect()
    }
    fn decode(vector: &Value) -> Value {
        let data = data(vector);
        let parity: Vec<Checksum> =
            vector["output"].as_array().unwrap().iter().map(|parity| read(&parity["checksum"])).collect();
        Coder::new().verify(&data, &parity).unwrap();
        vector["input"].clone()
    }
    Codec { file: "erasure.json", encode, decode }.check();
}

#[test]
fn claim_vectors_hold() {
    fn encode(vector: &Value) -> Value {
        let input = &vector["input"];
        let claim = Claim {
            node: read(&input["node"]),
            verifier: read(&input["verifier"]),
            nonce: bytes32(&input["nonce"]),
            binding: bytes32(&input["binding"]),
            tessera: read(&input["tessera"]),
            made_at_ms: read(&input["made_at_ms"]),
            stripes: read(&input["stripes"][0])..read(&input["stripes"][1]),
            next_stripe: read(&input["next_stripe"]),
            fragments: read(&input["fragments"]),
        };
        json!(hex(claim.sign(&NodeKey::from_seed(bytes32(&vector["seed"]))).unwrap().bytes()))
    }
    fn decode(vector: &Value) -> Value {
        let input = &vector["input"];
        let expect = Expect {
            node: read(&input["node"]),
            verifier: read(&input["verifier"]),
            nonce: bytes32(&input["nonce"]),
            binding: bytes32(&input["binding"]),
            tessera: read(&input["tessera"]),
        };
        let claim = SignedClaim::verify(&unhex(&vector["output"]), &expect).unwrap();
        json!({
            "node": claim.node, "verifier": claim.verifier, "nonce": hex(&claim.nonce),
            "binding": hex(&claim.binding), "tessera": claim.tessera, "made_at_ms": claim.made_at_ms,
            "stripes": [claim.stripes.start, claim.stripes.end], "next_stripe": claim.next_stripe,
            "fragments": claim.fragments,
        })
    }
    Codec { file: "claims.json", encode, decode }.check();
}

/// The first bytes of the extended output of BLAKE3 over the seed as eight bytes, little-endian.
fn content(seed: &Value, length: usize) -> Vec<u8> {
    let mut out = vec![0; length];
    blake3::Hasher::new().update(&read::<u64>(seed).to_le_bytes()).finalize_xof().fill(&mut out);
    out
}

fn author(vector: &Value) -> AuthorKey {
    AuthorKey::from_seed(bytes32(&vector["seed"]))
}

fn read<T: serde::de::DeserializeOwned>(value: &Value) -> T {
    from_value(value.clone()).unwrap()
}

fn bytes32(value: &Value) -> [u8; 32] {
    unhex(value).try_into().unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        write!(out, "{byte:02x}").unwrap();
        out
    })
}

fn unhex(value: &Value) -> Vec<u8> {
    let digits = value.as_str().unwrap();
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

fn optional_bytes(value: &Value) -> Option<Bytes> {
    (!value.is_null()).then(|| unhex(value).into())
}

fn optional_hex(bytes: Option<&[u8]>) -> Option<String> {
    bytes.map(hex)
}
