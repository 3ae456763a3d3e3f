//! `config check`, `config show`, `config default`: the settings, without a daemon.

use clap::Subcommand;
use config::{Loaded, Setting};

use super::Context;
use crate::{api, exit::Exit, failure::Failure};

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
}

impl Config {
    /// Does it.
    pub(crate) fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self {
            Self::Check => check(context)?,
            Self::Show { origin } => show(context, &context.config()?, origin)?,
            Self::Default if context.output.json => {
                context.output.json(&api::settings(&config::defaults()))?
            }
            Self::Default => context.output.text(&config::example())?,
        }
        Ok(Exit::Ok)
    }
}

fn check(context: &Context) -> Result<(), Failure> {
    let loaded = context.config()?;
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
