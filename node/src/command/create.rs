//! `create`: sends files and folders to the daemon, which makes a tessera of them.

use std::path::PathBuf;

use actors::archive::{ArchiveError, Metadata, Special, Walk, walk};
use futures::TryStreamExt;
use http_body_util::{BodyExt, StreamBody};
use hyper::{Method, body::Frame};
use indicatif::ProgressBar;

use super::{Context, off_thread};
use crate::{
    api,
    client::{Client, Upload},
    exit::Exit,
    failure::Failure,
    pipe, progress,
};

/// Make a tessera of files and folders, and print its id
#[derive(Debug, clap::Args)]
pub(crate) struct Create {
    /// Files and folders
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// What it is, in a line
    #[arg(long)]
    title: Option<String>,
    /// Words to find it by, separated by commas
    #[arg(long, value_delimiter = ',')]
    tags: Vec<String>,
    /// The language, as in pt-BR
    #[arg(long, value_name = "LANGUAGE")]
    lang: Option<String>,
    /// Where it happened
    #[arg(long)]
    place: Option<String>,
    /// When it happened, as in "summer of 1973"
    #[arg(long)]
    era: Option<String>,
    /// Who is in it, separated by commas
    #[arg(long, value_delimiter = ',')]
    people: Vec<String>,
    /// Readable by everybody; else only by you and by those named with --for
    #[arg(long)]
    public: bool,
    /// An age recipient who can read it besides you; may be given several times
    #[arg(long = "for", value_name = "age1…", conflicts_with = "public")]
    recipients: Vec<String>,
    /// Leave out symbolic links, devices, pipes and sockets instead of refusing them
    #[arg(long)]
    skip_special: bool,
}

impl Create {
    /// Does it.
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let created = self.make(context, &context.client()?).await?;
        if context.output.json {
            context.output.json(&created)?
        } else {
            context.output.line(created.id.to_string())?
        }
        Ok(Exit::Ok)
    }

    /// Makes it.
    pub(super) async fn make(self, context: &Context, client: &Client) -> Result<api::Created, Failure> {
        let metadata = self.metadata();
        metadata.check()?;
        let special = if self.skip_special { Special::Skip } else { Special::Refuse };
        let walk = progress::patiently("listing the files", off_thread(move || walk(&self.paths, special)))
            .await??;
        for skipped in walk.skipped() {
            context.output.warning(&format!("left out: {skipped}"));
        }
        let bar = progress::bytes("creating", Some(walk.totals().bytes));
        let (writer, pieces) = pipe::from_thread();
        let reading = off_thread({
            let bar = bar.clone();
            move || send(&walk, &metadata, writer, &bar)
        });
        let body: Upload = BodyExt::boxed(StreamBody::new(pieces.map_ok(Frame::data)));
        let (created, read) = tokio::join!(client.upload(Method::POST, "/v1/tesseras", body), reading);
        bar.finish_and_clear();
        settle(created, read?)
    }

    fn metadata(&self) -> Metadata {
        Metadata {
            title: self.title.clone(),
            language: self.lang.clone(),
            place: self.place.clone(),
            era: self.era.clone(),
            tags: words(&self.tags),
            people: words(&self.people),
            public: self.public,
            recipients: self.recipients.clone(),
        }
    }
}

/// `sea, summer` is typed with a space that nobody means.
fn words(typed: &[String]) -> Vec<String> {
    typed.iter().map(|word| word.trim().to_owned()).collect()
}

fn send(
    walk: &Walk,
    metadata: &Metadata,
    writer: pipe::Writer,
    bar: &ProgressBar,
) -> Result<(), ArchiveError> {
    let writer = walk.write_tar(metadata, writer, |sent| bar.set_position(sent.bytes))?;
    writer.finish().map_err(|source| ArchiveError::Stream { what: "upload", source })
}

/// The error that came first: what went wrong while reading breaks the upload, and a refused upload breaks the stream
/// that is being read into it.
fn settle<T>(created: Result<T, Failure>, read: Result<(), ArchiveError>) -> Result<T, Failure> {
    match read {
        Ok(()) | Err(ArchiveError::Stream { .. }) => created,
        Err(error) => Err(error.into()),
    }
}
