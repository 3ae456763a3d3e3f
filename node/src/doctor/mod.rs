//! What is wrong with this machine, each finding with a remedy.
//!
//! # Invariants
//! 1. Measuring and deciding are apart: every check ends in a pure function from what was measured to a finding.
//! 2. Nothing is changed. The only thing written is one file in the data directory, which shows how long a flush takes
//!    and is removed again.
//! 3. A running daemon is asked what it tells everybody, and nothing of it is locked.
//! 4. What could not be looked at is `unknown`, never `ok`.
//! 5. Whatever is not `ok` comes with a remedy.

mod clock;
mod collector;
pub(crate) mod daemon;
mod device;
mod filesystem;
mod flush;
pub(crate) mod limits;
mod losses;
mod network;
mod permissions;
mod place;
mod software;
pub(crate) mod space;

use std::path::Path;

use config::{Loaded, Machine};
use serde::Serialize;

use crate::{api::Storage, client::Client, progress};

/// How a check ended, from best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    /// As it should be.
    Ok,
    /// It could not be looked at, or cannot be seen from here.
    Unknown,
    /// It works, and may not one day.
    Warning,
    /// It does not work, or what is stored is in danger.
    Failed,
}

impl Outcome {
    /// In a word.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unknown => "unknown",
            Self::Warning => "warning",
            Self::Failed => "failed",
        }
    }
}

/// What was found, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Check {
    /// What was looked at; programs tell checks apart by it.
    pub(crate) check: &'static str,
    /// How it is.
    pub(crate) outcome: Outcome,
    /// What was found: a sentence, or several lines.
    pub(crate) finding: String,
    /// What to do. Always there unless all is well.
    pub(crate) remedy: Option<String>,
}

impl Check {
    fn ok(check: &'static str, finding: impl Into<String>) -> Self {
        Self { check, outcome: Outcome::Ok, finding: finding.into(), remedy: None }
    }

    fn not_ok(
        check: &'static str,
        outcome: Outcome,
        finding: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { check, outcome, finding: finding.into(), remedy: Some(remedy.into()) }
    }

    /// It could not be looked at.
    pub(crate) fn unknown(
        check: &'static str,
        finding: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::not_ok(check, Outcome::Unknown, finding, remedy)
    }

    /// It works, and may not one day.
    pub(crate) fn warning(
        check: &'static str,
        finding: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::not_ok(check, Outcome::Warning, finding, remedy)
    }

    /// It does not work.
    pub(crate) fn failed(check: &'static str, finding: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::not_ok(check, Outcome::Failed, finding, remedy)
    }
}

/// Everything there is to look at: this machine, and the daemon if one answers.
pub(crate) async fn examine(loaded: &Loaded, client: &Client) -> Vec<Check> {
    let mut checks = vec![software::configuration(loaded), software::sqlite().await];
    let (here, data_dir) = (loaded.clone(), loaded.config.node.data_dir.as_path());
    let answers = daemon::ask(client).await;
    let running = answers.as_ref().ok();
    let in_force = running.and_then(|answers| answers.storage_in(data_dir)).cloned();
    let dropped = running.and_then(|answers| answers.dropped);
    let looked = tokio::task::spawn_blocking(move || {
        let mut checks = machine(&here, in_force.as_ref());
        checks.extend(collector::examine(&here.config.observability, dropped));
        checks
    });
    match progress::patiently(LOOKING, looked).await {
        Ok(found) => checks.extend(found),
        Err(error) => checks.push(Check::failed("doctor", format!("a check fell: {error}"), REPORT_IT)),
    }
    checks.extend(daemon::judged(&answers, data_dir));
    checks
}

/// What can be looked at when the settings are wrong: what depends on them cannot.
pub(crate) async fn examine_without_settings(mistakes: &str) -> Vec<Check> {
    let nowhere = Check::unknown(
        "data-directory",
        "neither the data directory nor a daemon was looked at: the settings say where they are",
        "put the settings right and run this again",
    );
    let mut checks = vec![software::wrong_configuration(mistakes), software::sqlite().await, nowhere];
    checks.extend([clock::time_service(), limits::udp_buffers()]);
    checks
}

