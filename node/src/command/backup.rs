//! `backup` and `restore`: keys, settings, and what only the index knows, in one small file.

use std::path::{Path, PathBuf, absolute};

use actors::storage::SEGMENTS_FOLDER;
use serde_json::json;

use super::{Context, off_thread};
use crate::{
    backup::{Backup, Pack, Restored, restore},
    clock::now_ms,
    exit::Exit,
    failure::Failure,
    human, new_file,
};

/// Write keys, settings and what only the index knows into one small file; the memories are copied beside it, as it says
#[derive(Debug, clap::Args)]
pub(crate) struct Save {
    /// A new file
    #[arg(value_name = "FILE")]
    to: PathBuf,
}

/// Put what `backup` has written into a data directory that has no keys yet
#[derive(Debug, clap::Args)]
pub(crate) struct Restore {
    /// What `backup` has written
    #[arg(value_name = "FILE")]
    from: PathBuf,
}

impl Save {
    /// Does it.
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let storage = context.config()?.config.storage;
        let to = self.to.clone();
        let data_dir = storage.data_dir.clone();
        let manifest = off_thread(move || {
            new_file::must_be_free(&to)?;
            let pack = Pack::gather(&storage, now_ms())?;
            let manifest = pack.manifest.clone();
            new_file::write(&to, |file| pack.write(file))?;
            Ok::<_, Failure>(manifest)
        });
        let manifest = manifest.await??;
        // Whoever copies them may do so from another folder.
        let segments = data_dir.join(SEGMENTS_FOLDER);
        let segments = absolute(&segments).unwrap_or(segments);
        if context.output.json {
            context.output.json(&json!({ "file": self.to, "backup": manifest, "not_in_it": segments }))?;
        } else {
            let files: Vec<_> = manifest
                .files
                .iter()
                .map(|listed| format!("{} ({})", listed.name, human::bytes(listed.bytes)))
                .collect();
            context.output.fields(&[
                ("node", manifest.node.to_string()),
                ("author", manifest.author.to_string()),
                ("in it", files.join(", ")),
                ("not in it", format!("the memories themselves: {}", segments.display())),
            ])?;
            context.output.remark(&copying(&segments));
        }
        context.output.warning(&format!(
            "{} holds your keys: whoever has it can read and sign as you",
            self.to.display()
        ));
        Ok(Exit::Ok)
    }
}

impl Restore {
    /// Does it.
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let data_dir = context.config()?.config.node.data_dir;
        let path = data_dir.clone();
        let restored = off_thread(move || {
            let backup = Backup::open(&self.from)?;
            let restored = restore(&backup, &path)?;
            Ok::<_, Failure>((restored, backup.manifest))
        });
        let (restored, manifest) = restored.await??;
        let Restored { written, kept, holds_data } = restored;
        if context.output.json {
            context.output.json(&json!({
                "data_dir": data_dir, "node": manifest.node, "author": manifest.author,
                "written": written, "kept": kept, "holds_data": holds_data,
            }))?;
        } else {
            let named =
                |names: Vec<String>| if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
            context.output.fields(&[
                ("data directory", data_dir.display().to_string()),
                ("node", manifest.node.to_string()),
                ("author", manifest.author.to_string()),
                ("made", human::moment(manifest.created_ms)),
                ("written", named(written)),
                ("as it was", named(kept)),
            ])?;
            context.output.remark(&going_on(&data_dir, holds_data, &context.start()));
        }
        Ok(Exit::Ok)
    }
}

fn copying(segments: &Path) -> String {
    let segments = human::quoted(segments);
    format!(
        "\nCopy those as well, at any time, whether the node runs or not:\n\n  \
         rsync -a {segments} COPY/\n\n\
         What is in a segment never changes, so only what is new is copied the next time. When rsync says that files \
         vanished, run it again."
    )
}

fn going_on(data_dir: &Path, holds_data: bool, start: &str) -> String {
    let segments = data_dir.join(SEGMENTS_FOLDER);
    if holds_data {
        return format!(
            "\nNow start the node: `{start}`. It makes its index of the segments that are there."
        );
    }
    format!(
        "\nThe memories are not in a backup. Copy them back, then start the node, which makes its index of them:\n\n  \
         rsync -a COPY/{SEGMENTS_FOLDER}/ {}/\n  {start}",
        human::quoted(segments)
    )
}
