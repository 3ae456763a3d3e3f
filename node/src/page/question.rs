//! A question that many may ask at a time, and that is asked once.

use std::{
    fmt,
    future::Future,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use actors::ActorError;
use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use tokio::{task::AbortHandle, time::timeout};

/// One question to an actor. While its answer is awaited it is not asked again: whoever asks meanwhile gets the same
/// answer, and those who gave up waiting leave one question behind and not many.
pub(super) struct Question<T: Clone> {
    under_way: Mutex<Option<UnderWay<T>>>,
}

struct UnderWay<T: Clone> {
    asked: AbortHandle,
    answer: Answer<T>,
}

type Answer<T> = Shared<BoxFuture<'static, Result<T, String>>>;

impl<T: Clone> Default for Question<T> {
    fn default() -> Self {
        Self { under_way: Mutex::new(None) }
    }
}

impl<T: Clone> fmt::Debug for Question<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Question")
    }
}

impl<T: Clone + Send + Sync + 'static> Question<T> {
    /// The answer, or why there is none by the deadline.
    pub(super) async fn ask(
        &self,
        asked: impl Future<Output = Result<T, ActorError>> + Send + 'static,
        deadline: Duration,
    ) -> Result<T, String> {
        let late = || Err(format!("no answer within {} s", deadline.as_secs()));
        timeout(deadline, self.answer(asked)).await.unwrap_or_else(|_| late())
    }

    fn answer(&self, asked: impl Future<Output = Result<T, ActorError>> + Send + 'static) -> Answer<T> {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = under_way.as_ref().filter(|known| !known.asked.is_finished()) {
            return known.answer.clone();
        }
        // In a task of its own: it comes to its end also when nobody waits any more.
        let task = tokio::spawn(asked);
        let asked = task.abort_handle();
        let answer = async {
            let answer = task.await.map_err(|error| format!("the question fell: {error}"))?;
            answer.map_err(|error| error.to_string())
        };
        let answer = answer.boxed().shared();
        *under_way = Some(UnderWay { asked, answer: answer.clone() });
        answer
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };

    use tokio::sync::Notify;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn question_under_way_is_not_asked_again() {
        let (asked, open) = (Arc::new(AtomicU32::new(0)), Arc::new(Notify::new()));
        let question = Question::default();
        let ask = |deadline| {
            let (asked, open) = (Arc::clone(&asked), Arc::clone(&open));
            let work = async move {
                let number = asked.fetch_add(1, Ordering::Relaxed) + 1;
                open.notified().await;
                Ok(number)
            };
            question.ask(work, deadline)
        };
        assert_eq!(ask(Duration::from_millis(1)).await, Err("no answer within 0 s".to_owned()));
        let both = async { tokio::join!(ask(LONG), ask(LONG)) };
        let (answers, ()) = tokio::join!(both, async { open.notify_one() });
        assert_eq!(answers, (Ok(1), Ok(1)));
        open.notify_one();
        assert_eq!(ask(LONG).await, Ok(2), "what was answered is asked anew");
    }

    #[tokio::test]
    async fn question_that_is_refused_or_falls_says_why() {
        let question = Question::<u32>::default();
        let refused = question.ask(async { Err(ActorError::Restarting { actor: "cache" }) }, LONG).await;
        assert_eq!(refused, Err("cache is being restarted: try again in a moment".to_owned()));
        let fallen = question.ask(async { panic!("on purpose") }, LONG).await.unwrap_err();
        assert!(fallen.starts_with("the question fell"), "{fallen}");
    }
}
