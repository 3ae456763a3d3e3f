//! `/v1/invites` and `/v1/join`: two persons make their nodes known to each other with one line.

use std::{sync::Arc, time::Duration};

use axum::{Json, extract::State, http::StatusCode};
use config::HostPort;
use proto::{Checksum, invite::Invite};

use super::{
    Node,
    extract::{InBody, InPath},
    peers,
};
use crate::{
    api::{self, Happening},
    clock::now_ms,
    human, local,
    problem::{Kind, Problem},
    schema::OfInvite,
};

/// The invites that nobody has followed and that have not expired, those that expire first first
#[utoipa::path(
    get, path = "/v1/invites", operation_id = "list_invites", tag = "nodes",
    responses(
        (status = 200, description = "What they say; their lines are not kept", body = Vec<api::Invite>),
    )
)]
pub(super) async fn list(State(node): State<Arc<Node>>) -> Result<Json<Vec<api::Invite>>, Problem> {
    let (invites, now_ms) = (node.system.storage.records().invites().await?, now_ms());
    let each = node.network.max_storage_per_peer_bytes;
    let invites = invites.into_iter().map(|(id, invite)| api::Invite {
        id,
        name: invite.name,
        allow_bytes: invite.allow_bytes.unwrap_or(each),
        expires_at_ms: u64::try_from(invite.expires_at_ms).unwrap_or(0),
    });
    Ok(Json(invites.filter(|invite| now_ms < invite.expires_at_ms).collect()))
}

/// A line to send to somebody, with which their node comes to know this one, and this one theirs
#[utoipa::path(
    post, path = "/v1/invites", operation_id = "invite", tag = "nodes",
    request_body = api::NewInvite,
    responses(
        (status = 201, description = "The line", body = api::Invited),
    )
)]
pub(super) async fn invite(
    State(node): State<Arc<Node>>,
    InBody(new): InBody<api::NewInvite>,
) -> Result<(StatusCode, Json<api::Invited>), Problem> {
    let valid_for = new.valid_for_secs.map_or(VALID_FOR, Duration::from_secs);
    if !(VALID_MIN..=VALID_MAX).contains(&valid_for) {
        let (least, most) = (VALID_MIN.as_secs(), VALID_MAX.as_secs());
        let detail = format!("an invite holds for {least} to {most} seconds");
        return Err(Problem::new(Kind::BadRequest, detail));
    }
    let addresses = addresses(&node, &new.addresses).await?;
    let allowed = peers::allowed(new.allow_bytes)?;
    let name = peers::named(new.name.as_deref())?;
    let token = node.system.peers.invite(allowed, name, valid_for).await?;
    let allow_bytes = allowed.unwrap_or(node.network.max_storage_per_peer_bytes);
    let valid_ms = u64::try_from(valid_for.as_millis()).unwrap_or(u64::MAX);
    let invite = Invite {
        node: node.keys.node.id(),
        addresses: addresses.iter().map(ToString::to_string).collect(),
        token,
        expires_at_ms: now_ms().saturating_add(valid_ms),
        allowance_bytes: Some(allow_bytes),
    };
    let invited = api::Invited {
        id: Checksum::of(&token),
        line: invite.to_line()?,
        addresses: invite.addresses,
        allow_bytes,
        expires_at_ms: invite.expires_at_ms,
    };
    Ok((StatusCode::CREATED, Json(invited)))
}

/// Ends an invite: whoever has its line is not let in any more
#[utoipa::path(
    delete, path = "/v1/invites/{id}", operation_id = "revoke_invite", tag = "nodes",
    params(OfInvite),
    responses(
        (status = 204, description = "It holds no longer"),
    )
)]
pub(super) async fn revoke(
    State(node): State<Arc<Node>>,
    InPath(id): InPath<Checksum>,
) -> Result<StatusCode, Problem> {
    node.system.peers.revoke(id).await?;
    tracing::info!(invite = %id, "revoked an invite");
    Ok(StatusCode::NO_CONTENT)
}

/// Follows an invite: this node and the one that it is from know each other from then on
#[utoipa::path(
    post, path = "/v1/join", operation_id = "join", tag = "nodes",
    request_body = api::Join,
    responses(
        (status = 200, description = "What the other node says for itself", body = api::Ping),
    )
)]
pub(super) async fn join(
    State(node): State<Arc<Node>>,
    InBody(join): InBody<api::Join>,
) -> Result<Json<api::Ping>, Problem> {
    let invite = Invite::read(&join.line)?;
    let addresses = peers::addresses(&invite.addresses)?;
    let name = peers::named(join.name.as_deref())?;
    let allow_bytes = peers::allowed(join.allow_bytes)?;
    let let_in = node.system.remote.hello(invite.node, false, Some(invite.token));
    let joined = node.system.peers.join(invite.node, &addresses, allow_bytes, name, let_in).await;
    joined.map_err(|error| late(error.into(), invite.expires_at_ms))?;
    tracing::info!(node = %invite.node, "followed an invite");
    node.events.tell(Happening::PeerAdded { node: invite.node });
    let pinged = peers::asked(&node, invite.node).await;
    // The line is used up: to follow it once more would not help.
    Ok(Json(pinged.map_err(|error| {
        let problem = Problem::from(error);
        Problem::new(problem.kind(), format!("both nodes know each other now, but: {}", problem.detail))
    })?))
}

/// Why it was not let in, and that its invite has expired, if it has by this machine's clock. The other node goes by its own.
fn late(problem: Problem, expires_at_ms: u64) -> Problem {
    match now_ms().checked_sub(expires_at_ms) {
        None => problem,
        Some(ago_ms) => {
            let ago = human::span(ago_ms / 1000);
            let detail = format!(
                "{} (by this machine's clock the invite expired {ago} ago: ask for a new one)",
                problem.detail
            );
            Problem::new(problem.kind(), detail)
        }
    }
}

/// Where they are to come: as was asked for, else where this node says that it is reached, and where it is reached from
/// the same network.
async fn addresses(node: &Node, asked: &[String]) -> Result<Vec<HostPort>, Problem> {
    if !asked.is_empty() {
        return peers::addresses(asked);
    }
    let listens_at = node.system.pool.status().await?.listens_at.ok_or_else(|| {
        let detail = "this node only dials (`node.listen_addr` is \"off\"): have the other one invite it";
        Problem::new(Kind::Conflict, detail)
    })?;
    let announced = node.system.peers.announced();
    let announced = announced.iter().filter_map(|address| address.parse().ok());
    let mut addresses: Vec<HostPort> = Vec::new();
    for address in announced.chain(local::addresses(listens_at)) {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() {
        let detail = "nobody has told this node yet where it is reached, and it has no address in a network: name one \
            with --at, or set network.announce";
        return Err(Problem::new(Kind::Conflict, detail));
    }
    addresses.truncate(ADDRESSES_TOLD_MAX);
    Ok(addresses)
}

const VALID_FOR: Duration = Duration::from_secs(7 * 86_400);
const VALID_MIN: Duration = Duration::from_secs(60);
const VALID_MAX: Duration = Duration::from_secs(90 * 86_400);
/// More would make a line that nobody likes to send.
const ADDRESSES_TOLD_MAX: usize = 4;