/// What the checks amount to, in a sentence.
pub(crate) fn conclusion(checks: &[Check]) -> String {
    let count = |outcome| checks.iter().filter(|check| check.outcome == outcome).count();
    let unseen = match count(Outcome::Unknown) {
        0 => String::new(),
        1 => " One thing could not be seen from here.".to_owned(),
        many => format!(" {many} things could not be seen from here."),
    };
    let verdict = match (count(Outcome::Failed), count(Outcome::Warning)) {
        (0, 0) => "Nothing is wrong.".to_owned(),
        (0, 1) => "Nothing is wrong, but there is a warning.".to_owned(),
        (0, warnings) => format!("Nothing is wrong, but there are {warnings} warnings."),
        (1, _) => "One check failed: do what stands below it.".to_owned(),
        (failed, _) => format!("{failed} checks failed: do what stands below each."),
    };
    verdict + &unseen
}

/// Looks at the machine, and at the room there is by what is in force in a daemon that runs. Blocks, for
/// [`flush::TIME_MAX`] and a little more.
fn machine(loaded: &Loaded, in_force: Option<&Storage>) -> Vec<Check> {
    let config = &loaded.config;
    let data_dir = config.node.data_dir.as_path();
    let mut checks = place::examine(loaded);
    checks.extend(losses::examine(data_dir));
    checks.push(permissions::data_dir(config));
    checks.push(permissions::socket(config));
    checks.extend(filesystem::examine(data_dir));
    checks.push(flush::examine(data_dir));
    checks.extend(space::examine(&config.storage, in_force));
    checks.extend([clock::examine(data_dir), clock::time_service()]);
    checks.push(limits::descriptors(data_dir));
    checks.push(limits::memory(config, Machine::here().memory_bytes));
    checks.push(limits::udp_buffers());
    checks
}

/// The path, or what stands nearest above it: a folder that is yet to be made will lie there.
fn nearest_existing(path: &Path) -> Option<&Path> {
    path.ancestors()
        .map(|above| if above.as_os_str().is_empty() { Path::new(".") } else { above })
        .find(|p| p.exists())
}

const LOOKING: &str = "looking at this machine";
const REPORT_IT: &str = "this is a fault of this software: please report it";

#[cfg(test)]
mod tests {
    use super::*;

    /// The outcome of a check that was decided on, and a part of what it says.
    #[track_caller]
    pub(super) fn check(found: &Check, outcome: Outcome, says: &str) {
        let text = format!("{}\n{}", found.finding, found.remedy.as_deref().unwrap_or_default());
        assert_eq!(found.outcome, outcome, "{text}");
        assert!(text.contains(says), "{says:?} is not in {text}");
    }

    #[test]
    fn conclusion_names_what_failed_first() {
        let one = |outcome| Check { check: "x", outcome, finding: String::new(), remedy: None };
        let conclude =
            |outcomes: &[Outcome]| conclusion(&outcomes.iter().map(|o| one(*o)).collect::<Vec<_>>());
        use Outcome::{Failed, Ok, Unknown, Warning};
        assert_eq!(conclude(&[Ok, Ok]), "Nothing is wrong.");
        assert_eq!(conclude(&[Ok, Warning]), "Nothing is wrong, but there is a warning.");
        assert_eq!(
            conclude(&[Warning, Unknown, Warning]),
            "Nothing is wrong, but there are 2 warnings. One thing could not be seen from here."
        );
        assert_eq!(conclude(&[Failed, Warning]), "One check failed: do what stands below it.");
        assert_eq!(
            conclude(&[Failed, Failed, Unknown, Unknown]),
            "2 checks failed: do what stands below each. 2 things could not be seen from here."
        );
    }

    #[test]
    fn folder_that_is_yet_to_be_made_is_looked_for_above() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(nearest_existing(&dir.path().join("a/b")), Some(dir.path()));
        assert_eq!(nearest_existing(dir.path()), Some(dir.path()));
        assert_eq!(nearest_existing(Path::new("not-there/a")), Some(Path::new(".")));
    }
}
