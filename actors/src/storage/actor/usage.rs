//! How much is stored, and how much more can be.

use ractor::ActorRef;

use super::State;
use crate::{
    storage::{
        health::{self, TesseraHealth},
        message::{Reply, StorageMsg, Usage},
        pragmas::INDEX_FILE,
        queries, space,
    },
    supervision::gate::Slot,
};

impl State {
    /// How much is stored, and how that fares; the gauges follow.
    pub(super) fn usage(&self, me: &ActorRef<StorageMsg>, slot: Slot, reply: Reply<Usage>) {
        let (index, arguments, reserve) = (self.index.clone(), self.arguments.clone(), self.reserve.clone());
        let location_map_bytes = self.locations.bytes();
        let (read_only, recovery) = (self.read_only.clone(), self.recovery.clone());
        let lacking = self.lacking.clone();
        self.answer(me, slot, reply, async move {
            let config = &arguments.config;
            let asked =
                async |index: &mut _| Ok((queries::totals(&mut *index).await?, health::jobs(index).await?));
            let (totals, jobs) = index.as_it_is(asked).await?;
            let damaged = lacking.count(&index, &totals, jobs).await?;
            let health = TesseraHealth { intact: totals.tesseras.saturating_sub(damaged), damaged };
            let wal = tokio::fs::metadata(config.data_dir.join(format!("{INDEX_FILE}-wal"))).await;
            let wal_bytes = wal.map_or(0, |wal| wal.len());
            let space = reserve.space();
            let usage = Usage {
                room_bytes: space::room(config, reserve.room(), totals.segment_bytes),
                totals,
                health,
                capacity_bytes: config.capacity_bytes,
                free_bytes: space.map(|space| space.free),
                disk_bytes: space.map(|space| space.total),
                min_free_bytes: space.map(|space| space::floor(config, space)),
                wal_bytes,
                location_map_bytes,
                read_only,
                recovery,
            };
            arguments.metrics.usage(&usage);
            Ok(usage)
        });
    }

    /// How much more can be stored, without counting what is.
    pub(super) fn room(&self, me: &ActorRef<StorageMsg>, slot: Slot, reply: Reply<Option<u64>>) {
        let (index, arguments, reserve) = (self.index.clone(), self.arguments.clone(), self.reserve.clone());
        self.answer(me, slot, reply, async move {
            let used = index.as_it_is(async |index: &mut _| queries::segment_bytes(index).await).await?;
            Ok(space::room(&arguments.config, reserve.room(), used))
        });
    }
}
