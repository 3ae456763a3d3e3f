//! The commands, one file each. Each says what it does and prints; what it needs lies in [`Context`].

mod attest;
mod backup;
mod block;
mod cat;
mod completions;
mod config;
mod course;
mod create;
mod doctor;
mod events;
mod explain;
mod export;
mod forget;
mod fragment;
mod init;
mod invite;
mod jobs;
mod key;
mod ledger;
mod list;
mod machine;
mod man;
mod peers;
mod pool;
mod prove;
mod publish;
mod rebuild;
mod recover;
mod run;
mod scrub;
mod show;
mod status;
mod target;
mod verify;

use std::{io::ErrorKind, path::PathBuf, sync::OnceLock};

use ::config::{
    ConfigError::{self, Missing, Unreadable},
    ConfigErrors, Loaded, Sources,
};
use clap::Subcommand;

use crate::{
    args::{Globals, this_node},
    client::Client,
    exit::Exit,
    failure::Failure,
    output::Output,
    problem::Kind,
};

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Init(init::Init),
    Run(run::Run),
    /// Check, show or explain the settings
    #[command(subcommand)]
    Config(config::Config),
    Create(create::Create),
    List(list::List),
    Show(show::Show),
    Verify(verify::Verify),
    Export(export::Export),
    Cat(cat::Cat),
    Forget(forget::Forget),
    Attest(attest::Attest),
    Prove(prove::Prove),
    /// Look at single fragments, or change them
    #[command(subcommand)]
    Fragment(fragment::Fragments),
    Explain(explain::Explain),
    Publish(publish::Publish),
    Preserve(publish::Preserve),
    Fetch(publish::Fetch),
    Repair(publish::Repair),
    Recover(recover::FromCard),
    Jobs(jobs::Jobs),
    /// See the nodes that this one knows, make one known, or look whether it answers
    #[command(subcommand)]
    Peers(peers::Peers),
    Invite(invite::Invite),
    Join(invite::Join),
    Pool(pool::ShowPool),
    Ledger(ledger::ShowLedger),
    Block(block::Block),
    Unblock(block::Unblock),
    Blocked(block::ShowBlocked),
    /// See how verifying what is stored stands, have it begin, or have it wait
    #[command(subcommand)]
    Scrub(scrub::Scrubs),
    Id(status::ShowId),
    /// Keep the author's key safe
    #[command(subcommand)]
    Key(key::Keys),
    #[command(name = "backup")]
    Save(backup::Save),
    Restore(backup::Restore),
    RebuildIndex(rebuild::RebuildIndex),
    Status(status::ShowStatus),
    Actors(status::ShowActors),
    Cache(explain::ShowCache),
    Doctor(doctor::Doctor),
    Completions(completions::Completions),
    Man(man::Man),
    Events(events::Events),
}

impl Command {
    /// Whether it writes into the data directory, where nothing is for other users' eyes.
    pub(crate) fn is_private(&self) -> bool {
        matches!(
            self,
            Self::Init(_) | Self::Run(_) | Self::Restore(_) | Self::Recover(_) | Self::RebuildIndex(_)
        )
    }

    /// Does it.
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self {
            Self::Init(init) => init.run(context),
            Self::Run(run) => run.run(context).await,
            Self::Config(config) => config.run(context).await,
            Self::Create(create) => create.run(context).await,
            Self::List(list) => list.run(context).await,
            Self::Show(show) => show.run(context).await,
            Self::Verify(verify) => verify.run(context).await,
            Self::Export(export) => export.run(context).await,
            Self::Cat(cat) => cat.run(context).await,
            Self::Forget(forget) => forget.run(context).await,
            Self::Attest(attest) => attest.run(context).await,
            Self::Prove(prove) => prove.run(context).await,
            Self::Fragment(fragments) => fragments.run(context).await,
            Self::Explain(explain) => explain.run(context).await,
            Self::Publish(publish) => publish.run(context).await,
            Self::Preserve(preserve) => preserve.run(context).await,
            Self::Fetch(fetch) => fetch.run(context).await,
            Self::Repair(repair) => repair.run(context).await,
            Self::Recover(recover) => recover.run(context).await,
            Self::Jobs(jobs) => jobs.run(context).await,
            Self::Peers(peers) => peers.run(context).await,
            Self::Invite(invite) => invite.run(context).await,
            Self::Join(join) => join.run(context).await,
            Self::Pool(pool) => pool.run(context).await,
            Self::Ledger(ledger) => ledger.run(context).await,
            Self::Block(block) => block.run(context).await,
            Self::Unblock(unblock) => unblock.run(context).await,
            Self::Blocked(blocked) => blocked.run(context).await,
            Self::Scrub(scrubs) => scrubs.run(context).await,
            Self::Id(id) => id.run(context).await,
            Self::Key(keys) => keys.run(context),
            Self::Save(save) => save.run(context).await,
            Self::Restore(restore) => restore.run(context).await,
            Self::RebuildIndex(rebuild) => rebuild.run(context).await,
            Self::Status(status) => status.run(context).await,
            Self::Actors(actors) => actors.run(context).await,
            Self::Cache(cache) => cache.run(context).await,
            Self::Doctor(doctor) => doctor.run(context).await,
            Self::Completions(completions) => completions.run(context),
            Self::Man(man) => man.run(context),
            Self::Events(events) => events.run(context).await,
        }
    }
}

