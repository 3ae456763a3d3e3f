//! The scrub actor: one thing at a time, and a turn for the next.

mod work;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use config::{
    IntegrityConfig,
    integrity::{Hours, minutes_outside},
};
use proto::TesseraId;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::{sync::watch, task::JoinSet};

use super::{
    handle::PAUSE_MAX,
    message::{Cursor, Findings, Mode, Reply, ScrubMsg, ScrubStatus},
    pace::Pace,
    schedule::{Entry, Plan, Target, Terms},
    strain::Strain,
};
use crate::{
    error::ActorError,
    metrics::ScrubMetrics,
    storage::{ScrubNote, ScrubRow, Segments, SegmentsHandle},
    supervision::gate::Slot,
};

/// The actor. All state is in [`State`].
pub(super) struct ScrubActor;

/// What it is started with.
#[derive(Clone)]
pub(super) struct Arguments {
    /// The settings in force.
    pub(super) config: watch::Receiver<IntegrityConfig>,
    pub(super) segments: SegmentsHandle,
    pub(super) metrics: ScrubMetrics,
    /// The wall clock, in milliseconds since 1970.
    pub(super) now_ms: fn() -> i64,
    /// The minute of the day by the clock on the wall.
    pub(super) minute: fn() -> u16,
}

pub(super) struct State {
    arguments: Arguments,
    terms: Terms,
    pace: Pace,
    strain: Strain,
    /// What there is to verify, as it was a moment ago.
    known: Option<Known>,
    cursor: Option<Cursor>,
    /// When the first piece of that segment was begun.
    cursor_began_ms: i64,
    /// Where looking through the index goes on, and when it was begun.
    index: Option<(TesseraId, i64)>,
    /// What could not be verified because of what others do, and when it is tried again.
    later: BTreeMap<Target, Instant>,
    doubted: BTreeSet<u32>,
    /// Those that were verified because of that, lately.
    checked: BTreeMap<u32, Instant>,
    /// The segment that is being verified was doubted meanwhile: what was verified of it before does not count.
    begins_anew: bool,
    /// Something is being verified or asked: its end sets the next turn.
    is_busy: bool,
    /// Something has changed since what there is was asked for: the answer may be of before that.
    is_overtaken: bool,
    is_under_way: bool,
    /// Until when the disk is left alone, and why. Whatever happens meanwhile, and wakes this, waits for it.
    rest: Option<(Mode, Instant)>,
    /// Nothing was verified since puts and gets were counted last.
    has_rested: bool,
    turn: u64,
    mode: Mode,
    trouble: Option<String>,
    failures: u32,
    is_told_late: bool,
    findings: Findings,
    /// Brings what others doubt; ends with the actor.
    _listener: JoinSet<()>,
}

struct Known {
    at: Instant,
    plan: Plan,
    paused_until_ms: i64,
}

impl Actor for ScrubActor {
    type Msg = ScrubMsg;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(
        &self,
        me: ActorRef<ScrubMsg>,
        arguments: Arguments,
    ) -> Result<State, ActorProcessingErr> {
        let state = State::new(&me, arguments);
        me.send_after(FIRST_LOOK, || ScrubMsg::Turn(0));
        Ok(state)
    }

    async fn handle(
        &self,
        me: ActorRef<ScrubMsg>,
        message: ScrubMsg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            ScrubMsg::Turn(turn) => state.turn(&me, turn),
            ScrubMsg::Looked(outcome) => state.looked(&me, outcome),
            ScrubMsg::Verified { piece, began, outcome } => state.verified(&me, &piece, began, outcome),
            ScrubMsg::LookedThrough { began, outcome } => state.looked_through(&me, began, outcome),
            ScrubMsg::Doubted(segments) => state.doubt(&me, segments),
            ScrubMsg::Configured => state.configured(&me),
            ScrubMsg::Changed => {
                // Who asks does not wait for what was put off before.
                state.later.clear();
                state.look_again(&me);
            }
            ScrubMsg::Start { slot, reply } => {
                let before_ms = (state.arguments.now_ms)();
                state.note_and_answer(&me, Some(ScrubNote::Start { before_ms }), slot, reply);
            }
            ScrubMsg::Pause { span, slot, reply } => {
                let until_ms = (state.arguments.now_ms)().saturating_add(ms(span));
                state.note_and_answer(&me, Some(ScrubNote::Pause { until_ms }), slot, reply);
            }
            ScrubMsg::Prove { checksum, group, slot, reply } => state.prove(checksum, group, slot, reply),
            ScrubMsg::Status { slot, reply } => state.note_and_answer(&me, None, slot, reply),
            ScrubMsg::Answer { stored, slot, reply } => {
                // A caller that gave up has nothing to be told.
                let _ = reply.send(stored.map(|stored| state.status(&stored)));
                drop(slot);
            }
            ScrubMsg::Ping(reply) => drop(reply.send(())),
            #[cfg(feature = "faults")]
            #[expect(clippy::panic, reason = "a test asked for it")]
            ScrubMsg::Panic => panic!("asked to"),
        }
        Ok(())
    }
}

