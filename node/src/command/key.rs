//! `key card`: the author's key on paper, without a daemon.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use actors::keys::{AUTHOR_KEY_NAME, Author};
use clap::Subcommand;
use proto::keys::Zeroizing;
use serde_json::json;

use super::Context;
use crate::{
    card::{CARD_BYTES_MAX, Card},
    clock::now_ms,
    data_dir::must_be_one,
    exit::Exit,
    failure::Failure,
    human, keys, new_file, output,
    problem::Kind,
};

/// Keep the author's key safe.
#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    Card(KeyCard),
}

/// Write the author's key as a page to print and keep in a drawer, or check one that was typed in again
#[derive(Debug, clap::Args)]
pub(crate) struct KeyCard {
    /// Where to write it: a new file, or - for standard output [default: the terminal]
    #[arg(value_name = "FILE")]
    to: Option<PathBuf>,
    /// Read this card instead, and say which lines are wrong
    #[arg(long, value_name = "FILE", conflicts_with = "to")]
    check: Option<PathBuf>,
}

impl Keys {
    /// Does it.
    pub(crate) fn run(self, context: &Context) -> Result<Exit, Failure> {
        let Self::Card(KeyCard { to, check }) = self;
        match (check, to) {
            (Some(card), _) => check_card(context, &card),
            (None, Some(file)) if file.as_os_str() != "-" => write(context, &file),
            (None, None) if !output::is_shown() => Err(Failure::new(
                Kind::Usage,
                "the card is a secret: name a new file for it, or - if standard output shall have it",
            )),
            (None, _) => show(context),
        }
    }
}

fn write(context: &Context, file: &Path) -> Result<Exit, Failure> {
    let card = card(context)?;
    let text = card.render();
    new_file::write(file, |to| {
        to.write_all(text.as_bytes()).map_err(|error| Failure::io("writing", file, &error))
    })?;
    if context.output.json {
        context.output.json(&told(&card, json!({ "file": file })))?;
    }
    context.output.warning(&format!(
        "{} is a secret: whoever has it can read and sign as you. Print it twice, then delete it",
        file.display()
    ));
    Ok(Exit::Ok)
}

fn show(context: &Context) -> Result<Exit, Failure> {
    let card = card(context)?;
    let text = card.render();
    context.output.warning("this is a secret: whoever has it can read and sign as you");
    if context.output.json {
        context.output.json(&told(&card, json!({ "card": text.as_str() })))?;
    } else {
        context.output.text(&text)?;
    }
    Ok(Exit::Ok)
}

fn check_card(context: &Context, file: &Path) -> Result<Exit, Failure> {
    let card = read_card(file)?;
    if context.output.json {
        context.output.json(&told(&card, json!({ "file": file })))?;
    } else {
        context.output.fields(&[
            ("author", card.author.id().to_string()),
            ("recipient", card.author.recipient().to_string()),
            ("made", card.made),
        ])?;
        context.output.remark("Every line is as it was printed.");
    }
    Ok(Exit::Ok)
}

/// A card that was typed in again. Fails with [`Kind::Damaged`], naming every line that is wrong.
pub(super) fn read_card(file: &Path) -> Result<Card, Failure> {
    Card::parse(&read(file)?).map_err(|wrong| {
        let wrong: String = wrong.iter().map(|reason| format!("\n  {reason}")).collect();
        Failure::new(Kind::Damaged, format!("{} is not a whole key card:{wrong}", file.display()))
    })
}

fn card(context: &Context) -> Result<Card, Failure> {
    let data_dir = context.config()?.config.node.data_dir;
    must_be_one(&data_dir)?;
    let author = Author::read(&data_dir.join(AUTHOR_KEY_NAME)).map_err(keys::failed)?;
    let today = human::date(now_ms());
    Ok(Card { author, made: format!("{today} by tesseras {}", env!("CARGO_PKG_VERSION")) })
}

/// One buffer that never moves, overwritten with zeros afterwards.
fn read(file: &Path) -> Result<Zeroizing<String>, Failure> {
    let failed = |error: io::Error| Failure::io("reading", file, &error);
    let mut text = Zeroizing::new(String::with_capacity(CARD_BYTES_MAX));
    let from = File::open(file).map_err(failed)?;
    from.take(CARD_BYTES_MAX as u64).read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}

fn told(card: &Card, mut rest: serde_json::Value) -> serde_json::Value {
    if let Some(members) = rest.as_object_mut() {
        members.insert("author".to_owned(), json!(card.author.id()));
        members.insert("recipient".to_owned(), json!(card.author.recipient().to_string()));
        members.insert("made".to_owned(), json!(card.made));
    }
    rest
}