/// Does blocking work on a thread of its own.
async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Failure::new(Kind::Internal, format!("a part of the command fell: {error}")))
}

/// What every command has at hand.
#[derive(Debug)]
pub(crate) struct Context {
    globals: Globals,
    /// How to print.
    pub(crate) output: Output,
    /// The daemon's, once it was looked for.
    socket: OnceLock<PathBuf>,
}

impl Context {
    /// For these options.
    pub(crate) fn new(globals: Globals) -> Self {
        let output = globals.output();
        Self { globals, output, socket: OnceLock::new() }
    }

    /// The configuration. Fails with [`Kind::BadConfig`], naming all that is wrong.
    pub(crate) fn config(&self) -> Result<Loaded, Failure> {
        ::config::load(&self.globals.sources()).map_err(|errors| misconfigured(&errors))
    }

    /// Where the settings are written.
    pub(crate) fn sources(&self) -> Sources {
        self.globals.sources()
    }

    /// What to type to start the node that this command is about.
    pub(crate) fn start(&self) -> String {
        format!("{} run", this_node())
    }

    /// Whether the command line names the daemon's socket.
    pub(crate) fn names_a_socket(&self) -> bool {
        self.globals.socket.is_some()
    }

    /// A client for the daemon. A socket that is named is used without looking into the configuration; where nothing is
    /// named, whoever has no node of their own reaches the machine's.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        if let Some(socket) = self.globals.socket.as_ref().or(self.socket.get()) {
            return Ok(Client::new(socket.clone()));
        }
        let socket = self.find_socket()?;
        Ok(Client::new(self.socket.get_or_init(|| socket).clone()))
    }

    /// Where the settings say the daemon listens. It runs already: what is wrong with other settings by now is its
    /// operator's to mend, and not in the way of who asks how it fares.
    fn find_socket(&self) -> Result<PathBuf, Failure> {
        let (loaded, errors) = ::config::load_what_is_right(&self.globals.sources());
        if errors.iter().any(|error| matches!(error, Unreadable { .. } | Missing { .. })) {
            return Err(misconfigured(&errors));
        }
        let socket = machine::socket(&loaded);
        if errors.iter().next().is_some() {
            self.output.warning(&format!(
                "{errors}\nwithout that, the daemon is looked for on {}: if it listens elsewhere, name that with --socket",
                socket.display()
            ));
        }
        Ok(socket)
    }
}

/// Settings that are wrong, or may not be read.
fn misconfigured(errors: &ConfigErrors) -> Failure {
    if errors.iter().any(is_denied) {
        let detail = format!(
            "{errors}: use `sudo`, or be the user that the daemon runs as; whoever may use its socket can name that with \
             --socket"
        );
        return Failure::new(Kind::NotPermitted, detail);
    }
    Failure::new(Kind::BadConfig, errors.to_string())
}

fn is_denied(error: &ConfigError) -> bool {
    matches!(error, Unreadable { source, .. } if source.kind() == ErrorKind::PermissionDenied)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_may_not_be_read_are_not_called_wrong() {
        let unreadable =
            |kind: ErrorKind| Unreadable { path: "/var/lib/tesseras/node.toml".into(), source: kind.into() };
        assert!(is_denied(&unreadable(ErrorKind::PermissionDenied)));
        assert!(!is_denied(&unreadable(ErrorKind::InvalidData)));
    }
}
