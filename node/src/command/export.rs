//! `export`: writes a tessera to a folder that ordinary tools understand.

use std::{io, path::PathBuf};

use actors::archive::{ArchiveError, unpack, unpack_raw};
use hyper::Method;
use indicatif::ProgressBar;
use proto::{TesseraId, limits::MANIFEST_BYTES_MAX, manifest::SignedManifest};
use serde_json::json;

use super::{Context, off_thread, target::Target, verify};
use crate::{
    client::{Client, Download, path},
    exit::Exit,
    failure::Failure,
    pipe,
    problem::{Kind, Problem},
    progress,
};

/// Write a tessera to a folder: its files, what its author signed, and how to read all that
#[derive(Debug, clap::Args)]
pub(crate) struct Export {
    /// The tessera, or the beginning of its id
    #[arg(value_parser = Target::parse)]
    id: Target,
    /// A folder that does not exist yet, or an empty one
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Write the content as it is stored: one tar, encrypted if the tessera is private
    #[arg(long)]
    raw: bool,
}

impl Export {
    /// Does it.
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let client = context.client()?;
        let id = self.id.find(&client).await?;
        let text = id.to_string();
        let manifest = manifest(&client, id).await?;
        let bar = progress::bytes("exporting", Some(manifest.manifest().content_len));
        let query = if self.raw { "?raw" } else { "" };
        let content =
            client.download(&format!("{}{query}", path(["v1", "tesseras", &text, "content"]))).await?;
        let (sender, reader) = pipe::to_thread();
        let writing = off_thread({
            let (bar, folder) = (bar.clone(), self.folder.clone());
            move || write(self.raw, reader, &manifest, &folder, &bar)
        });
        let (received, written) = tokio::join!(receive(content, sender), writing);
        bar.finish_and_clear();
        let written = written?;
        let begun = !matches!(written, Err(ArchiveError::Destination { .. })) && self.folder.exists();
        let outcome = match (received, written) {
            (Err(failure), _) => Err(verify::explain(&client, id, failure).await),
            (Ok(()), written) => written.map_err(Failure::from),
        };
        if outcome.is_err() && begun {
            let folder = self.folder.display();
            context.output.remark(&format!(
                "what was written until then is in {folder}: remove it before you try again"
            ));
        }
        let Written { files, bytes } = outcome?;
        if context.output.json {
            context
                .output
                .json(&json!({ "tessera": id, "folder": self.folder, "files": files, "bytes": bytes }))?;
        }
        context.output.remark(&format!("exported {id} to {}", self.folder.display()));
        Ok(Exit::Ok)
    }
}

/// The signed manifest, which is the one the id names.
async fn manifest(client: &Client, id: TesseraId) -> Result<SignedManifest, Failure> {
    let at = path(["v1", "tesseras", &id.to_string()]);
    let bytes = client.receive(Method::GET, &at, "application/cbor").await?.whole(MANIFEST_BYTES_MAX).await?;
    let manifest = SignedManifest::parse(bytes).map_err(Problem::from)?;
    if manifest.id() == id {
        return Ok(manifest);
    }
    Err(Failure::new(
        Kind::Damaged,
        format!("the daemon sent the manifest of {} instead of {id}", manifest.id()),
    ))
}

/// What lies in the folder now.
struct Written {
    /// Absent where the content was not unpacked.
    files: Option<u64>,
    bytes: u64,
}

fn write(
    raw: bool,
    reader: pipe::Reader,
    manifest: &SignedManifest,
    folder: &std::path::Path,
    bar: &ProgressBar,
) -> Result<Written, ArchiveError> {
    let progress = |done: actors::archive::Progress| bar.set_position(done.bytes);
    Ok(if raw {
        Written { files: None, bytes: unpack_raw(reader, manifest, folder, progress)? }
    } else {
        let done = unpack(reader, manifest, folder, progress)?;
        Written { files: Some(done.files), bytes: done.bytes }
    })
}

/// Passes on what comes until it ends, breaks off, or nobody wants it any more.
async fn receive(mut content: Download, to: pipe::Sender) -> Result<(), Failure> {
    loop {
        match content.next().await {
            Ok(Some(bytes)) => {
                if !to.send(bytes).await {
                    return Ok(());
                }
            }
            Ok(None) => {
                to.finish().await;
                return Ok(());
            }
            Err(failure) => {
                to.fail(io::Error::other(failure.to_string())).await;
                return Err(failure);
            }
        }
    }
}
