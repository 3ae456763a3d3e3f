//! What there is to verify, and verifying it.

use proto::TesseraId;
use ractor::ActorRef;
use tracing::Instrument;

use super::{State, compacting::submit};
use crate::{
    storage::{
        facts, look,
        message::{Reply, SegmentAge, Segments, StorageMsg},
        pragmas::INDEX_FILE,
        rows::{Seal, SegmentRow},
        verify::{Piece, Verified, Verifier},
    },
    supervision::gate::Slot,
};

impl State {
    pub(super) fn segments(&self, me: &ActorRef<StorageMsg>, slot: Slot, reply: Reply<Segments>) {
        let (index, file) = (self.index.clone(), self.arguments.config.data_dir.join(INDEX_FILE));
        self.answer(me, slot, reply, async move {
            let rows =
                async |index: &mut _| Ok((facts::segments(&mut *index).await?, facts::scrub(index).await?));
            let (segments, scrub) = index.as_it_is(rows).await?;
            let there = segments.into_iter().filter(|(_, row)| row.bytes > 0 && row.seal != Seal::Drained);
            let age = |(id, row): (u32, SegmentRow)| SegmentAge {
                id,
                bytes: row.bytes,
                written_at_ms: row.written_at_ms,
                verified_at_ms: row.verified_at_ms,
            };
            let segments = there.map(age).collect();
            let index_bytes = tokio::fs::metadata(file).await.map_or(0, |file| file.len());
            Ok(Segments { segments, index_bytes, scrub })
        });
    }

    pub(super) fn verify(&self, me: &ActorRef<StorageMsg>, piece: Piece, slot: Slot, reply: Reply<Verified>) {
        let writer = me.clone();
        let verifier = Verifier {
            index: self.index.clone(),
            files: self.reader.files().clone(),
            background: self.background.clone(),
            stock: self.stock.clone(),
            metrics: self.arguments.metrics.clone(),
            submit: move |op| submit(writer.clone(), op),
        };
        let span = tracing::debug_span!("scrub_piece", bytes = piece.bytes.cast_signed());
        self.answer(me, slot, reply, async move { verifier.verify(piece).await }.instrument(span));
    }

    pub(super) fn look_through(
        &self,
        me: &ActorRef<StorageMsg>,
        from: TesseraId,
        slot: Slot,
        reply: Reply<Option<TesseraId>>,
    ) {
        let index = self.index.clone();
        self.answer(me, slot, reply, async move { look::through(&index, from).await });
    }
}
