//! `rebuild-index`: the index made anew from the segments.

use std::{path::Path, time::Duration};

use actors::storage::{ask_for_rebuild, keep_aside};
use hyper::Method;
use serde_json::json;

use super::{Context, status::troubles};
use crate::{
    api::{Actor, Rebuilding, Status},
    client::Client,
    data_dir::{DataDir, Found, inspect},
    exit::Exit,
    failure::Failure,
    problem::Kind,
    progress,
};

/// Set the index aside and make it anew from the segments; without a daemon the next start does it
#[derive(Debug, clap::Args)]
pub(crate) struct RebuildIndex;

impl RebuildIndex {
    /// Does it.
    pub(crate) async fn run(&self, context: &Context) -> Result<Exit, Failure> {
        let client = context.client()?;
        match client.call::<Rebuilding>(Method::POST, "/v1/index/rebuild").await {
            // A socket that is named means that daemon and no other node.
            Err(Failure::Problem(problem))
                if problem.kind() == Kind::NotRunning && !context.names_a_socket() =>
            {
                at_the_next_start(context).await
            }
            asked => {
                let asked = asked?;
                let status = progress::patiently("making the index anew", made(&client, &asked)).await?;
                tell(context, &asked, &status)
            }
        }
    }
}

/// Waits until storage runs with its new index.
async fn made(client: &Client, asked: &Rebuilding) -> Result<Status, Failure> {
    loop {
        let actors: Vec<Actor> = client.get("/v1/actors").await?;
        let storage = actors.iter().find(|actor| actor.name == actors::storage::NAME);
        if storage.is_some_and(|storage| storage.running && storage.restarts > asked.restarts) {
            match client.get::<Status>("/v1/status").await {
                // It fell again: the supervisor goes on, or ends the daemon and says why.
                Err(Failure::Problem(problem)) if problem.kind() == Kind::Restarting => {}
                status => return status,
            }
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

fn tell(context: &Context, asked: &Rebuilding, status: &Status) -> Result<Exit, Failure> {
    let recovery = &status.storage.recovery;
    if !recovery.rebuilt {
        let detail = "the index was not made anew: the daemon's log says why";
        return Err(Failure::new(Kind::Internal, detail));
    }
    if let Some(reason) = &asked.no_snapshot {
        warn_of_no_snapshot(context, reason);
    }
    if context.output.json {
        let Rebuilding { old_index, snapshot, .. } = asked;
        context
            .output
            .json(&json!({ "old_index": old_index, "snapshot": snapshot, "recovery": recovery }))?;
    } else {
        let mut fields = vec![
            ("records", recovery.records.to_string()),
            ("tesserae", status.storage.tesseras.to_string()),
            ("old index", asked.old_index.clone()),
        ];
        fields.extend(troubles(&status.storage));
        context.output.fields(&fields)?;
    }
    if recovery.damaged_places > 0 || !recovery.lost_segments.is_empty() || recovery.lost_documents > 0 {
        return Err(incomplete(&asked.old_index));
    }
    context.output.remark("The old index is of no more use once all is as it should be: it may be removed.");
    Ok(Exit::Ok)
}

fn warn_of_no_snapshot(context: &Context, reason: &str) {
    context.output.warning(&format!(
        "what only the old index knew could not be kept aside: {reason}; the new one has what an older snapshot knew"
    ));
}

/// The old index may know what is missing.
fn incomplete(old_index: &str) -> Failure {
    let detail = format!(
        "the segments are not as they were written, so the index may lack something: keep {old_index}; \
         `doctor` says what to do, and `verify ID` what is hurt"
    );
    Failure::new(Kind::Damaged, detail)
}

async fn at_the_next_start(context: &Context) -> Result<Exit, Failure> {
    let config = context.config()?.config;
    let path = &config.node.data_dir;
    if inspect(path)? != Found::Marked {
        return Err(nothing_there(path));
    }
    let data_dir = DataDir::open(path)?;
    if !data_dir.holds_data() {
        return Err(nothing_there(path));
    }
    let kept =
        progress::patiently("keeping aside what only the index knows", keep_aside(&config.storage)).await;
    if let Err(reason) = &kept {
        warn_of_no_snapshot(context, &reason.to_string());
    }
    let old_index = ask_for_rebuild(&config.storage, "asked for on the command line")
        .map_err(|error| Failure::new(Kind::Io, error.to_string()))?;
    if context.output.json {
        let snapshot = kept.ok();
        context.output.json(&json!({ "old_index": old_index, "snapshot": snapshot, "recovery": null }))?;
    } else {
        context.output.fields(&[
            ("index", format!("is made anew at the next start: {}", context.start())),
            ("old index", format!("{} from then on", old_index.display())),
        ])?;
    }
    Ok(Exit::Ok)
}

fn nothing_there(path: &Path) -> Failure {
    Failure::new(
        Kind::WrongDataDir,
        format!("nothing is stored in {}: there is no index to be made anew", path.display()),
    )
}

const POLL_INTERVAL: Duration = Duration::from_millis(100);
