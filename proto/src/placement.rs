//! Placement: which nodes keep a tessera. There is one set of holders for all its stripes: holder i keeps fragment i of
//! each, so that losing as many machines as the code allows loses nothing, and only these machines have to be asked.
//!
//! [`fill`] chooses them, the same ones wherever it is asked with the same candidates. [`Placement`] is the signed record
//! of it. It is a hint for whoever looks for fragments, and no proof: a false one makes nobody take wrong bytes.
//!
//! | field | holds |
//! |---|---|
//! | 0 | version of the format, 1 |
//! | 1 | tessera, 32 bytes |
//! | 2 | BLAKE3 of its layout, 32 bytes |
//! | 3 | version of the placement: of two records the higher one counts |
//! | 4 | the holder of each index one after another, one byte string; 32 zeros for none |
//! | 5 | node that signs; absent when the author of the tessera does |

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
};

use bytes::Bytes;
use minicbor::Decoder;

use crate::{
    cbor::{self, Fields, Writer},
    error::ProtoError,
    ids::{AuthorId, Checksum, NodeId, TesseraId},
    keys::{AuthorKey, NodeKey},
    limits::{NETWORK_HOLDERS_MAX, PLACEMENT_BYTES_MAX, SIGNATURE_BYTES, STRIPE_TOTAL_MAX, TIME_MS_MAX},
    signed::Form,
};

/// The network that an address belongs to: whoever has one of its addresses may have all. A /24 of IPv4, a /48 of IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Network {
    /// The first three bytes of the address.
    V4([u8; 3]),
    /// The first six bytes of the address.
    V6([u8; 6]),
}

impl Network {
    /// That of an address. An IPv4 address inside an IPv6 one is that of IPv4.
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => {
                let [a, b, c, _] = address.octets();
                Self::V4([a, b, c])
            }
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, ..] = address.octets();
                Self::V6([a, b, c, d, e, f])
            }
        }
    }
}

/// What is lost together: all nodes of one operator, or a node whose operator is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Domain {
    /// The nodes that act for an author.
    Operator(AuthorId),
    /// A node for itself.
    Node(NodeId),
}

/// A node that may keep fragments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Which one.
    pub node: NodeId,
    /// Whom it acts for, if that is known.
    pub operator: Option<AuthorId>,
    /// Where it is, if that is known.
    pub network: Option<Network>,
}

impl Candidate {
    /// What it is lost together with.
    pub fn domain(&self) -> Domain {
        self.operator.map_or(Domain::Node(self.node), Domain::Operator)
    }
}

/// Where a node stands among those that may keep a tessera: the lowest first.
pub fn rank(tessera: TesseraId, node: NodeId) -> [u8; 32] {
    *blake3::Hasher::new().update(tessera.as_bytes()).update(node.as_bytes()).finalize().as_bytes()
}

/// Chooses a holder for each index that has none, the lowest index first: of the candidates in the domain that keeps the
/// fewest indices, rather one in a network that keeps fewer than [`NETWORK_HOLDERS_MAX`], then the one that keeps the
/// fewest itself, then the first by [`rank`].
///
/// Candidates that keep an index already are chosen again only when all others do as well. With `once` they are not, and
/// indices remain without a holder: a second copy of the same bytes on one machine is of no use.
pub fn fill(tessera: TesseraId, candidates: &[Candidate], holders: &mut [Option<NodeId>], once: bool) {
    let mut ranked: Vec<_> = candidates.iter().map(|one| (rank(tessera, one.node), one)).collect();
    ranked.sort_unstable_by_key(|(rank, _)| *rank);
    ranked.dedup_by_key(|(_, one)| one.node);
    let mut load = Load::default();
    for holder in holders.iter().flatten() {
        match candidates.iter().find(|one| one.node == *holder) {
            Some(one) => load.add(one),
            // It is not there any more, and keeps nobody else from anything.
            None => *load.nodes.entry(*holder).or_default() += 1,
        }
    }
    for holder in holders.iter_mut().filter(|holder| holder.is_none()) {
        let free = ranked.iter().filter(|(_, one)| !once || load.of(one).2 == 0);
        let Some((_, best)) = free.min_by_key(|(_, one)| load.of(one)) else { return };
        load.add(best);
        *holder = Some(best.node);
    }
}

