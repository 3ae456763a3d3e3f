//! The actor on a store of its own, with clocks that say what a test wants.

use std::time::{Duration, Instant};

use bytes::Bytes;
use config::{IntegrityConfig, StorageConfig, integrity::Hours};
use proto::{AccountId, Fragment, FragmentId, NodeKey, TesseraId};

use super::{Mode, ScrubHandle, ScrubStatus, Starter};
use crate::{
    FragmentStore, System, SystemConfig,
    supervision::supervisor::Child,
    testbed::{Measured, Parent},
};

/// A store with a fragment in it, and scrubbing beside it whose clock stands still.
struct Bench {
    system: System,
    scrub: ScrubHandle,
    measured: Measured,
    _starter: Starter,
    _folder: tempfile::TempDir,
}

impl Bench {
    async fn new(integrity: IntegrityConfig) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = StorageConfig {
            min_free_bytes: 0,
            segment_bytes: 16 << 10,
            ..StorageConfig::with_defaults(folder.path())
        };
        let system = System::start(SystemConfig::new(config, NodeKey::from_seed([7; 32]))).await.unwrap();
        let id = FragmentId { tessera: TesseraId::from_bytes([1; 32]), stripe: 0, index: 0 };
        let fragment = Fragment::hash(Bytes::from_static(&[7; 100_000])).unwrap();
        system.storage.put(AccountId::LOCAL, id, fragment).await.unwrap();
        let measured = Measured::new();
        let (metrics, actors) = (measured.metrics.scrub.clone(), measured.metrics.actors.clone());
        let (scrub, mut starter) = Starter::new(integrity, system.storage.segments_door(), metrics, actors);
        starter.arguments.minute = || 90;
        starter.start(Parent::spawn().await).await.unwrap();
        Self { system, scrub, measured, _starter: starter, _folder: folder }
    }

    async fn with_quiet_hours(from: u16, to: u16) -> Self {
        let quiet_hours = vec![Hours::new(from, to).unwrap()];
        Self::new(IntegrityConfig { quiet_hours, ..IntegrityConfig::default() }).await
    }

    async fn until(&self, so: impl Fn(&ScrubStatus) -> bool) -> ScrubStatus {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let status = self.scrub.status().await.unwrap();
            if so(&status) {
                return status;
            }
            assert!(Instant::now() < deadline, "{status:?}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_verified_in_quiet_hours() {
    let bench = Bench::with_quiet_hours(60, 120).await;
    bench.scrub.start().await.unwrap();
    let status = bench.until(|status| status.mode == Mode::QuietHours).await;
    assert!(status.asked_bytes > 100_000 && status.findings.bytes == 0, "{status:?}");
    assert_eq!(status.quiet_for_ms, Some(30 * 60_000), "it is half past one, until two");
    assert!(status.outlook.takes_ms > 0 || status.outlook.bytes < 2 << 20);
    bench.system.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_verified_outside_of_them_is_counted() {
    let bench = Bench::with_quiet_hours(91, 89).await;
    bench.scrub.start().await.unwrap();
    let status = bench.until(|status| status.asked_bytes == 0 && status.mode == Mode::Idle).await;
    assert!(status.findings.bytes > 100_000, "{status:?}");
    assert_eq!(bench.measured.value("scrub"), Some(status.findings.bytes));
    assert_eq!(bench.measured.value("scrub_damaged"), Some(0));
    assert_eq!(bench.measured.value("verification_overdue"), Some(0));
    assert!(bench.measured.value("oldest_verification_age").is_some());
    bench.system.drain().await;
}

/// A session may stay open for hours.
#[tokio::test(flavor = "multi_thread")]
async fn session_that_writes_to_a_segment_holds_no_other_up() {
    let bench = Bench::new(IntegrityConfig::default()).await;
    let mut session = bench.system.storage.open_session().await.unwrap();
    session.put_blob(Fragment::hash(Bytes::from_static(b"a blob")).unwrap()).await.unwrap();
    let door = bench.system.storage.segments_door();
    let deadline = Instant::now() + Duration::from_secs(20);
    let written_to = loop {
        assert!(Instant::now() < deadline, "the blob does not come");
        // Blobs are on their way until something refers to them.
        let segments = door.segments().await.unwrap().segments;
        if let Some(second) = segments.iter().find(|segment| segment.id == 2) {
            break second.bytes;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    };
    // At the second time it is the one that has waited longest.
    for _ in 0..2 {
        bench.scrub.start().await.unwrap();
        let status =
            bench.until(|status| status.asked_bytes == written_to && status.mode == Mode::Idle).await;
        assert_eq!(status.trouble, None);
    }
    drop(session);
    // Each time it is asked, everything is verified once more, which takes a while beside others.
    for tries in 0.. {
        assert!(tries < 20, "its end is not noticed by who asks again");
        bench.scrub.start().await.unwrap();
        let all = bench.until(|status| status.asked_bytes == 0);
        if tokio::time::timeout(Duration::from_secs(1), all).await.is_ok() {
            break;
        }
    }
    bench.system.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_asked_meanwhile_the_disk_rests_as_the_rate_wants() {
    // A minute's worth is less than the fragment.
    let integrity = IntegrityConfig { scrub_rate: Some(1000), ..IntegrityConfig::default() };
    let bench = Bench::new(integrity.clone()).await;
    bench.scrub.start().await.unwrap();
    let verified = bench.until(|status| status.mode == Mode::Resting).await.findings.bytes;
    for _ in 0..20 {
        bench.scrub.start().await.unwrap();
        bench.scrub.configure(integrity.clone());
        bench.scrub.pause(Duration::ZERO).await.unwrap();
        let status = bench.until(|status| status.mode == Mode::Resting).await;
        assert_eq!(status.findings.bytes, verified);
    }
    bench.scrub.configure(IntegrityConfig { scrub_rate: None, ..integrity });
    bench.until(|status| status.findings.bytes > verified && status.mode == Mode::Idle).await;
    bench.system.drain().await;
}
