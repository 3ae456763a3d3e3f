//! `fragment list`, `get`, `put` and `drop`: fragments one by one.

use std::{
    io::{self, Read},
    path::{Path, PathBuf},
};

use clap::Subcommand;
use http_body_util::{BodyExt, Full};
use hyper::Method;
use proto::{TesseraId, limits::FRAGMENT_BYTES_MAX};

use super::{Context, target::Target};
use crate::{
    api::{FragmentPage, FragmentRow, Put},
    client::path,
    exit::Exit,
    failure::Failure,
    human,
    problem::Kind,
    table::{Align, Table},
};

/// Look at single fragments, or change them
#[derive(Debug, Subcommand)]
pub(crate) enum Fragments {
    /// List the fragments of a tessera that are here
    List {
        /// The tessera, or the beginning of its id
        #[arg(value_parser = Target::parse)]
        id: Target,
    },
    /// Write a fragment to standard output
    Get {
        /// Which one
        #[command(flatten)]
        one: One,
    },
    /// Keep a fragment
    Put {
        /// Which one
        #[command(flatten)]
        one: One,
        /// Its bytes; `-` for standard input
        file: PathBuf,
    },
    /// Drop a fragment
    Drop {
        /// Which one
        #[command(flatten)]
        one: One,
    },
}

/// A fragment.
#[derive(Debug, clap::Args)]
pub(crate) struct One {
    /// The tessera, or the beginning of its id; the whole id to put the first fragment of one
    #[arg(value_parser = Target::parse)]
    id: Target,
    /// Its stripe, from 0
    stripe: u32,
    /// Its place in the stripe, from 0
    index: u16,
}

impl Fragments {
    /// Does it.
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self {
            Self::List { id } => list(context, &id).await?,
            Self::Get { one } => get(context, &one).await?,
            Self::Put { one, file } => put(context, &one, &file).await?,
            Self::Drop { one } => {
                let at = one.path(context).await?;
                context.client()?.call::<()>(Method::DELETE, &at).await?;
            }
        }
        Ok(Exit::Ok)
    }
}

impl One {
    async fn path(&self, context: &Context) -> Result<String, Failure> {
        let id: TesseraId = self.id.find(&context.client()?).await?;
        let (stripe, index) = (self.stripe.to_string(), self.index.to_string());
        Ok(path(["v1", "tesseras", &id.to_string(), "fragments", &stripe, &index]))
    }
}

async fn list(context: &Context, id: &Target) -> Result<(), Failure> {
    let client = context.client()?;
    let at = path(["v1", "tesseras", &id.find(&client).await?.to_string(), "fragments"]);
    let mut all = Vec::new();
    let mut from = String::new();
    loop {
        let page: FragmentPage = client.get(&format!("{at}{from}")).await?;
        all.extend(page.fragments);
        match page.next {
            Some((stripe, index)) => from = format!("?stripe={stripe}&index={index}"),
            None => break,
        }
    }
    if context.output.json { context.output.json(&all) } else { context.output.table(&table(&all)) }
}

async fn get(context: &Context, one: &One) -> Result<(), Failure> {
    let mut bytes = context.client()?.download(&one.path(context).await?).await?;
    while let Some(bytes) = bytes.next().await? {
        context.output.bytes(&bytes)?;
    }
    Ok(())
}

async fn put(context: &Context, one: &One, file: &Path) -> Result<(), Failure> {
    let bytes = read(file)?;
    let body = Full::from(bytes).map_err(|never| match never {}).boxed();
    let put: Put = context.client()?.upload(Method::PUT, &one.path(context).await?, body).await?;
    if context.output.json {
        context.output.json(&put)
    } else {
        context.output.line(put.checksum.to_string())
    }
}

fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    let failed = |error: io::Error| Failure::io("reading", file, &error);
    let mut bytes = Vec::new();
    let limit = FRAGMENT_BYTES_MAX as u64 + 1;
    if file == Path::new("-") {
        io::stdin().take(limit).read_to_end(&mut bytes).map_err(failed)?;
    } else {
        std::fs::File::open(file).map_err(failed)?.take(limit).read_to_end(&mut bytes).map_err(failed)?;
    }
    if bytes.len() > FRAGMENT_BYTES_MAX {
        let detail =
            format!("{} is longer than a fragment can be ({FRAGMENT_BYTES_MAX} bytes)", file.display());
        return Err(Failure::new(Kind::TooLarge, detail));
    }
    Ok(bytes)
}

fn table(rows: &[FragmentRow]) -> Table<6> {
    let mut table = Table::new([
        ("STRIPE", Align::Right),
        ("INDEX", Align::Right),
        ("BYTES", Align::Right),
        ("STATE", Align::Left),
        ("VERIFIED", Align::Left),
        ("CHECKSUM", Align::Left),
    ]);
    for row in rows {
        table.row([
            row.stripe.to_string(),
            row.index.to_string(),
            row.length.to_string(),
            human::state(row.state).to_owned(),
            row.verified_at_ms.map_or_else(|| "never".to_owned(), human::ago),
            row.checksum.to_string(),
        ]);
    }
    table
}
