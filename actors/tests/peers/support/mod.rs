//! Nodes on loopback, each in a folder of its own, and a tessera to give them.

mod disk;
mod tessera;

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use actors::{ActorError, System, SystemConfig, conn_pool::PeerTrouble, replication};
use config::{NetworkConfig, RepairConfig, ReplicationConfig, StorageConfig};
use proto::{AuthorKey, NodeId, NodeKey, credential::Credential, wire::RefusalKind};
pub(crate) use tessera::Tessera;

pub(crate) use self::disk::SlowDisk;

/// A node that runs. Its author has the same seed.
pub(crate) struct Node {
    pub(crate) system: System,
    pub(crate) author: AuthorKey,
    seed: u8,
    network: NetworkConfig,
    repair: RepairConfig,
    folder: tempfile::TempDir,
    disk: SlowDisk,
}

impl Node {
    /// With what a person would have who changed nothing.
    pub(crate) async fn start(seed: u8) -> Self {
        Self::with(seed, |_| ()).await
    }

    pub(crate) async fn with(seed: u8, change: impl FnOnce(&mut NetworkConfig)) -> Self {
        Self::on_disk(seed, SlowDisk::default(), change).await
    }

    /// One whose disk may be slow.
    pub(crate) async fn on_disk(seed: u8, disk: SlowDisk, change: impl FnOnce(&mut NetworkConfig)) -> Self {
        Self::of_author(seed, seed, disk, RepairConfig::default(), change).await
    }

    /// One more machine of the author with this seed.
    pub(crate) async fn of(seed: u8, author: u8) -> Self {
        Self::of_author(seed, author, SlowDisk::default(), RepairConfig::default(), |_| ()).await
    }

    /// One that looks after what others keep as this says.
    pub(crate) async fn sweeping(seed: u8, repair: RepairConfig) -> Self {
        Self::of_author(seed, seed, SlowDisk::default(), repair, |_| ()).await
    }

    async fn of_author(
        seed: u8,
        author: u8,
        disk: SlowDisk,
        repair: RepairConfig,
        change: impl FnOnce(&mut NetworkConfig),
    ) -> Self {
        let listen_addr = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        let mut network = NetworkConfig { listen_addr, ..NetworkConfig::default() };
        change(&mut network);
        let folder = tempfile::tempdir().unwrap();
        let author = AuthorKey::from_seed([author; 32]);
        let system = System::start(config(seed, &author, (&network, repair), &folder, &disk)).await.unwrap();
        Self { system, author, seed, network, repair, folder, disk }
    }

    /// Ends it at once and starts it again, at the same address.
    pub(crate) async fn kill_and_start(&mut self) {
        let address = self.address();
        self.system.clone().crash().await;
        self.start_again(address).await;
    }

    /// The same, and from then on it sends no more than so many bytes a second.
    pub(crate) async fn kill_and_start_slow(&mut self, upload: u64) {
        self.network.upload = Some(upload);
        self.kill_and_start().await;
    }

    /// Starts it again after it has ended, at this address.
    pub(crate) async fn start_again(&mut self, address: SocketAddr) {
        self.network.listen_addr = Some(address);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let system = System::start(config(
                self.seed,
                &self.author,
                (&self.network, self.repair),
                &self.folder,
                &self.disk,
            ))
            .await;
            match system {
                Ok(system) => break self.system = system,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Its segments hold nothing but zeros from now on, as on a disk that is broken.
    pub(crate) fn lose_segments(&self) {
        let segments = std::fs::read_dir(self.folder.path().join(actors::storage::SEGMENTS_FOLDER)).unwrap();
        for segment in segments {
            let path = segment.unwrap().path();
            let length = std::fs::metadata(&path).unwrap().len();
            let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
            std::io::Write::write_all(&mut &file, &vec![0; usize::try_from(length).unwrap()]).unwrap();
        }
    }

    /// A byte of each of these is flipped on its disk.
    pub(crate) fn damage(&self, fragments: &[proto::Fragment]) {
        for segment in std::fs::read_dir(self.folder.path().join(actors::storage::SEGMENTS_FOLDER)).unwrap() {
            let path = segment.unwrap().path();
            let mut bytes = std::fs::read(&path).unwrap();
            for fragment in fragments {
                let wanted = fragment.bytes().as_ref();
                let found = bytes.windows(wanted.len()).position(|window| window == wanted);
                found.into_iter().for_each(|at| bytes[at] ^= 1);
            }
            std::fs::write(&path, bytes).unwrap();
        }
    }

    /// What it is known by.
    pub(crate) fn key(&self) -> NodeKey {
        NodeKey::from_seed([self.seed; 32])
    }

    pub(crate) fn id(&self) -> NodeId {
        self.system.peers.us()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.system.pool.address()
    }

    /// Has it know another and where that is.
    pub(crate) async fn knows(&self, other: &Self) {
        self.knows_at(other.id(), other.address(), None).await;
    }

    pub(crate) async fn knows_at(&self, node: NodeId, address: SocketAddr, allow_bytes: Option<u64>) {
        self.system.peers.add(node, &[address.try_into().unwrap()], allow_bytes, None).await.unwrap();
    }
}

/// Two nodes that know each other.
pub(crate) async fn pair() -> (Node, Node) {
    let (a, b) = (Node::start(1).await, Node::start(2).await);
    // Who asks first is the second to know: it dials at once, and whoever does not know it yet would turn it away.
    b.knows(&a).await;
    a.knows(&b).await;
    (a, b)
}

fn config(
    seed: u8,
    author: &AuthorKey,
    (network, repair): (&NetworkConfig, RepairConfig),
    folder: &tempfile::TempDir,
    disk: &SlowDisk,
) -> SystemConfig {
    let storage = StorageConfig { min_free_bytes: 0, ..StorageConfig::with_defaults(folder.path()) };
    let key = NodeKey::from_seed([seed; 32]);
    let credential = Credential { author: author.id(), node: key.id(), made_at_ms: 0 };
    SystemConfig {
        disk: Arc::new(disk.clone()),
        network: network.clone(),
        credential: Some(credential.sign(author).unwrap()),
        replication: replication::Settings {
            author: Some(author.clone()),
            config: ReplicationConfig { repair, ..Default::default() },
            ..Default::default()
        },
        ..SystemConfig::new(storage, key)
    }
}

/// What went wrong with the other node.
#[track_caller]
pub(crate) fn trouble<T: std::fmt::Debug>(outcome: Result<T, ActorError>) -> PeerTrouble {
    match outcome {
        Err(ActorError::Peer { trouble, .. }) => trouble,
        other => panic!("{other:?}"),
    }
}

/// Why the other node refused.
#[track_caller]
pub(crate) fn refusal<T: std::fmt::Debug>(outcome: Result<T, ActorError>) -> RefusalKind {
    match trouble(outcome) {
        PeerTrouble::Refused(refusal) => refusal.kind(),
        other => panic!("{other}"),
    }
}

pub(crate) async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "it never came to {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

const PATIENCE: Duration = Duration::from_secs(60);
