//! The shape of single files: length, first line, loose ends, and where they lie.

/// The most lines a file for people may have; above that its own readers struggle.
const LINES_MAX: usize = 600;
/// What may lie at the top, besides dotfiles and `LICENSE…`.
const TOP_LEVEL: &[&str] = &[
    "Cargo.toml",
    "Cargo.lock",
    "proto",
    "config",
    "actors",
    "node",
    "tests",
    "Makefile",
    "README.md",
    "CHANGELOG.md",
];
/// Names with which unfinished work hides. Split, so that this file does not accuse itself.
const LOOSE_ENDS: &[&str] =
    &[concat!("#[", "ignore"), concat!("todo", "!("), concat!("unimplemented", "!("), concat!("FIX", "ME")];

/// Where git could not merge.
const UNMERGED: &str = concat!("<<<<", "<<< ");

/// A file of the repository.
pub(crate) struct File {
    /// Its path from the root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl File {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Its lines without comments, up to where its module of tests begins.
    pub(crate) fn code(&self) -> String {
        // Not where one is only named that is a file of its own.
        let begins = |at: &usize| {
            self.text.get(*at..).and_then(|rest| rest.lines().nth(2)).is_some_and(|line| line.contains('{'))
        };
        let end = self.text.match_indices("\n#[cfg(test)]\nmod ").map(|(at, _)| at).find(begins);
        let code = end.and_then(|end| self.text.get(..end)).unwrap_or(&self.text);
        code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
    }
}

/// Sources and documents that are too long.
pub(crate) fn too_long(files: &[File]) -> Vec<String> {
    let for_people = files.iter().filter(|file| file.is_rust() || file.path.ends_with(".md"));
    for_people
        .map(|file| (file, file.text.lines().count()))
        .filter(|(_, lines)| *lines > LINES_MAX)
        .map(|(file, lines)| {
            format!("{} has {lines} lines; at most {LINES_MAX} are allowed: split it", file.path)
        })
        .collect()
}

/// Sources that do not say first what they are for.
pub(crate) fn without_module_docs(files: &[File]) -> Vec<String> {
    let silent = files.iter().filter(|file| file.is_rust() && !file.text.starts_with("//! "));
    silent.map(|file| format!("{} does not open with `//!`", file.path)).collect()
}

/// Unfinished work, tests that never run, and silenced lints without a reason.
pub(crate) fn loose_ends(files: &[File]) -> Vec<String> {
    let unmerged = files.iter().filter(|file| file.text.lines().any(|line| line.starts_with(UNMERGED)));
    let mut complaints: Vec<_> =
        unmerged.map(|file| format!("{} holds both sides of a merge", file.path)).collect();
    for file in files.iter().filter(|file| file.is_rust()) {
        let found = LOOSE_ENDS.iter().filter(|name| file.text.contains(*name));
        complaints.extend(found.map(|name| format!("{} has a `{name}`", file.path)));
        let code = file.code();
        let silenced = code.split("[allow(").skip(1).chain(code.split("[expect(").skip(1));
        let without_reason =
            silenced.filter(|rest| !rest.split(")]").next().unwrap_or("").contains("reason ="));
        complaints.extend(without_reason.map(|_| format!("{} silences a lint without a reason", file.path)));
    }
    complaints
}

/// Names at the top that nobody agreed on.
pub(crate) fn strange_names(files: &[File]) -> Vec<String> {
    let mut names: Vec<&str> = files.iter().filter_map(|file| file.path.split('/').next()).collect();
    names.dedup();
    let known =
        |name: &str| TOP_LEVEL.contains(&name) || name.starts_with('.') || name.starts_with("LICENSE");
    names
        .into_iter()
        .filter(|name| !known(name))
        .map(|name| format!("{name} has no place at the top"))
        .collect()
}

/// Manifests of the workspace that name versions of their own, or do not take its lints.
pub(crate) fn own_settings(files: &[File]) -> Vec<String> {
    let mut complaints = Vec::new();
    for file in files.iter().filter(|file| is_member(&file.path)) {
        let mut section = "";
        for line in file.text.lines().map(str::trim) {
            if line.starts_with('[') {
                section = line;
            } else if needs_workspace(section, line) && !line.contains("workspace = true") {
                complaints.push(format!("{}: `{line}` belongs into the root Cargo.toml", file.path));
            }
        }
        if !file.text.contains("[lints]\nworkspace = true") {
            complaints.push(format!("{} does not take the lints of the workspace", file.path));
        }
    }
    complaints
}

