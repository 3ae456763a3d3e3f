//! What the page knows of the node at one moment, gathered within a deadline.

use std::time::{Duration, Instant};

use actors::cache::CacheUsage;

use super::question::Question;
use crate::{admin::health::Health, api, clock::now_ms};

/// What was found out, or why it was not.
pub(super) type Known<T> = Result<T, String>;

/// Everything that the page is made of, but for the last hour. Texts in it are fit to be shown to anybody.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    /// The version of this software.
    pub(super) version: &'static str,
    /// When these were gathered, in milliseconds since 1970.
    pub(super) at_ms: u64,
    /// For how long the daemon has been running, in seconds.
    pub(super) uptime_secs: u64,
    /// Whether it is about to stop.
    pub(super) is_draining: bool,
    /// Why it must end, if it must.
    pub(super) fatal: Option<String>,
    /// Every actor, and how it fares.
    pub(super) actors: Vec<api::Actor>,
    /// How much is stored.
    pub(super) storage: Known<api::Storage>,
    /// How verifying stands.
    pub(super) scrub: Known<api::Scrub>,
    /// How much the cache holds.
    pub(super) cache: Known<CacheUsage>,
    /// How it stands with other nodes.
    pub(super) network: Known<api::Network>,
}

/// Asks the actors.
#[derive(Debug)]
pub(super) struct Questions {
    health: Health,
    started: Instant,
    storage: Question<api::Storage>,
    scrub: Question<api::Scrub>,
    cache: Question<CacheUsage>,
    network: Question<api::Network>,
}

impl Questions {
    /// To a node that was started then.
    pub(super) fn new(health: Health, started: Instant) -> Self {
        let (storage, scrub, cache) = (Question::default(), Question::default(), Question::default());
        Self { health, started, storage, scrub, cache, network: Question::default() }
    }

    /// Gathers what can be found out within [`DEADLINE`].
    pub(super) async fn ask(&self) -> Facts {
        let (storage, scrub, cache, network) =
            tokio::join!(self.storage(), self.scrub(), self.cache(), self.network());
        let system = &self.health.system;
        let standing = system.standing.borrow().clone();
        let waiting = system.waiting();
        let load = |name| waiting.iter().find(|(actor, _)| *actor == name).map_or(0, |(_, waiting)| *waiting);
        let actor = |actor: actors::supervision::ActorStatus| {
            let last_fall = actor.last_fall.as_deref().map(shown);
            api::Actor { last_fall, ..api::Actor::new(load(actor.name), actor) }
        };
        Facts {
            version: env!("CARGO_PKG_VERSION"),
            at_ms: now_ms(),
            uptime_secs: self.started.elapsed().as_secs(),
            is_draining: self.health.draining.is_cancelled(),
            fatal: standing.fatal.as_deref().map(shown),
            actors: standing.actors.into_iter().map(actor).collect(),
            storage,
            scrub,
            cache,
            network,
        }
    }

    async fn storage(&self) -> Known<api::Storage> {
        let storage = self.health.system.storage.clone();
        let asked = async move { storage.usage().await.map(api::Storage::from) };
        let known = self.storage.ask(asked, DEADLINE).await.map_err(|why| shown(&why))?;
        Ok(api::Storage { read_only: known.read_only.as_deref().map(shown), ..known })
    }

    async fn scrub(&self) -> Known<api::Scrub> {
        let scrub = self.health.system.scrub.clone();
        let asked = async move { scrub.status().await.map(api::Scrub::from) };
        let known = self.scrub.ask(asked, DEADLINE).await.map_err(|why| shown(&why))?;
        Ok(api::Scrub { trouble: known.trouble.as_deref().map(shown), ..known })
    }

    async fn cache(&self) -> Known<CacheUsage> {
        let cache = self.health.system.cache.clone();
        let asked = async move { cache.usage().await };
        self.cache.ask(asked, DEADLINE).await.map_err(|why| shown(&why))
    }

    async fn network(&self) -> Known<api::Network> {
        let system = self.health.system.clone();
        let asked = async move {
            let pool = system.pool.status().await?;
            Ok(api::Network::new(&system, Some(&pool), pool.listens_at))
        };
        self.network.ask(asked, DEADLINE).await.map_err(|why| shown(&why))
    }
}

/// A reason as anybody may read it: errors name tesserae and checksums, and a panic may say anything at any length.
fn shown(reason: &str) -> String {
    let mut text = String::new();
    for run in reason.split_inclusive(|letter: char| !letter.is_ascii_alphanumeric()) {
        let word = run.trim_end_matches(|letter: char| !letter.is_ascii_alphanumeric());
        if word.len() >= ID_CHARS_MIN {
            text.extend(["…", run.strip_prefix(word).unwrap_or_default()]);
        } else {
            text.push_str(run);
        }
    }
    match text.char_indices().nth(REASON_CHARS_MAX) {
        Some((end, _)) => text.get(..end).unwrap_or_default().to_owned() + "…",
        None => text,
    }
}

/// How long each actor may take to answer. Whoever looks at a page does not wait for long.
const DEADLINE: Duration = Duration::from_secs(2);
/// Ids, keys and checksums have more than 50 letters and digits in one run; no word has.
const ID_CHARS_MIN: usize = 32;
const REASON_CHARS_MAX: usize = 300;

#[cfg(test)]
mod tests {
    use proto::{Checksum, FragmentId, TesseraId};

    use super::*;

    #[track_caller]
    fn check(reason: &str, expected: &str) {
        assert_eq!(shown(reason), expected);
    }

    #[test]
    fn reason_is_shown_without_ids_and_checksums() {
        let (tessera, sum) = (TesseraId::from_bytes([7; 32]), Checksum::from_bytes([7; 32]));
        let fragment = FragmentId { tessera, stripe: 3, index: 1 };
        check("the disk is full: 7 bytes", "the disk is full: 7 bytes");
        check(&format!("the rows of {tessera} do not add up"), "the rows of … do not add up");
        check(&format!("({sum})"), "(…)");
        let damaged = shown(&format!("fragment {fragment} is damaged"));
        assert!(damaged.starts_with("fragment …") && !damaged.contains("tess1"), "{damaged}");
        check("", "");
    }

    #[test]
    fn reason_of_any_length_is_cut() {
        check(&"é ".repeat(150), &"é ".repeat(150));
        check(&"é ".repeat(151), &format!("{}…", "é ".repeat(150)));
    }
}
