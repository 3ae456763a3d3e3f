//! Examples of the commands, for `--help` and the man pages.

/// What an example does, and how it is typed behind the name of the program.
pub(crate) type Example = (&'static str, &'static str);

/// Those of a command.
pub(crate) fn of(command: &str) -> &'static [Example] {
    EXAMPLES.iter().find(|(name, _)| *name == command).map_or(&[], |(_, examples)| examples)
}

/// What ends the long help of a command, under the name of the program.
pub(crate) fn help(command: &str, program: &str) -> Option<String> {
    let lines: Vec<_> =
        of(command).iter().map(|(what, typed)| format!("  {what}:\n    {program} {typed}")).collect();
    (!lines.is_empty()).then(|| format!("Examples:\n{}", lines.join("\n")))
}

const EXAMPLES: &[(&str, &[Example])] = &[
    ("run", &[("A node whose data lie elsewhere", "run --data-dir /srv/tesseras")]),
    (
        "config",
        &[
            ("Every setting, and where it was written", "config show --origin"),
            ("Have the daemon read them again", "config reload"),
        ],
    ),
    (
        "create",
        &[("Keep a folder, and say what it is", r#"create "summer 1973" --title "Summer at the sea""#)],
    ),
    (
        "preserve",
        &[(
            "Keep a folder, and have others keep it, too",
            r#"preserve "summer 1973" --title "Summer at the sea""#,
        )],
    ),
    (
        "publish",
        &[
            ("Have others keep what is here", "publish tess12d9u6yc"),
            ("There are more of them than before", "publish tess12d9u6yc --relayout"),
        ],
    ),
    (
        "fetch",
        &[(
            "Bring it back, on another machine",
            "fetch tess12d9u6ycdxy9spqx0ss8jtr69pd7mmmzx6e3tpr2upp5x5d2u7wts8vzmug",
        )],
    ),
    (
        "recover",
        &[(
            "The machine is gone; a friend's node knows where the memories are",
            "recover --card card.txt --peer node1s8gs4lu2rpygtvqfr2ac6kr8kyrzqw3lz3g28x9pq36y502eu8hs5sxun5@example.org:4433",
        )],
    ),
    ("repair", &[("Somebody's machine is gone for good", "repair tess12d9u6yc")]),
    ("list", &[("What is kept, for a program", "list --json")]),
    (
        "verify",
        &[
            ("Read a tessera back and check all of it", "verify tess12d9u6yc"),
            ("Check an exported folder, without a daemon", "verify out"),
        ],
    ),
    ("export", &[("The files again, in a folder", "export tess12d9u6yc out")]),
    ("cat", &[("One file", r#"cat tess12d9u6yc "summer 1973/letter.txt" > letter.txt"#)]),
    (
        "forget",
        &[("Keep a copy first", "export tess12d9u6yc out"), ("Then drop it here", "forget tess12d9u6yc")],
    ),
    (
        "scrub",
        &[
            ("Have everything read back now, and wait for it", "scrub start --wait"),
            ("Leave the disk alone for a while", r#"scrub pause --for "2 hours""#),
        ],
    ),
    (
        "prove",
        &[
            ("Ask a friend's node what it holds of a tessera", "attest tess12d9u6yc --peer ann"),
            ("Then have it show that it does", "prove tess12d9u6yc --peer ann"),
        ],
    ),
    (
        "peers",
        &[
            (
                "Know a friend's node, and keep up to 200 GB for it",
                r#"peers add node1s8gs4lu2rpygtvqfr2ac6kr8kyrzqw3lz3g28x9pq36y502eu8hs5sxun5@example.org:4433 --allow "200 GB" --name ann"#,
            ),
            ("Whether it answers, and whether it reaches this node", "peers ping ann"),
        ],
    ),
    (
        "invite",
        &[
            ("A line to send to a friend, for whom 200 GB are kept", r#"invite --allow "200 GB" --name ann"#),
            ("It went to the wrong one", "invite revoke ann"),
        ],
    ),
    (
        "join",
        &[
            ("Follow an invite", "join invite1qz4n… --name ben"),
            ("One that nobody else on this machine sees", "join - < letter.txt"),
        ],
    ),
    (
        "block",
        &[
            ("Never hold a tessera", r#"block tess12d9u6yc --reason "not ours to keep""#),
            ("Have nothing to do with a node", r#"block node1s8gs4 --reason "it lies about what it has""#),
        ],
    ),
    (
        "ledger",
        &[("What is kept for whom, and what they keep", "ledger"), ("For a program", "ledger --json")],
    ),
    ("backup", &[("Keys, settings and what only the index knows", "backup /media/stick/node.tar")]),
    ("restore", &[("Into a new data directory", "restore /media/stick/node.tar --data-dir /srv/tesseras")]),
    ("events", &[("Whatever is found damaged, for a program", "events --json | grep damage_found")]),
    ("doctor", &[("What is wrong with this machine, and what to do", "doctor")]),
];

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::args::Args;

    /// As a shell takes it apart, as far as the examples need that.
    fn words(typed: &str) -> Vec<String> {
        let own = typed.split(['>', '<', '|']).next().unwrap_or_default();
        let quoted = own.split('"').enumerate().flat_map(|(at, part)| match at % 2 {
            0 => part.split_whitespace().map(str::to_owned).collect(),
            _ => vec![part.to_owned()],
        });
        std::iter::once("node".to_owned()).chain(quoted).collect()
    }

    #[test]
    fn examples_are_command_lines_of_the_commands_that_they_are_of() {
        for (name, examples) in EXAMPLES {
            assert!(Args::command().find_subcommand(name).is_some(), "{name}");
            assert!(examples.iter().any(|(_, typed)| typed.starts_with(name)), "{name}");
            for (_, typed) in *examples {
                let parsed = Args::command().try_get_matches_from(words(typed));
                assert!(parsed.is_ok(), "{typed}: {}", parsed.unwrap_err());
            }
        }
    }
}
