//! `/v1/events`: what happens, as it happens, as Server-Sent Events.
//!
//! # Invariants
//! 1. Whoever tells of an event never waits. Whoever follows too slowly is told how many it missed.
//! 2. The storage is asked how it fares only while somebody follows.
//! 3. A stream ends when the node stops, and says so before.

use std::{convert::Infallible, path::PathBuf, sync::Arc, time::Duration};

use actors::{System, supervision::Standing};
use axum::{
    extract::State,
    response::{
        Sse,
        sse::{self, KeepAlive},
    },
};
use futures::{Stream, stream};
use proto::TesseraId;
use tokio::{
    sync::{
        Notify,
        broadcast::{self, error::RecvError},
        watch,
    },
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use super::{
    Node,
    changes::{Fares, Seen, changes},
    look,
};
use crate::{
    api::{Event, Happening},
    clock::now_ms,
    problem::{Kind, Problem},
};

/// Where events are told and followed.
#[derive(Debug, Clone)]
pub(crate) struct Events {
    to: broadcast::Sender<Event>,
    /// Told when somebody begins to follow.
    followed: Arc<Notify>,
    /// Set when nothing more will happen.
    draining: CancellationToken,
}

impl Events {
    /// Until `draining`.
    pub(crate) fn new(draining: CancellationToken) -> Self {
        let (to, _) = broadcast::channel(EVENTS_WAITING_MAX);
        Self { to, followed: Arc::default(), draining }
    }

    /// Something has happened.
    pub(crate) fn tell(&self, what: Happening) {
        // When nobody follows, nobody has to know.
        let _ = self.to.send(Event { at_ms: now_ms(), what });
    }

    /// What happens from now on. Fails with [`Kind::Busy`] when too many follow already.
    fn follow(&self) -> Result<impl Stream<Item = Event> + Send + use<>, Problem> {
        if self.to.receiver_count() >= FOLLOWERS_MAX {
            let detail = format!("{FOLLOWERS_MAX} follow the events already, and no more can");
            return Err(Problem::new(Kind::Busy, detail));
        }
        let from = self.to.subscribe();
        self.followed.notify_one();
        Ok(stream::unfold((from, self.draining.clone()), |(mut from, draining)| async move {
            let event = tokio::select! {
                // What was told before the end is told.
                biased;
                event = from.recv() => event,
                () = draining.cancelled() => return None,
            };
            match event {
                Ok(event) => Some((event, (from, draining))),
                Err(RecvError::Lagged(lost)) => {
                    Some((Event { at_ms: now_ms(), what: Happening::Lagged { lost } }, (from, draining)))
                }
                Err(RecvError::Closed) => None,
            }
        }))
    }

    /// Returns when somebody follows.
    async fn are_followed(&self) {
        while self.to.receiver_count() == 0 {
            self.followed.notified().await;
        }
    }
}

/// What happens, as it happens
///
/// A comment is sent every 15 s. It ends when the node stops; until then there is always more to come.
#[utoipa::path(
    get, path = "/v1/events", operation_id = "events", tag = "node",
    responses((status = 200, description = "Server-Sent Events, each named as `event` says",
        body = Event, content_type = "text/event-stream"))
)]
pub(super) async fn events(
    State(node): State<Arc<Node>>,
) -> Result<Sse<impl Stream<Item = Result<sse::Event, Infallible>> + Send>, Problem> {
    Ok(answer(node.events.follow()?))
}

fn answer(
    events: impl Stream<Item = Event> + Send + 'static,
) -> Sse<impl Stream<Item = Result<sse::Event, Infallible>> + Send> {
    let sent = futures::StreamExt::map(events, |event| {
        let json = serde_json::to_string(&event).unwrap_or_default();
        Ok(sse::Event::default().event(event.what.name()).data(json))
    });
    Sse::new(sent).keep_alive(KeepAlive::new().interval(COMMENT_INTERVAL))
}

/// Tells what changes in the actors and the storage of this data directory, until nothing more happens.
pub(crate) async fn watch(system: System, data_dir: PathBuf, events: Events) {
    let standing = system.standing.clone();
    let name = |blobs| look::damaged(&system, blobs);
    tell_changes(standing, events, || look::fares(&system, &data_dir), name).await;
}

