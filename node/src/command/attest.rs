//! `attest`: what this node or another claims to hold of a tessera, the signature checked.

use base64::{Engine, prelude::BASE64_STANDARD};
use hyper::Method;
use proto::{
    Checksum, NodeId, TesseraId,
    attestation::{Claim, Expect, SignedClaim},
};

use super::{
    Context,
    target::{NodeTarget, Target},
};
use crate::{
    api::{self, Attested, AttestedRow, Audit, Holder, Standing},
    client::{Client, path},
    exit::Exit,
    failure::Failure,
    human,
    problem::Kind,
    table::{Align, Table},
};

/// Ask this node or another for a signed claim of what it holds of a tessera
#[derive(Debug, clap::Args)]
pub(crate) struct Attest {
    /// The tessera, or the beginning of its id
    #[arg(value_parser = Target::parse)]
    id: Target,
    /// Ask this node: its name, its id, or the beginning of that
    #[arg(long, value_name = "NODE", value_parser = NodeTarget::parse)]
    peer: Option<NodeTarget>,
}

impl Attest {
    /// Does it.
    pub(crate) async fn run(&self, context: &Context) -> Result<Exit, Failure> {
        let client = context.client()?;
        let id = self.id.find(&client).await?;
        if let Some(peer) = &self.peer {
            return audit(context, &client, id, peer.find(&client).await?).await;
        }
        let mut pages = Vec::new();
        let mut claimed = 0;
        let mut from = Some(0);
        while let Some(stripe) = from {
            let (page, claim) = ask(&client, id, stripe).await?;
            claimed += claim.fragments.len();
            from = page.next_stripe;
            pages.push(page);
        }
        if context.output.json {
            context.output.json(&pages)?;
            return Ok(Exit::Ok);
        }
        context.output.table(&table(pages.iter().flat_map(|page| &page.rows)))?;
        if let Some(Attested { node, .. }) = pages.first() {
            context.output.remark(&format!(
                "{node} claims to hold {}; its signature is valid. That speaks of its records: \
                 `verify` reads the fragments themselves.",
                human::fragments(claimed as u64)
            ));
        }
        let holders = holders(&client, id).await?;
        if !holders.is_empty() {
            context.output.line("")?;
            context.output.table(&others(&holders, human::ago))?;
        }
        Ok(Exit::Ok)
    }
}

/// What another node claims. That it claims what is not so is no success, nor is that it claims nothing.
async fn audit(context: &Context, client: &Client, id: TesseraId, peer: NodeId) -> Result<Exit, Failure> {
    let at = path(["v1", "tesseras", &id.to_string(), "holders", &peer.to_string(), "attest"]);
    let audit: Audit = client.call(Method::POST, &at).await?;
    if context.output.json {
        context.output.json(&audit)?;
    } else {
        context.output.fields(&fields(&audit))?;
        context.output.remark(match audit.held {
            0 => "It is no copy: `prove` has nothing to ask it for.",
            _ => "That speaks of its records: `prove` has it show the bytes.",
        });
    }
    Ok(exit(&audit))
}

/// As `prove` ends.
fn exit(audit: &Audit) -> Exit {
    match audit {
        Audit { wrong: 1.., .. } => Exit::Damaged,
        Audit { held: 0, .. } => Exit::Failure,
        _ => Exit::Ok,
    }
}

/// Those that were asked what they hold of a tessera.
pub(super) async fn holders(client: &Client, id: TesseraId) -> Result<Vec<Holder>, Failure> {
    client.get(&path(["v1", "tesseras", &id.to_string(), "holders"])).await
}

