//! Attackers in a process of their own, which takes only what nobody else needs of this machine.

use std::{
    io::{Read, stdin},
    net::SocketAddr,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, atomic::AtomicBool},
};

use actors::conn_pool::raw::Raw;
use proto::{Checksum, FragmentId, NodeKey, wire::Request};

use crate::{
    Result,
    attackers::{Victim, callers, forgers, stallers},
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

/// Goes on until it is dropped, or whoever began it is gone.
pub(crate) struct Attack {
    process: Child,
    /// As long as it is open they go on.
    _go_on: Option<ChildStdin>,
}

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
        let process = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn();
        let mut process = process.map_err(|error| format!("chrt, of util-linux: {error}"))?;
        let go_on = process.stdin.take();
        Ok(Self { process, _go_on: go_on })
    }
}

impl Drop for Attack {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What such a process does, until its standard input ends.
pub(crate) async fn run(words: &[String]) -> Result<()> {
    let [kind, node, address, tessera, checksum] = words else { return Err("five words are wanted".into()) };
    let victim = Victim { node: node.parse()?, address: address.parse()? };
    let fragment = FragmentId { tessera: tessera.parse()?, stripe: 0, index: 0 };
    let request = Request::GetFragment { fragment, checksum: Some(checksum.parse()?) };
    let attack = async move {
        match Kind::named(kind)? {
            Kind::Stall => stallers::stall(victim, request.frame()).await,
            Kind::Call => callers::call(victim, Arc::default()).await,
            Kind::Forge => tokio::task::spawn_blocking(move || forge(victim.address)).await?,
        }
    };
    let over = tokio::task::spawn_blocking(|| stdin().read_to_end(&mut Vec::new()));
    tokio::select! {
        ended = attack => ended,
        _ = over => Ok(()),
    }
}

fn forge(address: SocketAddr) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let _inside = runtime.enter();
    let raw = Raw::bind(&NodeKey::from_seed([9; 32]), ([127, 0, 0, 1], 0).into(), Default::default())?;
    let packets = forgers::first_packets(&raw)?;
    forgers::forge(address, &packets, &Default::default(), &AtomicBool::new(false))
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
