//! What an operator sees: from files, variables and flags to a configuration, or to a list of mistakes.

#![allow(
    clippy::unwrap_used,
    reason = "a test file: clippy spares only the test functions, not their helpers"
)]

use std::{fs, path::Path};

use config::{
    Accept, Config, ConfigErrors, Flags, Hold, Loaded, Machine, NetworkConfig, Profile, Sources,
    StorageConfig,
};
use tempfile::TempDir;

const BIG: Machine = Machine { memory_bytes: Some(8 << 30), is_root: true };
const PI: Machine = Machine { memory_bytes: Some(900 << 20), is_root: true };
const USER: Machine = Machine { memory_bytes: Some(8 << 30), is_root: false };

fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

/// Loads with this text in a file named `node.toml`, named explicitly.
fn load_text(
    machine: Machine,
    text: &str,
    pairs: &[(&str, &str)],
) -> (TempDir, Result<Loaded, ConfigErrors>) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("node.toml");
    fs::write(&file, text).unwrap();
    let loaded =
        config::load_on(machine, &Sources { file: Some(file), env: env(pairs), ..Sources::default() });
    (dir, loaded)
}

fn config(machine: Machine, text: &str) -> Config {
    load_text(machine, text, &[]).1.unwrap().config
}

/// The value and the origin of a setting, as `config show --origin` prints them.
fn shown(loaded: &Loaded, dir: &Path, key: &str) -> (String, String) {
    let setting = loaded.show().find(|setting| setting.key == key).unwrap();
    let origin = setting.origin.to_string().replace(&format!("{}/", dir.display()), "");
    (setting.value.clone(), origin)
}