/// Frees indices that are kept where another is kept as well, for as many candidates as are in domains that keep none: machines
/// were few when they were given away. Of those domains that keep the most, the highest index first.
pub fn spread(candidates: &[Candidate], holders: &mut [Option<NodeId>]) {
    let domain = |node: NodeId| {
        candidates.iter().find(|one| one.node == node).map_or(Domain::Node(node), Candidate::domain)
    };
    let keeps = |holders: &[Option<NodeId>], of: Domain| {
        holders.iter().flatten().filter(|node| domain(**node) == of).count()
    };
    let all: BTreeSet<_> = candidates.iter().map(Candidate::domain).collect();
    let empty = all.into_iter().filter(|one| keeps(holders, *one) == 0).count();
    for _ in 0..empty {
        let load =
            |index: &usize| holders.get(*index).copied().flatten().map(|node| keeps(holders, domain(node)));
        let Some(most) = (0..holders.len()).max_by_key(load).filter(|index| load(index) > Some(1)) else {
            return;
        };
        if let Some(holder) = holders.get_mut(most) {
            *holder = None;
        }
    }
}

/// How many indices are kept where.
#[derive(Default)]
struct Load {
    domains: HashMap<Domain, u16>,
    networks: HashMap<Network, u16>,
    nodes: HashMap<NodeId, u16>,
}

impl Load {
    fn add(&mut self, one: &Candidate) {
        *self.domains.entry(one.domain()).or_default() += 1;
        *self.nodes.entry(one.node).or_default() += 1;
        one.network.iter().for_each(|network| *self.networks.entry(*network).or_default() += 1);
    }

    /// What speaks against a candidate, the weightiest first.
    fn of(&self, one: &Candidate) -> (u16, bool, u16) {
        let domain = self.domains.get(&one.domain()).copied().unwrap_or_default();
        let in_network = one.network.and_then(|network| self.networks.get(&network)).copied();
        let node = self.nodes.get(&one.node).copied().unwrap_or_default();
        (domain, in_network.unwrap_or_default() >= NETWORK_HOLDERS_MAX, node)
    }
}

/// Who keeps which index of each stripe.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Placement {
    /// The tessera.
    pub tessera: TesseraId,
    /// BLAKE3 of its layout.
    pub layout: Checksum,
    /// Of two records of one layout the one with the higher version counts.
    pub version: u64,
    /// The holder of each index, at most [`STRIPE_TOTAL_MAX`]; `None` where there is none.
    pub holders: Vec<Option<NodeId>>,
    /// The node that has changed it; `None` when the author of the tessera says so.
    pub repairer: Option<NodeId>,
}

impl Placement {
    /// Of two placements of a layout the one with the higher rank counts: the newer, and of two with one version the author's.
    pub fn rank(&self) -> (u64, bool) {
        (self.version, self.repairer.is_none())
    }

    /// Whether another says the same, whoever signed it: several may have mended the tessera at once, in the same way.
    pub fn agrees_with(&self, other: &Self) -> bool {
        (self.layout, self.version, &self.holders) == (other.layout, other.version, &other.holders)
    }

