//! `publish`: has other nodes keep a tessera. `preserve`: makes one of files, and publishes it. `fetch`: brings one here that
//! others keep.

use std::time::Duration;

use hyper::Method;
use indicatif::ProgressBar;

use super::{Context, create::Create, target::Target};
use crate::{
    api::{Job, JobOutcome, JobProgress, JobState, JobStep, Replication},
    client::{Client, path},
    exit::Exit,
    failure::Failure,
    human,
    problem::Kind,
    progress,
};

/// Have other nodes keep a tessera, so that it survives the loss of some of them, and say how safe it is
#[derive(Debug, clap::Args)]
pub(crate) struct Publish {
    /// The tessera, or the beginning of its id
    #[arg(value_parser = Target::parse)]
    id: Target,
    /// Under another layout than before, if another fits the number of machines better
    #[arg(long)]
    relayout: bool,
    /// Do not wait for it: `jobs` says how far it is
    #[arg(long)]
    detach: bool,
}

/// Bring a tessera here that other nodes keep
#[derive(Debug, clap::Args)]
pub(crate) struct Fetch {
    /// The tessera; the whole id, unless some of it is here
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

impl Publish {
    /// Does it.
    pub(crate) async fn run(&self, context: &Context) -> Result<Exit, Failure> {
        let client = context.client()?;
        let id = self.id.find(&client).await?;
        let at = path(["v1", "tesseras", &id.to_string(), "publish"]);
        let query = if self.relayout { "?relayout=true" } else { "" };
        run(context, &client, &format!("{at}{query}"), self.detach).await
    }
}

impl Fetch {
    /// Does it.
    pub(crate) async fn run(&self, context: &Context) -> Result<Exit, Failure> {
        let client = context.client()?;
        let id = self.id.find(&client).await?;
        run(context, &client, &path(["v1", "tesseras", &id.to_string(), "fetch"]), self.detach).await
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
        let at = path(["v1", "tesseras", &created.id.to_string(), "publish"]);
        run(context, &client, &at, self.detach).await
    }
}

/// Has it begun, and waits for it unless nobody wants that.
pub(super) async fn run(context: &Context, client: &Client, at: &str, detach: bool) -> Result<Exit, Failure> {
    let begun: Job = client.call(Method::POST, at).await?;
    let number = replicated(&begun)?.id;
    if detach {
        if context.output.json {
            context.output.json(&begun)?;
        } else {
            context.output.remark(&format!("Job {number} goes on by itself: `jobs` says how far it is."));
        }
        return Ok(Exit::Ok);
    }
    let ended = watch(client, begun).await?;
    if context.output.json {
        context.output.json(&ended)?;
    }
    told(context, &ended)
}

/// Waits for the end of a job, and shows how far it is. Fails with [`Kind::NotFound`] when it has ended, and what came of it is
/// not known any more.
pub(super) async fn watch(client: &Client, mut job: Job) -> Result<Job, Failure> {
    let at = path(["v1", "jobs", &replicated(&job)?.id.to_string()]);
    let mut bar: Option<(JobStep, ProgressBar)> = None;
    let mut pause = LOOK_FIRST;
    while replicated(&job)?.state == JobState::Pending {
        if let Some(progress) = replicated(&job)?.progress {
            show(&mut bar, progress);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LOOK_AGAIN);
        job = match client.get(&at).await {
            Err(Failure::Problem(problem)) if problem.kind() == Kind::NotFound => {
                return Err(forgotten(replicated(&job)?));
            }
            job => job?,
        };
    }
    if let Some((_, bar)) = bar {
        bar.finish_and_clear();
    }
    Ok(job)
}

pub(super) fn replicated(job: &Job) -> Result<&Replication, Failure> {
    let other = || Failure::new(Kind::Internal, "the daemon tells of another job: restart it");
    job.replicated().map(|(_, job)| job).ok_or_else(other)
}

/// It was under way: of those that have ended the last are kept, and this one is not among them.
fn forgotten(job: &Replication) -> Failure {
    let instead = match job.tessera {
        Some(id) => format!("`explain {id}` says how safe the tessera is"),
        None => "`status` says how it stands with this node".to_owned(),
    };
    let detail = format!("job {} has ended, and what came of it is not known any more: {instead}", job.id);
    Failure::new(Kind::NotFound, detail)
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

pub(super) fn doing(step: JobStep) -> &'static str {
    match step {
        JobStep::Waiting => "waiting for its turn",
        JobStep::Asking => "asking who is there",
        JobStep::Coding => "computing parity",
        JobStep::Sending => "sending",
        JobStep::Receiving => "receiving",
        JobStep::Finishing => "looking how safe it is",
    }
}

/// Says what came of it, and what would make it better.
fn told(context: &Context, job: &Job) -> Result<Exit, Failure> {
    let (is_about_safety, job) = (!matches!(job, Job::Retract(_) | Job::Leave(_)), replicated(job)?);
    let Some(outcome) = &job.outcome else {
        return Err(Failure::new(Kind::Conflict, format!("job {} was given up", job.id)));
    };
    let JobOutcome { sentence, remedies, turned, left, only_here, offer, .. } = outcome;
    if job.state == JobState::Failed {
        return Err(Failure::new(outcome.kind(), sentence.clone()));
    }
    if !context.output.json {
        context.output.line(sentence)?;
    }
    if let Some(offer) = offer {
        context.output.remark(&format!("Better: {offer}."));
    }
    for id in only_here {
        context.output.remark(&format!("- {id}: only here"));
    }
    for one in turned {
        context.output.remark(&format!(
            "- {}: {}",
            one.node,
            one.reason.replace(&format!("{}: ", one.node), "")
        ));
    }
    if job.state == JobState::Done && only_here.is_empty() {
        return Ok(Exit::Ok);
    }
    for one in left {
        context.output.remark(&format!("- {}: {}: {}", one.tessera, human::bytes(one.bytes), one.reason));
    }
    let lead = if is_about_safety { "To make it safer" } else { "What to do" };
    for remedy in remedies {
        context.output.remark(&format!("{lead}: {remedy}."));
    }
    Ok(if job.state == JobState::Done { Exit::Ok } else { Exit::LessSafe })
}

/// How soon it is looked first how far a job is: a small one takes no longer.
const LOOK_FIRST: Duration = Duration::from_millis(10);
const LOOK_AGAIN: Duration = Duration::from_millis(250);
