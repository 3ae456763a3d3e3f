//! The command line without a daemon: exit codes, output, problem documents.

mod common;

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use common::{Place, failed, problem, stderr, stdout};

#[test]
fn wrong_usage_is_exit_2() {
    let place = Place::new();
    failed(&place.node(["frobnicate"]), 2, "error: unrecognized subcommand 'frobnicate'");
    let output = place.node(["--json", "frobnicate"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(problem(&output)["type"], "urn:tesseras:problem:usage");
}

#[test]
fn what_is_verified_is_a_tessera_or_a_folder_that_is_there() {
    let place = Place::new();
    failed(&place.node(["verify", "abc"]), 2, "abc is neither a tessera nor a folder that is here");
    failed(&place.node(["verify", "tess1b"]), 2, "is not a valid tessera id");
    fs::create_dir(place.path().join("abc")).unwrap();
    failed(&place.node(["verify", "abc"]), 74, "abc");
}

#[test]
fn descriptors_that_are_too_few_are_named() {
    let place = Place::new();
    let with_limit = |limit: &str, command: &str| {
        let node = place.command([command]);
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("ulimit -n {limit}; exec \"$0\" \"$@\"")]);
        shell.arg(node.get_program()).args(node.get_args()).output().unwrap()
    };
    failed(&with_limit("8", "status"), 74, "may have 8 open files, of which the daemon needs 640");
    let output = with_limit("12", "run");
    let told = stderr(&output);
    assert!(told.contains("this process may have 12, and needs up to 640"), "{told}");
    assert!(told.contains("`ulimit -n 4096` before `run`"), "{told}");
}

#[test]
fn command_that_is_missing_shows_the_help() {
    failed(&Place::new().node([""; 0]), 2, "Usage: ");
}

#[test]
fn subcommand_that_is_missing_is_a_problem_where_json_is_asked_for() {
    for command in ["config", "scrub", "key", "fragment"] {
        let output = Place::new().node(["--json", command]);
        assert_eq!((output.status.code(), stdout(&output)), (Some(2), ""));
        let problem = problem(&output);
        assert!(problem["type"].as_str().unwrap().ends_with("usage"), "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains("Usage: "), "{problem}");
    }
}

#[test]
fn wrong_settings_are_exit_78_and_all_named_at_once() {
    let place = Place::new();
    let file = place.path().join("wrong.toml");
    fs::write(&file, "[node]\ncapacit = \"1 GiB\"\n[storage]\nmin_free = 7\n").unwrap();
    let output = place.node(["config", "check", "--config", file.to_str().unwrap()]);
    failed(&output, 78, "wrong.toml:2: there is no setting `node.capacit`; did you mean `node.capacity`?");
    assert!(stderr(&output).contains("wrong.toml:4: `storage.min_free`"), "{}", stderr(&output));

    let output = place.node(["config", "check", "--json", "--config", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(78));
    assert_eq!(problem(&output)["type"], "urn:tesseras:problem:bad-config");
}

#[test]
fn group_that_is_not_there_is_wrong_before_a_daemon_is_started() {
    let place = Place::new();
    let file = place.path().join("group.toml");
    fs::write(&file, "[admin]\nsocket_group = \"no-such-group\"\n").unwrap();
    let options = ["--config", file.to_str().unwrap()];
    let output = place.node(["config", "check"].iter().chain(&options));
    failed(&output, 78, "group.toml:2: admin.socket_group names the group \"no-such-group\"");
    assert!(stderr(&output).contains("`groupadd no-such-group`"), "{}", stderr(&output));
    let output = place.node(["doctor"].iter().chain(&options));
    assert!(stdout(&output).contains("group.toml:2: admin.socket_group"), "{}", stdout(&output));
    fs::write(&file, "[admin]\nsocket_group = \"root\"\n").unwrap();
    assert_eq!(place.node(["config", "check"].iter().chain(&options)).status.code(), Some(0));
}

#[test]
fn closed_pipe_is_not_an_error() {
    let place = Place::new();
    let mut child = place.command(["config", "default"]);
    let mut child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Closed before anything is read: every write meets a broken pipe.
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), ""));
}

#[test]
fn reader_that_takes_one_line_gets_it() {
    let place = Place::new();
    let mut child = place.command(["config", "default"]);
    let mut child = child.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("# Every setting"), "{line}");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn full_disk_behind_standard_output_is_exit_74() {
    let place = Place::new();
    let mut command = place.command(["config", "default"]);
    let full = File::options().write(true).open("/dev/full").unwrap();
    let output = command.stdout(full).stderr(Stdio::piped()).output().unwrap();
    failed(&output, 74, "error: writing to standard output failed");
}

#[test]
fn settings_are_shown_with_their_origin() {
    let place = Place::new();
    let output = place.node(["config", "show", "--origin"]);
    let line = stdout(&output).lines().find(|line| line.starts_with("data_dir")).unwrap();
    assert!(line.ends_with("# --data-dir"), "{line}");
    let json: Vec<serde_json::Value> =
        serde_json::from_str(stdout(&place.node(["config", "show", "--json"]))).unwrap();
    let setting = json.iter().find(|setting| setting["key"] == "observability.metrics_addr").unwrap();
    assert_eq!(setting["value"], "off");
    assert_eq!(setting["origin"], "TESSERAS_OBSERVABILITY__METRICS_ADDR");
}

#[test]
fn defaults_are_json_when_that_is_asked_for() {
    let output = Place::new().node(["config", "default", "--json"]);
    let json: Vec<serde_json::Value> = serde_json::from_str(stdout(&output)).unwrap();
    let setting = json.iter().find(|setting| setting["key"] == "performance.fragment_cache_size_mb").unwrap();
    assert_eq!((&setting["value"], &setting["origin"]), (&128.into(), &"default".into()));
}

#[test]
fn settings_shown_can_be_read_again() {
    let place = Place::new();
    let file = place.path().join("shown.toml");
    fs::write(&file, &place.node(["config", "show", "--origin"]).stdout).unwrap();
    let output = place.node(["config", "check", "--config", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}
