//! One job, as a task of its own: it alone writes down how it stands, so nothing overtakes anything.

use std::{
    any::Any,
    collections::BTreeMap,
    panic::AssertUnwindSafe,
    sync::{Arc, Weak},
    time::Duration,
};

use futures::FutureExt;
use proto::TesseraId;
use tokio::sync::{Mutex, OnceCell, Semaphore, mpsc, watch};

use super::{
    Tools, adopt, fetch, leave,
    message::{Progress, Reply},
    publish, repair, retract, survey,
    told::Told,
};
use crate::{
    clock,
    error::ActorError,
    storage::{JobKind, JobState, Note, ReplicationJob},
    supervision::gate::Slot,
};

/// What a job is told while it is under way.
pub(super) enum Word {
    /// Somebody asks for it: answered once it is written down.
    Asked(Slot, Reply<ReplicationJob>),
    /// Give it up: answered once that is written down.
    Cancel(Slot, Reply<bool>),
}

/// A job that is under way.
pub(super) struct Job {
    pub(super) tools: Arc<Tools>,
    pub(super) job: ReplicationJob,
    pub(super) words: mpsc::UnboundedReceiver<Word>,
    pub(super) progress: watch::Sender<Progress>,
    pub(super) turns: Turns,
    /// Since when it has been missed what is mended, in milliseconds since 1970, if nobody has asked for that.
    pub(super) missed_since_ms: Option<i64>,
}

/// What a job waits for before it runs.
pub(super) struct Turns {
    /// Those that may run at a time.
    pub(super) all: Arc<Semaphore>,
    /// One at a time of each tessera: two would send the same, and sign against each other.
    pub(super) of_tessera: Arc<Mutex<()>>,
}

/// The tesserae that jobs are about.
#[derive(Default)]
pub(super) struct Tesserae {
    turns: BTreeMap<TesseraId, Weak<Mutex<()>>>,
    /// When there are so many it is looked which of them nobody waits for any more.
    most: usize,
}

impl Tesserae {
    /// What all jobs of a tessera have in common.
    pub(super) fn turn(&mut self, tessera: TesseraId) -> Arc<Mutex<()>> {
        if let Some(turn) = self.turns.get(&tessera).and_then(Weak::upgrade) {
            return turn;
        }
        if self.turns.len() >= self.most {
            self.turns.retain(|_, turn| turn.strong_count() > 0);
            self.most = (2 * self.turns.len()).max(TURNS_MIN);
        }
        let turn = Arc::new(Mutex::new(()));
        self.turns.insert(tessera, Arc::downgrade(&turn));
        turn
    }
}

impl Job {
    /// Writes a job down that nobody has asked for, and runs it.
    pub(super) async fn begin_by_itself(mut self, since_ms: Option<i64>) {
        self.missed_since_ms = since_ms;
        match self.write_down().await {
            Ok(()) => self.run().await,
            Err(error) => {
                tracing::warn!(%error, tessera = %self.job.tessera, "it cannot be mended now: that is tried again");
            }
        }
    }

    /// Writes a new job down and runs it.
    pub(super) async fn begin(mut self) {
        // Whoever asked first is in the list already. If it cannot be written down for one, it may be for the next.
        while let Ok(word) = self.words.try_recv() {
            match word {
                Word::Cancel(_slot, reply) => drop(reply.send(Ok(false))),
                Word::Asked(_slot, reply) => {
                    let kept = self.write_down().await;
                    let is_kept = kept.is_ok();
                    // A caller that gave up has nothing to be told.
                    let _ = reply.send(kept.map(|()| self.job.clone()));
                    if is_kept {
                        return self.run().await;
                    }
                }
            }
        }
    }

    /// Goes on with what was written down before.
    pub(super) async fn go_on(self, arrived: Arc<OnceCell<()>>) {
        arrived.get_or_init(|| survey::arrived(&self.tools)).await;
        self.run().await;
    }

    async fn run(mut self) {
        let (tools, kind, tessera) = (self.tools.clone(), self.job.kind, self.job.tessera);
        let since_ms = self.missed_since_ms;
        let Turns { all, of_tessera } = self.turns;
        let (job, words, progress) = (&mut self.job, &mut self.words, &self.progress);
        let began_at_ms = job.began_at_ms;
        let work = caught(async {
            if kind == JobKind::Retract {
                patiently(tessera, || retract::write_down(&tools, tessera)).await?;
            }
            let _first = of_tessera.lock().await;
            // Never closed. Taking back moves nothing, and waits for nobody who does.
            let _turn = if kind == JobKind::Retract { None } else { all.acquire().await.ok() };
            let of = (kind, tessera, began_at_ms);
            patiently(tessera, || carry_out(&tools, of, since_ms, progress)).await
        });
        tokio::pin!(work);
        let mut cancelled = None;
        let outcome = loop {
            tokio::select! {
                outcome = &mut work => break Some(outcome),
                Some(word) = words.recv() => match word {
                    Word::Asked(_slot, reply) => drop(reply.send(Ok(job.clone()))),
                    Word::Cancel(slot, reply) => {
                        cancelled = Some((slot, reply));
                        break None;
                    }
                }
            }
        };
        finish(&tools, job, outcome).await;
        if let Some((_slot, reply)) = cancelled {
            let _ = reply.send(Ok(true));
        }
        words.close();
        while let Some(word) = words.recv().await {
            match word {
                Word::Asked(_slot, reply) => drop(reply.send(Ok(job.clone()))),
                Word::Cancel(_slot, reply) => drop(reply.send(Ok(false))),
            }
        }
    }

