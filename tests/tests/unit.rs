//! The unit of the service, as systemd itself judges it. Without `systemd-analyze` these tests fail; `tests/setup`
//! installs it.

#![expect(clippy::expect_used, reason = "a test ends at the first surprise")]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use tempfile::TempDir;

/// The unit, in a folder of its own, with a program that is there.
fn unit() -> (TempDir, PathBuf) {
    let packaged = Path::new(env!("CARGO_MANIFEST_DIR")).join("../node/packaging/tesseras.service");
    let text = fs::read_to_string(packaged).expect("the unit is there");
    assert!(text.contains(PROGRAM), "it does not start {PROGRAM}");
    let dir = tempfile::tempdir().expect("a folder can be made");
    let program = dir.path().join("tesseras");
    fs::write(&program, "").expect("a file can be written");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("a mode can be set");
    let unit = dir.path().join("tesseras.service");
    fs::write(&unit, text.replace(PROGRAM, &program.to_string_lossy())).expect("a file can be written");
    (dir, unit)
}

fn analyze(arguments: &[&str], unit: &Path) -> Output {
    let mut command = Command::new("systemd-analyze");
    let output = command.args(arguments).arg(unit).output();
    output.expect("systemd-analyze can be started: Debian's package systemd has it")
}

#[test]
fn unit_is_understood_by_systemd() {
    let (_dir, unit) = unit();
    let output = analyze(&["verify", "--man=no"], &unit);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
}

/// Type=notify-reload would do this, too, where systemd knows it.
#[test]
fn unit_can_be_reloaded() {
    let (_dir, unit) = unit();
    let text = fs::read_to_string(unit).expect("it was written");
    assert!(text.contains("\nExecReload=") && text.contains("/tesseras config reload\n"), "{text}");
}

#[test]
fn mistake_in_a_unit_is_found() {
    let (_dir, unit) = unit();
    let text = fs::read_to_string(&unit).expect("it was written");
    fs::write(&unit, text.replace("ProtectSystem=", "ProtectSytem=")).expect("a file can be written");
    let output = analyze(&["verify", "--man=no"], &unit);
    assert!(String::from_utf8_lossy(&output.stderr).contains("ProtectSytem"), "{output:?}");
}

#[test]
fn unit_leaves_the_service_next_to_nothing_to_do_harm_with() {
    let (_dir, unit) = unit();
    let threshold = format!("--threshold={EXPOSURE_TENTHS_MAX}");
    let output = analyze(&["security", "--offline=true", "--no-pager", &threshold], &unit);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn unit_without_its_walls_is_found() {
    let (_dir, unit) = unit();
    let text = fs::read_to_string(&unit).expect("it was written");
    fs::write(&unit, text.replace("SystemCallFilter=", "#")).expect("a file can be written");
    let threshold = format!("--threshold={EXPOSURE_TENTHS_MAX}");
    assert!(!analyze(&["security", "--offline=true", &threshold], &unit).status.success());
}

const PROGRAM: &str = "/usr/bin/tesseras";
/// Tenths of what systemd calls exposure, which goes from 0 to 10. What is left is what a node of a network needs.
const EXPOSURE_TENTHS_MAX: u32 = 15;
