//! `status`, `id` and `actors`: the node as a whole.

use super::Context;
use crate::{
    api::{Actor, Network, Reached, Recovery, Status, Storage},
    exit::Exit,
    failure::Failure,
    human,
    table::{Align, Table},
};

/// Show how the node fares
#[derive(Debug, clap::Args)]
pub(crate) struct ShowStatus;

/// Show who this node is: its id, its author, and what others encrypt to
#[derive(Debug, clap::Args)]
pub(crate) struct ShowId;

/// List the parts of the node and how they fare
#[derive(Debug, clap::Args)]
pub(crate) struct ShowActors;

impl ShowStatus {
    /// Does it.
    pub(crate) async fn run(&self, context: &Context) -> Result<Exit, Failure> {
        let status: Status = context.client()?.get("/v1/status").await?;
        if context.output.json {
            context.output.json(&status)?;
        } else {
            context.output.fields(&fields(&status))?;
        }
        Ok(Exit::Ok)
    }
}

impl ShowId {
    /// Does it.
    pub(crate) async fn run(&self, context: &Context) -> Result<Exit, Failure> {
        let Status { node, author, recipient, .. } = context.client()?.get("/v1/status").await?;
        if context.output.json {
            let id = serde_json::json!({ "node": node, "author": author, "recipient": recipient });
            context.output.json(&id)?;
        } else {
            let fields =
                [("node", node.to_string()), ("author", author.to_string()), ("recipient", recipient)];
            context.output.fields(&fields)?;
        }
        Ok(Exit::Ok)
    }
}

impl ShowActors {
    /// Does it.
    pub(crate) async fn run(&self, context: &Context) -> Result<Exit, Failure> {
        let actors: Vec<Actor> = context.client()?.get("/v1/actors").await?;
        if context.output.json {
            context.output.json(&actors)?
        } else {
            context.output.table(&table(&actors))?
        }
        Ok(Exit::Ok)
    }
}

fn fields(status: &Status) -> Vec<(&'static str, String)> {
    let Storage { tesseras, fragments, fragment_bytes, segment_bytes, live_bytes, .. } = &status.storage;
    let optional = |bytes: Option<u64>, none: &str| bytes.map_or_else(|| none.to_owned(), human::bytes);
    let mut fields = vec![
        ("node", status.node.to_string()),
        ("version", status.version.clone()),
        ("up for", human::span(status.uptime_secs)),
        ("data directory", status.data_dir.clone()),
        ("tesserae", tesseras.to_string()),
        ("fragments", format!("{fragments}, {}", human::bytes(*fragment_bytes))),
        (
            "on disk",
            format!("{}, of which {} count", human::bytes(*segment_bytes), human::bytes(*live_bytes)),
        ),
        ("capacity", optional(status.storage.capacity_bytes, "none")),
        ("disk free", optional(status.storage.free_bytes, "unknown")),
        ("room for", room(&status.storage)),
        ("verified", verified(status)),
    ];
    fields.extend(others(&status.network, human::ago));
    let leaving = status.leaving_since_ms.map(|at_ms| human::date(u64::try_from(at_ms).unwrap_or(0)));
    let leaving = leaving.map(|day| format!("since {day}: it takes nothing new; `leave --cancel` stays"));
    fields.extend(leaving.map(|leaving| ("leaving", leaving)));
    fields.extend(troubles(&status.storage));
    fields.extend(status.metrics_trouble.clone().map(|trouble| ("metrics", trouble)));
    fields.extend(status.scrub.lateness().map(|late| ("late", late.what)));
    fields
}

