//! `show`: what is known of a tessera.

use hyper::Method;

use super::{Context, target::Target};
use crate::{
    api::{About, Explained, State, Tessera},
    client::path,
    exit::Exit,
    failure::Failure,
    human,
};

/// Show what is known of a tessera
#[derive(Debug, clap::Args)]
pub(crate) struct Show {
    /// The tessera, or the beginning of its id
    #[arg(value_parser = Target::parse)]
    id: Target,
}

impl Show {
    /// Does it.
    pub(crate) async fn run(&self, context: &Context) -> Result<Exit, Failure> {
        let client = context.client()?;
        let id = self.id.find(&client).await?.to_string();
        let tessera: Tessera = client.get(&path(["v1", "tesseras", &id])).await?;
        if context.output.json {
            context.output.json(&tessera)?;
            return Ok(Exit::Ok);
        }
        let mut fields = fields(&tessera);
        // What belongs here need not be here: that is not told without how it is.
        let explain = path(["v1", "tesseras", &id, "explain"]);
        let explained: Explained = client.call(Method::GET, &explain).await?;
        fields.push(("state", explained.verdict));
        context.output.fields(&fields)?;
        Ok(Exit::Ok)
    }
}

fn fields(tessera: &Tessera) -> Vec<(&'static str, String)> {
    let mut fields = vec![("id", tessera.id.to_string())];
    match &tessera.manifest {
        Some(about) => fields.extend(said(about)),
        None => fields.push(("manifest", why_unread(tessera.manifest_state).to_owned())),
    }
    let here = format!("{} in {}", human::bytes(tessera.bytes), human::fragments(tessera.fragments));
    fields.push(("belongs here", here));
    if let Some(at_ms) = tessera.adopted_at_ms {
        let since = human::date(u64::try_from(at_ms).unwrap_or(0));
        fields.push(("adopted", format!("since {since}: looked after here until it is forgotten")));
    }
    fields
}

fn why_unread(manifest: State) -> &'static str {
    match manifest {
        State::Missing => "not here",
        State::Newer => "written by a newer version of this software: update it",
        State::Ok | State::Suspect => "damaged here: `explain` says what to do",
    }
}

/// What the author said, without what was left out.
fn said(about: &About) -> Vec<(&'static str, String)> {
    let told = &about.description;
    let list = |texts: &[String]| (!texts.is_empty()).then(|| texts.join(", "));
    let all = [
        ("title", told.title.clone()),
        ("author", Some(about.author.to_string())),
        ("created", Some(human::date(about.created_at_ms))),
        ("who may read it", Some(human::visibility(about.visibility).to_owned())),
        ("language", told.language.clone()),
        ("place", told.place.clone()),
        ("era", told.era.clone()),
        ("tags", list(&told.tags)),
        ("people", list(&told.people)),
        ("rights", about.rights.clone()),
        ("newer edition of", about.supersedes.map(|id| id.to_string())),
        ("part of", about.part_of.map(|id| id.to_string())),
        ("content", Some(format!("{}, BLAKE3 {}", human::bytes(about.content_len), about.content_hash))),
    ];
    all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}
