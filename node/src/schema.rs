//! How the types that other crates define look in JSON, for `/v1/openapi.json`. Those of `api` say so themselves.

use std::collections::BTreeMap;

use utoipa::{
    IntoParams, IntoResponses, PartialSchema, ToSchema,
    openapi::{
        ContentBuilder, Header, KnownFormat, ObjectBuilder, RefOr, Response, ResponseBuilder, Schema,
        SchemaFormat, Type,
    },
};

/// Declares what a text looks like.
macro_rules! texts {
    ($($(#[$doc:meta])* $name:ident = $pattern:expr, $description:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub(crate) enum $name {}

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                let text = ObjectBuilder::new().schema_type(Type::String);
                text.pattern(Some($pattern)).description(Some($description)).into()
            }
        }

        impl ToSchema for $name {}
    )*};
}

texts! {
    /// [`proto::TesseraId`].
    TesseraId = bech32("tess", "TESS", "58"), "A tessera: BLAKE3 of its manifest, in bech32m";
    /// The beginning of a [`proto::TesseraId`].
    TesseraPrefix = bech32("tess", "TESS", "0,58"), "The beginning of a tessera's id";
    /// [`proto::NodeId`].
    NodeId = bech32("node", "NODE", "58"), "A machine: its Ed25519 public key, in bech32m";
    /// A tessera's id or a node's.
    TesseraOrNodeId = format!("{}|{}", bech32("tess", "TESS", "58"), bech32("node", "NODE", "58")),
        "A tessera or a node, in bech32m";
    /// [`config::HostPort`].
    HostPort = r"^.{1,249}:[0-9]{1,5}$", "Where a node is reached: a host, and a UDP port; IPv6 stands in brackets";
    /// [`proto::invite::Invite`].
    InviteLine = r"^\s*(invite|INVITE)1", "An invite; blanks in it do not count";
    /// [`proto::AuthorId`].
    AuthorId = bech32("author", "AUTHOR", "58"), "A person: the Ed25519 public key that signs, in bech32m";
    /// [`proto::Checksum`].
    Checksum = "^[0-9a-fA-F]{64}$", "BLAKE3, in hexadecimal";
    /// [`crate::jobs::JobId`].
    JobId = "^([0-9]{1,19}|[0-9a-fA-F]{64})$", "The number of a job, or a BLAKE3 in hexadecimal";
}

/// Either case will do, but not a mixture (BIP 173).
fn bech32(prefix: &str, upper: &str, letters: &str) -> String {
    format!("^({prefix}1[ac-hj-np-z02-9]{{{letters}}}|{upper}1[AC-HJ-NP-Z02-9]{{{letters}}})$")
}

/// Bytes as they are.
#[derive(Debug)]
pub(crate) enum Bytes {}

impl PartialSchema for Bytes {
    fn schema() -> RefOr<Schema> {
        let format = SchemaFormat::KnownFormat(KnownFormat::Binary);
        ObjectBuilder::new().schema_type(Type::String).format(Some(format)).into()
    }
}

impl ToSchema for Bytes {}

/// Who may read it.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) enum Visibility {
    /// Whom it is encrypted to.
    Private,
    /// Everybody.
    Public,
}

/// What a public tessera tells about its content.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) struct Description {
    /// What it is called.
    title: Option<String>,
    /// Its language, best as a BCP 47 tag.
    language: Option<String>,
    /// Where it is from.
    place: Option<String>,
    /// When it is from, in words.
    era: Option<String>,
    /// Words to find it by.
    tags: Vec<String>,
    /// Who is in it.
    people: Vec<String>,
}

/// The tessera that a path names.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) struct OfTessera {
    /// The tessera
    id: TesseraId,
}

/// The node that a path names.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) struct OfNode {
    /// The node
    id: NodeId,
}

/// The tessera, and who holds it, that a path names.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) struct OfHolder {
    /// The tessera
    id: TesseraId,
    /// The node
    node: NodeId,
}

/// What is blocked, as a path names it.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) struct OfBlock {
    /// The tessera or the node
    id: TesseraOrNodeId,
}

/// The invite that a path names.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) struct OfInvite {
    /// BLAKE3 of its secret
    id: Checksum,
}

/// The fragment that a path names.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) struct OfFragment {
    /// The tessera
    id: TesseraId,
    /// The stripe, from 0
    stripe: u32,
    /// The place in the stripe, from 0
    index: u16,
}

/// The job that a path names.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) struct OfJob {
    /// Its number, or the checksum of what is damaged
    id: JobId,
}

/// The file that a path names.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) struct OfFile {
    /// The file, by its path among the files that the tessera was made of; it may hold slashes
    path: String,
}

/// What of it is wanted, and when (RFC 9110).
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) struct OfPart {
    /// One range of bytes; several are answered with the whole
    #[param(rename = "Range")]
    range: Option<String>,
    /// The tag that the caller has a part of; with another one it gets the whole
    #[param(rename = "If-Range")]
    if_range: Option<String>,
    /// The tags that the caller has
    #[param(rename = "If-None-Match")]
    if_none_match: Option<String>,
    /// The tags that the caller will have
    #[param(rename = "If-Match")]
    if_match: Option<String>,
}

/// The tar of a bag or what is stored, all or a part of it.
#[derive(Debug)]
pub(crate) enum ContentInParts {}

/// Bytes, all or a part of them.
#[derive(Debug)]
pub(crate) enum BytesInParts {}

impl IntoResponses for ContentInParts {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        in_parts(&["application/x-tar", "application/octet-stream"])
    }
}

impl IntoResponses for BytesInParts {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        in_parts(&["application/octet-stream"])
    }
}

fn in_parts(media_types: &[&str]) -> BTreeMap<String, RefOr<Response>> {
    let bytes = || ContentBuilder::new().schema(Some(Bytes::schema())).build();
    let with_bytes = |description: &str| {
        let response = ResponseBuilder::new().description(description).header("ETag", Header::default());
        media_types.iter().fold(response, |response, kind| response.content(*kind, bytes())).build()
    };
    let known =
        ResponseBuilder::new().description("The caller has it: `If-None-Match` names its tag").build();
    [("200", with_bytes("All of it")), ("206", with_bytes("The part that `Range` names")), ("304", known)]
        .into_iter()
        .map(|(status, response)| (status.to_owned(), response.into()))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn names(value: &serde_json::Value) -> BTreeSet<&str> {
        value.as_object().unwrap().keys().map(String::as_str).collect()
    }

    #[test]
    fn description_has_the_members_of_the_real_one() {
        let real = serde_json::to_value(proto::manifest::Description::default()).unwrap();
        let schema = serde_json::to_value(Description::schema()).unwrap();
        assert_eq!(names(&schema["properties"]), names(&real));
    }

    #[test]
    fn visibility_has_the_words_of_the_real_one() {
        use proto::manifest::Visibility::{Private, Public};
        let schema = serde_json::to_value(Visibility::schema()).unwrap();
        assert_eq!(schema["enum"], serde_json::to_value([Private, Public]).unwrap());
    }

    #[test]
    fn ids_are_as_long_as_their_patterns_say() {
        let long = |id: String, prefix: &str| assert_eq!(id.len(), prefix.len() + 1 + 58, "{id}");
        long(proto::TesseraId::from_bytes([7; 32]).to_string(), "tess");
        long(proto::NodeId::from_bytes([7; 32]).to_string(), "node");
        long(proto::AuthorId::from_bytes([7; 32]).to_string(), "author");
    }
}
