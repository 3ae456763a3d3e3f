//! What only a running daemon knows, asked over its socket.

use std::{path::Path, time::Duration};

use super::{Check, network::network};
use crate::{
    api::{Actor, Recovery, Scrub, Status, Storage},
    args::this_node,
    client::{Client, IF_SILENT},
    clock::now_ms,
    failure::Failure,
    human,
    problem::{Kind, Problem},
    scrubbed::Lateness,
};

/// What a daemon has answered.
pub(super) struct Answers {
    actors: Vec<Actor>,
    status: Result<Status, Problem>,
    /// What was to be sent to a collector and was dropped, as far as that is known.
    pub(super) dropped: Option<u64>,
}

/// Asks the daemon on this socket how it fares.
pub(super) async fn ask(client: &Client) -> Result<Answers, Problem> {
    let client = client.clone().with_patience(DEADLINE);
    let actors = answer(client.get("/v1/actors").await)?;
    let status = answer(client.get("/v1/status").await);
    Ok(Answers { actors, status, dropped: dropped(&client).await })
}

/// What its metrics say of what was dropped.
async fn dropped(client: &Client) -> Option<u64> {
    let metrics = client.download("/metrics").await.ok()?.whole(METRICS_BYTES_MAX).await.ok()?;
    let metrics = String::from_utf8_lossy(&metrics);
    let dropped = metrics.lines().filter(|line| line.starts_with(DROPPED));
    Some(dropped.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum())
}

impl Answers {
    /// What it stores and may store, if it is the daemon whose data lie here.
    pub(super) fn storage_in(&self, data_dir: &Path) -> Option<&Storage> {
        let status = self.status.as_ref().ok()?;
        same(Path::new(&status.data_dir), data_dir).then_some(&status.storage)
    }
}

/// How it fares, and whether it is the one whose data lie here.
pub(super) fn judged(answers: &Result<Answers, Problem>, data_dir: &Path) -> Vec<Check> {
    let answers = match answers {
        Ok(answers) => answers,
        Err(problem) => return vec![unreachable(problem)],
    };
    let actors = actors(&answers.actors, now_ms());
    match &answers.status {
        Ok(status) => {
            let is_here = answers.storage_in(data_dir).is_some();
            let (storage, recovery) = (storage(&status.storage), recovery(&status.storage.recovery));
            vec![
                daemon(status, is_here),
                actors,
                storage,
                recovery,
                verification(&status.scrub),
                network(&status.network),
            ]
        }
        Err(problem) => vec![Check::failed(DAEMON, problem.detail.clone(), SEE_LOG), actors],
    }
}

fn answer<T>(answer: Result<T, Failure>) -> Result<T, Problem> {
    answer.map_err(|failure| match failure {
        Failure::Problem(problem) => *problem,
        closed @ Failure::ClosedPipe => Problem::new(Kind::Io, closed.to_string()),
    })
}

fn unreachable(problem: &Problem) -> Check {
    let unasked = "so its actors, and whether anything is damaged or lost, were not checked";
    match problem.kind() {
        Kind::NotRunning => Check::unknown(
            DAEMON,
            format!("none answers, {unasked}"),
            format!("`{} run` starts one; where it runs, name its socket with --socket", this_node()),
        ),
        Kind::NotPermitted => {
            Check::unknown(DAEMON, format!("it may not be asked, {unasked}"), problem.detail.clone())
        }
        Kind::NoAnswer => {
            let waited = DEADLINE.as_secs();
            Check::failed(DAEMON, format!("it has not answered for {waited} s, {unasked}"), IF_SILENT)
        }
        _ => Check::failed(DAEMON, format!("{}, {unasked}", problem.detail), SEE_LOG),
    }
}

/// Whether both are one folder.
fn same(one: &Path, other: &Path) -> bool {
    one == other || one.canonicalize().is_ok_and(|one| other.canonicalize().is_ok_and(|other| one == other))
}

fn daemon(status: &Status, is_here: bool) -> Check {
    let finding = format!("version {}, up for {}", status.version, human::span(status.uptime_secs));
    if !is_here {
        return Check::warning(
            DAEMON,
            format!(
                "{finding}; it keeps its data in {}: what stands above is about another folder",
                status.data_dir
            ),
            "name the data directory of the daemon with --data-dir",
        );
    }
    if status.version != VERSION {
        return Check::warning(
            DAEMON,
            format!("{finding}; this is version {VERSION}"),
            "restart the daemon, so that it is of the version that is installed",
        );
    }
    if let Some(trouble) = &status.metrics_trouble {
        return Check::warning(
            DAEMON,
            format!("{finding}; nobody can watch it: {trouble}"),
            "stop what has that address, or choose another one: observability.metrics_addr",
        );
    }
    Check::ok(DAEMON, finding)
}

