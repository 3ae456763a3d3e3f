//! An author, and nodes of others that keep something for it, all in this process.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicU64},
    time::{Duration, Instant, SystemTime},
};

use actors::{
    System, SystemConfig,
    archive::{Metadata, Special, create, walk},
    keys::Author,
    replication::{Settings, Told},
    storage::{JobState, Jobs, ReplicationJob},
};
use config::{NetworkConfig, StorageConfig};
use futures::future::try_join_all;
use proto::{AuthorKey, NodeId, NodeKey, TesseraId, credential::Credential, placement::SignedPlacement};
use tokio::task::spawn_blocking;

use crate::{Result, meters::CountingDisk, rounds::Work};

/// The author's node, and the others.
pub(super) struct Swarm {
    folder: PathBuf,
    author: Author,
    pub(super) home: System,
    pub(super) holders: Vec<System>,
    /// Of all the others together.
    pub(super) syncs: Arc<AtomicU64>,
    disk: CountingDisk,
}

impl Swarm {
    /// So many others, each of somebody else, that know the author's node and are known to it.
    pub(super) async fn start(folder: &Path, others: usize) -> Result<Self> {
        let (author, disk) = (Author::generate()?, CountingDisk::default());
        let home = start(&folder.join("home"), author.key(), &disk).await?;
        let (syncs, folder) = (disk.syncs(), folder.to_owned());
        let mut swarm = Self { folder, author, home, holders: Vec::new(), syncs, disk };
        for number in 0..others {
            let holder = swarm.stranger(&format!("holder {number}")).await?;
            introduce(&swarm.home, &holder).await?;
            swarm.holders.push(holder);
        }
        Ok(swarm)
    }

    /// One more node of somebody else, whom nobody knows.
    pub(super) async fn stranger(&self, name: &str) -> Result<System> {
        start(&self.folder.join(name), Author::generate()?.key(), &self.disk).await
    }

    /// Makes a tessera of so many bytes, unlike those of another seed, in the author's node alone.
    pub(super) async fn create(&self, seed: usize, bytes: usize) -> Result<TesseraId> {
        let file = self.folder.join(format!("{seed}.jpg"));
        let (upload, sender) = std::io::pipe()?;
        let sent = spawn_blocking(move || {
            let mut content = vec![0; bytes];
            blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut content);
            std::fs::write(&file, content)?;
            let public = Metadata { public: true, ..Metadata::default() };
            walk(std::slice::from_ref(&file), Special::Refuse)?.write_tar(&public, sender, |_| {})?;
            Ok::<(), Box<dyn std::error::Error + Send + Sync>>(std::fs::remove_file(&file)?)
        });
        let upload = tokio::net::unix::pipe::Receiver::from_owned_fd(upload.into())?;
        let now_ms = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_millis();
        let session = self.home.storage.open_session().await?;
        let created = create(upload, &self.author, session, u64::try_from(now_ms)?).await?;
        sent.await??;
        Ok(created.id)
    }

    /// Gives a tessera to the others, and sees that it is as safe as asked.
    pub(super) async fn publish(&self, tessera: TesseraId) -> Result<()> {
        let job = self.home.replication.publish(tessera).await?;
        ended(&self.home, job).await
    }

    /// The node that keeps this index of a tessera.
    pub(super) async fn holder(&self, tessera: TesseraId, index: u16) -> Result<NodeId> {
        let kept = self.home.storage.records().placements(tessera).await?;
        let kept = kept.into_iter().next().ok_or("it was not published")?;
        let placement = SignedPlacement::parse(kept.signed, tessera, self.author.id())?;
        let holder = placement.placement().holders.get(usize::from(index)).copied().flatten();
        holder.ok_or_else(|| "an index that nobody keeps".into())
    }

    /// Ends one of the others at once, for good.
    pub(super) async fn kill(&mut self, node: NodeId) -> Result<()> {
        let at = self.holders.iter().position(|holder| holder.peers.us() == node);
        self.holders.swap_remove(at.ok_or("it is gone already")?).crash().await;
        Ok(())
    }

    pub(super) async fn stop(self) {
        self.home.drain().await;
        for holder in self.holders {
            holder.drain().await;
        }
    }
}

async fn start(folder: &Path, author: &AuthorKey, disk: &CountingDisk) -> Result<System> {
    std::fs::create_dir_all(folder)?;
    let key = NodeKey::from_seed(*blake3::hash(folder.as_os_str().as_encoded_bytes()).as_bytes());
    let credential = Credential { author: author.id(), node: key.id(), made_at_ms: 0 };
    let listen_addr = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    let storage = StorageConfig { min_free_bytes: 0, ..StorageConfig::with_defaults(folder) };
    let config = SystemConfig {
        disk: Arc::new(disk.clone()),
        network: NetworkConfig { listen_addr, ..NetworkConfig::default() },
        credential: Some(credential.sign(author)?),
        replication: Settings { author: Some(author.clone()), ..Settings::default() },
        ..SystemConfig::new(storage, key)
    };
    Ok(System::start(config).await?)
}

/// Makes two nodes known to each other. Who dials must be known before.
pub(super) async fn introduce(dials: &System, answers: &System) -> Result<()> {
    let allow = Some(u64::MAX / 4);
    answers.peers.add(dials.peers.us(), &[dials.pool.address().try_into()?], allow, None).await?;
    dials.peers.add(answers.peers.us(), &[answers.pool.address().try_into()?], allow, None).await?;
    dials.remote.hello(answers.peers.us(), false, None).await?;
    Ok(())
}

/// Waits until a job has ended, as it was asked for.
pub(super) async fn ended(system: &System, job: ReplicationJob) -> Result<()> {
    if let Some(mut progress) = system.replication.watch(job.id).await? {
        while progress.changed().await.is_ok() {}
    }
    loop {
        let jobs = system.storage.records().replication_jobs(Jobs::One(job.id)).await?;
        let job = jobs.into_iter().next().ok_or("a job that is not known")?;
        match job.state {
            JobState::Pending => tokio::time::sleep(Duration::from_millis(1)).await,
            JobState::Done => return Ok(()),
            state => {
                let told: Told = serde_json::from_str(&job.told.unwrap_or_default())?;
                return Err(format!("a job ended as {state:?}: {told:?}").into());
            }
        }
    }
}

/// How long one operation takes.
pub(super) async fn timed(operation: impl Future<Output = Result<()>>) -> Result<Work> {
    let begun = Instant::now();
    operation.await?;
    let mut work = Work { seconds: begun.elapsed().as_secs_f64(), ..Work::default() };
    work.note(begun.elapsed())?;
    Ok(work)
}

/// Bytes of UDP that were sent, by whom and to whom.
pub(super) struct Traffic(BTreeMap<(NodeId, NodeId), u64>);

impl Traffic {
    /// Of these nodes, on the connections that they have.
    pub(super) async fn of(systems: &[&System]) -> Result<Self> {
        let each = systems.iter().map(|system| async move {
            let status = system.pool.status().await?;
            let us = system.peers.us();
            let sent = status.connections.into_iter().map(move |one| ((us, one.node), one.sent_bytes));
            Ok::<_, actors::ActorError>(sent)
        });
        Ok(Self(try_join_all(each).await?.into_iter().flatten().collect()))
    }

    /// What was sent since another time. A connection that is new since then counts from its beginning.
    pub(super) fn since(&self, before: &Self) -> u64 {
        let counted = self.0.iter().map(|(way, bytes)| {
            let before = before.0.get(way).copied().unwrap_or_default();
            bytes.checked_sub(before).unwrap_or(*bytes)
        });
        counted.sum()
    }
}
