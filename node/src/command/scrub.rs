//! `scrub status`, `scrub start`, `scrub pause`: reading back everything that is stored.

use std::time::{Duration, Instant};

use clap::Subcommand;
use hyper::Method;
use indicatif::ProgressBar;

use super::{
    Context,
    course::{Course, doing, waits},
};
use crate::{
    api::{Actor, Mode, Scrub, Status},
    client::Client,
    exit::Exit,
    failure::Failure,
    human,
    output::{Output, is_watched},
    problem::Kind,
    progress,
    scrubbed::Lateness,
};

/// See how verifying what is stored stands, have it begin, or have it wait.
#[derive(Debug, Subcommand)]
pub(crate) enum Scrubs {
    /// Show how old verifications are, what is damaged, and when the next begins
    Status,
    /// Verify everything that is stored now, at the configured rate
    Start {
        /// Wait for the end of it, and say what was found
        #[arg(long)]
        wait: bool,
    },
    /// Verify nothing for a while
    Pause {
        /// For how long, such as "3 h" or "2 days"; at most 31 days
        #[arg(long = "for", value_name = "SPAN", default_value = "1 day", value_parser = span)]
        span: Duration,
    },
}

impl Scrubs {
    /// Does it.
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let client = context.client()?;
        let scrub = match self {
            Self::Status => client.get(STATUS).await?,
            Self::Start { wait: true } => {
                let (scrub, found) = finished(context.output, &client).await?;
                show(context, &scrub)?;
                let status: Status = client.get("/v1/status").await?;
                return match status.storage.repairs_queued {
                    _ if found.is_any() => Err(damaged(&found)),
                    0 => Ok(Exit::Ok),
                    known => Err(known_before(known)),
                };
            }
            Self::Start { wait: false } => client.call(Method::POST, START).await?,
            Self::Pause { span } => {
                client.call(Method::POST, &format!("/v1/scrub/pause?secs={}", span.as_secs())).await?
            }
        };
        show(context, &scrub)?;
        Ok(Exit::Ok)
    }
}

/// Has everything verified, and waits for the end of it. Whenever storage or scrub was started again meanwhile, it is
/// asked for anew: an index that is made anew does not know of it.
async fn finished(output: Output, client: &Client) -> Result<(Scrub, Found), Failure> {
    let (mut found, mut seen) = (Found::default(), Found::of(&running(client, Method::GET, STATUS).await?));
    let mut starts = starts(client).await?;
    let mut scrub: Scrub = running(client, Method::POST, START).await?;
    let mut told = Told::new(output, &scrub);
    loop {
        found.add(&Found::of(&scrub).since(&seen));
        seen = Found::of(&scrub);
        let starts_before = std::mem::replace(&mut starts, self::starts(client).await?);
        if starts != starts_before {
            if starts.scrub != starts_before.scrub {
                seen = Found::default();
            }
            scrub = running(client, Method::POST, START).await?;
            told.course.begins_anew(&scrub);
            continue;
        }
        if scrub.asked_bytes == 0 && scrub.mode != Mode::Verifying {
            told.bar.finish_and_clear();
            return Ok((scrub, found));
        }
        if let Some(left) = scrub.paused_for_ms {
            let left = human::at_most(left);
            let detail =
                format!("verifying was paused meanwhile, for {left}: go on with `scrub start --wait`");
            return Err(Failure::new(Kind::Conflict, detail));
        }
        told.tell(&scrub);
        tokio::time::sleep(POLL_INTERVAL).await;
        scrub = running(client, Method::GET, STATUS).await?;
    }
}

/// Tells whoever waits how it goes: on a terminal all the time, else in a line now and then.
struct Told {
    output: Output,
    course: Course,
    bar: ProgressBar,
    looked: Instant,
    /// When the last line was written, and whether it said that nothing is read until some hour.
    line: (Instant, bool),
}

impl Told {
    fn new(output: Output, scrub: &Scrub) -> Self {
        let now = Instant::now();
        Self { output, course: Course::new(scrub), bar: progress::told(), looked: now, line: (now, false) }
    }

    fn tell(&mut self, scrub: &Scrub) {
        self.course.goes_on(scrub, self.looked.elapsed());
        self.looked = Instant::now();
        let (done, total) = self.course.done(scrub);
        self.bar.set_length(total);
        self.bar.set_position(done);
        self.bar.set_message(self.course.sentence(scrub));
        let (at, waited) = self.line;
        // A wait of hours is said once.
        let is_time = waits(scrub) != waited || (!waited && at.elapsed() >= LINE_INTERVAL);
        if is_time && !is_watched() {
            self.output.remark(&self.course.sentence(scrub));
            self.line = (Instant::now(), waits(scrub));
        }
    }
}

/// Asks until no part of the node that is needed for the answer is being started again.
async fn running(client: &Client, method: Method, path: &str) -> Result<Scrub, Failure> {
    loop {
        let answer = match method {
            Method::GET => client.get(path).await,
            _ => client.call(method.clone(), path).await,
        };
        match answer {
            Err(Failure::Problem(problem)) if problem.kind() == Kind::Restarting => {
                tokio::time::sleep(POLL_INTERVAL).await;
            }
            answer => return answer,
        }
    }
}

/// How often those were started again without which nothing is verified.
#[derive(Debug, Default, PartialEq, Eq)]
struct Starts {
    storage: u64,
    scrub: u64,
}

