//! The settings, and the SQLite that is built in.

use actors::{ActorError, storage};
use config::Loaded;

use super::Check;
use crate::admin::socket::group_must_exist;

/// Settings that are right, unless what they name is not there.
pub(super) fn configuration(loaded: &Loaded) -> Check {
    if let Err(failure) = group_must_exist(loaded) {
        return wrong_configuration(&failure.to_string());
    }
    Check::ok(
        CONFIGURATION,
        match &loaded.file {
            Some(file) => format!("{} is right", file.display()),
            None => "no file; defaults, environment and flags are right".to_owned(),
        },
    )
}

/// Settings that are not.
pub(super) fn wrong_configuration(mistakes: &str) -> Check {
    Check::failed(
        CONFIGURATION,
        mistakes,
        "correct what it names, or run this as a user who may read it; `config default` explains every setting",
    )
}

/// Whether the SQLite in this program is one that damages nothing.
pub(super) async fn sqlite() -> Check {
    judged(storage::sqlite_version().await)
}

fn judged(version: Result<String, ActorError>) -> Check {
    match version {
        Ok(version) => Check::ok(SQLITE, format!("version {version}")),
        Err(error) => Check::failed(
            SQLITE,
            error.to_string(),
            "use a release of this software, or build it with its Cargo.lock",
        ),
    }
}

const CONFIGURATION: &str = "configuration";
const SQLITE: &str = "sqlite";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::{Outcome, tests::check};

    #[tokio::test]
    async fn sqlite_that_is_built_in_is_right() {
        check(&sqlite().await, Outcome::Ok, "version 3.");
    }

    #[test]
    fn sqlite_that_is_too_old_fails() {
        let error = ActorError::Version { what: "SQLite 3.40.1 can damage a database".to_owned() };
        check(&judged(Err(error)), Outcome::Failed, "3.40.1");
    }

    #[test]
    fn mistakes_in_the_settings_are_all_passed_on() {
        check(
            &wrong_configuration("a:1: one\na:2: two"),
            Outcome::Failed,
            "a:1: one\na:2: two\ncorrect what it names",
        );
    }
}