impl State {
    fn new(me: &ActorRef<ScrubMsg>, arguments: Arguments) -> Self {
        let terms = terms(&arguments.config.borrow());
        let pace = Pace::new(terms.rate);
        let mut listener = JoinSet::new();
        let (me, segments) = (me.clone(), arguments.segments.clone());
        listener.spawn(async move {
            while me.send_message(ScrubMsg::Doubted(segments.doubted().await)).is_ok() {}
        });
        Self {
            arguments,
            terms,
            pace,
            strain: Strain::default(),
            known: None,
            cursor: None,
            cursor_began_ms: 0,
            index: None,
            later: BTreeMap::new(),
            doubted: BTreeSet::new(),
            checked: BTreeMap::new(),
            begins_anew: false,
            is_busy: false,
            is_overtaken: false,
            is_under_way: false,
            rest: None,
            has_rested: true,
            turn: 0,
            mode: Mode::Idle,
            trouble: None,
            failures: 0,
            is_told_late: false,
            findings: Findings::default(),
            _listener: listener,
        }
    }

    fn turn(&mut self, me: &ActorRef<ScrubMsg>, turn: u64) {
        if turn != self.turn || self.is_busy {
            return;
        }
        let known = self.known.take().filter(|known| known.at.elapsed() < KNOWN_FOR);
        let Some(known) = known else { return self.look(me) };
        match (self.hindrance(&known), self.rest_left()) {
            (Some((mode, wait)), _) => self.idle(me, mode, wait),
            (None, Some((mode, wait))) => {
                self.mode = mode;
                self.next_turn(me, wait);
            }
            (None, None) => self.go_on(me, &known),
        }
        self.known = Some(known);
    }

    /// What keeps it from verifying, and for how long.
    fn hindrance(&self, known: &Known) -> Option<(Mode, Duration)> {
        let paused = pause_left(known.paused_until_ms, (self.arguments.now_ms)());
        paused.map(|wait| (Mode::Paused, wait)).or(self.quiet_left().map(|wait| (Mode::QuietHours, wait)))
    }

    /// For how long the quiet hours still last.
    fn quiet_left(&self) -> Option<Duration> {
        let minute = (self.arguments.minute)();
        let config = self.arguments.config.borrow();
        let left = config.quiet_hours.iter().filter_map(|hours: &Hours| hours.left(minute)).max();
        left.map(|minutes| Duration::from_secs(u64::from(minutes) * 60))
    }

    /// For how long the disk is still left alone, and why.
    fn rest_left(&self) -> Option<(Mode, Duration)> {
        let (mode, until) = self.rest?;
        let left = until.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some((mode, left))
    }

    fn idle(&mut self, me: &ActorRef<ScrubMsg>, mode: Mode, wait: Duration) {
        (self.mode, self.is_under_way, self.has_rested) = (mode, false, true);
        self.next_turn(me, wait.clamp(IDLE_MIN, LOOK_INTERVAL));
    }

