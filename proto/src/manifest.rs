//! The manifest: what a tessera is. Its hash is the tessera id. A private manifest holds nothing about the content
//! but its length; the content hash is that of the encrypted bytes.
//!
//! | field | holds |
//! |---|---|
//! | 0 | version, 1 |
//! | 1 | author, 32 bytes |
//! | 2 | time of creation, milliseconds since 1970 |
//! | 3 | visibility: 0 private, 1 public |
//! | 4 | length of the content in bytes |
//! | 5 | BLAKE3 of the content, 32 bytes |
//! | 6 | optional: the tessera this one supersedes, 32 bytes |
//! | 7 | optional: the tessera this one is part of, 32 bytes |
//! | 8 | optional: rights, text |
//! | 9–12 | optional, public only: title, language, place, era, texts |
//! | 13, 14 | optional, public only: tags, people, arrays of texts |

use bytes::Bytes;
use minicbor::Decoder;

use crate::{
    cbor::{self, Fields, Writer},
    error::ProtoError,
    ids::{AuthorId, Checksum, TesseraId},
    keys::AuthorKey,
    limits::{CONTENT_BYTES_MAX, MANIFEST_BYTES_MAX, TIME_MS_MAX},
    signed::Form,
};

/// Who may read the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Visibility {
    /// Whom it is encrypted to.
    Private,
    /// Everybody.
    Public,
}

/// What a public tessera tells about its content.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Description {
    /// What it is called.
    pub title: Option<String>,
    /// Its language, best as a BCP 47 tag.
    pub language: Option<String>,
    /// Where it is from.
    pub place: Option<String>,
    /// When it is from, in words.
    pub era: Option<String>,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// Who is in it.
    pub people: Vec<String>,
}

impl Description {
    /// Checks what a manifest would refuse, before any content is read: a text is not empty and holds no control
    /// characters (it is printed on terminals). Errors with [`ProtoError::Malformed`].
    pub fn check(&self) -> Result<(), ProtoError> {
        let single = [&self.title, &self.language, &self.place, &self.era];
        single.into_iter().flatten().chain(&self.tags).chain(&self.people).try_for_each(|text| plain(text))
    }

    /// Whether it tells nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What a tessera is.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Manifest {
    /// Who made it; signs this manifest and is charged for it.
    pub author: AuthorId,
    /// When, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// Who may read it.
    pub visibility: Visibility,
    /// Length of the content as stored (encrypted when private), in bytes.
    pub content_len: u64,
    /// BLAKE3 of the content as stored.
    pub content_hash: Checksum,
    /// Empty unless public.
    pub description: Description,
    /// The tessera that this one is a newer edition of.
    pub supersedes: Option<TesseraId>,
    /// The collection that this one belongs to.
    pub part_of: Option<TesseraId>,
    /// What others may do with it: a licence's name, or a sentence.
    pub rights: Option<String>,
}

impl Manifest {
    /// Makes the document. Errors with [`ProtoError::Malformed`] for a private manifest with a description, a key
    /// that is not the author's, an unprintable text, a number beyond its limit, and with [`ProtoError::TooLong`].
    pub fn sign(&self, key: &AuthorKey) -> Result<SignedManifest, ProtoError> {
        if key.id() != self.author {
            let reason = format!("its author is {}, the key is that of {}", self.author, key.id());
            return Err(ProtoError::malformed(WHAT, reason));
        }
        self.check()?;
        let bytes = FORM.sign(self.encode(), |message| key.sign(message))?;
        Ok(SignedManifest { manifest: self.clone(), id: Checksum::of(&bytes).into(), bytes })
    }

