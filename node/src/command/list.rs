//! `list`: the tesserae of this node.

use super::Context;
use crate::{
    api::{Tessera, TesseraPage},
    exit::Exit,
    failure::Failure,
    human,
    table::{Align, Table},
};

/// List the tesserae of this node
#[derive(Debug, clap::Args)]
pub(crate) struct List;

impl List {
    /// Does it.
    pub(crate) async fn run(&self, context: &Context) -> Result<Exit, Failure> {
        let client = context.client()?;
        let mut all = Vec::new();
        let mut from = String::new();
        loop {
            let page: TesseraPage = client.get(&format!("/v1/tesseras{from}")).await?;
            all.extend(page.tesseras);
            match page.next {
                Some(next) => from = format!("?from={next}"),
                None => break,
            }
        }
        if context.output.json {
            context.output.json(&all)?
        } else {
            context.output.table(&table(&all))?
        }
        Ok(Exit::Ok)
    }
}

fn table(all: &[Tessera]) -> Table<5> {
    let mut table = Table::new([
        ("ID", Align::Left),
        ("SIZE", Align::Right),
        ("CREATED", Align::Left),
        ("WHO", Align::Left),
        ("TITLE", Align::Left),
    ]);
    for tessera in all {
        let about = tessera.manifest.as_ref();
        table.row([
            tessera.id.to_string(),
            human::bytes(tessera.bytes),
            about.map(|about| human::date(about.created_at_ms)).unwrap_or_default(),
            who(tessera),
            about.and_then(|about| about.description.title.clone()).unwrap_or_default(),
        ]);
    }
    table
}

/// Who may read it, and whether it is somebody else's that is looked after here.
fn who(tessera: &Tessera) -> String {
    let about = tessera.manifest.as_ref();
    let who = about.map_or("unknown", |about| human::visibility(about.visibility));
    if tessera.adopted_at_ms.is_some() { format!("{who}, adopted") } else { who.to_owned() }
}
