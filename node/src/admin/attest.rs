//! `POST /v1/tesseras/{id}/attest`: a signed claim of what is held of a tessera. No blob is read.

use std::sync::Arc;

use actors::attestation::{Attestation, Question};
use axum::{Json, extract::State};
use base64::{Engine, prelude::BASE64_STANDARD};
use proto::{Checksum, TesseraId};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{
    Node,
    extract::{InPath, InQuery},
};
use crate::{
    api,
    problem::Problem,
    schema::{self, OfTessera},
};

/// What the caller wants to know.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct What {
    /// 32 bytes in hexadecimal that come back in the claim, so that it can't be an old one; zeros if absent.
    #[param(value_type = Option<schema::Checksum>)]
    nonce: Option<Checksum>,
    /// From this stripe on.
    #[serde(default)]
    from: u32,
}

/// Claims what is held of a tessera, as far as one claim goes
#[utoipa::path(
    post, path = "/v1/tesseras/{id}/attest", operation_id = "attest_tessera", tag = "tesserae",
    params(OfTessera, What),
    responses(
        (status = 200, description = "A signed claim", body = api::Attested),
    )
)]
pub(super) async fn attest(
    State(node): State<Arc<Node>>,
    InPath(tessera): InPath<TesseraId>,
    InQuery(what): InQuery<What>,
) -> Result<Json<api::Attested>, Problem> {
    let own = node.keys.node.id();
    let nonce = what.nonce.map_or(NO_NONCE, |nonce| *nonce.as_bytes());
    let question =
        Question { tessera, stripes: what.from..u32::MAX, verifier: own, nonce, binding: api::LOCAL_BINDING };
    let Attestation { claim, rows, next_stripe } = node.system.attestation.attest(question).await?;
    Ok(Json(api::Attested {
        node: own,
        claim: BASE64_STANDARD.encode(claim.bytes()),
        rows: rows.into_iter().map(api::AttestedRow::from).collect(),
        next_stripe,
    }))
}

const NO_NONCE: [u8; 32] = [0; 32];