    fn check(&self) -> Result<(), ProtoError> {
        if self.visibility == Visibility::Private && !self.description.is_empty() {
            return Err(ProtoError::malformed(
                WHAT,
                "a private tessera must not be described in its manifest",
            ));
        }
        if self.created_at_ms > TIME_MS_MAX {
            return Err(ProtoError::malformed(WHAT, format!("created at {} ms", self.created_at_ms)));
        }
        if self.content_len > CONTENT_BYTES_MAX {
            let (length, limit) = (self.content_len, CONTENT_BYTES_MAX);
            return Err(ProtoError::TooLong { what: "content", length, limit });
        }
        self.rights.iter().try_for_each(|text| plain(text))?;
        self.description.check()
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Writer::document(VERSION);
        out.bytes(1, self.author.as_bytes());
        out.unsigned(2, self.created_at_ms);
        out.unsigned(3, self.visibility.code());
        out.unsigned(4, self.content_len);
        out.bytes(5, self.content_hash.as_bytes());
        for (number, tessera) in [(6, self.supersedes), (7, self.part_of)] {
            tessera.iter().for_each(|tessera| out.bytes(number, tessera.as_bytes()));
        }
        let Description { title, language, place, era, tags, people } = &self.description;
        for (number, text) in [(8, &self.rights), (9, title), (10, language), (11, place), (12, era)] {
            text.iter().for_each(|text| out.text(number, text));
        }
        for (number, texts) in [(13, tags), (14, people)] {
            if !texts.is_empty() {
                out.texts(number, texts);
            }
        }
        out.finish()
    }

    fn decode(map: &[u8]) -> Result<Self, ProtoError> {
        let mut decoder = Decoder::new(map);
        let mut fields = Fields::enter(WHAT, &mut decoder)?;
        fields.version(VERSION)?;
        let manifest = Self {
            author: fields.required(1, cbor::bytes32)?,
            created_at_ms: fields.required(2, Decoder::u64)?,
            visibility: Visibility::from_code(fields.required(3, Decoder::u64)?)?,
            content_len: fields.required(4, Decoder::u64)?,
            content_hash: fields.required(5, cbor::bytes32)?,
            supersedes: fields.optional(6, cbor::bytes32)?,
            part_of: fields.optional(7, cbor::bytes32)?,
            rights: fields.optional(8, cbor::text)?,
            description: Description {
                title: fields.optional(9, cbor::text)?,
                language: fields.optional(10, cbor::text)?,
                place: fields.optional(11, cbor::text)?,
                era: fields.optional(12, cbor::text)?,
                tags: fields.optional(13, cbor::texts)?.unwrap_or_default(),
                people: fields.optional(14, cbor::texts)?.unwrap_or_default(),
            },
        };
        manifest.check()?;
        Ok(manifest)
    }
}

impl Visibility {
    const fn code(self) -> u8 {
        match self {
            Self::Private => 0,
            Self::Public => 1,
        }
    }

    fn from_code(code: u64) -> Result<Self, ProtoError> {
        match code {
            0 => Ok(Self::Private),
            1 => Ok(Self::Public),
            _ => Err(ProtoError::malformed(WHAT, format!("unknown visibility {code}"))),
        }
    }
}

/// A manifest together with the file it stands in, whose signature was made or checked here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedManifest {
    manifest: Manifest,
    id: TesseraId,
    bytes: Bytes,
}

impl SignedManifest {
    /// Reads the file and checks the author's signature. Errors with [`ProtoError::TooLong`],
    /// [`ProtoError::Malformed`], [`ProtoError::NewerVersion`] and [`ProtoError::BadSignature`].
    pub fn parse(bytes: Bytes) -> Result<Self, ProtoError> {
        let manifest = Manifest::decode(FORM.map(&bytes)?)?;
        FORM.verify(&bytes, manifest.author.as_bytes())?;
        Ok(Self { manifest, id: Checksum::of(&bytes).into(), bytes })
    }

    /// BLAKE3 of the file.
    pub fn id(&self) -> TesseraId {
        self.id
    }

    /// What it says.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The file, as it was received.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

fn plain(text: &str) -> Result<(), ProtoError> {
    if text.is_empty() {
        return Err(ProtoError::malformed(WHAT, "an empty text: leave it out"));
    }
    if text.contains(char::is_control) {
        return Err(ProtoError::malformed(WHAT, format!("a control character in {text:?}")));
    }
    Ok(())
}

const WHAT: &str = "manifest";
const VERSION: u64 = 1;
const FORM: Form = Form { what: WHAT, context: b"tesseras/1 manifest\0", bytes_max: MANIFEST_BYTES_MAX };

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> AuthorKey {
        AuthorKey::from_seed([1; 32])
    }

