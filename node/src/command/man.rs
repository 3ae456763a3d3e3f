//! `man`: the man pages, made of the same text as `--help`, without a daemon.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde_json::json;

use super::Context;
use crate::{
    args::Args,
    exit::Exit,
    failure::Failure,
    manual::{self, Page},
    problem::Kind,
};

/// Write a man page for each command, under the name that this program was called by
#[derive(Debug, clap::Args)]
pub(crate) struct Man {
    /// The folder for the pages; it is made if it is missing, and pages that are there are replaced
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

impl Man {
    /// Does it.
    pub(crate) fn run(&self, context: &Context) -> Result<Exit, Failure> {
        let pages = manual::pages(Args::under_its_name())
            .map_err(|error| Failure::new(Kind::Internal, format!("no man page could be made: {error}")))?;
        fs::create_dir_all(&self.folder).map_err(|error| cannot_create(&self.folder, &error))?;
        let written = pages.iter().map(|page| self.write(page)).collect::<Result<Vec<_>, _>>()?;
        if context.output.json {
            context.output.json(&json!({ "folder": self.folder, "pages": written }))?;
        } else {
            for path in &written {
                context.output.line(path.display().to_string())?;
            }
        }
        Ok(Exit::Ok)
    }

    /// Writes a page and returns where it is.
    fn write(&self, page: &Page) -> Result<PathBuf, Failure> {
        let path = self.folder.join(&page.file_name);
        fs::write(&path, &page.text).map_err(|error| Failure::io("writing", &path, &error))?;
        Ok(path)
    }
}

fn cannot_create(folder: &Path, error: &io::Error) -> Failure {
    let detail = format!("the folder {} cannot be made: {error}; name another one", folder.display());
    Failure::new(Kind::CannotCreate, detail)
}
