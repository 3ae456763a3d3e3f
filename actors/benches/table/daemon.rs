//! The node itself, as a process, and whoever asks it over its socket.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream},
    net::UnixStream,
};

use crate::Result;

/// A daemon without any configuration, which ends with this.
pub(crate) struct Daemon {
    child: Child,
    binary: PathBuf,
    data: PathBuf,
}

/// What a process has used since it began.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Used {
    /// Of all threads, user and system.
    pub(crate) cpu_seconds: f64,
    /// Calls that wrote to anything: files, sockets, other threads.
    pub(crate) write_calls: f64,
    /// Given to the disk.
    pub(crate) written_bytes: f64,
}

/// A connection that asks one thing after the other.
pub(crate) struct Connection(BufStream<UnixStream>);

impl Daemon {
    /// Starts one in an empty folder, and waits until it takes requests. It talks to no other node.
    pub(crate) async fn start(folder: &Path) -> Result<Self> {
        Self::listening(folder, "off").await
    }

    /// The same, at this address for other nodes.
    pub(crate) async fn listening(folder: &Path, address: &str) -> Result<Self> {
        let bench = std::env::current_exe()?;
        let binary = bench.ancestors().nth(2).ok_or("the bench lies in no target folder")?.join("node");
        let data = folder.join("data");
        let mut command = Command::new(&binary);
        command.env_clear().env("HOME", folder).env("TESSERAS_OBSERVABILITY__METRICS_ADDR", "off");
        command.env("TESSERAS_NODE__LISTEN_ADDR", address);
        command.arg("--data-dir").arg(&data).arg("run");
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child =
            child.map_err(|error| format!("{}: {error}; `make bench` builds it", binary.display()))?;
        let daemon = Self { child, binary, data };
        let deadline = Instant::now() + Duration::from_secs(30);
        while daemon.connect().await.is_err() {
            if Instant::now() > deadline {
                return Err("the node does not start".into());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(daemon)
    }

    /// Another connection.
    pub(crate) async fn connect(&self) -> Result<Connection> {
        Ok(Connection(BufStream::new(UnixStream::connect(self.data.join("node.sock")).await?)))
    }

    /// Runs a command of its command line, which must succeed, and returns what it printed.
    pub(crate) async fn command(&self, words: &[&str]) -> Result<String> {
        let mut command = tokio::process::Command::new(&self.binary);
        let output = command.env_clear().arg("--data-dir").arg(&self.data).args(words).output().await?;
        if !output.status.success() {
            return Err(format!("{words:?}: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }

    /// The sum of all series of a metric.
    pub(crate) async fn metric(&self, name: &str) -> Result<f64> {
        let mut text = Vec::new();
        self.connect().await?.ask("GET", "/metrics", b"", &mut text).await?;
        let text = String::from_utf8(text)?;
        let series = text.lines().filter_map(|line| line.strip_prefix(name)?.rsplit_once(' '));
        Ok(series.map(|(_, value)| value.parse::<f64>()).sum::<std::result::Result<_, _>>()?)
    }

    /// The most memory it has had at a time, in bytes.
    pub(crate) fn peak_bytes(&self) -> Result<f64> {
        Ok(field(&self.read("status")?, "VmHWM:")? * 1024.0)
    }

    /// What it has used by now.
    pub(crate) fn used(&self) -> Result<Used> {
        let (stat, io) = (self.read("stat")?, self.read("io")?);
        // The name of the process, which may have blanks, ends with the last parenthesis (`proc_pid_stat(5)`).
        let (_, behind) = stat.rsplit_once(')').ok_or("/proc/PID/stat has no name")?;
        let times = behind.split_whitespace().skip(11).take(2).map(str::parse::<f64>);
        let ticks = times.sum::<std::result::Result<f64, _>>()?;
        Ok(Used {
            cpu_seconds: ticks / TICKS_PER_SECOND,
            write_calls: field(&io, "syscw:")?,
            written_bytes: field(&io, "write_bytes:")?,
        })
    }

    fn read(&self, name: &str) -> Result<String> {
        Ok(std::fs::read_to_string(format!("/proc/{}/{name}", self.child.id()))?)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Used {
    /// What was used since another time.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            cpu_seconds: self.cpu_seconds - before.cpu_seconds,
            write_calls: self.write_calls - before.write_calls,
            written_bytes: self.written_bytes - before.written_bytes,
        }
    }
}

impl Connection {
    /// Asks, and puts the body of the answer in `answer`. Errors when the node refuses.
    pub(crate) async fn ask(
        &mut self,
        method: &str,
        path: &str,
        body: &[u8],
        answer: &mut Vec<u8>,
    ) -> Result<()> {
        let head =
            format!("{method} {path} HTTP/1.1\r\nhost: node\r\ncontent-length: {}\r\n\r\n", body.len());
        self.0.write_all(head.as_bytes()).await?;
        self.0.write_all(body).await?;
        self.0.flush().await?;
        let (mut status, mut length) = (String::new(), None);
        self.0.read_line(&mut status).await?;
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).await?;
            match line.trim_end().split_once(": ") {
                Some(("content-length", value)) => length = Some(value.parse()?),
                Some(_) => {}
                None => break,
            }
        }
        answer.resize(length.ok_or("an answer of unknown length")?, 0);
        self.0.read_exact(answer).await?;
        if status.starts_with("HTTP/1.1 2") {
            return Ok(());
        }
        Err(format!("{method} {path}: {status}{}", String::from_utf8_lossy(answer)).into())
    }
}

/// The number behind a name in a file of `/proc`.
fn field(text: &str, name: &str) -> Result<f64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next());
    Ok(value.ok_or_else(|| format!("there is no {name}"))?.parse()?)
}

/// Of the times in `/proc/PID/stat`, on every architecture of Linux.
const TICKS_PER_SECOND: f64 = 100.0;
