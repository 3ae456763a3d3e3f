//! Attackers in a process of their own, which takes only what nobody else needs of this machine.

use std::{
    io::{Read, Write, stdin, stdout},
    net::SocketAddr,
    process::{Child, Command, Stdio, exit},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use actors::conn_pool::raw::Raw;
use proto::{Checksum, FragmentId, NodeKey, wire::Request};

use crate::{
    Result,
    attackers::{
        Victim, callers,
        forgers::{self, Traffic},
        stallers,
    },
};

/// The first word of the command line of such a process.
pub(crate) const NAME: &str = "--attack";

/// What they do.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Stall,
    Call,
    Forge,
}

/// Goes on until it is ended, or whoever began it is gone: as long as its standard input is open.
pub(crate) struct Attack(Child);

impl Attack {
    /// Attacks a node that has this fragment.
    pub(crate) fn begin(
        kind: Kind,
        victim: Victim,
        fragment: FragmentId,
        checksum: Checksum,
    ) -> Result<Self> {
        // A lower priority would still take its share of two cores: it is the node that is measured.
        let mut command = Command::new("chrt");
        command.args(["--idle", "0"]).arg(std::env::current_exe()?);
        command.args([NAME, kind.name(), &victim.node.to_string(), &victim.address.to_string()]);
        command.args([fragment.tessera.to_string(), checksum.to_string()]);
        let process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        Ok(Self(process.map_err(|error| format!("chrt, of util-linux: {error}"))?))
    }

    /// Ends it: how many handshakes they have done, or bytes that they have sent.
    pub(crate) fn end(self) -> Result<u64> {
        // Closes its standard input first.
        let output = self.0.wait_with_output()?;
        if !output.status.success() {
            return Err(format!("the attack failed: {}", output.status).into());
        }
        Ok(String::from_utf8(output.stdout)?.trim().parse()?)
    }
}

/// What such a process does, until its standard input ends.
pub(crate) async fn run(words: &[String]) -> Result<()> {
    let [kind, node, address, tessera, checksum] = words else { return Err("five words are wanted".into()) };
    let victim = Victim { node: node.parse()?, address: address.parse()? };
    let fragment = FragmentId { tessera: tessera.parse()?, stripe: 0, index: 0 };
    let request = Request::GetFragment { fragment, checksum: Some(checksum.parse()?) };
    let (handshakes, traffic) = (Arc::<AtomicU64>::default(), Arc::<Traffic>::default());
    let (called, sent) = (handshakes.clone(), traffic.clone());
    thread::spawn(move || {
        let _ = stdin().read_to_end(&mut Vec::new());
        let done = called.load(Ordering::Relaxed) + sent.to.load(Ordering::Relaxed);
        let _ = writeln!(stdout(), "{done}");
        exit(0);
    });
    match Kind::named(kind)? {
        Kind::Stall => stallers::stall(victim, request.frame()).await,
        Kind::Call => callers::call(victim, handshakes).await,
        Kind::Forge => tokio::task::spawn_blocking(move || forge(victim.address, &traffic)).await?,
    }
}

fn forge(address: SocketAddr, traffic: &Traffic) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let _inside = runtime.enter();
    let raw = Raw::bind(&NodeKey::from_seed([9; 32]), ([127, 0, 0, 1], 0).into(), Default::default())?;
    let packets = forgers::first_packets(&raw)?;
    forgers::forge(address, &packets, traffic, &AtomicBool::new(false))
}

impl Kind {
    const ALL: [Self; 3] = [Self::Stall, Self::Call, Self::Forge];

    fn name(self) -> &'static str {
        match self {
            Self::Stall => "stall",
            Self::Call => "call",
            Self::Forge => "forge",
        }
    }

    fn named(name: &str) -> Result<Self> {
        let known = Self::ALL.into_iter().find(|kind| kind.name() == name);
        known.ok_or_else(|| format!("{name} is no attack").into())
    }
}
