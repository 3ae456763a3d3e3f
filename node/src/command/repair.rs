//! `repair`: rebuilds what other nodes have lost, of one tessera or of all.

use hyper::Method;

use super::{
    Context,
    publish::{replicated, run, watch},
    target::Target,
};
use crate::{
    api::{Job, JobOutcome, JobState, Replication},
    client::{Client, path},
    exit::Exit,
    failure::Failure,
    problem::Kind,
    progress,
};

/// Rebuild what other nodes have lost of a tessera, give it to them or to others, and say how safe it is
#[derive(Debug, clap::Args)]
pub(crate) struct Repair {
    /// The tessera, or the beginning of its id; without it, all that this node looks after, now and not by and by
    #[arg(value_parser = Target::parse)]
    id: Option<Target>,
    /// Do not wait for it: `jobs` says how far it is
    #[arg(long)]
    detach: bool,
}

impl Repair {
    /// Does it.
    pub(crate) async fn run(&self, context: &Context) -> Result<Exit, Failure> {
        let client = context.client()?;
        let Some(id) = &self.id else { return self.all(context, &client).await };
        let id = id.find(&client).await?;
        run(context, &client, &path(["v1", "tesseras", &id.to_string(), "repair"]), self.detach).await
    }

    async fn all(&self, context: &Context, client: &Client) -> Result<Exit, Failure> {
        let begun: Vec<Job> = client.call(Method::POST, "/v1/repair").await?;
        if self.detach {
            if context.output.json {
                context.output.json(&begun)?;
            } else {
                let count = begun.len();
                context
                    .output
                    .remark(&format!("{count} jobs go on by themselves: `jobs` says how far they are."));
            }
            return Ok(Exit::Ok);
        }
        let bar = progress::count("asking and mending", "tesserae");
        bar.set_length(begun.len() as u64);
        let mut ended = Vec::with_capacity(begun.len());
        for job in begun {
            ended.push(end(client, job).await?);
            bar.inc(1);
        }
        bar.finish_and_clear();
        if context.output.json {
            context.output.json(&ended)?;
        }
        told(context, &ended)
    }
}

/// Waits for the end of one of many. What came of it may not be known any more: that ends it as if it had failed, and not the
/// others.
async fn end(client: &Client, job: Job) -> Result<Job, Failure> {
    let begun = replicated(&job)?.clone();
    match watch(client, job).await {
        Err(Failure::Problem(problem)) if problem.kind() == Kind::NotFound => {
            let outcome = Some(JobOutcome::failed(Kind::NotFound, problem.detail));
            Ok(Job::Repair(Replication { state: JobState::Failed, progress: None, outcome, ..begun }))
        }
        ended => ended,
    }
}

/// Says how many are safe, and what of the others.
fn told(context: &Context, ended: &[Job]) -> Result<Exit, Failure> {
    let (mut safe, mut below, mut failed) = (0_usize, 0_usize, 0_usize);
    for job in ended {
        let job = replicated(job)?;
        match job.state {
            JobState::Done => safe += 1,
            JobState::Degraded => below += 1,
            _ => failed += 1,
        }
        if job.state != JobState::Done && !context.output.json {
            let what = job.outcome.as_ref().map_or("it was given up", |outcome| &outcome.sentence);
            let tessera = job.tessera.map_or_else(String::new, |id| id.to_string());
            context.output.line(format!("{tessera}: {what}"))?;
        }
    }
    if !context.output.json {
        context.output.line(match ended.len() {
            0 => {
                "Nothing that others keep is looked after here: `publish` has them keep a tessera.".to_owned()
            }
            _ => format!("{safe} as safe as asked, {below} less safe, {failed} not mended."),
        })?;
    }
    if below + failed > 0 && !context.output.json {
        context.output.remark("`explain ID` says why, and what would make it safer.");
    }
    Ok(match (below, failed) {
        (_, 1..) => Exit::Failure,
        (1.., 0) => Exit::LessSafe,
        (0, 0) => Exit::Ok,
    })
}