/// How it stands with other nodes.
fn others(network: &Network, ago: impl Fn(i64) -> String) -> Vec<(&'static str, String)> {
    let listens = network.listens_at.as_ref();
    let listens = listens.map_or_else(|| "nowhere: it only dials".to_owned(), |at| format!("{at}, by UDP"));
    let reached = network.reached.as_ref().map(|Reached { by, at_ms, worked }| {
        let could = if *worked { "yes" } else { "no" };
        format!("{could}, {by} tried {}", ago(*at_ms))
    });
    let could_be = network.listens_at.is_some() && network.peers > 0;
    let reached =
        reached.or_else(|| could_be.then(|| "not known: no other node has tried lately".to_owned()));
    let all = [("listens at", Some(listens)), ("other nodes", Some(network.known())), ("reachable", reached)];
    all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// Whether more can be stored.
fn room(storage: &Storage) -> String {
    let left = storage.room_left();
    if storage.room() == Some(0) { format!("{left}: `doctor` says why") } else { left }
}

/// What is damaged or gone is not verified, and is told of apart.
fn verified(status: &Status) -> String {
    let oldest = status.scrub.oldest();
    if status.storage.repairs_queued == 0 { oldest } else { format!("{oldest}, but for what is damaged") }
}

/// What a person should look at.
pub(super) fn troubles(storage: &Storage) -> Vec<(&'static str, String)> {
    let recovery = &storage.recovery;
    let all = [
        ("read-only", storage.read_only.clone()),
        (
            "damaged",
            (storage.repairs_queued > 0).then(|| {
                human::count(storage.repairs_queued, "fragment or document", "fragments or documents")
            }),
        ),
        ("damaged places", (recovery.damaged_places > 0).then(|| recovery.damaged_places.to_string())),
        (
            "lost segments",
            (!recovery.lost_segments.is_empty()).then(|| format!("{:?}", recovery.lost_segments)),
        ),
        ("lost documents", (recovery.lost_documents > 0).then(|| recovery.lost_documents.to_string())),
        (
            "missing",
            (recovery.missing_tesseras > 0).then(|| {
                let count = human::count(recovery.missing_tesseras, "tessera", "tesserae");
                format!(
                    "{count} that a snapshot of the index knew: forgotten since, or lost; `doctor` says more"
                )
            }),
        ),
        ("index", recovery.rebuilt.then(|| made_anew(recovery))),
    ];
    all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// What was lost with the index that was before.
fn made_anew(recovery: &Recovery) -> String {
    let lost = match recovery.restored_from_ms {
        Some(ms) => format!("when things came and were verified is known as it was {}", human::ago(ms)),
        None => "there was no snapshot of when things came and were verified".to_owned(),
    };
    format!("made anew from the segments; {lost}")
}

fn table(actors: &[Actor]) -> Table<5> {
    let mut table = Table::new([
        ("ACTOR", Align::Left),
        ("STATE", Align::Left),
        ("WAITING", Align::Right),
        ("RESTARTS", Align::Right),
        ("LAST FALL", Align::Left),
    ]);
    for actor in actors {
        let state = if actor.running { "running" } else { "restarting" };
        table.row([
            actor.name.clone(),
            state.to_owned(),
            actor.waiting.to_string(),
            actor.restarts.to_string(),
            actor.last_fall.clone().unwrap_or_default(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use proto::NodeId;

    use super::*;

    #[test]
    fn other_nodes_are_told_with_whether_they_can_come() {
        let by = NodeId::from_bytes([1; 32]);
        let network = Network {
            listens_at: Some("[::]:4433".to_owned()),
            addresses: Vec::new(),
            peers: 3,
            connected: Some(2),
            strangers: 0,
            reached: Some(Reached { by, at_ms: 7, worked: false }),
        };
        let others = |network: &Network| others(network, |at_ms| format!("{at_ms} ms ago"));
        let expected = [
            ("listens at", "[::]:4433, by UDP".to_owned()),
            ("other nodes", "3 nodes known, 2 connected".to_owned()),
            ("reachable", format!("no, {by} tried 7 ms ago")),
        ];
        assert_eq!(others(&network), expected);
        let stranger = Network { strangers: 1, ..network.clone() };
        assert_eq!(others(&stranger)[1].1, "3 nodes known, 2 connected, and 1 stranger");
        let old = others(&Network { reached: None, ..network.clone() });
        assert_eq!(old[2], ("reachable", "not known: no other node has tried lately".to_owned()));
        let alone = Network { listens_at: None, peers: 0, connected: None, reached: None, ..network };
        let told = others(&alone);
        assert_eq!((told.len(), told[0].1.as_str()), (2, "nowhere: it only dials"));
        assert!(told[1].1.contains("cannot be said"), "{told:?}");
    }
}
