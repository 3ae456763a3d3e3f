//! The page as a whole: what a browser gets, for a node in any state.

use std::time::{Duration, Instant};

use actors::{System, SystemConfig, cache::CacheUsage};
use axum::{
    body::Body,
    http::{Request, Response},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use config::StorageConfig;
use http_body_util::BodyExt;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use proto::{NodeId, NodeKey};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::{
    Page,
    facts::Facts,
    history::{Counts, History},
    render,
};
use crate::{admin::health::Health, api, telemetry::metrics::Metrics};

const GIB: u64 = 1 << 30;
const DAY_MS: u64 = 86_400_000;

/// Of a node that is well.
pub(super) fn storage() -> api::Storage {
    let recovery = api::Recovery {
        records: 0,
        damaged_places: 0,
        lost_segments: Vec::new(),
        lost_documents: 0,
        missing_tesseras: 0,
        rebuilt: false,
        restored_from_ms: None,
    };
    api::Storage {
        tesseras: 12,
        fragments: 120,
        fragment_bytes: 31 * GIB / 10,
        segment_bytes: 33 * GIB / 10,
        live_bytes: 32 * GIB / 10,
        drop_bytes: 0,
        capacity_bytes: None,
        free_bytes: Some(40 * GIB),
        min_free_bytes: Some(GIB),
        repairs_queued: 0,
        read_only: None,
        recovery,
    }
}

/// Of a node that is well.
pub(super) fn scrub() -> api::Scrub {
    api::Scrub {
        mode: api::Mode::Idle,
        trouble: None,
        paused_for_ms: None,
        quiet_for_ms: None,
        segment: None,
        position: None,
        asked_bytes: 0,
        bytes: 33 * GIB / 10,
        oldest_age_ms: 9 * DAY_MS,
        overdue_bytes: 0,
        within_ms: 30 * DAY_MS,
        rate: Some(2 << 20),
        takes_ms: DAY_MS / 50,
        late_ms: 0,
        begins_in_ms: Some(18 * DAY_MS),
        verified_bytes: 0,
        damaged_fragments: 0,
        damaged_documents: 0,
        mended_records: 0,
    }
}

/// Of a node that is well.
fn network() -> api::Network {
    api::Network {
        listens_at: Some("[::]:4433".to_owned()),
        addresses: Vec::new(),
        peers: 3,
        connected: Some(2),
        strangers: 0,
        reached: Some(api::Reached { by: NodeId::from_bytes([7; 32]), at_ms: 0, worked: true }),
    }
}

/// Of a node that is well.
pub(super) fn facts() -> Facts {
    let actor = |name: &str| api::Actor {
        name: name.to_owned(),
        running: true,
        waiting: 0,
        restarts: 0,
        last_fall: None,
        last_fall_ms: None,
    };
    Facts {
        version: "0.1.0",
        at_ms: 1_795_840_267_000,
        uptime_secs: 3600,
        is_draining: false,
        fatal: None,
        actors: ["storage", "cache", "attestation", "scrub"].map(actor).to_vec(),
        storage: Ok(storage()),
        scrub: Ok(scrub()),
        cache: Ok(CacheUsage { entries: 30, bytes: 12 << 20, bytes_max: 128 << 20, loads: 0 }),
        network: Ok(network()),
    }
}

fn page(facts: &Facts) -> String {
    render::document(facts, &History::default(), Instant::now()).into_string()
}

#[track_caller]
fn check(facts: &Facts, shows: &[&str]) {
    let page = page(facts);
    for text in shows {
        assert!(page.contains(text), "{text:?} is not in {page}");
    }
}

#[test]
fn node_that_is_well_shows_all_it_knows() {
    check(
        &facts(),
        &[
            "<title>In order · Tesseras</title>",
            "<h2>Space</h2>",
            "<dt>Room for</dt><dd>39.00 GiB more</dd>",
            "<dt>Known</dt><dd>3</dd>",
            "<dt>Connected</dt><dd>2</dd>",
            "<dt>Others can dial it</dt><dd>yes, as of ",
            "<dt>Oldest</dt><dd>9 days ago</dd>",
            "<dt>Begins by itself</dt><dd>in 18 days</dd>",
            "<dt>In memory</dt><dd>12.00 MiB of 128.00 MiB</dd>",
            "<dt>Queued</dt><dd>none</dd>",
            r#"<th scope="row">attestation</th><td>running</td>"#,
            "2026-11-28 04:31:07 UTC",
            "Version 0.1.0, up for 60 minutes",
        ],
    );
    assert!(!page(&facts()).contains("What reading the segments found"), "nothing was lost");
}

#[test]
fn what_data_say_is_escaped() {
    let evil = "<script>alert(1)</script>\" onload=\"x";
    let mut facts = facts();
    facts.actors[0].last_fall = Some(evil.to_owned());
    facts.actors[0].restarts = 1;
    facts.actors[0].last_fall_ms = i64::try_from(facts.at_ms).ok();
    facts.storage = Ok(api::Storage { read_only: Some(evil.to_owned()), ..storage() });
    facts.scrub = Err(evil.to_owned());
    facts.fatal = Some(evil.to_owned());
    let page = page(&facts);
    assert_eq!(
        page.matches("&lt;script&gt;alert(1)&lt;/script&gt;&quot; onload=&quot;x").count(),
        7,
        "{page}"
    );
    assert!(!page.contains("<script"), "{page}");
    assert!(!page.contains(r#"" onload"#), "{page}");
}

#[test]
fn what_is_not_known_is_said_and_the_rest_is_shown() {
    let slow = || "no answer within 2 s".to_owned();
    let facts = Facts { storage: Err(slow()), scrub: Err(slow()), ..facts() };
    check(
        &facts,
        &[
            "<title>Not all is known",
            "Could not be found out: no answer within 2 s.",
            "12.00 MiB of 128.00 MiB",
        ],
    );
    let nothing = page(&Facts { cache: Err(slow()), ..facts });
    assert_eq!(nothing.matches("Could not be found out").count(), 4, "{nothing}");
    assert!(nothing.contains("<h2>Actors</h2>"), "{nothing}");
}

#[test]
fn actor_that_restarts_and_what_was_lost_are_shown() {
    let mut facts = facts();
    facts.actors[1].running = false;
    facts.actors[1].last_fall = Some("asked to".to_owned());
    let lost_segments = (1..=20).collect();
    let recovery = api::Recovery {
        records: 7,
        damaged_places: 2,
        lost_segments,
        lost_documents: 3,
        missing_tesseras: 4,
        rebuilt: true,
        restored_from_ms: Some(1_795_840_267_000),
    };
    facts.storage = Ok(api::Storage { recovery, repairs_queued: 2, ..storage() });
    check(
        &facts,
        &[
            "<strong>restarting</strong>",
            "cache fell last because: asked to",
            "<dt>Segments gone or cut short</dt><dd>20</dd>",
            "<dt>Documents lost</dt><dd>3</dd>",
            "since the last snapshot</dt><dd>4</dd>",
            "<dt>Queued</dt><dd>2 damaged fragments or documents</dd>",
            "<dt>Index made anew</dt><dd>yes</dd>",
            "<dt>Given what a snapshot knew, of</dt><dd>2026-11-28</dd>",
        ],
    );
}

#[test]
fn last_hour_is_drawn_once_there_are_two_samples() {
    let (mut history, start) = (History::default(), Instant::now());
    let draw = |history: &History| render::document(&facts(), history, start).into_string();
    assert_eq!(draw(&history).matches("Nothing to show yet").count(), 4);
    history.push(start, Counts::default());
    history.push(start + Duration::from_secs(30), Counts::default());
    let drawn = draw(&history);
    assert_eq!(drawn.matches("Nothing to show yet").count(), 1, "nobody asked the cache");
    assert!(
        drawn.contains(r#"aria-label="Written, a minute, over the last hour: now 0 B, at most 0 B""#),
        "{drawn}"
    );
}

/// A node of which only the page is served.
struct Served {
    _dir: tempfile::TempDir,
    system: System,
    service: TowerToHyperService<axum::Router>,
}

impl Served {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let actors = SystemConfig::new(StorageConfig::with_defaults(dir.path()), NodeKey::from_seed([1; 32]));
        let system = System::start(actors).await.unwrap();
        let (draining, metrics) = (CancellationToken::new(), Metrics::new(None).unwrap());
        let page = Page::new(
            Health {
                draining,
                metrics,
                system: system.clone(),
                memory: crate::admin::memory::Memory::new(actors::budget::Budget::new(1 << 20)),
            },
            Instant::now(),
        );
        Self { _dir: dir, system, service: TowerToHyperService::new(page.routes()) }
    }

    async fn get(&self) -> Response<String> {
        let request = Request::builder().uri("/").body(Body::empty()).unwrap();
        let (head, body) = self.service.call(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Response::from_parts(head, String::from_utf8(body.to_vec()).unwrap())
    }
}

#[tokio::test]
async fn browser_is_told_to_allow_this_style_and_nothing_else() {
    let served = Served::start().await;
    let answer = served.get().await;
    let header = |name: &str| answer.headers().get(name).unwrap().to_str().unwrap();
    let hash = BASE64_STANDARD.encode(Sha256::digest(between(answer.body(), "<style>", "</style>")));
    assert_eq!(
        header("content-security-policy"),
        format!(
            "default-src 'none'; style-src 'sha256-{hash}'; img-src 'none'; frame-ancestors 'none'; \
             form-action 'none'; base-uri 'none'"
        )
    );
    assert_eq!(header("content-type"), "text/html; charset=utf-8");
    assert_eq!(header("cache-control"), "no-store");
    assert_eq!(header("x-content-type-options"), "nosniff");
    assert_eq!(header("referrer-policy"), "no-referrer");
    assert_eq!(header("cross-origin-resource-policy"), "same-origin");
    let body = answer.body();
    assert!(body.contains("Everything is in order: nothing is kept here yet."), "{body}");
    assert!(!body.contains("<script") && !body.contains(" style=") && !body.contains(" href="), "{body}");
}

#[tokio::test]
async fn page_is_there_while_no_actor_answers() {
    let served = Served::start().await;
    served.system.clone().drain().await;
    let answer = served.get().await;
    assert_eq!(answer.status(), 200);
    let body = answer.body();
    assert!(
        body.contains("Not all is known: what is stored could not be found out (storage is being restarted"),
        "{body}"
    );
    assert_eq!(body.matches("Could not be found out").count(), 5, "{body}");
}

fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    text.split_once(from).unwrap().1.split_once(to).unwrap().0
}