    fn private() -> Manifest {
        Manifest {
            author: key().id(),
            created_at_ms: 1_750_000_000_000,
            visibility: Visibility::Private,
            content_len: 5000,
            content_hash: Checksum::of(b"content"),
            description: Description::default(),
            supersedes: None,
            part_of: None,
            rights: None,
        }
    }

    fn titled(title: &str) -> Manifest {
        let description = Description { title: Some(title.to_owned()), ..Description::default() };
        Manifest { visibility: Visibility::Public, description, ..private() }
    }

    fn refused(manifest: &Manifest, reason: &str) {
        let error = manifest.sign(&key()).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
        // The same rule holds for what others signed.
        let foreign = FORM.sign(manifest.encode(), |message| key().sign(message)).unwrap();
        assert_eq!(SignedManifest::parse(foreign).unwrap_err().to_string(), error);
    }

    #[test]
    fn manifest_signed_and_parsed_is_the_same() {
        let other = TesseraId::from_bytes([7; 32]);
        let mut full = titled("Käsespätzle");
        full.supersedes = Some(other);
        full.part_of = Some(other);
        full.rights = Some("CC BY 4.0".into());
        full.description.people = vec!["Anna".into(), "Ben".into()];
        for manifest in [private(), full] {
            let signed = manifest.sign(&key()).unwrap();
            let parsed = SignedManifest::parse(signed.bytes().clone()).unwrap();
            assert_eq!(parsed, signed);
            assert_eq!(parsed.manifest(), &manifest);
            assert_eq!(parsed.id().as_bytes(), Checksum::of(signed.bytes()).as_bytes());
        }
    }

    #[test]
    fn private_manifest_with_a_description_is_refused() {
        refused(&Manifest { visibility: Visibility::Private, ..titled("secret") }, "must not be described");
    }

    #[test]
    fn unprintable_text_is_refused() {
        refused(&titled("\u{1b}[2J"), "a control character in \"\\u{1b}[2J\"");
        refused(&titled(""), "an empty text");
    }

    #[test]
    fn number_beyond_its_limit_is_refused() {
        refused(&Manifest { content_len: CONTENT_BYTES_MAX + 1, ..private() }, "content is");
        refused(&Manifest { created_at_ms: TIME_MS_MAX + 1, ..private() }, "created at");
    }

    #[test]
    fn manifest_longer_than_a_frame_is_refused() {
        let error = titled(&"a".repeat(MANIFEST_BYTES_MAX)).sign(&key()).unwrap_err();
        assert!(matches!(error, ProtoError::TooLong { what: "manifest", .. }));
        let parsed = SignedManifest::parse(vec![0; MANIFEST_BYTES_MAX + 1].into());
        assert!(matches!(parsed, Err(ProtoError::TooLong { .. })));
    }

    #[test]
    fn key_of_another_author_is_refused() {
        let error = private().sign(&AuthorKey::from_seed([2; 32])).unwrap_err().to_string();
        assert!(error.contains("its author is author1"), "{error}");
    }

    #[test]
    fn signature_of_another_key_or_context_is_refused() {
        let other = AuthorKey::from_seed([2; 32]);
        let stolen = FORM.sign(private().encode(), |message| other.sign(message)).unwrap();
        assert_eq!(SignedManifest::parse(stolen), Err(ProtoError::BadSignature { what: WHAT }));
        let bare = Form { context: b"", ..FORM }.sign(private().encode(), |message| key().sign(message));
        assert_eq!(SignedManifest::parse(bare.unwrap()), Err(ProtoError::BadSignature { what: WHAT }));
    }

    #[test]
    fn unknown_field_is_ignored_and_kept() {
        let mut map = private().encode();
        map[0] += 1;
        map.extend_from_slice(&[0x18, 99, 0xf5]);
        let file = FORM.sign(map, |message| key().sign(message)).unwrap();
        let parsed = SignedManifest::parse(file.clone()).unwrap();
        assert_eq!(parsed.manifest(), &private());
        assert_eq!(parsed.bytes(), &file);
    }
}
