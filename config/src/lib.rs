//! Every setting of a node: raw (what the operator wrote), checked (types that cannot be wrong), with provenance.
//!
//! # Invariants
//! 1. Four layers, the later one wins: defaults, TOML file, `TESSERAS_SECTION__KEY`, flags.
//! 2. Every key is optional, and every name that no setting has is an error.
//! 3. All that is wrong is reported at once, each with its place.
//! 4. Each key is named in one place, `sections.rs`: what is read there is what exists, is shown, and is explained in
//!    the example.
//! 5. Absent on purpose: nothing here is created or changed; the only file read is the configuration, and what the
//!    system tells about its memory.

mod address;
mod collector;
mod error;
mod example;
pub mod human;
pub mod integrity;
mod machine;
mod network;
mod origin;
mod paths;
mod profile;
mod raw;
mod reader;
mod repair;
mod replication;
mod sections;
pub mod storage;
mod value;

use std::{fs, io::ErrorKind, path::PathBuf};

use raw::{Entry, Layers};
use reader::Reader;
use sections::Surroundings;

pub use address::{AddressError, Host, HostPort, PEERS_MAX, PeerAddress};
pub use collector::Collector;
pub use error::{ConfigError, ConfigErrors};
pub use example::{defaults, example};
pub use integrity::IntegrityConfig;
pub use machine::{Machine, environment};
pub use network::{Accept, Hold, NetworkConfig};
pub use origin::{Origin, Place};
pub use paths::{MACHINE_DATA_DIR, MACHINE_SOCKET};
pub use profile::Profile;
pub use reader::Setting;
pub use repair::{MarginChoice, RepairConfig};
pub use replication::{LayoutChoice, ReplicationConfig};
pub use sections::{
    AdminConfig, CONNECTIONS_BYTES, Config, LogFormat, LogLevel, MemoryConfig, NodeConfig,
    ObservabilityConfig, TRANSFERS_BYTES,
};
pub use storage::StorageConfig;

/// The file in the data folder that is read when no other is named.
pub const FILE_NAME: &str = "node.toml";

/// Where settings may be written.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file named with `--config`. It must exist; without it, `node.toml` in the data folder is read if it is
    /// there.
    pub file: Option<PathBuf>,
    /// The environment: [`environment`].
    pub env: Vec<(String, String)>,
    /// The flags.
    pub flags: Flags,
}

/// The flags that are settings.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// `--data-dir`.
    pub data_dir: Option<PathBuf>,
    /// `--socket`.
    pub socket: Option<PathBuf>,
    /// How often `-v` was given: once for debug, twice for trace.
    pub verbose: u8,
}

/// A configuration and how it came about.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The settings, checked.
    pub config: Config,
    /// The file that was read, if any.
    pub file: Option<PathBuf>,
    settings: Vec<Setting>,
}

impl Loaded {
    /// Every setting as text, with where it came from, section by section.
    pub fn show(&self) -> impl Iterator<Item = &Setting> {
        self.settings.iter()
    }
}

/// Reads the configuration of a node on this machine.
///
/// # Errors
/// All that is wrong, at once.
pub fn load(sources: &Sources) -> Result<Loaded, ConfigErrors> {
    load_on(Machine::here(), sources)
}

/// [`load`], as it would be on some machine.
///
/// # Errors
/// As [`load`].
pub fn load_on(machine: Machine, sources: &Sources) -> Result<Loaded, ConfigErrors> {
    let (loaded, errors) = read_on(machine, sources);
    if errors.iter().next().is_none() { Ok(loaded) } else { Err(errors) }
}

/// What is right of the configuration of a node on this machine, and what is wrong: defaults stand in for that. For those
/// who only want to find a daemon that runs already.
pub fn load_what_is_right(sources: &Sources) -> (Loaded, ConfigErrors) {
    read_on(Machine::here(), sources)
}

fn read_on(machine: Machine, sources: &Sources) -> (Loaded, ConfigErrors) {
    let named_dir = named_data_dir(sources);
    let data_dir_is_named = named_dir.is_some();
    let usual_dir = named_dir.or_else(|| paths::data_dir(&sources.env, machine.is_root));
    let mut errors = Vec::new();
    let (file, in_file) = read_file(sources, usual_dir.as_deref());
    let in_file = in_file.unwrap_or_else(|error| {
        errors.push(error);
        Vec::new()
    });
    let layers = Layers::new(in_file, raw::from_env(&sources.env), raw::from_flags(&sources.flags));
    let mut reader = Reader::new(layers, errors);
    let around = Surroundings { machine, env: &sources.env, data_dir_is_named };
    let config = sections::read(&mut reader, &around);
    let found_there = sources.file.is_none() && file.is_some();
    reader.require(
        !found_there || usual_dir.as_deref() == Some(&config.node.data_dir),
        &["node.data_dir"],
        "the node.toml in a data folder cannot name another one (name the file with --config instead)",
    );
    let (settings, errors) = reader.finish();
    (Loaded { config, file, settings }, errors)
}

/// The data folder, if a flag or the environment names it: it must be known before the file in it can be read.
fn named_data_dir(sources: &Sources) -> Option<PathBuf> {
    let name = raw::env_name("node.data_dir");
    let from_env = || sources.env.iter().find(|(n, _)| *n == name).map(|(_, dir)| PathBuf::from(dir));
    sources.flags.data_dir.clone().or_else(from_env)
}

/// The file that counts, and what stands in it.
fn read_file(
    sources: &Sources,
    data_dir: Option<&std::path::Path>,
) -> (Option<PathBuf>, Result<Vec<Entry>, ConfigError>) {
    let Some(path) = sources.file.clone().or_else(|| data_dir.map(|dir| dir.join(FILE_NAME))) else {
        return (None, Ok(Vec::new()));
    };
    match fs::read_to_string(&path) {
        Ok(text) => {
            let entries = raw::from_file(&path, &text);
            (Some(path), entries)
        }
        Err(error) if error.kind() == ErrorKind::NotFound && sources.file.is_none() => (None, Ok(Vec::new())),
        Err(source) => (Some(path.clone()), Err(ConfigError::Unreadable { path, source })),
    }
}
