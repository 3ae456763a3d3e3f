//! `verify`: is a tessera, or an exported folder, still what its author signed?

use std::path::{Path, PathBuf};

use actors::archive::{ArchiveError, ContentState, FolderReport, check_folder};
use hyper::Method;
use proto::TesseraId;
use serde_json::json;

use super::{Context, off_thread, target::Target};
use crate::{
    api::{self, Verified, VerifyStep},
    client::{Client, path},
    exit::Exit,
    failure::Failure,
    human,
    output::Output,
    problem::Kind,
    progress,
};

/// Read a tessera, or an exported folder, back and check it
#[derive(Debug, clap::Args)]
pub(crate) struct Verify {
    /// The tessera (or the beginning of its id), or a folder that `export` wrote; a folder needs no daemon
    #[arg(value_name = "ID|FOLDER")]
    what: PathBuf,
}

impl Verify {
    /// Does it.
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        match Target::parse(&self.what.to_string_lossy()) {
            Ok(target) => tessera(context, &target).await,
            Err(reason) if looks_like_an_id(&self.what) => Err(Failure::new(Kind::Usage, reason)),
            Err(_) if !self.what.exists() => Err(neither(&self.what)),
            Err(_) => folder(context, self.what).await,
        }
    }
}

fn looks_like_an_id(what: &Path) -> bool {
    what.to_string_lossy().starts_with("tess1") && !what.exists()
}

fn neither(what: &Path) -> Failure {
    let detail = format!(
        "{} is neither a tessera nor a folder that is here: an id, or its beginning, looks like tess1qx4…, as `list` shows it",
        what.display()
    );
    Failure::new(Kind::Usage, detail)
}

async fn tessera(context: &Context, target: &Target) -> Result<Exit, Failure> {
    let client = context.client()?;
    let report = stored(&client, target.find(&client).await?).await?;
    if context.output.json {
        context.output.json(&report)?;
        return Ok(if report.intact { Exit::Ok } else { Exit::Damaged });
    }
    if !report.intact {
        return Err(damaged(&report));
    }
    let Verified { tessera, fragments, .. } = report;
    let read = human::fragments(fragments);
    context.output.line(format!("{tessera} is intact: {read} read, all of it what its author signed"))?;
    Ok(Exit::Ok)
}

/// Has the daemon read a tessera back.
pub(super) async fn stored(client: &Client, id: TesseraId) -> Result<Verified, Failure> {
    let at = path(["v1", "tesseras", &id.to_string(), "verify"]);
    let mut steps = client.receive(Method::POST, &at, api::LINES).await?;
    let bar = progress::count("verifying", "fragments");
    let mut text = Vec::new();
    while let Some(bytes) = steps.next().await? {
        text.extend_from_slice(&bytes);
        while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = text.drain(..=end).collect();
            match step(&line)? {
                VerifyStep::Progress { done, fragments } => {
                    bar.set_length(fragments);
                    bar.set_position(done);
                }
                VerifyStep::Report(report) => {
                    bar.finish_and_clear();
                    return Ok(report);
                }
                VerifyStep::Problem(problem) => {
                    bar.finish_and_clear();
                    return Err(problem.into());
                }
            }
        }
    }
    Err(Failure::new(Kind::Io, "the daemon stopped before it had read everything: try again"))
}

fn step(line: &[u8]) -> Result<VerifyStep, Failure> {
    serde_json::from_slice(line).map_err(|error| {
        let detail =
            format!("the daemon's answer is not understood ({error}): is it of another version? Restart it");
        Failure::new(Kind::Internal, detail)
    })
}

/// What is wrong with a tessera, as a failure.
pub(super) fn damaged(report: &Verified) -> Failure {
    let Verified { tessera, fragments, ok, missing, damaged, .. } = report;
    let all = human::fragments(*fragments);
    let mut detail = format!(
        "{tessera} is not intact: of {all} {} right, {damaged} damaged, {missing} missing",
        human::count(*ok, "is", "are")
    );
    for fault in report.faults.iter().take(FAULTS_SHOWN_MAX) {
        let state = if fault.missing { "missing" } else { "damaged" };
        detail.push_str(&format!(
            "\n  fragment {}/{} is {state} (checksum {})",
            fault.stripe, fault.index, fault.checksum
        ));
    }
    if missing + damaged == 0 {
        detail.push_str("\n  put together, the content is not what its author signed");
    }
    Failure::new(Kind::Damaged, detail)
}

/// A stream that broke off does not say why; reading everything back does.
pub(super) async fn explain(client: &Client, id: TesseraId, broken: Failure) -> Failure {
    match stored(client, id).await {
        Ok(report) if !report.intact => damaged(&report),
        Ok(_) | Err(_) => broken,
    }
}

async fn folder(context: &Context, folder: PathBuf) -> Result<Exit, Failure> {
    let bar = progress::bytes("verifying", None);
    let checked = off_thread({
        let bar = bar.clone();
        move || check_folder(&folder, |bytes| bar.set_position(bytes))
    });
    let checked = checked.await?;
    bar.finish_and_clear();
    let report = checked.map_err(|error| match error {
        ArchiveError::Proto(_) => {
            Failure::new(Kind::Damaged, format!("the manifest (manifest.cbor) is not valid: {error}"))
        }
        other => other.into(),
    })?;
    told(context.output, &report)
}

fn told(output: Output, report: &FolderReport) -> Result<Exit, Failure> {
    let problems: Vec<String> = report.problems.iter().map(ToString::to_string).collect();
    if output.json {
        output.json(&json!({
            "tessera": report.tessera,
            "author": report.author,
            "intact": report.is_intact(),
            "files": report.files,
            "bytes": report.bytes,
            "content": state(report.content),
            "problems": problems,
        }))?;
        return Ok(if report.is_intact() { Exit::Ok } else { Exit::Damaged });
    }
    if !report.is_intact() {
        let problems: Vec<String> = problems.iter().map(|problem| format!("\n  {problem}")).collect();
        let detail =
            format!("{} is not intact: {}{}", report.tessera, meaning(report.content), problems.concat());
        return Err(Failure::new(Kind::Damaged, detail));
    }
    let read = format!("{}, {}", human::count(report.files, "file", "files"), human::bytes(report.bytes));
    output.line(format!("{} is intact: {} ({read})", report.tessera, meaning(report.content)))?;
    Ok(Exit::Ok)
}

fn state(content: ContentState) -> &'static str {
    match content {
        ContentState::Signed => "signed",
        ContentState::Differs => "differs",
        ContentState::Incomplete => "incomplete",
        ContentState::Unpacked => "unpacked",
    }
}

fn meaning(content: ContentState) -> &'static str {
    match content {
        ContentState::Signed => "it is what its author signed",
        ContentState::Differs => "it is not what its author signed",
        ContentState::Incomplete => "files are missing or damaged",
        ContentState::Unpacked => {
            "its files fit its checksums; its author signed the encrypted content, which `export --raw` writes"
        }
    }
}

/// Faults named in a message; `--json` has more.
const FAULTS_SHOWN_MAX: usize = 20;
