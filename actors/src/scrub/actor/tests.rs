//! Turns, doubts and what is put off, on a state whose messages nobody carries out.

use config::StorageConfig;
use proto::NodeKey;

use super::*;
use crate::{
    System, SystemConfig, clock,
    scrub::Starter,
    storage::{Piece, SegmentAge, Verified},
    testbed::Measured,
};

/// A state whose turns go to an actor that does not know them.
struct Bench {
    system: System,
    me: ActorRef<ScrubMsg>,
    state: State,
    _folder: tempfile::TempDir,
}

async fn bench() -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let config = StorageConfig { min_free_bytes: 0, ..StorageConfig::with_defaults(folder.path()) };
    let system = System::start(SystemConfig::new(config, NodeKey::from_seed([7; 32]))).await.unwrap();
    let metrics = Measured::new().metrics;
    let door = system.storage.segments_door();
    let (_, starter) = Starter::new(IntegrityConfig::default(), door, metrics.scrub, metrics.actors);
    let arguments = starter.arguments.clone();
    let (me, _) = Actor::spawn(None, ScrubActor, arguments.clone()).await.unwrap();
    let state = State::new(&me, arguments);
    Bench { system, me, state, _folder: folder }
}

/// What there is to verify: an index and these segments, asked for or not.
fn known(segments: &[u32], is_asked: bool) -> Known {
    let now_ms = clock::now_ms();
    let age = |id: &u32| SegmentAge { id: *id, bytes: 9, written_at_ms: now_ms, verified_at_ms: None };
    let before_ms = if is_asked { now_ms } else { 0 };
    let scrub = ScrubRow { before_ms, index_at_ms: now_ms, ..ScrubRow::default() };
    let stored = Segments { segments: segments.iter().map(age).collect(), index_bytes: 9, scrub };
    let terms = terms(&IntegrityConfig::default());
    Known { at: Instant::now(), plan: Plan::new(now_ms, &stored, &terms), paused_until_ms: 0 }
}

#[tokio::test]
async fn look_that_was_overtaken_is_not_believed() {
    let Bench { system, me, mut state, .. } = bench().await;
    state.look(&me);
    let before = system.storage.segments_door().segments().await;
    // Somebody ends a pause: it is noted, and then the actor is told.
    state.look_again(&me);
    let turn = state.turn;
    state.looked(&me, before.clone());
    assert!(state.known.is_none() && state.turn > turn, "it looks again");
    state.turn(&me, state.turn);
    assert!(state.is_busy);
    state.looked(&me, before);
    assert!(state.known.is_some(), "nobody came in between");
    system.drain().await;
}

#[tokio::test]
async fn doubt_about_the_segment_under_way_has_all_of_it_verified() {
    let Bench { system, me, mut state, .. } = bench().await;
    let cursor = Some(Cursor { segment: 5, position: 200 });
    state.cursor = cursor;
    state.doubt(&me, [4].into());
    assert_eq!(state.cursor, cursor);
    state.doubt(&me, [5].into());
    assert_eq!(state.cursor, None);
    for reached in [Some(300), None] {
        (state.cursor, state.is_busy) = (cursor, true);
        state.doubt(&me, [5].into());
        let piece = Piece { segment: 5, from: 200, bytes: 100, next: Vec::new() };
        state.verified(&me, &piece, Instant::now(), Ok(Verified { reached, ..Verified::default() }));
        assert!(state.cursor.is_none() && state.doubted.contains(&5), "{reached:?}");
    }
    system.drain().await;
}

/// Whoever asks for damaged bytes again and again does not keep the rest from being verified.
#[tokio::test]
async fn segment_is_verified_for_a_doubt_once_in_a_while() {
    let Bench { system, me, mut state, .. } = bench().await;
    state.doubt(&me, [5].into());
    let piece = Piece { segment: 5, from: 0, bytes: 100, next: Vec::new() };
    state.verified(&me, &piece, Instant::now(), Ok(Verified::default()));
    state.doubt(&me, [5, 6].into());
    assert_eq!(state.doubted, [6].into());
    system.drain().await;
}

#[tokio::test]
async fn look_through_the_index_that_was_cut_is_put_off_and_not_for_long_when_somebody_waits() {
    let Bench { system, me, mut state, .. } = bench().await;
    let mut wait = |known| {
        state.known = known;
        state.looked_through(&me, Instant::now(), Err(ActorError::Cut));
        state.later.get(&Target::Index).unwrap().saturating_duration_since(Instant::now()).as_secs()
    };
    assert!(wait(Some(known(&[], false))) > 3000);
    assert!(wait(Some(known(&[], true))) <= 10);
    assert!(wait(None) <= 10, "somebody has just asked");
    let behind_the_first = Some((TesseraId::from_bytes([7; 32]), 0));
    state.index = behind_the_first;
    state.looked_through(&me, Instant::now(), Err(ActorError::Cut));
    assert_eq!(state.index, behind_the_first, "it goes on there");
    state.index = None;
    state.looked_through(&me, Instant::now(), Err(ActorError::Cut));
    assert!(!state.later.is_empty());
    ScrubActor.handle(me.clone(), ScrubMsg::Changed, &mut state).await.unwrap();
    assert!(state.later.is_empty(), "who asks later does not wait either");
    system.drain().await;
}

#[tokio::test]
async fn segment_that_a_session_writes_to_is_put_off_and_stays_doubted() {
    let Bench { system, me, mut state, .. } = bench().await;
    let piece = Piece { segment: 3, from: 0, bytes: 9, next: Vec::new() };
    state.cursor = Some(Cursor { segment: 3, position: 0 });
    state.doubted = [3, 4].into();
    let conflict = || ActorError::Conflict { what: "it is being written to".to_owned() };
    state.verified(&me, &piece, Instant::now(), Err(conflict()));
    assert_eq!((state.cursor, &state.trouble), (None, &None));
    assert_eq!(state.later.keys().collect::<Vec<_>>(), [&Target::Segment(3)]);
    state.go_on(&me, &known(&[3], false));
    assert_eq!(state.doubted, [3].into(), "the other is gone");
    assert!(!state.is_busy, "it is not tried at once");
    state.later.clear();
    state.go_on(&me, &known(&[3], false));
    assert!(state.is_busy);
    system.drain().await;
}
