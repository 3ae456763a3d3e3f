//! Exit codes: what scripts may rely on. The numbers follow `sysexits.h` where it has one.

use std::process::ExitCode;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Ok = 0,
    /// Refused or failed for a reason that has no number of its own.
    Failure = 1,
    /// The command line itself is wrong.
    Usage = 2,
    /// Done, but less safe than asked.
    LessSafe = 3,
    /// Stored or exported data is damaged.
    Damaged = 65,
    /// No daemon listens on the socket.
    NotRunning = 69,
    /// A fault of this software.
    Internal = 70,
    /// What is to be made cannot be made there, or the data directory is not one.
    CannotCreate = 73,
    /// Reading or writing failed, or the disk is full.
    Io = 74,
    /// Another daemon holds the data directory, or the node is busy: try again later.
    Busy = 75,
    /// Not allowed.
    NotPermitted = 77,
    /// The configuration is wrong, or the data was written by a later version.
    BadConfig = 78,
}

impl Exit {
    const ALL: [Self; 12] = [
        Self::Ok,
        Self::Failure,
        Self::Usage,
        Self::LessSafe,
        Self::Damaged,
        Self::NotRunning,
        Self::Internal,
        Self::CannotCreate,
        Self::Io,
        Self::Busy,
        Self::NotPermitted,
        Self::BadConfig,
    ];

    /// The number the shell sees.
    pub(crate) const fn code(self) -> u8 {
        self as u8
    }

    /// What it means, in a few words.
    const fn meaning(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failure => "failure",
            Self::Usage => "wrong usage",
            Self::LessSafe => "done, but less safe than asked",
            Self::Damaged => "damaged data",
            Self::NotRunning => "the daemon is not running",
            Self::Internal => "internal fault",
            Self::CannotCreate => "cannot create it there, or it is the wrong data directory",
            Self::Io => "input or output failed, or the disk is full",
            Self::Busy => "locked by another daemon, or busy: try again later",
            Self::NotPermitted => "not permitted",
            Self::BadConfig => "wrong configuration, or data of a later version",
        }
    }

    /// Every number and what it means.
    pub(crate) fn table() -> [(u8, &'static str); 12] {
        Self::ALL.map(|exit| (exit.code(), exit.meaning()))
    }

    /// The table that ends `--help`.
    pub(crate) fn help() -> String {
        let rows = Self::table().map(|(code, meaning)| format!("  {code:>2}  {meaning}"));
        format!("Exit codes:\n{}", rows.join("\n"))
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_the_ones_of_the_interface() {
        let codes = Exit::ALL.map(Exit::code);
        assert_eq!(codes, [0, 1, 2, 3, 65, 69, 70, 73, 74, 75, 77, 78]);
    }
}
