//! What other nodes hold: giving it to them, getting it, having it attested, proven and dropped.

use std::{ops::Range, pin::pin};

use bytes::Bytes;
use proto::{
    AuthorId, AuthorKey, Checksum, Fragment, FragmentId, NodeId, TesseraId,
    attestation::{Claim, Expect, SignedClaim},
    credential::SignedCredential,
    order::DropOrder,
    proof,
    receipt::{Receipt, SignedReceipt},
    record::DocumentKind,
    wire::{Answer, Bound, PeerSample, Request},
};

use super::{
    MakeRequest, Question, Remote, Turn,
    ask::{ask, unexpected},
    leaving::Leaving,
};
use crate::{
    conn_pool::{Lease, PeerTrouble},
    error::ActorError,
    keys,
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
    /// Why these are no more, if it says so.
    pub bound: Option<Bound>,
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
        let request = |_: &Lease| Ok(self.peers.greeting(dial_back, invite));
        let told = self.ask(node, Question::plain(&request)).await?;
        let greeting = self.greeted(&told.lease, told.answer);
        self.judged(node, greeting)
    }

    /// Introduces this node once on each connection: what is to be kept elsewhere is charged to its author.
    pub(super) async fn introduced(&self, lease: &Lease) -> Result<(), PeerTrouble> {
        let greet = async {
            let greeting = self.peers.greeting(false, None);
            let leaving = Leaving::new(&());
            let asked = ask(lease, &greeting, Bytes::new(), &leaving, &self.metrics);
            let (answer, _) = leaving.watch(lease, pin!(asked)).await?;
            self.greeted(lease, answer).map(drop)
        };
        lease.introduce(greet).await
    }

    fn greeted(&self, lease: &Lease, answer: Answer) -> Result<Greeting, PeerTrouble> {
        let Answer::Hello { software, addresses, observed, dial_back, credential, allowance_bytes, bound } =
            answer
        else {
            return Err(unexpected(&answer));
        };
        let author = credential.map(|signed| SignedCredential::verify(&signed, lease.node()));
        let author = author.transpose().map_err(lied)?.map(|credential| credential.author);
        self.peers.met(lease, author, &addresses);
        self.peers.tried(lease.node(), observed.clone(), dial_back);
        Ok(Greeting { software, addresses, observed, dial_back, author, allowance_bytes, bound })
    }

    /// A fragment that has this checksum.
    pub async fn fragment(
        &self,
        node: NodeId,
        fragment: FragmentId,
        checksum: Checksum,
    ) -> Result<Fragment, ActorError> {
        let request = |_: &Lease| Ok(Request::GetFragment { fragment, checksum: Some(checksum) });
        let told = self.ask(node, Question::plain(&request)).await?;
        self.judged(
            node,
            match told.answer {
                Answer::Fragment { .. } => Fragment::check_to_keep(checksum, told.bytes).map_err(lied),
                answer => Err(unexpected(&answer)),
            },
        )
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
        let request = |_: &Lease| Ok(Request::GetDocument { tessera, document, hash });
        let told = self.ask(node, Question::plain(&request)).await?;
        let is_manifest = document == DocumentKind::Manifest;
        let expected = if is_manifest { Some(Checksum::from_bytes(*tessera.as_bytes())) } else { hash };
        let is_other = expected.is_some_and(|expected| Checksum::of(&told.bytes) != expected);
        self.judged(
            node,
            match told.answer {
                Answer::Document { .. } if is_other => {
                    Err(PeerTrouble::Lied { what: format!("a {} that is another", document.name()) })
                }
                Answer::Document { .. } => Ok(told.bytes),
                answer => Err(unexpected(&answer)),
            },
        )
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
        let length = length(&bytes);
        let request = |_: &Lease| Ok(Request::PutDocument { tessera, document, layout, length });
        self.have_learnt(node, &request, bytes).await
    }

    /// The same of all that says what a small tessera is: its manifest, a layout, and the only page of that. Together they have
    /// at most [`FRAME_BYTES_MAX`](proto::limits::FRAME_BYTES_MAX).
    pub async fn introduce(
        &self,
        node: NodeId,
        tessera: TesseraId,
        [manifest, layout, page]: [&Bytes; 3],
    ) -> Result<(), ActorError> {
        let bytes = [&manifest[..], layout, page].concat().into();
        let (manifest, layout, page) = (length(manifest), length(layout), length(page));
        let request = |_: &Lease| Ok(Request::Introduce { tessera, manifest, layout, page });
        self.have_learnt(node, &request, bytes).await
    }

    async fn have_learnt(
        &self,
        node: NodeId,
        request: &MakeRequest<'_>,
        bytes: Bytes,
    ) -> Result<(), ActorError> {
        let question = Question { introduced: true, bulk: bytes, ..Question::plain(request) };
        let told = self.ask(node, question).await?;
        self.judged(
            node,
            match told.answer {
                Answer::Done => Ok(()),
                answer => Err(unexpected(&answer)),
            },
        )
    }

    /// Has a node keep a fragment for its author. It is durable there when this returns, and the receipt, which is kept
    /// here, says so.
    pub async fn put_fragment(
        &self,
        node: NodeId,
        author: AuthorId,
        id: FragmentId,
        layout: Checksum,
        fragment: &Fragment,
    ) -> Result<Kept, ActorError> {
        self.send_fragment(node, author, id, layout, fragment, &()).await
    }

    /// The same in its turn.
    pub(crate) async fn send_fragment(
        &self,
        node: NodeId,
        author: AuthorId,
        id: FragmentId,
        layout: Checksum,
        fragment: &Fragment,
        turn: &dyn Turn,
    ) -> Result<Kept, ActorError> {
        let (checksum, length) = (fragment.checksum(), length(fragment.bytes()));
        let request = |_: &Lease| Ok(Request::PutFragment { fragment: id, checksum, length, layout });
        let bulk = fragment.bytes().clone();
        let told = self.ask(node, Question { request: &request, introduced: true, bulk, turn }).await?;
        let is_right = |receipt: &Receipt| {
            receipt.deliverer == self.peers.us()
                && receipt.author == author
                && receipt.fragment == id
                && (receipt.checksum, receipt.length) == (checksum, length)
        };
        let (signed, was_there) = match told.answer {
            Answer::Stored { receipt } => (receipt, false),
            Answer::Have { receipt } => (receipt, true),
            answer => return self.judged(node, Err(unexpected(&answer))),
        };
        let kept = self.judged(
            node,
            match SignedReceipt::verify(&signed, node) {
                Ok(receipt) if is_right(&receipt) => Ok(Kept { receipt, signed, was_there }),
                Ok(_) => Err(PeerTrouble::Lied { what: "its receipt is for something else".to_owned() }),
                Err(error) => Err(lied(error)),
            },
        )?;
        self.peers.keep_receipt(&kept).await?;
        Ok(kept)
    }

    /// Has a node drop fragments that it keeps for this author; how many it did. Needs the author's key.
    pub async fn drop_fragments(
        &self,
        node: NodeId,
        key: &AuthorKey,
        tessera: TesseraId,
        fragments: &[(u32, u16)],
    ) -> Result<u32, ActorError> {
        let request = |lease: &Lease| {
            let order = DropOrder {
                author: key.id(),
                holder: node,
                binding: lease.binding(),
                tessera,
                fragments: fragments.to_vec(),
            };
            let order =
                order.sign(key).map_err(|error| PeerTrouble::Malformed { what: error.to_string() })?;
            Ok(Request::DropFragments { order: order.bytes().clone() })
        };
        let question = Question { introduced: true, ..Question::plain(&request) };
        let told = self.ask(node, question).await?;
        let count = self.judged(
            node,
            match told.answer {
                Answer::Dropped { count } => Ok(count),
                answer => Err(unexpected(&answer)),
            },
        )?;
        self.peers.drop_receipts(node, tessera, fragments).await?;
        Ok(count)
    }

    /// What a node says that it holds of some stripes: signed, for this node, this question and this connection. Whether
    /// the checksums are the right ones remains to be compared.
    pub async fn attest(
        &self,
        node: NodeId,
        tessera: TesseraId,
        stripes: Range<u32>,
    ) -> Result<Claim, ActorError> {
        let nonce = nonce()?;
        let request = |_: &Lease| Ok(Request::Attest { tessera, stripes: stripes.clone(), nonce });
        let told = self.ask(node, Question::plain(&request)).await?;
        let (verifier, binding) = (self.peers.us(), told.lease.binding());
        let expect = Expect { node, verifier, nonce, binding, tessera };
        // All that was asked for, or up to where the next page begins.
        let covers = |claim: &Claim| {
            let is_whole = claim.stripes.end == stripes.end;
            let goes_on = claim.next_stripe.is_some() && claim.stripes.end < stripes.end;
            claim.stripes.start == stripes.start && (is_whole || goes_on)
        };
        self.judged(
            node,
            match (told.answer, SignedClaim::verify(&told.bytes, &expect)) {
                (Answer::Claim { .. }, Ok(claim)) if covers(&claim) => Ok(claim),
                (Answer::Claim { .. }, Ok(_)) => {
                    Err(PeerTrouble::Lied { what: "its claim covers other stripes".to_owned() })
                }
                (Answer::Claim { .. }, Err(error)) => Err(lied(error)),
                (answer, _) => Err(unexpected(&answer)),
            },
        )
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
        let nonce = nonce()?;
        let request = |_: &Lease| Ok(Request::Prove { checksum, group, nonce });
        let told = self.ask(node, Question::plain(&request)).await?;
        let wrong = |what: &str| Err(PeerTrouble::Lied { what: what.to_owned() });
        self.judged(
            node,
            match told.answer {
                Answer::Proof { nonce: echoed, .. } if echoed != nonce => {
                    wrong("its proof answers another question")
                }
                // The length is the layout's to say: a proof alone does not pin it.
                Answer::Proof { fragment_len, .. } if fragment_len != length => {
                    wrong("its proof is of a fragment of another length")
                }
                Answer::Proof { .. } => proof::verify(checksum, length, group, &told.bytes)
                    .map(|()| told.bytes.len())
                    .map_err(lied),
                answer => Err(unexpected(&answer)),
            },
        )
    }

    /// Has a holder look how a tessera fares, and mend it if it needs that. Returns when it has begun.
    pub async fn look_after(&self, node: NodeId, tessera: TesseraId) -> Result<(), ActorError> {
        let told = self.ask(node, Question::plain(&|_: &Lease| Ok(Request::LookAfter { tessera }))).await?;
        self.judged(
            node,
            match told.answer {
                Answer::Done => Ok(()),
                answer => Err(unexpected(&answer)),
            },
        )
    }

    /// Some of the peers that a node knows. Nothing is known of them but that it says so.
    pub async fn peers_of(&self, node: NodeId) -> Result<Vec<PeerSample>, ActorError> {
        let told = self.ask(node, Question::plain(&|_: &Lease| Ok(Request::Peers))).await?;
        self.judged(
            node,
            match told.answer {
                Answer::Peers(peers) => Ok(peers),
                answer => Err(unexpected(&answer)),
            },
        )
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` passes")]
fn lied(error: proto::ProtoError) -> PeerTrouble {
    PeerTrouble::Lied { what: error.to_string() }
}

fn nonce() -> Result<[u8; 32], ActorError> {
    keys::seed().map_err(|error| ActorError::Network { reason: error.to_string() })
}

/// A fragment or a document: no longer than 16 MiB.
fn length(bytes: &Bytes) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}