/// All mistakes, one per line.
#[track_caller]
fn check_errors(text: &str, pairs: &[(&str, &str)], expected: &[&str]) {
    let (dir, loaded) = load_text(BIG, text, pairs);
    let errors = loaded.unwrap_err().to_string().replace(&format!("{}/", dir.path().display()), "");
    assert_eq!(errors.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn quiet_hours_that_are_wrong_are_named_with_what_is_wrong_with_them() {
    let expected =
        r#"`integrity.quiet_hours` must be a list of hours of the day, such as ["23:00-07:00"], not"#;
    for (written, what) in [
        (r#""22-6""#, r#""22-6": "22" is no time from 00:00 to 23:59"#),
        (r#"["22-6"]"#, r#"["22-6"]: "22" is no time from 00:00 to 23:59"#),
        (r#"["25:00-06:00"]"#, r#"["25:00-06:00"]: "25:00" is no time from 00:00 to 23:59"#),
        (r#"["22:00-22:00"]"#, r#"["22:00-22:00"]: "22:00-22:00" ends when it begins"#),
        (r#""22:00""#, r#""22:00": "22:00" has no begin and end with `-` between"#),
        (r#"["22:00-06:00", 7]"#, r#"["22:00-06:00", 7]: 7 is no text"#),
        ("true", "true"),
    ] {
        let text = format!("[integrity]\nquiet_hours = {written}");
        check_errors(&text, &[], &[&format!("node.toml:2: {expected} {what}")]);
    }
}

#[test]
fn nothing_written_gives_the_defaults() {
    let config = config(BIG, "");
    assert_eq!(config.storage, StorageConfig::with_defaults("/var/lib/tesseras"));
    assert_eq!(config.network, NetworkConfig::default());
    assert_eq!((config.memory.budget_bytes, config.memory.requests_bytes), (256 << 20, 48 << 20));
    assert_eq!(config.memory.fragment_cache_bytes, 128 << 20);
    assert_eq!(config.node.profile, Profile::Standard);
    assert_eq!(config.admin.socket, Path::new("/run/tesseras/node.sock"));
    assert_eq!(config.observability.metrics_addr.unwrap().port(), 9190);
}

#[test]
fn example_with_every_line_active_says_the_same_as_nothing() {
    let active: Vec<String> = config::example()
        .lines()
        .map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line).to_owned())
        .collect();
    let (_dir, loaded) = load_text(BIG, &active.join("\n"), &[]);
    let loaded = loaded.unwrap();
    assert_eq!(loaded.config, config(BIG, ""));
    assert!(loaded.show().all(|setting| setting.origin.to_string().contains("node.toml:")));
}

#[test]
fn small_machine_has_small_defaults_and_says_so() {
    let (dir, loaded) = load_text(PI, "[performance]\nfragment_cache_size_mb = 64", &[]);
    let loaded = loaded.unwrap();
    assert_eq!(loaded.config.node.profile, Profile::Small);
    assert_eq!(loaded.config.memory.budget_bytes, 192 << 20);
    assert_eq!(loaded.config.storage.location_map_bytes, 24 << 20);
    assert_eq!(loaded.config.storage.segment_bytes, 32 << 20);
    assert_eq!(loaded.config.network.pool_max_connections, 64);
    assert_eq!(loaded.config.network.max_concurrent_handshakes, 16);
    let check = |key, value: &str, origin: &str| {
        assert_eq!(shown(&loaded, dir.path(), key), (value.to_owned(), origin.to_owned()));
    };
    check("node.profile", r#""auto""#, "default");
    check("performance.sqlite_cache_size_kb", "16384", "profile small");
    check("performance.sqlite_wal_autocheckpoint_pages", "8000", "profile small");
    check("performance.fragment_cache_size_mb", "64", "node.toml:2");
    check("storage.min_free", r#""1 GiB""#, "default");
}

#[test]
fn profile_that_is_named_beats_the_machine() {
    assert_eq!(config(PI, "node.profile = 'standard'").storage.segment_bytes, 256 << 20);
    assert_eq!(config(BIG, "node.profile = 'small'").storage.segment_bytes, 32 << 20);
}

#[test]
fn layers_are_laid_over_each_other_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("node.toml");
    fs::write(&file, "[observability]\nlog_level = 'error'\nlog_format = 'json'\nmetrics_addr = 'off'\n")
        .unwrap();
    let pairs = [
        ("TESSERAS_OBSERVABILITY__LOG_LEVEL", "warn"),
        ("TESSERAS_OBSERVABILITY__LOG_FORMAT", "text"),
        ("TESSERAS_PERFORMANCE__SQLITE_SYNCHRONOUS_FULL", "true"),
        ("TESSERAS_NODE__CAPACITY", "2 TiB"),
    ];
    let flags = Flags { verbose: 1, ..Flags::default() };
    let loaded = config::load_on(BIG, &Sources { file: Some(file), env: env(&pairs), flags }).unwrap();
    let check = |key, value: &str, origin: &str| {
        assert_eq!(shown(&loaded, dir.path(), key), (value.to_owned(), origin.to_owned()));
    };
    check("observability.log_level", r#""debug""#, "-v");
    check("observability.log_format", r#""text""#, "TESSERAS_OBSERVABILITY__LOG_FORMAT");
    check("observability.metrics_addr", r#""off""#, "node.toml:4");
    check("performance.sqlite_synchronous_full", "true", "TESSERAS_PERFORMANCE__SQLITE_SYNCHRONOUS_FULL");
    assert_eq!(loaded.config.storage.capacity_bytes, Some(2 << 40));
    assert_eq!(loaded.config.observability.metrics_addr, None);
}

#[test]
fn mistakes_are_reported_all_at_once_with_their_places() {
    check_errors(
        "segment_size = 1\n[node]\ncapacity = '12 parsecs'\n\n[storage]\nsegmnt_size = '1 GiB'\ncapacity = 'none'\n\
         min_free = 5\n[nodee]\n[observability]\nlog_level = ['info']\n",
        &[
            ("TESSERAS_STORAGE_SEGMENT_SIZE", "1 GiB"),
            ("TESSERAS_PERFORMANCE__MEMORY_BUDGET_MB", "lots"),
            ("TESSERAS_WHATEVER", ""),
            ("TESSERAS_TEST_SEED", "7"),
        ],
        &[
            "node.toml:1: there is no setting `segment_size`; did you mean `storage.segment_size`?",
            "node.toml:3: `node.capacity` must be a whole number above zero and its unit, such as \"256 MiB\", \
             or \"none\", not \"12 parsecs\"",
            "node.toml:6: there is no setting `storage.segmnt_size`; did you mean `storage.segment_size`?",
            "node.toml:7: there is no setting `storage.capacity`; did you mean `node.capacity`?",
            "node.toml:8: `storage.min_free` must be a whole number above zero and its unit, such as \"256 MiB\", \
             not 5",
            "node.toml:9: there is no setting `nodee`; `config default` lists all there are",
            "node.toml:11: `observability.log_level` must be \"error\", \"warn\", \"info\", \"debug\" or \"trace\", \
             not [\"info\"]",
            "TESSERAS_PERFORMANCE__MEMORY_BUDGET_MB: `performance.memory_budget_mb` must be a whole number from 1 \
             to 2147483647, not \"lots\"",
            "TESSERAS_STORAGE_SEGMENT_SIZE: there is no setting `storage_segment_size`; did you mean \
             `TESSERAS_STORAGE__SEGMENT_SIZE`?",
            "TESSERAS_WHATEVER: there is no setting `whatever`; `config default` lists all there are",
        ],
    );
}

#[test]
fn values_that_do_not_fit_each_other_are_refused() {
    check_errors(
        "[performance]\nmemory_budget_mb = 128\n",
        &[],
        &[
            "the memory budget must have room for the fragment cache, the location map (an eighth of it), connections, \
           transfers and verifying (48 MiB), and 32 MiB to work in, but `performance.fragment_cache_size_mb` is 128 (default) and \
           `performance.memory_budget_mb` is 128 (node.toml:2)",
        ],
    );
    check_errors(
        "storage.segment_size = '16 MiB'\nstorage.compact_below = 0.95",
        &[],
        &[
            "a segment must have between \"17 MiB\" (the longest document fits) and \"4 GiB\", but \
             `storage.segment_size` is \"16 MiB\" (node.toml:1)",
            "the share below which a segment is compacted must lie between 0 and 0.9, but \
             `storage.compact_below` is 0.95 (node.toml:2)",
        ],
    );
}

#[test]
fn network_is_gathered_from_its_sections() {
    let peer = proto::NodeId::from_bytes([7; 32]);
    let text = format!(
        "[node]\nlisten_addr = 'off'\n[network]\npeers = ['{peer}@a.example:4433']\naccept = 'any'\nhold = 'private'\n\
         upload = '1 MiB/s'\n[performance]\npool_idle_timeout_secs = 60\n[replication]\nmax_storage_per_peer = '2 TB'\n\
         accept_deficit = '64 MiB'\n"
    );
    let env = [("TESSERAS_NETWORK__PEERS", format!("{peer}@b.example:1,{peer}@[::1]:2"))];
    let env: Vec<_> = env.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let (_dir, loaded) = load_text(BIG, &text, &env);
    let network = loaded.unwrap().config.network;
    assert_eq!((network.listen_addr, network.accept, network.hold), (None, Accept::Any, Hold::Private));
    assert_eq!((network.upload, network.download), (Some(1 << 20), None));
    assert_eq!(network.pool_idle_timeout.as_secs(), 60);
    assert_eq!(
        (network.max_storage_per_peer_bytes, network.accept_deficit_bytes),
        (2_000_000_000_000, 64 << 20)
    );
    let addresses = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    let expected = config::PeerAddress { node: peer, addresses: addresses(&["b.example:1", "[::1]:2"]) };
    assert_eq!(network.peers, [expected]);
}

#[test]
fn network_that_cannot_work_is_refused() {
    check_errors(
        "[node]\nlisten_addr = 'off'\n[network]\nannounce = ['h:1']\nupload = '1 KiB/s'\ndials_per_minute = 6001\n\
         max_concurrent_handshakes = 0\n[performance]\npool_max_connections = 3\n[replication]\n\
         max_storage_per_peer = '1 KiB'\n",
        &[],
        &[
            "a node that does not listen cannot be reached where it says, but `node.listen_addr` is \"off\" \
             (node.toml:2) and `network.announce` is [\"h:1\"] (node.toml:4)",
            "with less than 16 KiB/s requests would take longer than others wait, but `network.upload` is \
             \"1 KiB/s\" (node.toml:5)",
            "dials_per_minute must lie between 1 and 6000, but `network.dials_per_minute` is 6001 (node.toml:6)",
            "node.toml:7: `network.max_concurrent_handshakes` must be a whole number from 1 to 2147483647, not 0",
            "pool_max_connections must lie between 4 and 4096, but `performance.pool_max_connections` is 3 \
             (node.toml:9)",
            "a peer must have room for a fragment, 1 MiB, but `replication.max_storage_per_peer` is \"1 KiB\" \
             (node.toml:11)",
        ],
    );
    check_errors(
        "[node]\nlisten_addr = 'example.org:4433'\n",
        &[],
        &[
            "node.toml:2: `node.listen_addr` must be an address of this machine and a port, such as \"[::]:4433\", or \
           \"off\", not \"example.org:4433\": a name that others come to stands in `network.announce`",
        ],
    );
    check_errors(
        "[network]\npeers = ['node1x@a.example:4433']\nannounce = ['a.example']\n",
        &[],
        &[
            "node.toml:2: `network.peers` must be a list of nodes with their addresses, such as \
             [\"node1…@example.org:4433\"], not \"node1x@a.example:4433\": \"node1x\" is not a valid node id: \
             invalid checksum; was it typed or copied whole?",
            "node.toml:3: `network.announce` must be a list of hosts with their ports, such as \
             [\"example.org:4433\"], not \"a.example\": it has no port: write `:4433` behind the host",
        ],
    );
}

#[test]
fn socket_path_that_cannot_be_bound_is_refused_with_its_length() {
    let long = format!("/{}", "s".repeat(107));
    let flags = Flags { socket: Some(long.clone().into()), ..Flags::default() };
    let errors = config::load_on(BIG, &Sources { flags, ..Sources::default() }).unwrap_err().to_string();
    assert_eq!(
        errors,
        format!(
            "the path of the socket may have 107 bytes and has 108 (choose a shorter one with --socket), but \
             `admin.socket` is \"{long}\" (--socket)"
        )
    );
}

#[test]
fn file_that_is_named_must_exist() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("absent.toml");
    let errors =
        config::load_on(BIG, &Sources { file: Some(file.clone()), ..Sources::default() }).unwrap_err();
    let message = errors.to_string();
    assert!(message.starts_with(&format!("{}: cannot read", file.display())), "{message}");
}

#[test]
fn file_in_the_data_folder_is_read_when_none_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let flags = Flags { data_dir: Some(dir.path().into()), ..Flags::default() };
    let sources = Sources { flags, ..Sources::default() };
    assert_eq!(config::load_on(BIG, &sources).unwrap().file, None);
    fs::write(dir.path().join("node.toml"), "node.capacity = '1 GiB'").unwrap();
    let loaded = config::load_on(BIG, &sources).unwrap();
    assert_eq!(loaded.file, Some(dir.path().join("node.toml")));
    assert_eq!(loaded.config.storage.capacity_bytes, Some(1 << 30));
}

#[test]
fn file_in_the_data_folder_cannot_name_another() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("node.toml"), "node.data_dir = '/elsewhere'").unwrap();
    let env = env(&[("TESSERAS_NODE__DATA_DIR", "/elsewhere")]);
    let home = vec![(String::from("XDG_DATA_HOME"), dir.path().display().to_string())];
    fs::create_dir(dir.path().join("tesseras")).unwrap();
    fs::copy(dir.path().join("node.toml"), dir.path().join("tesseras/node.toml")).unwrap();
    let errors = config::load_on(USER, &Sources { env: home, ..Sources::default() }).unwrap_err().to_string();
    assert!(errors.contains("cannot name another one"), "{errors}");
    assert!(config::load_on(USER, &Sources { env, ..Sources::default() }).is_ok());
}

#[test]
fn socket_lies_in_a_data_folder_that_was_named() {
    let check = |flag: Option<&str>, pairs: &[_], expected: &str| {
        let flags = Flags { data_dir: flag.map(Into::into), ..Flags::default() };
        let loaded = config::load_on(USER, &Sources { env: env(pairs), flags, file: None }).unwrap();
        assert_eq!(loaded.config.admin.socket, Path::new(expected));
    };
    let (home, runtime) = (("HOME", "/h"), ("XDG_RUNTIME_DIR", "/r"));
    check(Some("/d"), &[home, runtime], "/d/node.sock");
    check(None, &[("TESSERAS_NODE__DATA_DIR", "/d"), runtime], "/d/node.sock");
    check(None, &[home, runtime], "/r/tesseras/node.sock");
    check(None, &[home], "/h/.local/share/tesseras/node.sock");
    check(Some("/d"), &[("TESSERAS_ADMIN__SOCKET", "/s")], "/s");
}

#[test]
fn data_dir_without_a_home_is_asked_for() {
    let errors = config::load_on(USER, &Sources::default()).unwrap_err().to_string();
    assert_eq!(
        errors,
        "`node.data_dir` has no default here, because neither XDG_DATA_HOME nor HOME names a folder: \
         set it with --data-dir"
    );
}
