//! `jobs`: what is done about tesserae with other nodes, and what waits to be mended.

use hyper::Method;

use super::{Context, publish::doing};
use crate::{
    api::{Job, JobProgress, JobState, Mend, Replication},
    client::path,
    exit::Exit,
    failure::Failure,
    human,
    table::{Align, Table},
};

/// List what is done about tesserae with other nodes, and what waits to be mended
#[derive(Debug, clap::Args)]
pub(crate) struct Jobs {
    /// Give a job up, by its number
    #[arg(long, value_name = "NUMBER")]
    cancel: Option<u64>,
}

impl Jobs {
    /// Does it.
    pub(crate) async fn run(&self, context: &Context) -> Result<Exit, Failure> {
        let client = context.client()?;
        if let Some(number) = self.cancel {
            client.call::<()>(Method::DELETE, &path(["v1", "jobs", &number.to_string()])).await?;
            context.output.remark(&format!("Job {number} is given up; what was sent stays where it is."));
            return Ok(Exit::Ok);
        }
        let jobs: Vec<Job> = client.get("/v1/jobs").await?;
        if context.output.json {
            context.output.json(&jobs)?;
            return Ok(Exit::Ok);
        }
        let replicated: Vec<_> = jobs.iter().filter_map(Job::replicated).collect();
        let mend: Vec<_> = jobs.iter().filter_map(Job::mend).collect();
        if !replicated.is_empty() {
            context.output.table(&replications(&replicated))?;
        }
        if mend.is_empty() {
            context.output.remark("Nothing waits to be repaired.");
        } else {
            context.output.table(&damages(&mend))?;
        }
        Ok(Exit::Ok)
    }
}

fn replications(jobs: &[(&str, &Replication)]) -> Table<6> {
    let mut table = Table::new([
        ("JOB", Align::Right),
        ("KIND", Align::Left),
        ("TESSERA", Align::Left),
        ("STATE", Align::Left),
        ("SINCE", Align::Left),
        ("WHAT", Align::Left),
    ]);
    for (kind, job) in jobs {
        let what = match (&job.outcome, job.progress) {
            (Some(outcome), _) => outcome.sentence.clone(),
            (None, Some(progress)) => far(progress),
            (None, None) => String::new(),
        };
        let state = match job.state {
            JobState::Pending => "under way",
            JobState::Done => "done",
            JobState::Degraded if *kind == "retract" || *kind == "leave" => "not all",
            JobState::Degraded => "less safe",
            JobState::Failed => "failed",
            JobState::Cancelled => "given up",
        };
        let since = human::ago(job.changed_at_ms);
        table.row([
            job.id.to_string(),
            (*kind).to_owned(),
            job.tessera.map(|tessera| tessera.to_string()).unwrap_or_default(),
            state.to_owned(),
            since,
            what,
        ]);
    }
    table
}

/// How far a job is that is under way.
pub(super) fn far(progress: JobProgress) -> String {
    let doing = doing(progress.step);
    match progress.total_bytes {
        0 => doing.to_owned(),
        total => {
            format!("{doing}: {} of {}", human::bytes(progress.done_bytes), human::bytes(total))
        }
    }
}

fn damages(jobs: &[&Mend]) -> Table<5> {
    let mut table = Table::new([
        ("TESSERA", Align::Left),
        ("WHAT", Align::Left),
        ("BYTES", Align::Right),
        ("STATE", Align::Left),
        ("SINCE", Align::Left),
    ]);
    for job in jobs {
        let (state, since) = (human::state(job.state).to_owned(), human::ago(job.queued_at_ms));
        let fragments = job.fragments.iter();
        let fragments =
            fragments.map(|place| (place.tessera, format!("fragment {}/{}", place.stripe, place.index)));
        let documents =
            job.documents.iter().map(|document| (document.tessera, document.kind.name().to_owned()));
        if job.fragments.is_empty() && job.documents.is_empty() {
            // There are too many to say whose each is.
            table.row([
                String::new(),
                job.checksum.to_string(),
                job.length.to_string(),
                state.clone(),
                since.clone(),
            ]);
        }
        for (tessera, what) in fragments.chain(documents) {
            let length = job.length.to_string();
            table.row([tessera.to_string(), what, length, state.clone(), since.clone()]);
        }
    }
    table
}
