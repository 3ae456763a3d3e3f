//! `recover`: brings back all that an author has published, on a new machine, from the key card and those that keep it.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use config::PeerAddress;
use indicatif::ProgressBar;
use proto::{NodeId, TesseraId};
use serde_json::{Value, json};

use super::{Context, backup::starting, jobs::far, key::read_card, off_thread};
use crate::{
    api::{Answered, Asked, Found, Job, JobState, Recover, Recovering, Status},
    card::Card,
    client::{Client, path},
    exit::Exit,
    failure::Failure,
    human,
    keys::Keys,
    problem::Kind,
    progress,
};

/// Bring back all that an author has published, on a new machine, from the key card and those that keep it
#[derive(Debug, clap::Args)]
pub(crate) struct FromCard {
    /// The author's key card, typed in again; may be left out where the node acts for the author already
    #[arg(long, value_name = "FILE")]
    card: Option<PathBuf>,
    /// A node that keeps some of it, or knows who does, once for each; it is a peer from then on
    #[arg(long = "peer", value_name = "NODE@HOST:PORT")]
    peers: Vec<PeerAddress>,
    /// Do not wait for it: `jobs` says how far it is
    #[arg(long)]
    detach: bool,
}

impl FromCard {
    /// Does it.
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let card = self.card.as_deref().map(read_card).transpose()?;
        let client = context.client()?;
        let status = match client.get::<Status>("/v1/status").await {
            Ok(status) => status,
            Err(Failure::Problem(problem)) if problem.kind() == Kind::NotRunning => {
                return Err(match card {
                    Some(card) => prepared(context, card).await?,
                    None => Failure::Problem(problem),
                });
            }
            Err(failure) => return Err(failure),
        };
        if let Some(card) = card
            && card.author.id() != status.author
        {
            let detail = format!(
                "this node acts for {}, and the card is that of {}: name an empty folder with --data-dir, and start a \
                 node there",
                status.author,
                card.author.id()
            );
            return Err(Failure::new(Kind::WrongDataDir, detail));
        }
        let found: Recovering = client.post(RECOVER, &Recover { peers: asked(&self.peers) }).await?;
        must_be_something(&found)?;
        tell_who_answered(context, &found);
        if self.detach {
            let jobs = found.tesseras.iter().filter(|one| one.job.is_some()).count();
            context.output.remark(&format!(
                "{} by themselves: `jobs` says how far they are.",
                human::count(jobs as u64, "job goes on", "jobs go on")
            ));
            return if context.output.json {
                context.output.json(&found).map(|()| Exit::Ok)
            } else {
                Ok(Exit::Ok)
            };
        }
        let missing = wait(&client, &found.tesseras).await?;
        report(context, &found, &missing)
    }
}

/// Makes a data directory for the author of a card, unless there is one. Returns what is to be done then.
async fn prepared(context: &Context, card: Card) -> Result<Failure, Failure> {
    let data_dir = context.config()?.config.node.data_dir;
    let folder = data_dir.clone();
    let keys = off_thread(move || Keys::adopt(&folder, &card.author)).await??;
    let detail = format!(
        "{} acts for {} now, as {}. Start that node, with `{}` in another window, then type this once more",
        data_dir.display(),
        keys.author.id(),
        keys.node.id(),
        starting(&data_dir, context)
    );
    Ok(Failure::new(Kind::NotRunning, detail))
}

/// Each node once, at all its addresses.
fn asked(peers: &[PeerAddress]) -> Vec<Asked> {
    let mut nodes = BTreeMap::<NodeId, Vec<String>>::new();
    for peer in peers {
        nodes.entry(peer.node).or_default().extend(peer.addresses.iter().map(ToString::to_string));
    }
    nodes.into_iter().map(|(node, addresses)| Asked { node, addresses }).collect()
}

fn must_be_something(found: &Recovering) -> Result<(), Failure> {
    if !found.tesseras.is_empty() {
        return Ok(());
    }
    let answered = found.asked.iter().filter(|one| one.tesseras.is_some()).count();
    let reasons: String = found.asked.iter().filter_map(reason).map(|line| format!("\n  {line}")).collect();
    let (kind, detail) = match (found.asked.len(), answered) {
        (0, _) => (Kind::Conflict, "no other node is known: name one with --peer NODE@HOST:PORT".to_owned()),
        (_, 0) => (Kind::Unreachable, format!("no node says what it keeps:{reasons}")),
        (_, answered) => {
            let nodes = human::count(answered as u64, "node that answered keeps", "nodes that answered keep");
            let detail = format!("the {nodes} nothing of {}: name others with --peer{reasons}", found.author);
            (Kind::NotFound, detail)
        }
    };
    Err(Failure::new(kind, detail))
}

