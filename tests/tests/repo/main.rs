//! The repository checks itself: its shape is part of its design, and a rule that nothing asserts is soon a memory.
//!
//! Every check is a pure function from text to complaints, with a small test that shows it can fail.

mod crates;
mod files;
mod markdown;
mod readme;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use files::File;

#[test]
fn crates_depend_in_one_direction_only() {
    let metadata = cargo(&["metadata", "--format-version", "1", "--no-deps", "--locked"]);
    assert_clean(crates::reversed(&crates::edges(&metadata)));
}

#[test]
fn proto_stays_pure() {
    let tree = cargo(&["tree", "--locked", "-p", "proto", "-e", "normal,build", "--prefix", "none"]);
    assert_clean(crates::impure(&tree));
    assert_clean(crates::impure_sources(&tracked()));
}

#[test]
fn manifests_take_versions_and_lints_from_the_workspace() {
    assert_clean(files::own_settings(&tracked()));
}

#[test]
fn files_stay_short_enough_to_read() {
    assert_clean(files::too_long(&tracked()));
}

#[test]
fn source_files_open_with_what_they_are_for() {
    assert_clean(files::without_module_docs(&tracked()));
}

#[test]
fn source_files_have_no_loose_ends() {
    assert_clean(files::loose_ends(&tracked()));
}

#[test]
fn top_level_names_are_the_known_ones() {
    assert_clean(files::strange_names(&tracked()));
}

#[test]
fn actors_call_whom_the_readme_says() {
    assert_clean(readme::wrong_calls(&readme(), &tracked()));
}

#[test]
fn code_map_in_the_readme_is_complete() {
    assert_clean(readme::wrong_map(&readme(), &tracked()));
}

#[test]
fn commands_in_the_readme_are_those_of_the_node() {
    assert_clean(readme::wrong_commands(&readme(), &tests::node::help()));
}

#[test]
fn metrics_in_the_readme_exist() {
    assert_clean(readme::unknown_metrics(&readme(), &tracked()));
}

#[track_caller]
fn assert_clean(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace").to_owned()
}

fn readme() -> String {
    fs::read_to_string(root().join("README.md")).expect("README.md is there")
}

/// Every file that git tracks or would track, with its text.
fn tracked() -> Vec<File> {
    let listing =
        output(Command::new("git").args(["-c", "safe.directory=*", "ls-files", "-co", "--exclude-standard"]));
    let read = |path: &str| {
        let text = fs::read(root().join(path)).ok()?;
        Some(File::new(path, &String::from_utf8_lossy(&text)))
    };
    listing.lines().filter_map(read).collect()
}

fn cargo(arguments: &[&str]) -> String {
    output(Command::new(env!("CARGO")).args(arguments))
}

/// What a command prints when it is run in the workspace.
fn output(command: &mut Command) -> String {
    let output = command.current_dir(root()).output().expect("the command can be started");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
