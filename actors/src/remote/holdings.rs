//! What other nodes hold: giving it to them, getting it, having it attested, proven and dropped.

use std::ops::Range;

use bytes::Bytes;
use proto::{
    AuthorId, AuthorKey, Checksum, Fragment, FragmentId, NodeId, TesseraId,
    attestation::{Claim, Expect, SignedClaim},
    credential::SignedCredential,
    limits::PROOF_SLICE_BYTES_MAX,
    order::DropOrder,
    proof,
    receipt::{Receipt, SignedReceipt},
    record::DocumentKind,
    wire::{Answer, PeerSample, Request},
};

use super::{
    Remote,
    ask::{ask, unexpected},
};
use crate::{
    error::ActorError,
    keys,
    pool::{Lease, PeerTrouble},
};

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Greeting {
    /// Its software and version.
    pub software: String,
    /// Where it says that it is reached.
    pub addresses: Vec<String>,
    /// The address that this node has, as it is seen from there.
    pub observed: String,
    /// Whether it could dial this node at its first address; `None` when it did not try.
    pub dial_back: Option<bool>,
    /// The author that it acts for, proven.
    pub author: Option<AuthorId>,
    /// How many more bytes it keeps for this node's author.
    pub allowance_bytes: u64,
}

/// A fragment that is kept elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// What the holder has signed.
    pub receipt: Receipt,
    /// The same, as it came.
    pub signed: Bytes,
    /// Whether it was there before.
    pub was_there: bool,
}

impl Remote {
    /// Introduces this node to another, and hears what that says of itself. With `dial_back` it is asked to see whether
    /// this node can be dialled; with an invitation, to let this node in.
    pub async fn hello(
        &self,
        node: NodeId,
        dial_back: bool,
        invite: Option<[u8; 32]>,
    ) -> Result<Greeting, ActorError> {
        self.with(node, async |lease| self.greet(lease, dial_back, invite).await).await
    }

    /// Introduces this node once on each connection: what is to be kept elsewhere is charged to its author.
    pub(super) async fn introduced(&self, lease: &Lease) -> Result<(), PeerTrouble> {
        lease.introduce(async || self.greet(lease, false, None).await.map(drop)).await
    }

    async fn greet(
        &self,
        lease: &Lease,
        dial_back: bool,
        invite: Option<[u8; 32]>,
    ) -> Result<Greeting, PeerTrouble> {
        let request = self.peers.greeting(dial_back, invite);
        let (answer, _) = ask(lease, &request, Bytes::new()).await?;
        let Answer::Hello { software, addresses, observed, dial_back, credential, allowance_bytes } = answer
        else {
            return Err(unexpected(&answer));
        };
        let author = credential.map(|signed| SignedCredential::verify(&signed, lease.node()));
        let author = author.transpose().map_err(lied)?.map(|credential| credential.author);
        self.peers.met(lease, author, &addresses);
        self.peers.tried(lease.node(), observed.clone(), dial_back);
        Ok(Greeting { software, addresses, observed, dial_back, author, allowance_bytes })
    }

    /// A fragment that has this checksum.
    pub async fn fragment(
        &self,
        node: NodeId,
        fragment: FragmentId,
        checksum: Checksum,
    ) -> Result<Fragment, ActorError> {
        let request = Request::GetFragment { fragment, checksum: Some(checksum) };
        self.with(node, async |lease| match ask(lease, &request, Bytes::new()).await? {
            (Answer::Fragment { .. }, bytes) => Fragment::check(checksum, bytes).map_err(lied),
            (answer, _) => Err(unexpected(&answer)),
        })
        .await
    }

    /// A document of a tessera. Without a hash it is whichever the other node takes for the right one: its signature
    /// remains to be checked.
    pub async fn document(
        &self,
        node: NodeId,
        tessera: TesseraId,
        document: DocumentKind,
        hash: Option<Checksum>,
    ) -> Result<Bytes, ActorError> {
        let request = Request::GetDocument { tessera, document, hash };
        let expected = if document == DocumentKind::Manifest {
            Some(Checksum::from_bytes(*tessera.as_bytes()))
        } else {
            hash
        };
        self.with(node, async |lease| {
            let (answer, bytes) = ask(lease, &request, Bytes::new()).await?;
            if !matches!(answer, Answer::Document { .. }) {
                return Err(unexpected(&answer));
            }
            match expected.filter(|expected| Checksum::of(&bytes) != *expected) {
                None => Ok(bytes),
                Some(expected) => {
                    Err(PeerTrouble::Lied { what: format!("the document does not hash to {expected}") })
                }
            }
        })
        .await
    }

    /// Has a node learn a document of a tessera, which it needs before it keeps fragments of it. A page names its layout.
    pub async fn put_document(
        &self,
        node: NodeId,
        tessera: TesseraId,
        document: DocumentKind,
        layout: Option<Checksum>,
        bytes: Bytes,
    ) -> Result<(), ActorError> {
        let request = Request::PutDocument { tessera, document, layout, length: length(&bytes) };
        self.with(node, async |lease| {
            self.introduced(lease).await?;
            match ask(lease, &request, bytes.clone()).await? {
                (Answer::Done, _) => Ok(()),
                (answer, _) => Err(unexpected(&answer)),
            }
        })
        .await
    }