fn fields(audit: &Audit) -> Vec<(&'static str, String)> {
    let verified = match (audit.held, audit.unverified, audit.verified_age_ms) {
        (0, ..) => None,
        (_, 0, Some(age)) => Some(format!("all within {}, it says", human::the_last(age))),
        (_, unverified, _) => Some(format!("{} not since they came, it says", human::fragments(unverified))),
    };
    let wrong = match audit.wrong {
        0 => None,
        wrong => Some(format!("{} that cannot be so: none of that counts", human::fragments(wrong))),
    };
    let claims = match (audit.held, audit.wrong) {
        (0, 0) => "to hold nothing of it".to_owned(),
        (0, _) => "to hold nothing that there is".to_owned(),
        (held, _) => format!("{}, all as the layout names them", human::fragments(held)),
    };
    let all = [
        ("node", Some(audit.node.to_string())),
        ("claims", Some(claims)),
        ("wrong", wrong),
        ("read back", verified),
    ];
    all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

fn others(holders: &[Holder], ago: impl Fn(i64) -> String) -> Table<7> {
    let mut table = Table::new([
        ("HOLDER", Align::Left),
        ("NAME", Align::Left),
        ("CLAIMED", Align::Right),
        ("SINCE", Align::Left),
        ("PROVEN", Align::Right),
        ("LAST", Align::Left),
        ("COUNTS", Align::Left),
    ]);
    for holder in holders {
        table.row([
            holder.node.to_string(),
            holder.name.clone().unwrap_or_default(),
            holder.claimed.to_string(),
            ago(holder.claimed_at_ms),
            holder.proven.to_string(),
            holder.proven_at_ms.map_or_else(|| "never".to_owned(), &ago),
            match holder.standing {
                Standing::Peer => "yes".to_owned(),
                other => format!("no: {}", other.words()),
            },
        ]);
    }
    table
}

/// One claim and the rows behind it, checked as any other verifier would.
async fn ask(client: &Client, id: TesseraId, from: u32) -> Result<(Attested, Claim), Failure> {
    let mut nonce = [0; 32];
    getrandom::fill(&mut nonce).map_err(|error| {
        Failure::new(Kind::Internal, format!("the system gives no random numbers: {error}"))
    })?;
    let at = path(["v1", "tesseras", &id.to_string(), "attest"]);
    let query = format!("?from={from}&nonce={}", Checksum::from_bytes(nonce));
    let page: Attested = client.call(Method::POST, &format!("{at}{query}")).await?;
    let expect =
        Expect { node: page.node, verifier: page.node, nonce, binding: api::LOCAL_BINDING, tessera: id };
    let claim = check(&page, &expect)?;
    Ok((page, claim))
}

fn check(page: &Attested, expect: &Expect) -> Result<Claim, Failure> {
    let wrong = |reason: String| {
        Failure::new(Kind::Damaged, format!("the claim of {} is not valid: {reason}", page.node))
    };
    let bytes = BASE64_STANDARD.decode(&page.claim).map_err(|error| wrong(error.to_string()))?;
    SignedClaim::verify(&bytes, expect).map_err(|error| wrong(error.to_string()))
}

fn table<'a>(rows: impl Iterator<Item = &'a AttestedRow>) -> Table<6> {
    let mut table = Table::new([
        ("STRIPE", Align::Right),
        ("INDEX", Align::Right),
        ("BYTES", Align::Right),
        ("STATE", Align::Left),
        ("VERIFIED", Align::Left),
        ("CHECKSUM", Align::Left),
    ]);
    for row in rows {
        let verified = row.verified_age_ms.map(|age| format!("{} ago", human::span(age / 1000)));
        table.row([
            row.stripe.to_string(),
            row.index.to_string(),
            row.length.to_string(),
            human::state(row.state).to_owned(),
            verified.unwrap_or_else(|| "never".to_owned()),
            row.checksum.to_string(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> NodeId {
        NodeId::from_bytes([1; 32])
    }

    #[test]
    fn claim_of_another_node_is_told_with_what_is_wrong_with_it() {
        let audit = Audit { node: node(), held: 3, wrong: 0, verified_age_ms: Some(60_000), unverified: 0 };
        let check = |audit: &Audit, expected: &[(&str, &str)]| {
            let fields = fields(audit);
            let told: Vec<_> = fields.iter().skip(1).map(|(name, value)| (*name, value.as_str())).collect();
            assert_eq!(told, expected);
        };
        let claims = ("claims", "3 fragments, all as the layout names them");
        check(&audit, &[claims, ("read back", "all within the last minute, it says")]);
        let fresh = Audit { unverified: 1, ..audit.clone() };
        check(&fresh, &[claims, ("read back", "1 fragment not since they came, it says")]);
        let none = Audit { held: 0, wrong: 2, verified_age_ms: None, ..audit };
        let wrong = ("wrong", "2 fragments that cannot be so: none of that counts");
        check(&none, &[("claims", "to hold nothing that there is"), wrong]);
        let nothing = Audit { wrong: 0, ..none.clone() };
        check(&nothing, &[("claims", "to hold nothing of it")]);
        assert_eq!(
            [&fresh, &none, &nothing].map(exit),
            [Exit::Ok, Exit::Damaged, Exit::Failure],
            "nothing is not all that is wanted"
        );
    }

    #[test]
    fn holders_are_listed_with_the_ages_of_claims_and_proofs() {
        let name = Some("ann".to_owned());
        let claims = Holder {
            node: node(),
            name,
            standing: Standing::Peer,
            claimed: 9,
            claimed_at_ms: 5,
            proven: 0,
            proven_at_ms: None,
            indices: Vec::new(),
        };
        let standing = Standing::Former;
        let proves = Holder { proven: 2, proven_at_ms: Some(7), name: None, standing, ..claims.clone() };
        let lines: Vec<_> = others(&[claims, proves], |at_ms| format!("{at_ms} ms ago")).lines().collect();
        assert!(lines[1].ends_with("ann         9  5 ms ago       0  never     yes"), "{}", lines[1]);
        assert!(lines[2].ends_with("9  5 ms ago       2  7 ms ago  no: no longer a peer"), "{}", lines[2]);
    }
}
