//! The parent's side: starts a workload, keeps the ledger of its promises, and ends it at a given moment.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    inspect::Opening,
    journal::{Line, Refusal, Start},
    ledger::{Deed, Ledger},
};

/// A workload that runs.
#[derive(Debug)]
pub struct Victim {
    process: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<Line>,
    life: Life,
}

/// What became of a workload.
#[derive(Debug, Default)]
pub struct Life {
    /// What the store has promised.
    pub ledger: Ledger,
    /// What it was when it was opened, if it came so far.
    pub opening: Option<Opening>,
    /// Why it could not be opened.
    pub not_opened: Option<String>,
    /// Deeds acknowledged.
    pub answers: u64,
    /// Puts among them.
    pub puts: u64,
    /// Deeds refused, with the reason.
    pub refusals: Vec<(Deed, Refusal, String)>,
    /// Reads that failed without saying anything about what is there.
    pub unread: Vec<String>,
    /// Broken promises.
    pub faults: Vec<String>,
    /// Whether it stopped cleanly.
    pub closed: bool,
    /// How its process ended.
    pub status: Option<ExitStatus>,
    asked: std::collections::BTreeMap<u64, Deed>,
}

impl Victim {
    /// Starts a workload.
    pub fn start(program: &Path, start: &Start) -> Self {
        let mut process = Command::new(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the workload can be started");
        let mut stdin = process.stdin.take().expect("it is piped");
        let stdout = process.stdout.take().expect("it is piped");
        let text = serde_json::to_string(start).expect("it is plain data");
        writeln!(stdin, "{text}").expect("the workload reads how to start");
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            let lines = BufReader::new(stdout).lines().map_while(Result::ok);
            // The last line may be cut off, and what was being said then was not said.
            let lines = lines.map_while(|line| serde_json::from_str(&line).ok());
            lines.take_while(|line| sender.send(Line::clone(line)).is_ok()).for_each(drop);
        });
        let life = Life { ledger: start.ledger.clone(), ..Life::default() };
        Self { process, stdin: Some(stdin), lines, life }
    }

    /// Lets it work until so many deeds were answered or refused after it was opened; `false` when it ended before.
    pub fn work(&mut self, deeds: u64) -> bool {
        self.work_until(|life| life.opening.is_some() && life.answers + life.refusals.len() as u64 >= deeds)
    }

    /// Lets it work until this holds; `false` when it ended before.
    pub fn work_until(&mut self, mut enough: impl FnMut(&Life) -> bool) -> bool {
        while !enough(&self.life) {
            match self.lines.recv_timeout(SILENCE_MAX) {
                Ok(line) => self.life.note(line),
                Err(RecvTimeoutError::Disconnected) => return false,
                Err(RecvTimeoutError::Timeout) => {
                    self.life.faults.push(format!("nothing happened for {} s", SILENCE_MAX.as_secs()));
                    return false;
                }
            }
        }
        true
    }

    /// What it has done so far.
    pub fn life(&self) -> &Life {
        &self.life
    }

    /// Stops it where it stands: from when this returns it says nothing more. What the kernel is doing for it goes on.
    ///
    /// A file system that is being shut down may answer a sync in just that moment with success. A machine without
    /// power answers nothing.
    pub fn freeze(&self) {
        let pid = Pid::from_child(&self.process);
        kill_process(pid, Signal::STOP).expect("it is ours");
        let tasks = format!("/proc/{}/task", pid.as_raw_nonzero());
        let deadline = Instant::now() + SILENCE_MAX;
        while !is_frozen(Path::new(&tasks)) {
            assert!(Instant::now() < deadline, "{tasks} does not stop");
            std::thread::yield_now();
        }
    }

    /// Ends it with SIGKILL.
    pub fn kill(mut self) -> Life {
        self.process.kill().expect("it is ours");
        self.end()
    }

    /// Asks it to stop and waits until it has.
    pub fn stop(mut self) -> Life {
        self.stdin = None;
        self.work_until(|life| life.closed);
        self.kill()
    }

    /// Takes what is still in the pipe.
    fn end(mut self) -> Life {
        self.life.status = self.process.wait().ok();
        self.work_until(|_| false);
        std::mem::take(&mut self.life)
    }
}

/// Whether every thread is stopped, or will be before it comes back from the kernel.
fn is_frozen(tasks: &Path) -> bool {
    let threads = std::fs::read_dir(tasks).expect("it has not been waited for");
    threads.filter_map(Result::ok).all(|thread| {
        // One that ends meanwhile says nothing more, either.
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
        matches!(state, None | Some('T' | 't' | 'D' | 'X' | 'Z'))
    })
}

impl Drop for Victim {
    fn drop(&mut self) {
        // It has ended already, unless a test fails.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Life {
    fn note(&mut self, line: Line) {
        match line {
            Line::Opened(opening) => {
                self.ledger = opening.ledger.clone();
                self.opening = Some(opening);
            }
            Line::NotOpened(reason) => self.not_opened = Some(reason),
            Line::Asked(number, deed) => {
                self.asked.insert(number, deed);
                self.ledger.begin(number, deed);
            }
            Line::Answered(number, answer) => {
                self.answers += 1;
                self.puts += u64::from(matches!(self.asked.get(&number), Some(Deed::Put(..))));
                self.faults.extend(self.ledger.acknowledge(number, answer).err());
            }
            Line::Refused(number, refusal, reason) => {
                let deed = self.asked.get(&number).copied();
                self.refusals.extend(deed.map(|deed| (deed, refusal, reason)));
            }
            Line::Unread(reason) => self.unread.push(reason),
            Line::Fault(fault) => self.faults.push(fault),
            Line::Closed => self.closed = true,
        }
    }
}

/// A workload that says nothing for so long hangs.
const SILENCE_MAX: Duration = Duration::from_secs(60);