    fn go_on(&mut self, me: &ActorRef<ScrubMsg>, known: &Known) {
        let now_ms = (self.arguments.now_ms)();
        let begun = self.cursor.map(|cursor| cursor.segment);
        let now = Instant::now();
        self.later.retain(|_, at| *at > now);
        let is_put_off = |target| self.later.contains_key(&target);
        let next = known.plan.next(now_ms, &self.terms, &self.doubted, begun, self.is_under_way, is_put_off);
        let Some(entry) = next else {
            // What is still doubted, and not put off, is gone.
            self.doubted.retain(|id| self.later.contains_key(&Target::Segment(*id)));
            let begins_in_ms = known.plan.outlook(now_ms, &self.terms).begins_in_ms;
            let begins_in = Duration::from_millis(begins_in_ms.unwrap_or(u64::MAX));
            let wait = self.later.values().min().map_or(begins_in, |at| *at - now);
            return self.idle(me, Mode::Idle, wait);
        };
        if !self.is_under_way {
            tracing::debug!(?entry, "verifying begins");
        }
        (self.mode, self.is_under_way, self.is_busy) = (Mode::Verifying, true, true);
        if std::mem::take(&mut self.has_rested) {
            let beats = self.arguments.segments.beats();
            self.strain.note_company(Instant::now(), &beats);
            self.strain.rested(&beats);
        }
        match entry {
            Entry { target: Target::Index, .. } => self.look_through(me, now_ms),
            Entry { target: Target::Segment(segment), .. } => self.verify(me, segment, now_ms, &known.plan),
        }
    }

    fn look(&mut self, me: &ActorRef<ScrubMsg>) {
        (self.is_busy, self.is_overtaken) = (true, false);
        let segments = self.arguments.segments.clone();
        report(me, async move { ScrubMsg::Looked(segments.segments().await) });
    }

    fn looked(&mut self, me: &ActorRef<ScrubMsg>, outcome: Result<Segments, ActorError>) {
        self.is_busy = false;
        let stored = match outcome {
            Ok(stored) => stored,
            Err(error) => return self.failed(me, &error),
        };
        if self.is_overtaken {
            return self.next_turn(me, Duration::ZERO);
        }
        let now_ms = (self.arguments.now_ms)();
        if self.cursor.is_none() && stored.scrub.segment != 0 {
            let ScrubRow { segment, position, began_ms, .. } = stored.scrub;
            (self.cursor, self.cursor_began_ms) = (Some(Cursor { segment, position }), began_ms);
        }
        let plan = Plan::new(now_ms, &stored, &self.terms);
        self.tell_whether_late(&plan, now_ms);
        self.known = Some(Known { at: Instant::now(), plan, paused_until_ms: stored.scrub.paused_until_ms });
        self.next_turn(me, Duration::ZERO);
    }

    fn doubt(&mut self, me: &ActorRef<ScrubMsg>, mut segments: BTreeSet<u32>) {
        // Damage that cannot be mended is found again by whoever asks for it, again and again.
        self.checked.retain(|_, at| at.elapsed() < DOUBTED_AGAIN);
        segments.retain(|id| !self.checked.contains_key(id));
        // What was verified of the segment under way may be what is doubted.
        let begun = self.cursor.filter(|cursor| segments.contains(&cursor.segment));
        match begun {
            Some(_) if self.is_busy => self.begins_anew = true,
            Some(_) => self.cursor = None,
            None => {}
        }
        self.doubted.extend(segments);
        self.look_again(me);
    }

    fn configured(&mut self, me: &ActorRef<ScrubMsg>) {
        let rate = self.terms.rate;
        self.terms = terms(&self.arguments.config.borrow());
        if self.terms.rate != rate {
            (self.pace, self.rest) = (Pace::new(self.terms.rate), None);
        }
        self.look_again(me);
    }

    fn look_again(&mut self, me: &ActorRef<ScrubMsg>) {
        (self.known, self.is_overtaken) = (None, true);
        if !self.is_busy {
            self.next_turn(me, Duration::ZERO);
        }
    }

    pub(super) fn next_turn(&mut self, me: &ActorRef<ScrubMsg>, wait: Duration) {
        self.turn += 1;
        let turn = self.turn;
        if wait.is_zero() {
            // A timer would take a millisecond. An actor that has just fallen begins anew.
            let _ = me.send_message(ScrubMsg::Turn(turn));
        } else {
            me.send_after(wait, move || ScrubMsg::Turn(turn));
        }
    }

