//! Parity: computed on a thread of its own, with coders that are used again.

use std::sync::{Mutex, PoisonError};

use futures::{StreamExt, TryStreamExt, stream};
use proto::{
    Checksum, Fragment, ProtoError, TesseraId,
    erasure::Coder,
    layout::{Code, Stripe},
};
use tokio::{sync::watch, task::spawn_blocking};

use super::{
    Tools,
    copy::Copy,
    message::{Progress, Step},
};
use crate::error::ActorError;

/// Coders that nobody uses at the moment: each has some MiB of working space.
#[derive(Default)]
pub(super) struct Coders(Mutex<Vec<Coder>>);

impl Coders {
    fn take(&self) -> Coder {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    fn give_back(&self, coder: Coder) {
        let mut coders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if coders.len() < KEPT_MAX {
            coders.push(coder);
        }
    }

    /// The parity of a stripe, behind its data.
    pub(super) async fn encode(
        &self,
        mut data: Vec<Fragment>,
        parity: u16,
    ) -> Result<Vec<Fragment>, ActorError> {
        if parity == 0 {
            return Ok(data);
        }
        let mut coder = self.take();
        let coded = spawn_blocking(move || {
            let parity = coder.encode(&data, parity);
            parity.map(|parity| {
                data.extend(parity);
                (data, coder)
            })
        });
        let (stripe, coder) = coded.await.map_err(std::io::Error::other)??;
        self.give_back(coder);
        Ok(stripe)
    }

    /// These fragments of a stripe, from as many of it as it takes. Each was compared with the layout, and so is what comes
    /// out.
    pub(super) async fn rebuild(
        &self,
        stripe: Stripe,
        checksums: Vec<Checksum>,
        held: Vec<(u16, Fragment)>,
        wanted: Vec<u16>,
    ) -> Result<Vec<Fragment>, ActorError> {
        let find =
            |index: &u16| held.iter().find(|(at, _)| at == index).map(|(_, fragment)| fragment.clone());
        if let Some(held) = wanted.iter().map(find).collect() {
            return Ok(held);
        }
        let mut coder = self.take();
        let decoded = spawn_blocking(move || {
            let rebuilt = coder.reconstruct(&stripe, &checksums, &held, &wanted);
            rebuilt.map(|rebuilt| (rebuilt, coder))
        });
        let (rebuilt, coder) = decoded.await.map_err(std::io::Error::other)??;
        self.give_back(coder);
        Ok(rebuilt)
    }
}

/// The chunks of a stripe, the `at`th from 0, of a code.
pub(super) fn chunks_of(at: u32, code: Code, chunks: u64) -> Vec<u64> {
    let first = u64::from(at) * u64::from(code.k());
    (first..(first + u64::from(code.k())).min(chunks)).collect()
}

/// The checksums of all fragments of a content under a code, in order. Reads all of it once.
pub(super) async fn checksums(
    tools: &Tools,
    copy: &Copy,
    code: Code,
    progress: &watch::Sender<Progress>,
) -> Result<Vec<Checksum>, ActorError> {
    let layout = copy.layout().layout();
    let (chunks, content_len) = (layout.data_fragments(), layout.content_len());
    progress.send_replace(Progress::of(Step::Coding, content_len));
    let stripes =
        u32::try_from(chunks.div_ceil(u64::from(code.k()))).map_err(|_| too_many(layout.tessera(), code))?;
    let stripes = stream::iter(0..stripes).map(|at| async move {
        let width = u64::from(code.k() + code.m()) * u64::from(layout.fragment_len());
        let _memory = tools.memory.reserve(width).await;
        let data = copy.chunks(chunks_of(at, code, chunks)).await?;
        let read: u64 = data.iter().map(|chunk| chunk.bytes().len() as u64).sum();
        let stripe = tools.coders.encode(data, code.m()).await?;
        progress.send_modify(|progress| progress.done_bytes += read);
        Ok::<_, ActorError>(stripe.iter().map(Fragment::checksum).collect::<Vec<_>>())
    });
    let checksums: Vec<_> = stripes.buffered(STRIPES_AT_ONCE).try_collect().await?;
    Ok(checksums.concat())
}

fn too_many(tessera: TesseraId, code: Code) -> ActorError {
    ProtoError::malformed("layout", format!("{tessera} has more stripes of {code} than 32 bits count")).into()
}

/// Stripes that are read and coded at a time: one is read while another is coded.
const STRIPES_AT_ONCE: usize = 2;
/// As many as there are cores on a machine that has few.
const KEPT_MAX: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_stripe_has_the_chunks_that_are_left() {
        let code = Code::new(3, 2).unwrap();
        assert_eq!(chunks_of(0, code, 8), [0, 1, 2]);
        assert_eq!(chunks_of(2, code, 8), [6, 7]);
        assert_eq!(chunks_of(3, code, 8), [0; 0]);
    }
}