/// Whether all actors run and none has fallen within [`FALL_COUNTS_MS`].
pub(crate) fn actors(actors: &[Actor], now_ms: u64) -> Check {
    let down: Vec<&Actor> = actors.iter().filter(|actor| !actor.running).collect();
    let has_just_fallen =
        |at_ms: &i64| now_ms.saturating_sub(u64::try_from(*at_ms).unwrap_or(0)) < FALL_COUNTS_MS;
    let fell: Vec<&Actor> =
        actors.iter().filter(|actor| actor.last_fall_ms.as_ref().is_some_and(has_just_fallen)).collect();
    if !down.is_empty() {
        return Check::failed(ACTORS, list(&down, |_| "does not run".to_owned()), SEE_LOG);
    }
    if !fell.is_empty() {
        return Check::warning(ACTORS, list(&fell, |_| "fell and runs again".to_owned()), SEE_LOG);
    }
    Check::ok(ACTORS, format!("all {} run, and none fell within the last hour", actors.len()))
}

/// What is the matter with each, and why it fell the last time.
fn list(some: &[&Actor], what: impl Fn(&Actor) -> String) -> String {
    let one = |actor: &&Actor| {
        let why = actor.last_fall.as_ref().map_or_else(String::new, |reason| format!(" ({reason})"));
        format!("{} {}{why}", actor.name, what(actor))
    };
    some.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// Whether it writes, and nothing is known to be damaged.
pub(crate) fn storage(storage: &Storage) -> Check {
    if let Some(reason) = &storage.read_only {
        return Check::failed(
            STORAGE,
            format!("nothing is written any more: {reason}"),
            "see `dmesg` for whether the disk failed; free room if it is full; then restart the daemon",
        );
    }
    if storage.repairs_queued > 0 {
        return Check::failed(
            STORAGE,
            match storage.repairs_queued {
                1 => "1 fragment or document is damaged and waits for its repair".to_owned(),
                many => format!("{many} fragments or documents are damaged and wait for their repair"),
            },
            "`jobs` says whose they are. Where there is a copy of the segments, stop the node, put the file back, start it \
             and have it read with `scrub start`; else `forget` the tessera and make it again from its files. A disk that \
             damages data goes on doing so: see `smartctl -a`",
        );
    }
    Check::ok(
        STORAGE,
        format!("{}, none known to be damaged", human::count(storage.fragments, "fragment", "fragments")),
    )
}

/// What the last start found.
pub(crate) fn recovery(recovery: &Recovery) -> Check {
    let Recovery { records, damaged_places, lost_segments, rebuilt, .. } = recovery;
    if !lost_segments.is_empty() {
        return Check::failed(
            RECOVERY,
            lost(lost_segments),
            "put the segment files back from a copy of the data directory and restart; `verify ID` says what is lost",
        );
    }
    if recovery.lost_documents > 0 {
        let documents = human::count(recovery.lost_documents as u64, "document", "documents");
        return Check::failed(
            RECOVERY,
            format!("the segments lack {documents} that the index or a snapshot of it knew"),
            "put the segment files back from a copy of the data directory and run `rebuild-index`; `jobs` names them",
        );
    }
    if *damaged_places > 0 {
        return Check::failed(
            RECOVERY,
            match damaged_places {
                1 => "one place in the segments is not what was written".to_owned(),
                many => format!("{many} places in the segments are not what was written"),
            },
            "`verify ID` says what is hurt; see `smartctl -a` for the health of the disk",
        );
    }
    if recovery.missing_tesseras > 0 {
        let tesserae = human::count(recovery.missing_tesseras, "tessera is", "tesserae are");
        return Check::warning(
            RECOVERY,
            format!("{tesserae} not here that a snapshot of the index knew: forgotten since, or lost"),
            "if nobody forgot them: put the segment files back from a copy of the data directory and run `rebuild-index`; \
             losses.jsonl there names them",
        );
    }
    if *rebuilt {
        return Check::warning(
            RECOVERY,
            "the index was made anew from the segments",
            "all that the segments hold is there; if nobody removed the index, see `smartctl -a` for the health of the disk",
        );
    }
    match records {
        0 => Check::ok(RECOVERY, "the last stop was clean"),
        records => Check::ok(
            RECOVERY,
            format!("{records} records were read again at the last start, all of them right"),
        ),
    }
}

/// Whether everything is read back in time.
pub(crate) fn verification(scrub: &Scrub) -> Check {
    let finding = scrub.oldest();
    let warning =
        |more: &str, remedy: &str| Check::warning(VERIFICATION, format!("{finding}; {more}"), remedy);
    let late = scrub.lateness();
    match (&scrub.trouble, scrub.paused_for_ms, &late) {
        (Some(trouble), _, _) => warning(&format!("the last try failed: {trouble}"), SEE_LOG),
        (_, _, Some(Lateness { what, remedy: Some(remedy) })) => warning(what, remedy),
        (_, Some(left), _) => warning(
            &format!("verifying is paused for {}", human::at_most(left)),
            "`scrub start` ends the pause",
        ),
        (_, _, Some(Lateness { what, remedy: None })) => warning(what, WAIT),
        (None, None, None) => Check::ok(VERIFICATION, finding),
    }
}

fn lost(segments: &[u32]) -> String {
    let named: Vec<_> = segments.iter().take(SEGMENTS_NAMED_MAX).map(u32::to_string).collect();
    let named = named.join(", ");
    match segments.len() {
        1 => format!("a segment is gone or shorter than it was: number {named}"),
        many if many > SEGMENTS_NAMED_MAX => {
            format!("{many} segments are gone or shorter than they were, the first of them numbers {named}")
        }
        many => format!("{many} segments are gone or shorter than they were: numbers {named}"),
    }
}

const DROPPED: &str = "tesseras_telemetry_dropped_total";
/// Far more than there are.
const METRICS_BYTES_MAX: usize = 1 << 20;
const DAEMON: &str = "daemon";
const ACTORS: &str = "actors";
const STORAGE: &str = "storage";
const RECOVERY: &str = "recovery";
const VERIFICATION: &str = "verification";
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// As for the alert rule: whoever runs again for so long is well.
const FALL_COUNTS_MS: u64 = 3_600_000;
const WAIT: &str = "nothing but to let it run: it does so by itself, outside of the quiet hours";
const SEE_LOG: &str = "its log says why; if it does not come round, restart the daemon";
/// The log names all of them.
const SEGMENTS_NAMED_MAX: usize = 8;
/// A daemon that is well answers at once; one that waits for its disk may take a while.
const DEADLINE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use proto::keys::{AuthorKey, NodeKey};

    use super::*;
    use crate::{
        api::Network,
        doctor::{Outcome, tests::check},
    };

    fn well() -> Status {
        let recovery = Recovery {
            records: 0,
            damaged_places: 0,
            lost_segments: Vec::new(),
            lost_documents: 0,
            missing_tesseras: 0,
            rebuilt: false,
            restored_from_ms: None,
        };
        let storage = Storage {
            tesseras: 1,
            fragments: 10,
            fragment_bytes: 1,
            segment_bytes: 1,
            live_bytes: 1,
            drop_bytes: 0,
            capacity_bytes: None,
            free_bytes: None,
            min_free_bytes: None,
            repairs_queued: 0,
            read_only: None,
            recovery,
        };
        Status {
            version: VERSION.to_owned(),
            node: NodeKey::from_seed([1; 32]).id(),
            author: AuthorKey::from_seed([1; 32]).id(),
            recipient: String::new(),
            data_dir: "/d".to_owned(),
            uptime_secs: 60,
            storage,
            scrub: verified(),
            network: Network {
                listens_at: None,
                addresses: Vec::new(),
                peers: 0,
                connected: Some(0),
                strangers: 0,
                reached: None,
            },
            leaving_since_ms: None,
            metrics_trouble: None,
        }
    }

    fn verified() -> Scrub {
        let idle = serde_json::json!({
            "mode": "idle", "asked_bytes": 0, "bytes": 9, "oldest_age_ms": 120_000, "overdue_bytes": 0, "within_ms": 1,
            "takes_ms": 7_200_000, "late_ms": 0, "verified_bytes": 0, "damaged_fragments": 0,
            "damaged_documents": 0, "mended_records": 0,
        });
        serde_json::from_value(idle).unwrap()
    }

    #[test]
    fn verification_that_has_just_fallen_paused_or_fails_is_a_warning() {
        check(&verification(&verified()), Outcome::Ok, "within the last 2 minutes");
        let late = Scrub { late_ms: 3_600_000, ..verified() };
        check(&verification(&late), Outcome::Warning, "takes 2 hours, 60 minutes too long");
        let was_off = Scrub { within_ms: 7_200_000, overdue_bytes: 9, ..late };
        check(
            &verification(&was_off),
            Outcome::Warning,
            "9 B are overdue and are being verified, which takes 2 hours",
        );
        check(&verification(&was_off), Outcome::Warning, "nothing but to let it run");
        let paused = Scrub { paused_for_ms: Some(1000), ..verified() };
        check(&verification(&paused), Outcome::Warning, "paused for 1 minute");
        let failing = Scrub { trouble: Some("why".to_owned()), ..verified() };
        check(&verification(&failing), Outcome::Warning, "why");
    }

    #[test]
    fn daemon_of_another_folder_or_version_is_a_warning() {
        check(&daemon(&well(), true), Outcome::Ok, "up for 60 seconds");
        check(&daemon(&well(), false), Outcome::Warning, "keeps its data in /d");
        let old = Status { version: "0.0.9".to_owned(), ..well() };
        check(&daemon(&old, true), Outcome::Warning, "restart the daemon");
        let unwatched = Status { metrics_trouble: Some("taken".to_owned()), ..well() };
        check(&daemon(&unwatched, true), Outcome::Warning, "nobody can watch it: taken");
    }

    #[test]
    fn actor_that_is_down_fails_and_one_that_fell_is_a_warning() {
        const NOW_MS: u64 = 1_795_840_267_000;
        let actor = |running, fell_ms_ago: Option<u64>| Actor {
            name: "storage".to_owned(),
            running,
            waiting: 0,
            restarts: 3,
            last_fall: fell_ms_ago.map(|_| "why".to_owned()),
            last_fall_ms: fell_ms_ago.map(|ago| i64::try_from(NOW_MS - ago).unwrap()),
        };
        let actors = |all: &[Actor]| actors(all, NOW_MS);
        check(&actors(&[actor(true, None)]), Outcome::Ok, "all 1 run");
        check(&actors(&[actor(true, Some(0))]), Outcome::Warning, "storage fell and runs again (why)");
        check(&actors(&[actor(true, Some(FALL_COUNTS_MS - 1))]), Outcome::Warning, "fell");
        check(&actors(&[actor(true, Some(FALL_COUNTS_MS))]), Outcome::Ok, "none fell within the last hour");
        let down = actors(&[actor(true, Some(1)), actor(false, Some(FALL_COUNTS_MS))]);
        check(&down, Outcome::Failed, "storage does not run (why)");
    }

    #[test]
    fn storage_that_does_not_write_or_is_damaged_fails() {
        let good = well().storage;
        check(&storage(&good), Outcome::Ok, "10 fragments");
        let damaged = Storage { repairs_queued: 3, ..good.clone() };
        check(&storage(&damaged), Outcome::Failed, "3 fragments or documents are damaged");
        let one = Storage { repairs_queued: 1, ..good.clone() };
        check(&storage(&one), Outcome::Failed, "1 fragment or document is damaged");
        let read_only = Storage { read_only: Some("a write failed".to_owned()), ..damaged };
        check(&storage(&read_only), Outcome::Failed, "a write failed");
    }

    #[test]
    fn recovery_that_lost_a_segment_fails() {
        let clean = well().storage.recovery;
        check(&recovery(&clean), Outcome::Ok, "clean");
        check(&recovery(&Recovery { records: 5, ..clean.clone() }), Outcome::Ok, "5 records");
        let rebuilt = Recovery { rebuilt: true, ..clean };
        check(&recovery(&rebuilt), Outcome::Warning, "made anew");
        let gone = Recovery { missing_tesseras: 3, ..rebuilt.clone() };
        check(&recovery(&gone), Outcome::Warning, "3 tesserae are not here");
        check(&recovery(&Recovery { lost_documents: 1, ..gone }), Outcome::Failed, "lack 1 document that");
        let damaged = Recovery { damaged_places: 2, ..rebuilt };
        check(&recovery(&damaged), Outcome::Failed, "2 places");
        let lost =
            |segments: &[u32]| recovery(&Recovery { lost_segments: segments.to_vec(), ..damaged.clone() });
        check(&lost(&[4]), Outcome::Failed, "a segment is gone or shorter than it was: number 4");
        check(&lost(&[4, 9]), Outcome::Failed, "2 segments are gone or shorter than they were: numbers 4, 9");
        let all: Vec<u32> = (1..=4000).collect();
        check(&lost(&all), Outcome::Failed, "the first of them numbers 1, 2, 3, 4, 5, 6, 7, 8");
    }

    #[test]
    fn daemon_that_cannot_be_asked_leaves_its_checks_undone() {
        let answer = |kind| unreachable(&Problem::new(kind, "why"));
        check(&answer(Kind::NotRunning), Outcome::Unknown, "were not checked");
        check(&answer(Kind::NotPermitted), Outcome::Unknown, "were not checked");
        check(&answer(Kind::NoAnswer), Outcome::Failed, "kill -CONT");
        check(&answer(Kind::Io), Outcome::Failed, "why");
    }
}
