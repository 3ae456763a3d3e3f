//! What the stages of the writer know of a failure, and how far the log was durable before it.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use super::rows::Watermark;
use crate::error::ActorError;

/// Shared by the stages: set by the one that fails, cleared by the first after it has mended the log.
#[derive(Debug, Clone)]
pub(crate) struct Trouble {
    inner: Arc<Mutex<Inner>>,
    /// Told when something has failed.
    failed: Arc<Notify>,
}

#[derive(Debug)]
struct Inner {
    cause: Option<Cause>,
    durable: Watermark,
    failures: u32,
    retry_at: Option<Instant>,
}

/// Why writing failed; errors are made from it for everyone it hit.
#[derive(Debug, Clone)]
pub(crate) struct Cause {
    pub(crate) reason: String,
    full: bool,
}

impl Cause {
    /// The cause that an error is.
    pub(crate) fn of(error: &ActorError) -> Self {
        Self { reason: error.to_string(), full: error.is_full_disk() }
    }

    /// The error for one caller.
    pub(crate) fn error(&self) -> ActorError {
        let reason = self.reason.clone();
        if self.full { ActorError::InsufficientStorage { reason } } else { ActorError::ReadOnly { reason } }
    }
}

impl Trouble {
    /// No trouble; the log is durable up to here.
    pub(crate) fn new(durable: Watermark) -> Self {
        let inner = Inner { cause: None, durable, failures: 0, retry_at: None };
        Self { inner: Arc::new(Mutex::new(inner)), failed: Arc::new(Notify::new()) }
    }

    /// Something failed. The first cause is kept.
    pub(crate) fn set(&self, reason: &str, full: bool) {
        let mut inner = self.lock();
        inner.cause.get_or_insert_with(|| Cause { reason: reason.to_owned(), full });
        drop(inner);
        self.failed.notify_one();
    }

    /// The log is durable up to here.
    pub(crate) fn note_durable(&self, end: Watermark) {
        self.lock().durable = end;
    }

    pub(crate) fn durable(&self) -> Watermark {
        self.lock().durable
    }

    pub(crate) fn is_set(&self) -> bool {
        self.lock().cause.is_some()
    }

    /// Why writing failed.
    pub(crate) fn cause(&self) -> Cause {
        let cause = self.lock().cause.clone();
        cause.unwrap_or_else(|| Cause { reason: "a write failed".to_owned(), full: false })
    }

    /// The error for one caller it hit.
    pub(crate) fn error(&self) -> ActorError {
        self.cause().error()
    }

    /// Returns when something has failed and mending may be tried.
    pub(crate) async fn may_be_mended(&self) {
        loop {
            let (is_set, retry_at) = {
                let inner = self.lock();
                (inner.cause.is_some(), inner.retry_at)
            };
            match retry_at {
                _ if !is_set => self.failed.notified().await,
                None => return,
                Some(at) => return tokio::time::sleep_until(at.into()).await,
            }
        }
    }

    /// Whether mending may be tried now.
    pub(crate) fn may_retry(&self, now: Instant) -> bool {
        self.lock().retry_at.is_none_or(|at| at <= now)
    }

    /// Mending failed: the next try is not at once.
    pub(crate) fn postpone(&self, error: &ActorError, now: Instant) {
        let mut inner = self.lock();
        inner.cause = Some(Cause::of(error));
        inner.retry_at = Some(now + RETRY_FIRST * 2_u32.pow(inner.failures.min(RETRY_DOUBLINGS_MAX)));
        inner.failures += 1;
    }

    /// Mended: the log is durable up to here.
    pub(crate) fn clear(&self, durable: Watermark) {
        *self.lock() = Inner { cause: None, durable, failures: 0, retry_at: None };
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Mending is tried again after this, then after twice as long, and so on.
const RETRY_FIRST: Duration = Duration::from_millis(50);
/// The longest wait is 50 ms × 2¹⁰, 51 s.
const RETRY_DOUBLINGS_MAX: u32 = 10;