    /// Has a node keep a fragment for its author. It is durable there when this returns, and the receipt says so.
    pub async fn put_fragment(
        &self,
        node: NodeId,
        author: AuthorId,
        id: FragmentId,
        layout: Checksum,
        fragment: &Fragment,
    ) -> Result<Kept, ActorError> {
        let (checksum, length) = (fragment.checksum(), length(fragment.bytes()));
        let request = Request::PutFragment { fragment: id, checksum, length, layout };
        let expected = |receipt: &Receipt| {
            receipt.deliverer == self.peers.us()
                && receipt.author == author
                && receipt.fragment == id
                && (receipt.checksum, receipt.length) == (checksum, length)
        };
        self.with(node, async |lease| {
            self.introduced(lease).await?;
            let (answer, _) = ask(lease, &request, fragment.bytes().clone()).await?;
            let (signed, was_there) = match answer {
                Answer::Stored { receipt } => (receipt, false),
                Answer::Have { receipt } => (receipt, true),
                answer => return Err(unexpected(&answer)),
            };
            let receipt = SignedReceipt::verify(&signed, node).map_err(lied)?;
            if !expected(&receipt) {
                return Err(PeerTrouble::Lied { what: "its receipt is for something else".to_owned() });
            }
            Ok(Kept { receipt, signed, was_there })
        })
        .await
    }

    /// Has a node drop fragments that it keeps for this author; how many it did. Needs the author's key.
    pub async fn drop_fragments(
        &self,
        node: NodeId,
        key: &AuthorKey,
        tessera: TesseraId,
        fragments: &[(u32, u16)],
    ) -> Result<u32, ActorError> {
        self.with(node, async |lease| {
            let order = DropOrder {
                author: key.id(),
                holder: node,
                binding: lease.binding(),
                tessera,
                fragments: fragments.to_vec(),
            };
            let order =
                order.sign(key).map_err(|error| PeerTrouble::Malformed { what: error.to_string() })?;
            let request = Request::DropFragments { order: order.bytes().clone() };
            match ask(lease, &request, Bytes::new()).await? {
                (Answer::Dropped { count }, _) => Ok(count),
                (answer, _) => Err(unexpected(&answer)),
            }
        })
        .await
    }

    /// What a node says that it holds of some stripes: signed, for this node, this question and this connection. Whether
    /// the checksums are the right ones remains to be compared.
    pub async fn attest(
        &self,
        node: NodeId,
        tessera: TesseraId,
        stripes: Range<u32>,
    ) -> Result<Claim, ActorError> {
        self.with(node, async |lease| {
            let nonce = nonce()?;
            let request = Request::Attest { tessera, stripes: stripes.clone(), nonce };
            let (answer, claim) = ask(lease, &request, Bytes::new()).await?;
            if !matches!(answer, Answer::Claim { .. }) {
                return Err(unexpected(&answer));
            }
            let (verifier, binding) = (self.peers.us(), lease.binding());
            let expect = Expect { node, verifier, nonce, binding, tessera };
            let claim = SignedClaim::verify(&claim, &expect).map_err(lied)?;
            if claim.stripes.start != stripes.start || claim.stripes.end > stripes.end {
                return Err(PeerTrouble::Lied { what: "its claim covers other stripes".to_owned() });
            }
            Ok(claim)
        })
        .await
    }

    /// Has a node prove that it has the bytes of a fragment, with a group of 16 KiB that this node has picked. Returns how
    /// many bytes the proof took.
    pub async fn prove(
        &self,
        node: NodeId,
        checksum: Checksum,
        length: u32,
        group: u32,
    ) -> Result<usize, ActorError> {
        self.with(node, async |lease| {
            let nonce = nonce()?;
            let request = Request::Prove { checksum, group, nonce };
            let (answer, slice) = ask(lease, &request, Bytes::new()).await?;
            let Answer::Proof { nonce: echoed, fragment_len, .. } = answer else {
                return Err(unexpected(&answer));
            };
            let wrong = |what: &str| Err(PeerTrouble::Lied { what: what.to_owned() });
            if echoed != nonce {
                return wrong("its proof answers another question");
            }
            if fragment_len != length || slice.len() > PROOF_SLICE_BYTES_MAX {
                return wrong("its proof is of a fragment of another length");
            }
            proof::verify(checksum, length, group, &slice).map_err(lied)?;
            Ok(slice.len())
        })
        .await
    }

    /// Some of the peers that a node knows. Nothing is known of them but that it says so.
    pub async fn peers_of(&self, node: NodeId) -> Result<Vec<PeerSample>, ActorError> {
        self.with(node, async |lease| match ask(lease, &Request::Peers, Bytes::new()).await? {
            (Answer::Peers(peers), _) => Ok(peers),
            (answer, _) => Err(unexpected(&answer)),
        })
        .await
    }
}

fn lied(error: proto::ProtoError) -> PeerTrouble {
    PeerTrouble::Lied { what: error.to_string() }
}

fn nonce() -> Result<[u8; 32], PeerTrouble> {
    keys::seed().map_err(|error| PeerTrouble::Malformed { what: error.to_string() })
}

/// A fragment or a document: no longer than 16 MiB.
fn length(bytes: &Bytes) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}