    /// The indices that a node keeps.
    pub fn indices(&self, node: NodeId) -> impl Iterator<Item = u16> + '_ {
        let all = (0..).zip(&self.holders);
        all.filter_map(move |(index, holder)| (*holder == Some(node)).then_some(index))
    }

    /// What a newer placement takes away: the indices that it gives to somebody else or to nobody, and who keeps them by this.
    pub fn replaced_by<'a>(&'a self, newer: &'a Self) -> impl Iterator<Item = (u16, NodeId)> + 'a {
        let kept = (0..).zip(&self.holders).filter_map(|(index, holder)| Some((index, (*holder)?)));
        kept.filter(|(index, holder)| newer.holders.get(usize::from(*index)) != Some(&Some(*holder)))
    }

    /// Makes the document, for the author. Errors with [`ProtoError::Malformed`] when it is a repairer's, and for more
    /// holders than a stripe has fragments.
    pub fn sign(&self, key: &AuthorKey) -> Result<SignedPlacement, ProtoError> {
        if self.repairer.is_some() {
            return Err(ProtoError::malformed(WHAT, "an author signs as no repairer"));
        }
        self.check()?;
        let bytes = FORM.sign(self.encode(), |message| key.sign(message))?;
        Ok(SignedPlacement { placement: self.clone(), bytes })
    }

    /// Makes the document, for a node that has repaired the tessera. Errors as [`Placement::sign`], and for another node's
    /// key.
    pub fn sign_as_repairer(&self, key: &NodeKey) -> Result<SignedPlacement, ProtoError> {
        if self.repairer != Some(key.id()) {
            return Err(ProtoError::malformed(WHAT, "a repairer signs as itself"));
        }
        self.check()?;
        let bytes = FORM.sign(self.encode(), |message| key.sign(message))?;
        Ok(SignedPlacement { placement: self.clone(), bytes })
    }

    fn check(&self) -> Result<(), ProtoError> {
        if self.holders.is_empty() || self.holders.len() > usize::from(STRIPE_TOTAL_MAX) {
            let reason = format!("{} holders; a stripe has 1 to {STRIPE_TOTAL_MAX}", self.holders.len());
            return Err(ProtoError::malformed(WHAT, reason));
        }
        if self.version > TIME_MS_MAX {
            return Err(ProtoError::malformed(WHAT, format!("version {}", self.version)));
        }
        if self.holders.contains(&Some(NOBODY)) {
            return Err(ProtoError::malformed(WHAT, "a holder whose id is zero"));
        }
        Ok(())
    }

    fn encode(&self) -> Vec<u8> {
        let holders: Vec<u8> =
            self.holders.iter().flat_map(|holder| *holder.unwrap_or(NOBODY).as_bytes()).collect();
        let mut out = Writer::document(VERSION);
        out.bytes(1, self.tessera.as_bytes());
        out.bytes(2, self.layout.as_bytes());
        out.unsigned(3, self.version);
        out.bytes(4, &holders);
        self.repairer.iter().for_each(|repairer| out.bytes(5, repairer.as_bytes()));
        out.finish()
    }

    fn decode(map: &[u8]) -> Result<Self, ProtoError> {
        let mut decoder = Decoder::new(map);
        let mut fields = Fields::enter(WHAT, &mut decoder)?;
        fields.version(VERSION)?;
        let (tessera, layout) = (fields.required(1, cbor::bytes32)?, fields.required(2, cbor::bytes32)?);
        let version = fields.required(3, Decoder::u64)?;
        let (holders, []) = fields.required(4, Decoder::bytes)?.as_chunks() else {
            return Err(ProtoError::malformed(WHAT, "field 4 is no whole number of nodes"));
        };
        let holders = holders.iter().copied().map(NodeId::from_bytes);
        let holders = holders.map(|holder| Some(holder).filter(|holder| *holder != NOBODY)).collect();
        let placement =
            Self { tessera, layout, version, holders, repairer: fields.optional(5, cbor::bytes32)? };
        placement.check()?;
        Ok(placement)
    }
}

/// A placement together with the file it stands in, whose signature was made or checked here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedPlacement {
    placement: Placement,
    bytes: Bytes,
}

impl SignedPlacement {
    /// Reads the file, which must be of this tessera and signed by its author or by the repairer that it names. Whether
    /// that node had any business with it remains to be judged. Errors with [`ProtoError::TooLong`],
    /// [`ProtoError::Malformed`], [`ProtoError::NewerVersion`] and [`ProtoError::BadSignature`].
    pub fn parse(bytes: Bytes, tessera: TesseraId, author: AuthorId) -> Result<Self, ProtoError> {
        let placement = Placement::decode(FORM.map(&bytes)?)?;
        if placement.tessera != tessera {
            let reason = format!("it is of {}, not of {tessera}", placement.tessera);
            return Err(ProtoError::malformed(WHAT, reason));
        }
        match &placement.repairer {
            Some(repairer) => FORM.verify(&bytes, repairer.as_bytes())?,
            None => FORM.verify(&bytes, author.as_bytes())?,
        }
        Ok(Self { placement, bytes })
    }

    /// What it says.
    pub fn placement(&self) -> &Placement {
        &self.placement
    }

    /// The file, as it was received.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

const NOBODY: NodeId = NodeId::from_bytes([0; 32]);
const WHAT: &str = "placement";
const VERSION: u64 = 1;
const FORM: Form = Form { what: WHAT, context: b"tesseras/1 placement\0", bytes_max: PLACEMENT_BYTES_MAX };

/// The longest map of this version: head, six keys, a version, three ids of 34 bytes, a number of 9, and the holders.
const MAP_BYTES_MAX: usize = 1 + 6 + 1 + 3 * 34 + 9 + 3 + STRIPE_TOTAL_MAX as usize * 32;
const _: () = assert!(MAP_BYTES_MAX + SIGNATURE_BYTES <= PLACEMENT_BYTES_MAX);

#[cfg(test)]
mod tests;
