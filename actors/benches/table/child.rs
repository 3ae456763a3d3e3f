//! A process of its own: files become a tessera and files again, and the most memory that took.

use std::{
    io::PipeWriter,
    os::fd::OwnedFd,
    path::Path,
    process::{Command, Stdio},
    time::SystemTime,
};

use actors::{
    archive::{Form, Metadata, Special, content, create, unpack, walk},
    keys::Author,
};
use futures::StreamExt;
use tokio::{io::AsyncWriteExt, net::unix::pipe, task::spawn_blocking};

use crate::{Result, ours::Ours};

/// The first word of the command line of such a process; the folder of the files and an empty one follow.
pub(crate) const NAME: &str = "--create-and-export";

/// Runs such a process to its end and returns its peak of resident memory in bytes.
pub(crate) fn run(files: &Path, work: &Path) -> Result<u64> {
    let mut command = Command::new(std::env::current_exe()?);
    let output = command.arg(NAME).arg(files).arg(work).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("create and export: {}", output.status).into());
    }
    Ok(String::from_utf8(output.stdout)?.trim().parse()?)
}

/// What such a process does. The two sides talk through pipes, as the command line and the daemon do through a socket.
pub(crate) async fn create_and_export(files: &Path, work: &Path) -> Result<u64> {
    let ours = Ours::start(&work.join("store")).await?;
    let author = Author::generate()?;
    let session = ours.system.storage.open_session().await?;
    let (upload, sender) = std::io::pipe()?;
    let walked = spawn_blocking({
        let files = files.to_owned();
        move || send(&files, sender)
    });
    let upload = pipe::Receiver::from_owned_fd(OwnedFd::from(upload))?;
    let now_ms = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_millis();
    let created = create(upload, &author, session, u64::try_from(now_ms)?).await?;
    walked.await??;

    let mut content = content(ours.system.storage.clone(), created.id, &author, Form::Bag).await?;
    let manifest = content.manifest().clone();
    let (bag, download) = std::io::pipe()?;
    let folder = work.join("export");
    let unpacked = spawn_blocking(move || unpack(bag, &manifest, &folder, |_| {}));
    let mut download = pipe::Sender::from_owned_fd(OwnedFd::from(download))?;
    while let Some(piece) = content.next().await {
        download.write_all(&piece?).await?;
    }
    drop(download);
    unpacked.await??;
    ours.system.drain().await;
    peak_bytes()
}

fn send(files: &Path, to: PipeWriter) -> Result<()> {
    let public = Metadata { public: true, ..Metadata::default() };
    walk(&[files.to_owned()], Special::Refuse)?.write_tar(&public, to, |_| {})?;
    Ok(())
}

/// The most memory this process has had at a time.
fn peak_bytes() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.strip_suffix("kB"));
    Ok(peak.ok_or("/proc/self/status has no VmHWM")?.trim().parse::<u64>()? << 10)
}