    /// Says it once, and once again when it was all right in between.
    fn tell_whether_late(&mut self, plan: &Plan, now_ms: i64) {
        let outlook = plan.outlook(now_ms, &self.terms);
        self.arguments.metrics.outlook(&outlook);
        let is_late = outlook.late_ms > 0;
        if is_late && !self.is_told_late {
            let what = if u128::from(outlook.takes_ms) > self.terms.within.as_millis() {
                "not everything can be verified in time: raise integrity.scrub_rate or integrity.verify_within"
            } else {
                "not everything was verified in time, as this machine was off or nothing could be read: it is made up for"
            };
            tracing::warn!(
                bytes = outlook.bytes,
                overdue_bytes = outlook.overdue_bytes,
                takes_hours = outlook.takes_ms / 3_600_000,
                late_by_hours = outlook.late_ms / 3_600_000,
                "{what}"
            );
        }
        self.is_told_late = is_late;
    }

    /// Notes what was asked for, and then answers.
    fn note_and_answer(
        &self,
        me: &ActorRef<ScrubMsg>,
        note: Option<ScrubNote>,
        slot: Slot,
        reply: Reply<ScrubStatus>,
    ) {
        if reply.is_closed() {
            return;
        }
        let (me, segments) = (me.clone(), self.arguments.segments.clone());
        tokio::spawn(async move {
            let noted = async {
                if let Some(note) = note {
                    segments.note(note).await?;
                    // A fallen actor reads it when it starts.
                    let _ = me.send_message(ScrubMsg::Changed);
                }
                segments.segments().await
            };
            let stored = noted.await;
            // Back to the actor: what was verified before this was read may not have come to it yet.
            let _ = me.send_message(ScrubMsg::Answer { stored, slot, reply });
        });
    }

    fn status(&self, stored: &Segments) -> ScrubStatus {
        let now_ms = (self.arguments.now_ms)();
        let plan = Plan::new(now_ms, stored, &self.terms);
        let outlook = plan.outlook(now_ms, &self.terms);
        self.arguments.metrics.outlook(&outlook);
        let paused = pause_left(stored.scrub.paused_until_ms, now_ms);
        let quiet = self.quiet_left().filter(|_| self.mode == Mode::QuietHours && paused.is_none());
        let in_ms = |left: Duration| u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        ScrubStatus {
            mode: match self.mode {
                mode if paused.is_some() && mode != Mode::Verifying => Mode::Paused,
                // It is not any more, and has not come to look yet.
                Mode::Paused => Mode::Idle,
                mode => mode,
            },
            trouble: self.trouble.clone(),
            paused_for_ms: paused.map(in_ms),
            quiet_for_ms: quiet.map(in_ms),
            cursor: self.cursor.filter(|_| self.is_under_way),
            asked_bytes: plan.asked_bytes(),
            outlook,
            findings: self.findings,
            within_ms: in_ms(self.terms.within),
            rate: self.terms.rate,
        }
    }
}

fn terms(config: &IntegrityConfig) -> Terms {
    let awake = f64::from(minutes_outside(&config.quiet_hours)) / f64::from(minutes_outside(&[]));
    Terms { within: config.verify_within, rate: config.scrub_rate, awake }
}

/// For how long it is still paused. A pause that would be longer than any was made by a clock that was wrong.
fn pause_left(until_ms: i64, now_ms: i64) -> Option<Duration> {
    let left = u64::try_from(until_ms.saturating_sub(now_ms)).ok().filter(|left| *left > 0)?;
    Some(Duration::from_millis(left)).filter(|left| *left <= PAUSE_MAX)
}

/// Does something in a task of its own, and brings what came of it, also when it panicked.
pub(super) fn report(me: &ActorRef<ScrubMsg>, work: impl Future<Output = ScrubMsg> + Send + 'static) {
    let me = me.clone();
    tokio::spawn(async move {
        let message = tokio::spawn(work)
            .await
            .unwrap_or_else(|error| ScrubMsg::Looked(Err(std::io::Error::other(error).into())));
        // A fallen actor begins anew.
        let _ = me.send_message(message);
    });
}

fn ms(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

/// After a start, others come first.
const FIRST_LOOK: Duration = Duration::from_secs(1);
/// What is stored changes slowly beside what is verified.
const KNOWN_FOR: Duration = Duration::from_secs(10);
/// Clocks are set, and machines sleep.
const LOOK_INTERVAL: Duration = Duration::from_secs(600);
/// A segment is not verified again because of a doubt before this.
const DOUBTED_AGAIN: Duration = Duration::from_secs(3600);
const IDLE_MIN: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests;
