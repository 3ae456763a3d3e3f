//! Where fragments come from that are sent: the copy that is here, or as many others of the stripe as it takes.

use std::sync::Arc;

use proto::{Fragment, FragmentId, manifest::SignedManifest};

use super::{
    Tools,
    coding::chunks_of,
    copy::Copy,
    gathering::{Manners, Wanted},
    pages::Pages,
    sources::Located,
};
use crate::{error::ActorError, store::FragmentStore};

/// Where fragments come from.
pub(super) enum Origin {
    /// The whole content is here.
    Copy(Arc<Copy>),
    /// Others have it, and this node perhaps some of it.
    Others(Box<Others>),
    /// What is here of it, and nothing else: what it is.
    Here(Box<SignedManifest>),
}

/// Others that have it.
pub(super) struct Others {
    /// What it is.
    pub(super) manifest: SignedManifest,
    /// Who has it.
    pub(super) located: Located,
    /// How they answer.
    pub(super) manners: Manners,
}

/// Fragments of one stripe that are wanted.
pub(super) struct Stripe<'a> {
    pub(super) tools: &'a Tools,
    pub(super) pages: &'a Pages<'a>,
    pub(super) layout: &'a proto::layout::Layout,
    /// The number of the stripe, and how many are before it.
    pub(super) number: u32,
    pub(super) at: u32,
    /// The indices that are wanted.
    pub(super) wanted: &'a [u16],
}

impl Origin {
    pub(super) fn manifest(&self) -> &SignedManifest {
        match self {
            Self::Copy(copy) => copy.manifest(),
            Self::Others(others) => &others.manifest,
            Self::Here(manifest) => manifest,
        }
    }

    /// How many fragments of a stripe are in memory until these are there.
    pub(super) fn width(&self, stripe: &Stripe<'_>) -> usize {
        let (data, parity) = stripe.layout.stripe_width(stripe.number);
        match self {
            Self::Copy(_) if stripe.wanted.iter().all(|index| *index < data) => stripe.wanted.len(),
            Self::Here(_) => stripe.wanted.len(),
            _ => usize::from(data + parity),
        }
    }

    /// The wanted fragments.
    pub(super) async fn fragments(&self, stripe: &Stripe<'_>) -> Result<Vec<(u16, Fragment)>, ActorError> {
        match self {
            Self::Copy(copy) => of_copy(copy, stripe).await,
            Self::Others(others) => of_others(&others.located, &others.manners, stripe).await,
            Self::Here(_) => of_here(stripe).await,
        }
    }
}

async fn of_copy(copy: &Copy, stripe: &Stripe<'_>) -> Result<Vec<(u16, Fragment)>, ActorError> {
    let Stripe { tools, layout, number, at, wanted, .. } = *stripe;
    let (data, parity) = layout.stripe_width(number);
    let chunks = chunks_of(at, layout.code(), layout.data_fragments());
    if wanted.iter().any(|index| *index >= data) {
        let all = tools.coders.encode(copy.chunks(chunks).await?, parity).await?;
        return Ok((0..).zip(all).filter(|(index, _)| wanted.contains(index)).collect());
    }
    let numbers = wanted.iter().filter_map(|index| chunks.get(usize::from(*index)).copied());
    Ok(wanted.iter().copied().zip(copy.chunks(numbers.collect()).await?).collect())
}

/// Those that are here and in order.
async fn of_here(stripe: &Stripe<'_>) -> Result<Vec<(u16, Fragment)>, ActorError> {
    let mut here = Vec::new();
    for index in stripe.wanted.iter().copied() {
        let id = FragmentId { tessera: stripe.layout.tessera(), stripe: stripe.number, index };
        match stripe.tools.storage.get(id).await {
            Ok(fragment) => here.push((index, fragment)),
            Err(ActorError::NotFound { .. } | ActorError::Corrupt { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(here)
}

async fn of_others(
    located: &Located,
    manners: &Manners,
    stripe: &Stripe<'_>,
) -> Result<Vec<(u16, Fragment)>, ActorError> {
    let Stripe { tools, layout, number, wanted, .. } = *stripe;
    let shape = layout.stripe(number).ok_or_else(|| ActorError::not_found(format!("stripe {number}")))?;
    let checksums = stripe.pages.checksums(number, shape.width()).await?;
    let mut here = Vec::new();
    for (index, checksum) in (0..).zip(&checksums) {
        let id = FragmentId { tessera: layout.tessera(), stripe: number, index };
        match tools.storage.get(id).await {
            Ok(fragment) if fragment.checksum() == *checksum => here.push((index, fragment)),
            Ok(_) | Err(ActorError::NotFound { .. } | ActorError::Corrupt { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    let needed = shape.data().into();
    let gather = Wanted { tools, located, manners, stripe: number, checksums: &checksums, needed };
    let from_here = here.len();
    let held = gather.gather(here, |_, _| {}).await?;
    tools.mended(held.iter().skip(from_here).map(|(_, fragment)| fragment.bytes().len() as u64).sum());
    let rebuilt = tools.coders.rebuild(shape, checksums, held, wanted.to_vec()).await?;
    Ok(wanted.iter().copied().zip(rebuilt).collect())
}
