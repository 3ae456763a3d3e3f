//! What a command is about: a tessera or a node, by its id or the beginning of one.

use std::fmt;

use proto::{NodeId, ProtoError, TesseraId, prefix::IdPrefix};

use crate::{
    api::{Blocked, Peer, TesseraPage},
    client::Client,
    failure::Failure,
    network::{is_node, is_tessera, name},
    problem::Kind,
};

/// A tessera as it was typed.
#[derive(Debug, Clone)]
pub(crate) struct Target(IdPrefix<TesseraId>);

/// A node as it was typed.
#[derive(Debug, Clone)]
pub(crate) enum NodeTarget {
    /// By its id, or the beginning of it.
    Id(IdPrefix<NodeId>),
    /// By what it is called here.
    Name(String),
}

/// Either, as it was typed.
#[derive(Debug, Clone)]
pub(crate) enum Subject {
    /// It begins like a tessera's id.
    Tessera(Target),
    /// Anything else.
    Node(NodeTarget),
}

impl Target {
    /// Reads what was typed, for clap.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        text.parse().map(Self).map_err(|error: ProtoError| error.to_string())
    }

    /// The whole id. Fails with [`Kind::NotFound`] when no tessera here begins like this, and with [`Kind::Usage`]
    /// when several do.
    pub(crate) async fn find(&self, client: &Client) -> Result<TesseraId, Failure> {
        if let Some(id) = self.0.exact() {
            return Ok(id);
        }
        let page: TesseraPage =
            client.get(&format!("/v1/tesseras?limit={NAMED_MAX}&prefix={}", self.0)).await?;
        let ids: Vec<TesseraId> = page.tesseras.iter().map(|tessera| tessera.id).collect();
        choose(&ids, TESSERAE, &self.0)
    }
}

impl NodeTarget {
    /// Reads what was typed, for clap.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if is_node(text) {
            return text.parse().map(Self::Id).map_err(|error: ProtoError| error.to_string());
        }
        name(text).map(Self::Name)
    }

    /// The whole id. Fails with [`Kind::NotFound`] when no node that is known begins or is called like this, and with
    /// [`Kind::Usage`] when several do.
    pub(crate) async fn find(&self, client: &Client) -> Result<NodeId, Failure> {
        if let Self::Id(prefix) = self
            && let Some(id) = prefix.exact()
        {
            return Ok(id);
        }
        let peers: Vec<Peer> = client.get("/v1/peers").await?;
        self.among_known(&peers)
    }

    fn among_known(&self, peers: &[Peer]) -> Result<NodeId, Failure> {
        let are = |is_it: &dyn Fn(&Peer) -> bool| -> Vec<NodeId> {
            peers.iter().filter(|peer| is_it(peer)).map(|peer| peer.node).take(NAMED_MAX).collect()
        };
        match self {
            Self::Id(prefix) => choose(
                &are(&|peer| prefix.contains(&peer.node)),
                ["known node begins", "known nodes begin"],
                prefix,
            ),
            Self::Name(name) => {
                let called = |peer: &Peer| peer.name.as_ref() == Some(name);
                choose(
                    &are(&called),
                    ["known node is called", "known nodes are called"],
                    &format!("{name:?}"),
                )
            }
        }
    }
}

impl Subject {
    /// Reads what was typed, for clap.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if is_tessera(text) {
            Target::parse(text).map(Self::Tessera)
        } else {
            NodeTarget::parse(text).map(Self::Node)
        }
    }

    /// The one of these that it stands for, by its id or the beginning of it. Fails as [`Target::find`].
    pub(crate) fn among(&self, blocked: impl Iterator<Item = Blocked>) -> Result<Blocked, Failure> {
        let is_it = |what: &Blocked| match (self, what) {
            (Self::Tessera(Target(prefix)), Blocked::Tessera { id }) => prefix.contains(id),
            (Self::Node(NodeTarget::Id(prefix)), Blocked::Node { id }) => prefix.contains(id),
            _ => false,
        };
        let typed: &dyn fmt::Display = match self {
            Self::Tessera(Target(prefix)) => prefix,
            Self::Node(NodeTarget::Id(prefix)) => prefix,
            Self::Node(NodeTarget::Name(name)) => name,
        };
        let found: Vec<Blocked> = blocked.filter(is_it).take(NAMED_MAX).collect();
        choose(&found, ["tessera or node that is blocked begins", "that are blocked begin"], typed)
    }
}

/// The node among what is blocked that is called like this. Fails as [`NodeTarget::find`].
pub(crate) fn called(
    name: &str,
    peers: &[Peer],
    blocked: impl Iterator<Item = Blocked>,
) -> Result<Blocked, Failure> {
    let is_called = |id| peers.iter().any(|peer| peer.node == id && peer.name.as_deref() == Some(name));
    let is_it = |what: &Blocked| matches!(what, Blocked::Node { id } if is_called(*id));
    let found: Vec<Blocked> = blocked.filter(is_it).take(NAMED_MAX).collect();
    let words = ["node that is blocked is called", "nodes that are blocked are called"];
    choose(&found, words, &format!("{name:?}"))
}