async fn starts(client: &Client) -> Result<Starts, Failure> {
    let actors: Vec<Actor> = client.get("/v1/actors").await?;
    let of = |name| actors.iter().find(|actor| actor.name == name).map_or(0, |actor| actor.restarts);
    Ok(Starts { storage: of(actors::storage::NAME), scrub: of(actors::scrub::NAME) })
}

/// What was found damaged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Found {
    fragments: u64,
    documents: u64,
}

impl Found {
    /// Since the actor that counts was started.
    fn of(scrub: &Scrub) -> Self {
        Self { fragments: scrub.damaged_fragments, documents: scrub.damaged_documents }
    }

    /// What came after this. A count that is smaller than before began anew.
    fn since(self, before: &Self) -> Self {
        let since = |now: u64, before| now.checked_sub(before).unwrap_or(now);
        Self {
            fragments: since(self.fragments, before.fragments),
            documents: since(self.documents, before.documents),
        }
    }

    fn add(&mut self, more: &Self) {
        self.fragments += more.fragments;
        self.documents += more.documents;
    }

    fn is_any(&self) -> bool {
        self.fragments + self.documents > 0
    }
}

fn show(context: &Context, scrub: &Scrub) -> Result<(), Failure> {
    if context.output.json {
        return context.output.json(scrub);
    }
    context.output.fields(&fields(scrub))
}

fn fields(scrub: &Scrub) -> Vec<(&'static str, String)> {
    let rate = scrub.rate.map_or_else(|| "no limit".to_owned(), |rate| format!("{}/s", human::bytes(rate)));
    let mut fields = vec![
        ("state", state(scrub)),
        ("verified", scrub.oldest()),
        ("to verify", format!("{}, every {}, {rate}", human::bytes(scrub.bytes), age(scrub.within_ms))),
    ];
    let found = [
        ("still asked for", (scrub.asked_bytes > 0).then(|| human::bytes(scrub.asked_bytes))),
        ("overdue", (scrub.overdue_bytes > 0).then(|| human::bytes(scrub.overdue_bytes))),
        ("late", scrub.lateness().map(explained)),
        ("damaged", Some(Found::of(scrub)).filter(Found::is_any).map(|found| since(&findings(&found)))),
        (
            "mended",
            (scrub.mended_records > 0)
                .then(|| since(&human::count(scrub.mended_records, "record", "records"))),
        ),
        ("trouble", scrub.trouble.clone()),
    ];
    fields.extend(found.into_iter().filter_map(|(name, value)| Some((name, value?))));
    fields
}

/// What verifying came upon; `jobs` says what of that still waits.
fn since(found: &str) -> String {
    format!("{found} found since the daemon was started")
}

fn state(scrub: &Scrub) -> String {
    let next = scrub.begins_in_ms.map(|ms| format!(", the next time in {}", age(ms)));
    match (scrub.mode, scrub.segment) {
        // It looks now and then, and a clock may have been set.
        (Mode::Idle, _) if scrub.asked_bytes > 0 || scrub.begins_in_ms == Some(0) => {
            "about to begin".to_owned()
        }
        // What it has read is all that it was to read, and it rests from that.
        (Mode::Resting | Mode::GivingWay, None) if scrub.asked_bytes == 0 && scrub.begins_in_ms > Some(0) => {
            format!("nothing is due{}", next.unwrap_or_default())
        }
        (Mode::Idle, _) => format!("nothing is due{}", next.unwrap_or_default()),
        (_, Some(segment)) => {
            let position = human::bytes(scrub.position.unwrap_or(0));
            format!("{}, {position} into segment {segment}", doing(scrub))
        }
        _ => doing(scrub),
    }
}

fn explained(late: Lateness) -> String {
    match late.remedy {
        Some(remedy) => format!("{}: {remedy}", late.what),
        None => late.what,
    }
}

fn damaged(found: &Found) -> Failure {
    let detail = format!(
        "{} damaged: they are not served, and `jobs` tells whose they are; putting a fragment again heals it, \
         and a tessera with a damaged manifest can be forgotten and made again from its files",
        findings(found)
    );
    Failure::new(Kind::Damaged, detail)
}

fn known_before(repairs: u64) -> Failure {
    let what =
        human::count(repairs, "damaged fragment or document waits", "damaged fragments or documents wait");
    let detail = format!("{what} for repair since before: `jobs` tells whose they are");
    Failure::new(Kind::Damaged, detail)
}

fn findings(found: &Found) -> String {
    let fragments = human::count(found.fragments, "fragment", "fragments");
    format!("{fragments} and {}", human::count(found.documents, "document", "documents"))
}

fn age(ms: u64) -> String {
    human::span(ms / 1000)
}

fn span(text: &str) -> Result<Duration, String> {
    let span = ::config::human::parse_duration(text);
    span.ok_or_else(|| format!("{text:?} is no span of time such as \"3 h\" or \"2 days\""))
}

const STATUS: &str = "/v1/scrub";
const START: &str = "/v1/scrub/start";
/// How often a line is written where nobody watches.
const LINE_INTERVAL: Duration = Duration::from_secs(15);
const POLL_INTERVAL: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_of_an_actor_that_began_to_count_anew_are_all_new() {
        let found = |fragments, documents| Found { fragments, documents };
        assert_eq!(found(3, 1).since(&found(3, 1)), found(0, 0));
        assert_eq!(found(5, 1).since(&found(3, 0)), found(2, 1));
        assert_eq!(found(1, 0).since(&found(3, 2)), found(1, 0));
    }
}