fn tell_who_answered(context: &Context, found: &Recovering) {
    let silent: Vec<_> = found.asked.iter().filter_map(reason).collect();
    context.output.remark(&format!(
        "{} of {} say what they keep: {} of {}.",
        found.asked.len() - silent.len(),
        human::count(found.asked.len() as u64, "node", "nodes"),
        tesserae(found.tesseras.len()),
        found.author
    ));
    if !silent.is_empty() {
        context.output.remark("These do not, and may keep more: type this once more when they are there.");
        silent.iter().for_each(|line| context.output.remark(&format!("- {line}")));
    }
}

/// Why a node does not say what it keeps, if so.
fn reason(one: &Answered) -> Option<String> {
    let reason = one.reason.as_ref()?;
    Some(format!("{}: {}", one.node, reason.replace(&format!("{}: ", one.node), "")))
}

/// Waits for all jobs. Returns those that could not be brought back, and why.
async fn wait(client: &Client, tesseras: &[Found]) -> Result<BTreeMap<TesseraId, String>, Failure> {
    let bar = progress::count_told("bringing back tesserae");
    bar.set_length(tesseras.len() as u64);
    let mut missing = BTreeMap::new();
    for one in tesseras {
        if let Some(job) = one.job
            && let Some(why) = ended(client, one.tessera, job, &bar).await?
        {
            missing.insert(one.tessera, why);
        }
        bar.set_message("");
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(missing)
}

/// Waits for the end of a job, and says why it has failed if so. Of one that is under way the bar says how much has come.
async fn ended(
    client: &Client,
    tessera: TesseraId,
    job: u64,
    bar: &ProgressBar,
) -> Result<Option<String>, Failure> {
    let at = path(["v1", "jobs", &job.to_string()]);
    let mut pause = LOOK_FIRST;
    loop {
        let job: Job = match client.get(&at).await {
            Ok(job) => job,
            // Of those that have ended the last are kept, and this one was not among them.
            Err(Failure::Problem(problem)) if problem.kind() == Kind::NotFound => {
                let at = path(["v1", "tesseras", &tessera.to_string()]);
                let is_here = client.get::<Value>(&at).await.is_ok();
                return Ok((!is_here).then(|| "what came of it is not known any more".to_owned()));
            }
            Err(failure) => return Err(failure),
        };
        match job.replicated().map(|(_, job)| (job.state, &job.outcome, job.progress)) {
            Some((JobState::Pending, _, progress)) => bar.set_message(progress.map_or_else(String::new, far)),
            Some((JobState::Done | JobState::Degraded, ..)) => return Ok(None),
            Some((_, Some(outcome), _)) => return Ok(Some(outcome.sentence.clone())),
            _ => return Ok(Some("it was given up".to_owned())),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LOOK_AGAIN);
    }
}

fn report(
    context: &Context,
    found: &Recovering,
    missing: &BTreeMap<TesseraId, String>,
) -> Result<Exit, Failure> {
    let all = found.tesseras.len();
    if found.left > 0 {
        context.output.warning(&format!("there are {} more: type this once more", tesserae(found.left)));
    }
    if context.output.json {
        context.output.json(&told(found, missing))?;
    } else if missing.is_empty() {
        let all = if all == 1 { "the one tessera".to_owned() } else { format!("all {}", tesserae(all)) };
        context.output.line(format!("Here again: {all} of {}.", found.author))?;
    } else {
        let back = all - missing.len();
        context.output.line(format!("Here again: {back} of {} of {}.", tesserae(all), found.author))?;
        context.output.remark("These are missing still:");
        missing.iter().for_each(|(tessera, why)| context.output.remark(&format!("- {tessera}: {why}")));
        context.output.remark(
            "What to do: type this once more when the nodes that are named there run again, or with --peer for others that \
             may keep it. What is here is not fetched again.",
        );
    }
    Ok(if missing.is_empty() && found.left == 0 { Exit::Ok } else { Exit::LessSafe })
}

fn told(found: &Recovering, missing: &BTreeMap<TesseraId, String>) -> Value {
    let tesseras: Vec<_> = found
        .tesseras
        .iter()
        .map(|one| json!({ "tessera": one.tessera, "job": one.job, "missing": missing.get(&one.tessera) }))
        .collect();
    json!({
        "author": found.author, "tesseras": tesseras, "missing": missing.len(), "left": found.left, "asked": found.asked,
    })
}

fn tesserae(count: usize) -> String {
    human::count(count as u64, "tessera", "tesserae")
}

const RECOVER: &str = "/v1/recover";
/// How soon it is looked first how far a job is: a small one takes no longer.
const LOOK_FIRST: Duration = Duration::from_millis(10);
const LOOK_AGAIN: Duration = Duration::from_millis(250);