/// The only one of these that were found, with words for none and for several.
fn choose<T: Copy + fmt::Display>(
    found: &[T],
    [one, several]: [&str; 2],
    typed: &(impl fmt::Display + ?Sized),
) -> Result<T, Failure> {
    let with = if one.ends_with("begins") { " with" } else { "" };
    match found {
        [] => Err(Failure::new(Kind::NotFound, format!("no {one}{with} {typed}"))),
        [only] => Ok(*only),
        many => {
            let many: String = many.iter().map(|id| format!("\n  {id}")).collect();
            let detail = format!("several {several}{with} {typed}: type more of the id{many}");
            Err(Failure::new(Kind::Usage, detail))
        }
    }
}

const TESSERAE: [&str; 2] = ["tessera here begins", "tesserae here begin"];
/// How many an ambiguous beginning names.
const NAMED_MAX: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::tests::peer;

    #[test]
    fn beginning_of_one_id_is_that_id_and_of_several_is_wrong_usage() {
        let choose = |ids: &[TesseraId]| choose(ids, TESSERAE, "tess1q");
        let (one, two) = (TesseraId::from_bytes([1; 32]), TesseraId::from_bytes([2; 32]));
        assert_eq!(choose(&[one]).unwrap(), one);
        let several = choose(&[one, two]).unwrap_err().to_string();
        assert!(several.contains("tesserae here begin with tess1q"), "{several}");
        assert!(several.contains(&one.to_string()) && several.contains(&two.to_string()), "{several}");
        assert_eq!(choose(&[]).unwrap_err().to_string(), "no tessera here begins with tess1q");
    }

    #[test]
    fn something_else_than_a_tessera_is_refused() {
        assert!(Target::parse("node1qqq").is_err());
        assert!(Target::parse("tess1b").is_err());
    }

    #[test]
    fn node_is_found_by_its_id_or_its_name() {
        let named = |number, name: &str| Peer { name: Some(name.to_owned()), ..peer(number) };
        let peers = [named(0, "ann"), named(1, "ben"), named(2, "ben"), peer(3)];
        let find = |typed: &str| NodeTarget::parse(typed).unwrap().among_known(&peers);
        assert_eq!(find("ann").unwrap(), peers[0].node);
        assert_eq!(find(&peers[3].node.to_string()[..12]).unwrap(), peers[3].node);
        assert_eq!(find("eve").unwrap_err().to_string(), "no known node is called \"eve\"");
        let several = find("ben").unwrap_err().to_string();
        assert!(several.starts_with("several known nodes are called \"ben\""), "{several}");
        assert!(find("node1q").is_err_and(|error| error.to_string().contains("begin")));
        assert!(NodeTarget::parse("tess1qqq").is_err_and(|error| error.contains("looks like an id")));
        assert!(NodeTarget::parse("node1b").is_err());
    }

    #[test]
    fn subject_is_looked_for_among_its_kind() {
        let (tessera, node) = (TesseraId::from_bytes([0; 32]), NodeId::from_bytes([0; 32]));
        let blocked = [Blocked::Tessera { id: tessera }, Blocked::Node { id: node }];
        let among = |typed: &str| Subject::parse(typed).unwrap().among(blocked.iter().copied());
        assert_eq!(among("tess1q").unwrap(), blocked[0]);
        assert_eq!(among("node1q").unwrap(), blocked[1]);
        let none = among("node1p").unwrap_err().to_string();
        assert_eq!(none, "no tessera or node that is blocked begins with node1p");
    }

    #[test]
    fn node_that_is_blocked_is_found_by_its_name() {
        let named = |number, name: &str| Peer { name: Some(name.to_owned()), ..peer(number) };
        let peers = [named(0, "ben"), named(1, "ben"), named(2, "eve"), named(3, "eve")];
        let blocked = [1, 2, 3].map(|number: u8| Blocked::Node { id: NodeId::from_bytes([number; 32]) });
        let find = |name: &str| called(name, &peers, blocked.iter().copied());
        // The other one is not blocked.
        assert_eq!(find("ben").unwrap(), blocked[0]);
        assert_eq!(find("ann").unwrap_err().to_string(), "no node that is blocked is called \"ann\"");
        assert!(
            find("eve").is_err_and(|error| error.to_string().starts_with("several nodes that are blocked"))
        );
    }

    #[test]
    fn subject_is_what_it_begins_like() {
        assert!(matches!(Subject::parse("node1qqq"), Ok(Subject::Node(NodeTarget::Id(_)))));
        assert!(matches!(Subject::parse("NODE1QQQ"), Ok(Subject::Node(NodeTarget::Id(_)))));
        assert!(matches!(Subject::parse("TESS1QQQ"), Ok(Subject::Tessera(_))));
        assert!(matches!(Subject::parse("nodes"), Ok(Subject::Node(NodeTarget::Name(_)))));
        assert!(Subject::parse("tess1b").is_err());
    }
}
