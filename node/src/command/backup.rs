//! `backup` and `restore`: keys, settings, and what only the index knows, in one small file.

use std::{
    fs::metadata,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf, absolute},
};

use ::config::{FILE_NAME, Loaded, MACHINE_DATA_DIR};
use actors::storage::SEGMENTS_FOLDER;
use hyper::Method;
use rustix::process::geteuid;
use serde_json::json;

use super::{Context, off_thread};
use crate::{
    api::Snapshot,
    backup::{Backup, Manifest, Pack, Restored, restore},
    clock::now_ms,
    data_dir::must_be_one,
    exit::Exit,
    failure::Failure,
    human, new_file,
    problem::Kind,
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
        let loaded = context.config()?;
        let storage = loaded.config.storage.clone();
        let (to, data_dir) = (self.to.clone(), storage.data_dir.clone());
        must_be_one(&data_dir)?;
        new_file::must_be_free(&to)?;
        keep_aside(context).await?;
        let manifest = off_thread(move || {
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
            context.output.json(&json!({
                "file": self.to, "backup": manifest, "snapshot_ms": manifest.snapshot_ms(), "not_in_it": segments,
            }))?;
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
                ("index", known(&manifest)),
                ("not in it", format!("the memories themselves: {}", segments.display())),
            ])?;
            context.output.remark(&copying(&segments));
        }
        if let Some(settings) = settings_elsewhere(&loaded) {
            context.output.warning(&format!(
                "the settings in use are not in it: they are in {}, copy that file as well",
                settings.display()
            ));
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
            context.output.remark(&going_on(&data_dir, holds_data, &starting(&data_dir, context)));
        }
        Ok(Exit::Ok)
    }
}

/// Has a daemon that runs keep aside what only its index knows, as it is now. Without one, what it kept aside counts.
async fn keep_aside(context: &Context) -> Result<(), Failure> {
    match context.client()?.call::<Snapshot>(Method::POST, "/v1/index/snapshot").await {
        Ok(_) => {}
        Err(Failure::Problem(problem)) if problem.kind() == Kind::NotRunning => {}
        Err(failure) => context.output.warning(&format!(
            "the daemon could not keep aside what its index knows now, so what it kept aside last is packed: {failure}"
        )),
    }
    Ok(())
}

/// What is known of when things came and were verified.
fn known(manifest: &Manifest) -> String {
    match manifest.snapshot_ms() {
        Some(ms) => format!("what only it knows, as it was {}", human::ago(ms)),
        None => {
            "nothing of it was kept aside yet: when things came and were verified is not in it".to_owned()
        }
    }
}

/// The file of settings in use, if it is not that of the data directory, which is packed.
fn settings_elsewhere(loaded: &Loaded) -> Option<&Path> {
    let file = loaded.file.as_deref()?;
    let packed = loaded.config.node.data_dir.join(FILE_NAME);
    let is_packed =
        file.canonicalize().is_ok_and(|file| packed.canonicalize().is_ok_and(|other| file == other));
    (!is_packed).then_some(file)
}

fn copying(segments: &Path) -> String {
    let segments = human::quoted(segments);
    format!(
        "\nCopy those as well, at any time, whether the node runs or not:\n\n  \
         rsync -a --delete-after {segments} COPY/\n\n\
         What is in a segment never changes, so only what is new is copied the next time. What compaction has removed \
         here goes from the copy, too: else what was forgotten would come back with it. When rsync says that files \
         vanished, run it again."
    )
}

/// What to type to start a node in this folder. Not as root, if it is somebody else's: all that it makes there would be
/// root's.
pub(super) fn starting(data_dir: &Path, context: &Context) -> String {
    let owner = metadata(data_dir).map_or(0, |found| found.uid());
    match owner {
        0 => context.start(),
        _ if data_dir == Path::new(MACHINE_DATA_DIR) => "systemctl start tesseras".to_owned(),
        owner if geteuid().is_root() => format!("sudo -u '#{owner}' {}", context.start()),
        _ => context.start(),
    }
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
