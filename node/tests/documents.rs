//! What a package carries beside the binary, made by the binary: man pages and completions.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail as tests do")]

mod common;

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Output, Stdio},
};

use common::{Place, failed, json, stderr, stdout};

/// Runs the binary under the name that packages give it.
fn installed(place: &Place, arguments: &[&str]) -> Output {
    let path = place.path().join("tesseras");
    if !path.exists() {
        symlink(env!("CARGO_BIN_EXE_node"), &path).unwrap();
    }
    Command::new(path).args(arguments).current_dir(place.path()).env_clear().output().unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn man_pages_carry_the_name_the_program_was_called_by() {
    let place = Place::new();
    let as_built = place.bare(["man", "m/node"]).output().unwrap();
    let as_installed = installed(&place, &["man", "m/tesseras"]);
    for (output, name) in [(as_built, "node"), (as_installed, "tesseras")] {
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let folder = Path::new("m").join(name);
        let pages = names(&place.path().join(&folder));
        assert!(pages.contains(&format!("{name}.1")) && pages.contains(&format!("{name}-create.1")));
        let mut said: Vec<_> =
            stdout(&output).lines().map(|line| Path::new(line).strip_prefix(&folder).unwrap()).collect();
        said.sort();
        assert_eq!(said, pages.iter().map(Path::new).collect::<Vec<_>>(), "it says what it wrote");
        let page = fs::read_to_string(place.path().join(&folder).join(format!("{name}-create.1"))).unwrap();
        assert!(page.contains(&format!("\\fB{name} create\\fR")), "{page}");
    }
}

#[test]
fn man_pages_written_are_named_as_json_too() {
    let place = Place::new();
    let output = place.bare(["man", "pages", "--json"]).output().unwrap();
    let said = json(&output);
    assert_eq!(said["folder"], "pages");
    let listed = said["pages"].as_array().unwrap();
    assert_eq!(listed.len(), names(&place.path().join("pages")).len());
    assert!(listed.contains(&"pages/node.1".into()), "{said}");
}

#[test]
fn man_pages_in_place_of_a_file_are_exit_73() {
    let place = Place::new();
    fs::write(place.path().join("pages"), "").unwrap();
    failed(&place.node(["man", "pages"]), 73, "the folder pages cannot be made");
}

#[test]
fn completions_are_for_the_name_the_program_was_called_by() {
    let place = Place::new();
    for (shell, line) in [
        ("bash", "complete -F _tesseras -o nosort -o bashdefault -o default tesseras"),
        ("zsh", "#compdef tesseras"),
        ("fish", "complete -c tesseras "),
    ] {
        let output = installed(&place, &["completions", shell]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert!(stdout(&output).contains(line), "{shell}: {}", stdout(&output));
        let said = json(&installed(&place, &["completions", shell, "--json"]));
        assert_eq!((&said["shell"], &said["script"]), (&shell.into(), &stdout(&output).into()));
    }
}

#[test]
fn completions_for_an_unknown_shell_are_exit_2_and_the_known_ones_are_named() {
    let output = Place::new().node(["completions", "dash"]);
    failed(&output, 2, "invalid value 'dash'");
    assert!(stderr(&output).contains("bash, elvish, fish"), "{}", stderr(&output));
}

#[test]
fn completions_into_a_closed_pipe_are_no_error() {
    let place = Place::new();
    let mut child = place.command(["completions", "bash"]);
    let mut child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Closed before anything is read: every write meets a broken pipe.
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), ""));
}

#[test]
fn version_names_the_program_as_it_was_called() {
    let output = installed(&Place::new(), &["--version"]);
    assert_eq!(stdout(&output), format!("tesseras {}\n", env!("CARGO_PKG_VERSION")));
}