    async fn write_down(&self) -> Result<(), ActorError> {
        let note = vec![Note::Job(self.job.clone())];
        self.tools.storage.records().note(note).await.map(drop)
    }
}

/// Does what a job is about. What was done before is not done again.
async fn carry_out(
    tools: &Tools,
    (kind, tessera, began_at_ms): (JobKind, TesseraId, i64),
    missed_since_ms: Option<i64>,
    progress: &watch::Sender<Progress>,
) -> Result<Told, ActorError> {
    if matches!(kind, JobKind::Publish | JobKind::Relayout | JobKind::Repair) {
        retract::refuse(tools, tessera).await?;
    }
    match kind {
        JobKind::Publish => publish::publish(tools, tessera, false, progress).await,
        JobKind::Relayout => publish::publish(tools, tessera, true, progress).await,
        JobKind::Repair => repair::repair(tools, tessera, missed_since_ms, progress).await,
        JobKind::Fetch => fetch::fetch(tools, tessera, progress).await,
        JobKind::Retract => retract::retract(tools, tessera, progress).await,
        JobKind::Adopt => adopt::adopt(tools, tessera, progress).await,
        JobKind::Leave => leave::leave(tools, began_at_ms, progress).await,
    }
}

/// Does it again, for a while, when something here is in the way that passes.
async fn patiently<T, F: Future<Output = Result<T, ActorError>>>(
    tessera: TesseraId,
    work: impl Fn() -> F,
) -> Result<T, ActorError> {
    let mut pause = AGAIN_FIRST;
    loop {
        match work().await {
            Err(error) if is_passing(&error) && pause <= AGAIN_LAST => {
                tracing::info!(%error, %tessera, "a job goes on in a moment");
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            outcome => return outcome,
        }
    }
}

/// Whether a part of this node is just being started again, or has too much to do: a job goes on where it was.
fn is_passing(error: &ActorError) -> bool {
    matches!(error, ActorError::Busy { .. } | ActorError::Restarting { .. } | ActorError::Cut)
}

/// Writes down what came of a job, `None` when it was given up. As long as that cannot be written, the job is not finished.
async fn finish(tools: &Tools, job: &mut ReplicationJob, outcome: Option<Result<Told, ActorError>>) {
    let (state, told) = match outcome {
        Some(Ok(told)) if told.is_as_asked() => (JobState::Done, Some(told)),
        Some(Ok(told)) => (JobState::Degraded, Some(told)),
        Some(Err(error)) => (JobState::Failed, Some(Told::failed(&error))),
        None => (JobState::Cancelled, None),
    };
    tools.metrics.ended(job.kind, state);
    let sentence = told.as_ref().map(|told| told.sentence.as_str());
    tracing::info!(job = job.id, tessera = %job.tessera, ?state, told = sentence, "a job has ended");
    (job.state, job.changed_at_ms) = (state, clock::now_ms());
    job.told = told.and_then(|told| serde_json::to_string(&told).ok());
    let mut notes = vec![Note::Job(job.clone())];
    if job.kind == JobKind::Repair {
        notes.push(Note::LookAt { tessera: job.tessera });
    }
    while let Err(error) = tools.storage.records().note(notes.clone()).await {
        tracing::warn!(%error, job = job.id, "it cannot be written down yet that a job has ended");
        tokio::time::sleep(WRITE_AGAIN).await;
    }
}

/// A job that panics has failed, and takes nothing with it.
async fn caught(work: impl Future<Output = Result<Told, ActorError>>) -> Result<Told, ActorError> {
    AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|panic| {
        let what = format!(
            "a fault in this program stopped it ({}): the log says where; ask for it again, and report it if it comes back",
            said(panic.as_ref())
        );
        Err(ActorError::Conflict { what })
    })
}

fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it did not say why")
}

/// So many turns are kept, whether anybody waits for them or not.
const TURNS_MIN: usize = 64;
/// When a job goes on that something here has stopped: at first, and at last.
const AGAIN_FIRST: Duration = Duration::from_millis(250);
const AGAIN_LAST: Duration = Duration::from_secs(32);
/// When it is tried again to write down that a job has ended.
const WRITE_AGAIN: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    #[expect(clippy::panic, reason = "that is what is looked at")]
    async fn job_that_panics_has_failed_and_says_why() {
        let failed = caught(async { panic!("index 7 of 3") }).await.unwrap_err();
        assert!(failed.to_string().contains("index 7 of 3"), "{failed}");
    }

    #[test]
    fn jobs_of_one_tessera_take_turns() {
        let (one, other) = (TesseraId::from_bytes([1; 32]), TesseraId::from_bytes([2; 32]));
        let mut tesserae = Tesserae::default();
        let turn = tesserae.turn(one);
        assert!(Arc::ptr_eq(&turn, &tesserae.turn(one)));
        assert!(!Arc::ptr_eq(&turn, &tesserae.turn(other)));
        let all = (0..1000_u16).map(|number| {
            let mut id = [0; 32];
            id[..2].copy_from_slice(&number.to_le_bytes());
            TesseraId::from_bytes(id)
        });
        let kept: Vec<_> = all.clone().map(|id| tesserae.turn(id)).collect();
        assert!(tesserae.turns.len() >= 1000, "they are waited for");
        drop((turn, kept));
        for id in all.clone().chain(all.map(|id| TesseraId::from_bytes(id.as_bytes().map(|byte| !byte)))) {
            drop(tesserae.turn(id));
        }
        assert!(tesserae.turns.len() <= TURNS_MIN, "what nobody waits for is forgotten");
    }
}
