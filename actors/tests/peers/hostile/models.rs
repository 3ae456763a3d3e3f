//! Requests as they should be, of every kind.

use proto::{
    AccountId, AuthorKey, NodeId, NodeKey, compare::Question, credential::Credential, order::DropOrder,
    record::DocumentKind, wire::Request,
};

use crate::support::Tessera;

/// A request, and the bytes that follow it.
#[derive(Clone)]
pub(crate) struct Model {
    pub(crate) frame: Vec<u8>,
    pub(crate) bulk: Vec<u8>,
}

/// Those that a peer may ask on one connection, of a tessera of its author's.
pub(crate) fn models(
    key: &NodeKey,
    author: &AuthorKey,
    holder: NodeId,
    binding: [u8; 32],
    tessera: &Tessera,
) -> Vec<Model> {
    let mut models = asked(author, tessera);
    models.extend(given(tessera));
    models.extend(greetings(key, author));
    let order = DropOrder {
        author: author.id(),
        holder,
        binding,
        tessera: tessera.id(),
        fragments: vec![(0, 0), (3, 0)],
    };
    let order = order.sign(author).unwrap().bytes().clone();
    models.push(bare(Request::DropFragments { order }));
    models
}

fn bare(request: Request) -> Model {
    Model { frame: request.frame(), bulk: Vec::new() }
}

fn greetings(key: &NodeKey, author: &AuthorKey) -> Vec<Model> {
    let credential = Credential { author: author.id(), node: key.id(), made_at_ms: 0 };
    let credential = credential.sign(author).unwrap().bytes().clone();
    let greet = |credential, invite, dial_back| {
        let addresses = vec!["127.0.0.1:9".to_owned(), "[::1]:9".to_owned()];
        bare(Request::Hello { software: "hostile/1".to_owned(), addresses, credential, invite, dial_back })
    };
    vec![greet(Some(credential), None, false), greet(None, Some([7; 32]), false)]
}

fn given(tessera: &Tessera) -> Vec<Model> {
    let (id, root) = (tessera.id(), tessera.layout.checksum());
    let document = |document, layout, bytes: &[u8]| {
        let length = u32::try_from(bytes.len()).unwrap();
        let request = Request::PutDocument { tessera: id, document, layout, length };
        Model { frame: request.frame(), bulk: bytes.to_vec() }
    };
    let mut models = vec![
        document(DocumentKind::Manifest, None, tessera.manifest.bytes()),
        document(DocumentKind::Layout, None, tessera.layout.bytes()),
        document(DocumentKind::LayoutPage, Some(root), &tessera.pages[0]),
    ];
    models.extend(tessera.fragments.iter().enumerate().take(4).map(|(stripe, fragment)| {
        let length = u32::try_from(fragment.bytes().len()).unwrap();
        let (id, checksum) = (tessera.fragment(stripe), fragment.checksum());
        let request = Request::PutFragment { fragment: id, checksum, length, layout: root };
        Model { frame: request.frame(), bulk: fragment.bytes().to_vec() }
    }));
    models
}

fn asked(author: &AuthorKey, tessera: &Tessera) -> Vec<Model> {
    let (id, account) = (tessera.id(), AccountId::from(author.id()));
    let checksum = tessera.fragments[0].checksum();
    let [first, second, ..] = *id.as_bytes();
    let documents = [DocumentKind::Manifest, DocumentKind::Layout, DocumentKind::LayoutPage];
    let documents =
        documents.map(|document| Request::GetDocument { tessera: id, document, hash: None }).into_iter();
    let questions = [
        Question::All,
        Question::Under(first),
        Question::Pair { prefix: [first, second], after: None },
        Question::Tessera { tessera: id, from: (0, 0) },
    ];
    let questions = questions.map(|question| Request::Compare { account, question }).into_iter();
    let others = [
        Request::GetFragment { fragment: tessera.fragment(0), checksum: Some(checksum) },
        Request::GetFragment { fragment: tessera.fragment(1), checksum: None },
        Request::Attest { tessera: id, stripes: 0..9, nonce: [5; 32] },
        Request::Prove { checksum, group: 0, nonce: [5; 32] },
        Request::Peers,
    ];
    documents.chain(questions).chain(others).map(bare).collect()
}