async fn tell_changes<F: Future<Output = Option<Fares>>, D: Future<Output = Vec<TesseraId>>>(
    mut standing: watch::Receiver<Standing>,
    events: Events,
    look: impl Fn() -> F,
    damaged: impl Fn(u64) -> D,
) {
    let mut before = Seen::default();
    loop {
        let actors = standing.borrow_and_update().actors.clone();
        let followed = events.to.receiver_count() > 0;
        let storage = match followed {
            // A disk that hangs must not hold up the end. What restarts fares as it did, until it can be asked.
            true => match events.draining.run_until_cancelled(look()).await {
                Some(storage) => storage.or_else(|| before.storage.clone()),
                None => return,
            },
            false => None,
        };
        let after = Seen { actors, storage };
        for mut what in changes(&before, &after) {
            if let Happening::DamageFound { blobs, tesseras, .. } = &mut what {
                let Some(named) = events.draining.run_until_cancelled(damaged(*blobs)).await else { return };
                *tesseras = named;
            }
            events.tell(what);
        }
        before = after;
        tokio::select! {
            () = events.draining.cancelled() => return,
            // Without a supervisor the process is ending.
            changed = standing.changed() => if changed.is_err() { return },
            () = sleep(LOOK_INTERVAL), if followed => {}
            // From then on changes count, so the first look is at once.
            () = events.are_followed(), if !followed => {}
        }
    }
}

/// How many events may wait for a slow follower; the oldest go first.
const EVENTS_WAITING_MAX: usize = 256;
/// More would take the connections of those who ask something.
const FOLLOWERS_MAX: usize = 16;
/// So that whoever follows, and whatever is between, sees that it is still there.
const COMMENT_INTERVAL: Duration = Duration::from_secs(15);
/// How often the storage is asked how it fares.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;
    use futures::StreamExt;
    use http_body_util::BodyExt;

    use super::*;

    fn restarted(restarts: u64) -> Happening {
        Happening::ActorRestarted { actor: "cache".into(), restarts }
    }

    #[tokio::test]
    async fn slow_follower_is_told_how_many_it_missed() {
        let events = Events::new(CancellationToken::new());
        let mut followed = Box::pin(events.follow().unwrap());
        let told = EVENTS_WAITING_MAX as u64 + 3;
        (0..told).for_each(|number| events.tell(restarted(number)));
        assert_eq!(followed.next().await.unwrap().what, Happening::Lagged { lost: 3 });
        for number in 3..told {
            assert_eq!(followed.next().await.unwrap().what, restarted(number));
        }
    }

    #[tokio::test]
    async fn stream_ends_when_the_node_stops_and_says_so_before() {
        let draining = CancellationToken::new();
        let events = Events::new(draining.clone());
        let followed = events.follow().unwrap();
        let stopping = Happening::Stopping { reason: "SIGTERM".into() };
        events.tell(stopping.clone());
        draining.cancel();
        let told: Vec<_> = followed.map(|event| event.what).collect().await;
        assert_eq!(told, [stopping]);
    }

    #[tokio::test]
    async fn storage_that_does_not_answer_holds_up_no_end() {
        let draining = CancellationToken::new();
        let events = Events::new(draining.clone());
        let _followed = events.follow().unwrap();
        let (_told, standing) = watch::channel(Standing::default());
        let asked = Notify::new();
        let look = || {
            asked.notify_one();
            std::future::pending()
        };
        let telling = tell_changes(standing, events.clone(), look, async |_| Vec::new());
        let ends = async {
            asked.notified().await;
            draining.cancel();
        };
        let both = async { tokio::join!(telling, ends) };
        tokio::time::timeout(Duration::from_secs(30), both).await.expect("it ends");
    }

    #[tokio::test(start_paused = true)]
    async fn comment_is_sent_while_nothing_happens() {
        let events = Events::new(CancellationToken::new());
        let mut body = answer(events.follow().unwrap()).into_response().into_body();
        let start = tokio::time::Instant::now();
        let comment = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!((comment.as_ref(), start.elapsed()), (b":\n\n".as_slice(), COMMENT_INTERVAL));
        events.tell(restarted(1));
        let event = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert!(event.starts_with(b"event: actor_restarted\ndata: {"), "{event:?}");
    }

    #[tokio::test]
    async fn follower_beyond_the_bound_is_refused_as_busy() {
        let events = Events::new(CancellationToken::new());
        let followers: Vec<_> = (0..FOLLOWERS_MAX).map(|_| events.follow().unwrap()).collect();
        assert_eq!(events.follow().err().map(|problem| problem.kind()), Some(Kind::Busy));
        drop(followers);
        assert!(events.follow().is_ok());
    }
}
