//! `publish`: has other nodes keep a tessera. `preserve`: makes one of files, and publishes it. `jobs`: what is done and what
//! waits.

use std::time::Duration;

use hyper::Method;
use indicatif::ProgressBar;
use proto::TesseraId;

use super::{Context, create::Create, target::Target};
use crate::{
    api::{Job, JobOutcome, JobProgress, JobState, JobStep, Mend, Publication},
    client::{Client, path},
    exit::Exit,
    failure::Failure,
    human,
    problem::Kind,
    progress,
    table::{Align, Table},
};

/// Have other nodes keep a tessera, so that it survives the loss of some of them, and say how safe it is
#[derive(Debug, clap::Args)]
pub(crate) struct Publish {
    /// The tessera, or the beginning of its id
    #[arg(value_parser = Target::parse)]
    id: Target,
    /// Do not wait for it: `jobs` says how far it is
    #[arg(long)]
    detach: bool,
}

/// Make a tessera of files and folders, and have other nodes keep it
#[derive(Debug, clap::Args)]
pub(crate) struct Preserve {
    #[command(flatten)]
    what: Create,
    /// Do not wait until others keep it: `jobs` says how far it is
    #[arg(long)]
    detach: bool,
}

/// List what is done about tesserae with other nodes, and what waits to be mended
#[derive(Debug, clap::Args)]
pub(crate) struct Jobs {
    /// Give a job up, by its number
    #[arg(long, value_name = "NUMBER")]
    cancel: Option<u64>,
}

impl Publish {
    /// Does it.
    pub(crate) async fn run(&self, context: &Context) -> Result<Exit, Failure> {
        let client = context.client()?;
        let id = self.id.find(&client).await?;
        publish(context, &client, id, self.detach).await
    }
}

impl Preserve {
    /// Does it.
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let client = context.client()?;
        let created = self.what.make(context, &client).await?;
        if !context.output.json {
            context.output.line(created.id.to_string())?;
        }
        publish(context, &client, created.id, self.detach).await
    }
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
        let published: Vec<_> = jobs.iter().filter_map(Job::publication).collect();
        let mend: Vec<_> = jobs.iter().filter_map(Job::mend).collect();
        if !published.is_empty() {
            context.output.table(&publications(&published))?;
        }
        if mend.is_empty() {
            context.output.remark("Nothing waits to be repaired.");
        } else {
            context.output.table(&damages(&mend))?;
        }
        Ok(Exit::Ok)
    }
}

async fn publish(context: &Context, client: &Client, id: TesseraId, detach: bool) -> Result<Exit, Failure> {
    let at = path(["v1", "tesseras", &id.to_string(), "publish"]);
    let begun: Publication = client.call(Method::POST, &at).await?;
    if detach {
        if context.output.json {
            context.output.json(&begun)?;
        } else {
            context.output.remark(&format!("Job {} goes on by itself: `jobs` says how far it is.", begun.id));
        }
        return Ok(Exit::Ok);
    }
    let ended = watch(client, begun).await?;
    if context.output.json {
        context.output.json(&ended)?;
    }
    told(context, &ended)
}

/// Waits for the end of a job, and shows how far it is.
async fn watch(client: &Client, mut job: Publication) -> Result<Publication, Failure> {
    let at = path(["v1", "jobs", &job.id.to_string()]);
    let mut bar: Option<(JobStep, ProgressBar)> = None;
    let mut pause = LOOK_FIRST;
    while job.state == JobState::Pending {
        if let Some(progress) = job.progress {
            show(&mut bar, progress);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LOOK_AGAIN);
        let found: Job = client.get(&at).await?;
        let Job::Publish(found) = found else {
            return Err(Failure::new(Kind::Internal, "the daemon tells of another job: restart it"));
        };
        job = found;
    }
    if let Some((_, bar)) = bar {
        bar.finish_and_clear();
    }
    Ok(job)
}

fn show(bar: &mut Option<(JobStep, ProgressBar)>, progress: JobProgress) {
    if bar.as_ref().is_none_or(|(step, _)| *step != progress.step) {
        if let Some((_, old)) = bar.take() {
            old.finish_and_clear();
        }
        let total = (progress.total_bytes > 0).then_some(progress.total_bytes);
        *bar = Some((progress.step, progress::bytes(doing(progress.step), total)));
    }
    if let Some((_, bar)) = bar {
        bar.set_position(progress.done_bytes);
    }
}

fn doing(step: JobStep) -> &'static str {
    match step {
        JobStep::Waiting => "waiting for its turn",
        JobStep::Asking => "asking who is there",
        JobStep::Coding => "computing parity",
        JobStep::Sending => "sending",
        JobStep::Finishing => "looking how safe it is",
    }
}

/// Says how safe it is, and what would make it safer.
fn told(context: &Context, job: &Publication) -> Result<Exit, Failure> {
    let Some(JobOutcome { sentence, remedies, turned, .. }) = &job.outcome else {
        return Err(Failure::new(Kind::Conflict, format!("job {} was given up", job.id)));
    };
    if job.state == JobState::Failed {
        return Err(Failure::new(Kind::Conflict, sentence.clone()));
    }
    if !context.output.json {
        context.output.line(sentence)?;
    }
    if job.state == JobState::Done {
        return Ok(Exit::Ok);
    }
    for remedy in remedies {
        context.output.remark(&format!("To make it safer: {remedy}."));
    }
    for one in turned {
        context.output.remark(&format!(
            "- {}: {}",
            one.node,
            one.reason.replace(&format!("{}: ", one.node), "")
        ));
    }
    Ok(Exit::LessSafe)
}

fn publications(jobs: &[&Publication]) -> Table<5> {
    let mut table = Table::new([
        ("JOB", Align::Right),
        ("TESSERA", Align::Left),
        ("STATE", Align::Left),
        ("SINCE", Align::Left),
        ("WHAT", Align::Left),
    ]);
    for job in jobs {
        let what = match (&job.outcome, job.progress) {
            (Some(outcome), _) => outcome.sentence.clone(),
            (None, Some(progress)) => far(progress),
            (None, None) => String::new(),
        };
        let state = match job.state {
            JobState::Pending => "under way",
            JobState::Done => "done",
            JobState::Degraded => "less safe",
            JobState::Failed => "failed",
            JobState::Cancelled => "given up",
        };
        let since = human::ago(job.changed_at_ms);
        table.row([job.id.to_string(), job.tessera.to_string(), state.to_owned(), since, what]);
    }
    table
}

fn far(progress: JobProgress) -> String {
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

/// How soon it is looked first how far a job is: a small one takes no longer.
const LOOK_FIRST: Duration = Duration::from_millis(10);
const LOOK_AGAIN: Duration = Duration::from_millis(250);
