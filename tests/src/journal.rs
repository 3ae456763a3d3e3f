//! What the workload and its parent tell each other, a line of JSON each, over the workload's standard input and
//! output. What has been written to the pipe outlives the workload.

use std::{
    io::{self, Write},
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};

use actors::ActorError;
use serde::{Deserialize, Serialize};

use crate::{
    content::Spot,
    inspect::Opening,
    ledger::{Answer, Deed, Ledger, Wish},
};

/// The only line that the parent writes. The end of standard input asks for a clean stop.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Start {
    /// The store.
    pub folder: PathBuf,
    /// Of what the clients do.
    pub seed: u64,
    /// `synchronous=FULL` instead of `NORMAL`.
    pub synchronous_full: bool,
    /// Bytes of the disk that are kept free.
    pub min_free_bytes: u64,
    /// What the store has promised.
    pub ledger: Ledger,
}

/// A line that the workload writes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Line {
    /// The store was opened, read as a whole, and keeps its promises. Work begins.
    Opened(Opening),
    /// The store could not be opened.
    NotOpened(String),
    /// About to ask for this.
    Asked(u64, Deed),
    /// It was acknowledged.
    Answered(u64, Answer),
    /// It was refused or failed: unknown whether it was done.
    Refused(u64, Refusal, String),
    /// A read failed without saying anything about what is there.
    Unread(String),
    /// A promise is broken.
    Fault(String),
    /// Stopped cleanly.
    Closed,
}

/// Why something was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// No room.
    Full,
    /// Nothing is written at the moment.
    ReadOnly,
    /// The session did not survive a failed write.
    SessionEnded,
    /// It contradicts what is there.
    Conflict,
    /// Something else.
    Other,
}

impl Refusal {
    fn of(error: &ActorError) -> Self {
        match error {
            ActorError::InsufficientStorage { .. } => Self::Full,
            ActorError::ReadOnly { .. } => Self::ReadOnly,
            ActorError::SessionEnded { .. } => Self::SessionEnded,
            ActorError::Conflict { .. } => Self::Conflict,
            _ => Self::Other,
        }
    }
}

/// Where the clients of one workload write what they ask for and what they are told.
#[derive(Debug)]
pub struct Journal(Mutex<Pages>);

#[derive(Debug)]
struct Pages {
    ledger: Ledger,
    next: u64,
}

impl Journal {
    /// Goes on from a settled ledger.
    pub fn new(ledger: Ledger) -> Self {
        Self(Mutex::new(Pages { ledger, next: 0 }))
    }

    /// Carries out a deed between the line that says so and the line with its answer.
    pub async fn carry_out(&self, deed: Deed, work: impl Future<Output = Result<Answer, ActorError>>) {
        let number = self.ask(deed);
        let answer = match work.await {
            Err(ActorError::NotFound { .. }) if matches!(deed, Deed::Drop(_) | Deed::Forget(_)) => {
                Ok(Answer::Already)
            }
            answer => answer,
        };
        match answer {
            Ok(answer) => self.answered(number, answer),
            Err(error) => write(&Line::Refused(number, Refusal::of(&error), error.to_string())),
        }
    }

    /// What is wanted of a fragment.
    pub fn fragment(&self, spot: Spot) -> Option<Wish> {
        self.lock().ledger.fragment(spot)
    }

    /// What is wanted of a tessera.
    pub fn of_tessera(&self, tessera: u32) -> Vec<(Spot, Wish)> {
        self.lock().ledger.of_tessera(tessera)
    }

    fn ask(&self, deed: Deed) -> u64 {
        let mut pages = self.lock();
        let number = pages.next;
        pages.next += 1;
        pages.ledger.begin(number, deed);
        write(&Line::Asked(number, deed));
        number
    }

    fn answered(&self, number: u64, answer: Answer) {
        let mut pages = self.lock();
        // Whether the answer breaks a promise is judged by the parent.
        let _ = pages.ledger.acknowledge(number, answer);
        write(&Line::Answered(number, answer));
    }

    fn lock(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes a line in one call. Ends the process when nobody reads any more.
pub fn write(line: &Line) {
    let mut text = serde_json::to_string(line).expect("lines are plain data");
    text.push('\n');
    if io::stdout().lock().write_all(text.as_bytes()).is_err() {
        std::process::exit(1);
    }
}
