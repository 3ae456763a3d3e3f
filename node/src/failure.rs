//! Why a command ended early.

use std::{fmt, io, path::Path};

use crate::problem::{Kind, Problem};

/// The error of every command.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Whoever read our output has gone, as `head` does. Nobody is left to tell; it is not an error.
    ClosedPipe,
    /// Something went wrong.
    Problem(Box<Problem>),
}

impl Failure {
    /// A problem of this kind; `detail` says what happened, to what, and what to do.
    pub(crate) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Problem::new(kind, detail).into()
    }

    /// Reading or writing `path` failed while `doing` something, as in "reading".
    pub(crate) fn io(doing: &str, path: &Path, error: &io::Error) -> Self {
        Self::new(Kind::Io, format!("{doing} {} failed: {error}", path.display()))
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::Problem(Box::new(problem))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClosedPipe => f.write_str("the reader of the output has gone"),
            Self::Problem(problem) => f.write_str(&problem.detail),
        }
    }
}
