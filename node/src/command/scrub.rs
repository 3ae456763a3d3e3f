//! `scrub status`, `scrub start`, `scrub pause`: reading back everything that is stored.

use std::time::Duration;

use clap::Subcommand;
use hyper::Method;

use super::Context;
use crate::{
    api::{Mode, Scrub},
    client::Client,
    exit::Exit,
    failure::Failure,
    human,
    problem::Kind,
    progress,
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
        let (before, scrub) = match self {
            Self::Status => (None, client.get("/v1/scrub").await?),
            Self::Start { wait } => {
                let before: Scrub = client.get("/v1/scrub").await?;
                let started = client.call(Method::POST, "/v1/scrub/start").await?;
                if wait { (Some(before), finished(&client, started).await?) } else { (None, started) }
            }
            Self::Pause { span } => {
                let path = format!("/v1/scrub/pause?secs={}", span.as_secs());
                (None, client.call(Method::POST, &path).await?)
            }
        };
        show(context, &scrub)?;
        match before {
            Some(before) if damaged(&scrub) > damaged(&before) => Err(found(&before, &scrub)),
            _ => Ok(Exit::Ok),
        }
    }
}

/// Waits until everything that was asked for is verified.
async fn finished(client: &Client, mut scrub: Scrub) -> Result<Scrub, Failure> {
    let total = scrub.asked_bytes;
    let bar = progress::bytes("verifying", Some(total));
    while scrub.asked_bytes > 0 || scrub.mode == Mode::Verifying {
        bar.set_position(total.saturating_sub(scrub.asked_bytes) + scrub.position.unwrap_or(0));
        if scrub.mode == Mode::Paused {
            let detail = "verifying was paused meanwhile: go on with `scrub start --wait`";
            return Err(Failure::new(Kind::Conflict, detail));
        }
        bar.set_message(doing(&scrub));
        tokio::time::sleep(POLL_INTERVAL).await;
        scrub = match client.get("/v1/scrub").await {
            // A part of the node that was damaged may be made anew meanwhile.
            Err(Failure::Problem(problem)) if problem.kind() == Kind::Restarting => continue,
            answer => answer?,
        };
    }
    bar.finish_and_clear();
    Ok(scrub)
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
        ("verified", format!("everything within the last {}", age(scrub.oldest_age_ms))),
        ("to verify", format!("{}, every {}, {rate}", human::bytes(scrub.bytes), age(scrub.within_ms))),
    ];
    let found = [
        ("still asked for", (scrub.asked_bytes > 0).then(|| human::bytes(scrub.asked_bytes))),
        ("overdue", (scrub.overdue_bytes > 0).then(|| human::bytes(scrub.overdue_bytes))),
        ("too slow", (scrub.late_ms > 0).then(|| too_slow(scrub))),
        ("damaged", (damaged(scrub) > 0).then(|| findings(scrub.damaged_fragments, scrub.damaged_documents))),
        ("mended", (scrub.mended_records > 0).then(|| format!("{} records", scrub.mended_records))),
        ("trouble", scrub.trouble.clone()),
    ];
    fields.extend(found.into_iter().filter_map(|(name, value)| Some((name, value?))));
    fields
}

fn state(scrub: &Scrub) -> String {
    let next = scrub.begins_in_ms.map(|ms| format!(", the next time in {}", age(ms)));
    match (scrub.mode, scrub.segment) {
        (Mode::Idle, _) => format!("nothing is due{}", next.unwrap_or_default()),
        (Mode::Paused, _) => format!("paused for {}", age(scrub.paused_for_ms.unwrap_or(0))),
        (_, Some(segment)) => {
            let position = human::bytes(scrub.position.unwrap_or(0));
            format!("{}, {position} into segment {segment}", doing(scrub))
        }
        _ => doing(scrub).to_owned(),
    }
}

fn doing(scrub: &Scrub) -> &'static str {
    match scrub.mode {
        Mode::Idle | Mode::Verifying => "verifying",
        Mode::Resting => "resting, as the rate wants",
        Mode::GivingWay => "giving way to others",
        Mode::QuietHours => "waiting for the end of the quiet hours",
        Mode::Paused => "paused",
        Mode::Failing => "waiting to try again",
    }
}

fn too_slow(scrub: &Scrub) -> String {
    format!(
        "all of it takes {} at this rate, which is {} too long: raise integrity.scrub_rate or \
         integrity.verify_within, or make the quiet hours shorter",
        age(scrub.takes_ms),
        age(scrub.late_ms)
    )
}

fn found(before: &Scrub, scrub: &Scrub) -> Failure {
    let fragments = scrub.damaged_fragments - before.damaged_fragments;
    let found = findings(fragments, scrub.damaged_documents - before.damaged_documents);
    let detail = format!(
        "{found} damaged: they are not served; `list` and `verify ID` tell whose they are, and putting them \
         again heals them"
    );
    Failure::new(Kind::Damaged, detail)
}

fn findings(fragments: u64, documents: u64) -> String {
    format!("{fragments} fragments and {documents} documents")
}

fn damaged(scrub: &Scrub) -> u64 {
    scrub.damaged_fragments + scrub.damaged_documents
}

fn age(ms: u64) -> String {
    human::span(ms / 1000)
}

fn span(text: &str) -> Result<Duration, String> {
    let span = ::config::human::parse_duration(text);
    span.ok_or_else(|| format!("{text:?} is no span of time such as \"3 h\" or \"2 days\""))
}

const POLL_INTERVAL: Duration = Duration::from_millis(200);