/// Manifests one level down; fuzz targets stand outside the workspace and have their own.
fn is_member(path: &str) -> bool {
    path.ends_with("/Cargo.toml") && path.matches('/').count() == 1
}

/// Whether a line of a manifest is one that the workspace answers for.
fn needs_workspace(section: &str, line: &str) -> bool {
    let is_setting = line.contains('=') && !line.starts_with('#');
    is_setting && (section.contains("dependencies") || section == "[package]" && line.starts_with("version"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(rule: fn(&[File]) -> Vec<String>, path: &str, text: &str, complaints: usize) {
        let found = rule(&[File::new(path, text)]);
        assert_eq!(found.len(), complaints, "{path}: {text:?}: {found:?}");
    }

    #[test]
    fn file_above_the_limit_is_found() {
        check(too_long, "a/b.rs", &"//\n".repeat(600), 0);
        check(too_long, "a/b.rs", &"//\n".repeat(601), 1);
        check(too_long, "README.md", &"-\n".repeat(601), 1);
        check(too_long, "Cargo.lock", &"-\n".repeat(601), 0);
    }

    #[test]
    fn source_without_module_docs_is_found() {
        check(without_module_docs, "a.rs", "//! What it is for.\n", 0);
        check(without_module_docs, "a.rs", "use std::fs;\n//! Too late.\n", 1);
        check(without_module_docs, "a.rs", "", 1);
        check(without_module_docs, "a.md", "", 0);
    }

    #[test]
    fn loose_end_is_found() {
        check(loose_ends, "a.rs", "#[allow(dead_code, reason = \"it lives\")]\nfn f() {}", 0);
        check(loose_ends, "a.rs", "#[allow(\n    dead_code,\n    reason = \"it lives\"\n)]\nfn f() {}", 0);
        check(loose_ends, "a.rs", "#[allow(dead_code)]\nfn f() {}\n// reason = none", 1);
        check(loose_ends, "a.rs", "#![expect(dead_code)]\n", 1);
        for end in LOOSE_ENDS {
            check(loose_ends, "a.rs", end, 1);
            check(loose_ends, "a.md", end, 0);
        }
        check(loose_ends, "a.md", &format!("ours\n{UNMERGED}HEAD\n"), 1);
    }

    #[test]
    fn code_ends_where_its_tests_begin_and_not_where_they_are_named() {
        let code = |text: &str| File::new("a.rs", text).code();
        assert_eq!(code("use a;\n#[cfg(test)]\nmod tests {\n    use b;\n}"), "use a;");
        assert_eq!(
            code("mod a;\n#[cfg(test)]\nmod tests;\nuse b;"),
            "mod a;\n#[cfg(test)]\nmod tests;\nuse b;"
        );
    }

    #[test]
    fn name_at_the_top_that_is_unknown_is_found() {
        for path in ["proto/src/lib.rs", ".ci/run", "LICENSE-MIT", "Makefile"] {
            check(strange_names, path, "", 0);
        }
        check(strange_names, "notes.md", "", 1);
        check(strange_names, "utils/src/lib.rs", "", 1);
    }

    #[test]
    fn manifest_with_its_own_version_is_found() {
        const LINTS: &str = "\n[lints]\nworkspace = true\n";
        let with = |text: &str| format!("{text}{LINTS}");
        check(own_settings, "a/Cargo.toml", &with("[package]\nversion.workspace = true"), 0);
        check(own_settings, "a/Cargo.toml", &with("[package]\nversion = \"1\""), 1);
        check(own_settings, "a/Cargo.toml", &with("[dependencies]\nb = { workspace = true }"), 0);
        check(own_settings, "a/Cargo.toml", &with("[dev-dependencies]\nb = \"1\""), 1);
        check(own_settings, "a/Cargo.toml", &with("[features]\nb = []"), 0);
        check(own_settings, "a/Cargo.toml", "[package]", 1);
        check(own_settings, "Cargo.toml", "[workspace.dependencies]\nb = \"1\"", 0);
        check(own_settings, "proto/fuzz/Cargo.toml", "[dependencies]\nb = \"1\"", 0);
    }
}
