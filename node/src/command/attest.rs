//! `attest`: what this node claims to hold of a tessera, the signature checked.

use base64::{Engine, prelude::BASE64_STANDARD};
use hyper::Method;
use proto::{
    Checksum, TesseraId,
    attestation::{Claim, Expect, SignedClaim},
};

use super::{Context, target::Target};
use crate::{
    api::{self, Attested, AttestedRow},
    client::{Client, path},
    exit::Exit,
    failure::Failure,
    human,
    problem::Kind,
    table::{Align, Table},
};

/// Ask the node for a signed claim of what it holds of a tessera
#[derive(Debug, clap::Args)]
pub(crate) struct Attest {
    /// The tessera, or the beginning of its id
    #[arg(value_parser = Target::parse)]
    id: Target,
}

impl Attest {
    /// Does it.
    pub(crate) async fn run(&self, context: &Context) -> Result<Exit, Failure> {
        let client = context.client()?;
        let id = self.id.find(&client).await?;
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
        Ok(Exit::Ok)
    }
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
