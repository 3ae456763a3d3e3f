//! `config check`, `config show`, `config default`: the settings, without a daemon. `config reload`: those of a daemon.

use clap::Subcommand;
use config::{Loaded, Setting};
use hyper::Method;

use super::Context;
use crate::{
    admin::socket::group_must_exist,
    api::{self, ChangeOutcome, Reloaded},
    exit::Exit,
    failure::Failure,
    printable::printable,
};

/// Check, show or explain the settings.
#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Report all that is wrong with the settings, at once
    Check,
    /// Print every setting, as TOML
    Show {
        /// Say where each value comes from
        #[arg(long)]
        origin: bool,
    },
    /// Print a commented configuration with all defaults
    Default,
    /// Make the daemon read its settings again: all of them or, if anything is wrong, none
    Reload,
}

impl Config {
    /// Does it.
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self {
            Self::Check => check(context)?,
            Self::Show { origin } => show(context, &context.config()?, origin)?,
            Self::Default if context.output.json => {
                context.output.json(&api::settings(&config::defaults()))?
            }
            Self::Default => context.output.text(&config::example())?,
            Self::Reload => reload(context).await?,
        }
        Ok(Exit::Ok)
    }
}

fn check(context: &Context) -> Result<(), Failure> {
    let loaded = context.config()?;
    group_must_exist(&loaded)?;
    let read = match &loaded.file {
        Some(file) => file.display().to_string(),
        None => "no file, only defaults, environment and flags".to_owned(),
    };
    if context.output.json {
        return context.output.json(&serde_json::json!({ "ok": true, "file": loaded.file }));
    }
    context.output.line(format!("The settings are right ({read})."))
}

fn show(context: &Context, loaded: &Loaded, origin: bool) -> Result<(), Failure> {
    if context.output.json {
        return context.output.json(&api::settings(loaded.show()));
    }
    context.output.text(&as_toml(loaded.show(), origin))
}

async fn reload(context: &Context) -> Result<(), Failure> {
    let reloaded: Reloaded = context.client()?.call(Method::POST, "/v1/config/reload").await?;
    if context.output.json {
        return context.output.json(&reloaded);
    }
    for change in &reloaded.changes {
        let api::Change { key, old, new, outcome, .. } = change;
        context.output.line(printable(&format!("{key} = {new}  # was {old}; {outcome}")))?;
    }
    if reloaded.changes.is_empty() {
        return context.output.line("The settings are right, and none has changed.");
    }
    if reloaded.changes.iter().any(|change| change.outcome == ChangeOutcome::NeedsRestart) {
        context.output.remark("Restart the daemon for what needs it; until then the old value is in force.");
    }
    Ok(())
}

fn as_toml<'a>(settings: impl Iterator<Item = &'a Setting>, origin: bool) -> String {
    let mut text = String::new();
    let mut section = "";
    for setting in settings {
        let (name, key) = setting.key.split_once('.').unwrap_or(("", setting.key));
        if name != section {
            let gap = if section.is_empty() { "" } else { "\n" };
            text.push_str(&format!("{gap}[{name}]\n"));
            section = name;
        }
        let line = format!("{key} = {}", setting.value);
        match origin {
            true => text.push_str(&format!("{line:ORIGIN_COLUMN$}  # {}\n", setting.origin)),
            false => text.push_str(&format!("{line}\n")),
        }
    }
    text
}

const ORIGIN_COLUMN: usize = 44;
