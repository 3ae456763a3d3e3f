//! What the README claims about the code, held against the code.

use std::collections::BTreeSet;

use crate::{
    files::File,
    markdown::{code_spans, table},
};

const ACTORS: &str = "actors/src/";
/// The trait through which one may hold a store without knowing which.
const STORE_TRAIT: &str = "FragmentStore";

type Names = BTreeSet<String>;

/// The table `| actor | owns | may call |` against the doors that each actor's folder names. A door is a type whose
/// name ends in `Handle`, or the trait `FragmentStore` as a bound.
pub(crate) fn wrong_calls(readme: &str, files: &[File]) -> Vec<String> {
    let Some(rows) = table(readme, &["actor", "owns", "may call"]) else {
        return vec![String::from("README has no table `| actor | owns | may call |`")];
    };
    let claimed = |actor: &str| {
        let row =
            rows.iter().find(|row| row.first().is_some_and(|cell| code_spans(cell).any(|s| s == actor)))?;
        Some(code_spans(row.get(2)?).map(str::to_owned).collect::<Names>())
    };
    let mut complaints = Vec::new();
    for folder in folders(files, ACTORS).iter().filter(|folder| is_actor(folder, files)) {
        let actor = format!("{}Actor", capitalised(folder));
        let named = doors(folder, files);
        match claimed(&actor) {
            None => complaints.push(format!("README's actor table has no row for `{actor}`")),
            Some(claimed) if claimed != named => complaints
                .push(format!("README says that {actor} may call {claimed:?}, its folder names {named:?}")),
            Some(_) => {}
        }
    }
    complaints
}

/// The table `| folder | holds |` against the folders that exist: every crate, and every folder in a crate's `src`.
pub(crate) fn wrong_map(readme: &str, files: &[File]) -> Vec<String> {
    let Some(rows) = table(readme, &["folder", "holds"]) else {
        return vec![String::from("README has no table `| folder | holds |`")];
    };
    let claimed: Names = rows
        .iter()
        .filter_map(|row| code_spans(row.first()?).next())
        .map(|path| path.trim_end_matches('/').to_owned())
        .collect();
    let crates: Names = manifest_folders(files);
    let inner = crates.iter().flat_map(|name| {
        let src = format!("{name}/src/");
        folders(files, &src).into_iter().map(move |folder| format!("{src}{folder}"))
    });
    let needed: Names = crates.iter().cloned().chain(inner).collect();
    let exists = |path: &str| files.iter().any(|file| file.path.starts_with(&format!("{path}/")));
    let missing = needed.difference(&claimed).map(|path| format!("README's code map leaves out {path}/"));
    let gone = claimed.iter().filter(|path| !exists(path));
    missing.chain(gone.map(|path| format!("README's code map names {path}/, which is not there"))).collect()
}

/// The table `| command | does |` against the `Commands:` of the node's `--help`.
pub(crate) fn wrong_commands(readme: &str, help: &str) -> Vec<String> {
    let Some(rows) = table(readme, &["command", "does"]) else {
        return vec![String::from("README has no table `| command | does |`")];
    };
    let first_word = |text: &str| text.split_whitespace().next().unwrap_or_default().to_owned();
    let claimed: Names =
        rows.iter().filter_map(|row| row.first()).flat_map(|cell| code_spans(cell)).map(first_word).collect();
    let listed = help.lines().skip_while(|line| !line.starts_with("Commands:")).skip(1);
    // Longer explanations continue on lines that are indented further.
    let names = listed.take_while(|line| !line.is_empty()).filter(|line| !line.starts_with("    "));
    let offered: Names = names.map(first_word).filter(|name| name != "help").collect();
    let missing = offered.difference(&claimed).map(|name| format!("README leaves out the command `{name}`"));
    let gone = claimed.difference(&offered).map(|name| format!("README names `{name}`, which is no command"));
    missing.chain(gone).collect()
}

/// Metrics (`tesseras_…`) that the README names and no source makes. The exporter adds unit and `_total` to the name
/// in the source.
pub(crate) fn unknown_metrics(readme: &str, files: &[File]) -> Vec<String> {
    let sources: Vec<&str> =
        files.iter().filter(|file| file.is_rust()).map(|file| file.text.as_str()).collect();
    let made = |name: &str| {
        let total = name.strip_suffix("_total").unwrap_or(name);
        let bare = total.strip_suffix("_bytes").or_else(|| total.strip_suffix("_seconds")).unwrap_or(total);
        let stems = [name, total, bare].map(|stem| stem.trim_start_matches("tesseras_"));
        let quoted = stems.iter().flat_map(|stem| [format!("\"{stem}\""), format!("\"tesseras_{stem}\"")]);
        quoted.into_iter().any(|name| sources.iter().any(|text| text.contains(&name)))
    };
    let names: Names =
        words(readme).filter(|word| word.starts_with("tesseras_")).map(str::to_owned).collect();
    names
        .iter()
        .filter(|name| !made(name))
        .map(|name| format!("README names the metric {name}: no source does"))
        .collect()
}

/// The folders directly below a path.
fn folders(files: &[File], below: &str) -> Names {
    let inner = files.iter().filter_map(|file| file.path.strip_prefix(below)?.split_once('/'));
    inner.map(|(folder, _)| folder.to_owned()).collect()
}

/// The folders at the top that hold a crate.
fn manifest_folders(files: &[File]) -> Names {
    let names = files.iter().filter_map(|file| file.path.strip_suffix("/Cargo.toml"));
    names.filter(|folder| !folder.contains('/')).map(str::to_owned).collect()
}

fn is_actor(folder: &str, files: &[File]) -> bool {
    files.iter().any(|file| file.path == format!("{ACTORS}{folder}/actor.rs"))
}

/// The doors to others that the code of an actor's folder names: those that it does not define itself.
fn doors(folder: &str, files: &[File]) -> Names {
    let prefix = format!("{ACTORS}{folder}/");
    let own = files.iter().filter(|file| file.is_rust() && file.path.starts_with(&prefix));
    let is_test = |file: &&File| file.path.ends_with("/tests.rs") || file.path.contains("/tests/");
    let code: Vec<String> = own.filter(|file| !is_test(file)).map(File::code).collect();
    let code = code.join("\n");
    let defined = |name: &str| code.contains(&format!("struct {name}"));
    let handles = words(&code).filter(|word| word.ends_with("Handle") && !OF_TOKIO.contains(word));
    let mut doors: Names = handles.filter(|name| !defined(name)).map(str::to_owned).collect();
    if code.contains(&format!(": {STORE_TRAIT}")) {
        doors.insert(STORE_TRAIT.to_owned());
    }
    doors
}

/// Handles that are none of an actor.
const OF_TOKIO: [&str; 3] = ["Handle", "JoinHandle", "AbortHandle"];

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
}

fn capitalised(folder: &str) -> String {
    let word = |word: &str| word.split_at_checked(1).map(|(first, rest)| first.to_uppercase() + rest);
    folder.split('_').filter_map(word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository(files: &[(&str, &str)]) -> Vec<File> {
        files.iter().map(|(path, text)| File::new(path, text)).collect()
    }

    const CALLS: &str =
        "| actor | owns | may call |\n|---|---|---|\n| `CacheActor` | memory | `StorageHandle` |\n";

    #[test]
    fn call_that_the_readme_does_not_grant_is_found() {
        let check = |readme: &str, code: &str, complaints: usize| {
            let actor = ("actors/src/cache/actor.rs", code);
            let handle = ("actors/src/cache/handle.rs", "pub struct CacheHandle;\n// ConnPoolHandle\n");
            let shared = ("actors/src/supervisor.rs", "ConnPoolHandle");
            let found = wrong_calls(readme, &repository(&[actor, handle, shared]));
            assert_eq!(found.len(), complaints, "{code}: {found:?}");
        };
        check(CALLS, "use StorageHandle;", 0);
        check(CALLS, "use StorageHandle; use CacheHandle; use JoinHandle;", 0);
        check(CALLS, "use StorageHandle; use RecordsHandle;", 1);
        check(CALLS, "use StorageHandle; struct S<T: FragmentStore>;", 1);
        check(CALLS, "", 1);
        check(CALLS, "use StorageHandle;\n#[cfg(test)]\nmod tests { use RecordsHandle; }", 0);
        check("", "use StorageHandle;", 1);
        check("| actor | owns | may call |\n|---|---|---|\n| `OtherActor` | | |\n", "use StorageHandle;", 1);
    }

    #[test]
    fn folder_that_the_map_leaves_out_is_found() {
        let check = |rows: &str, complaints: usize| {
            let files = [
                ("a/Cargo.toml", ""),
                ("a/src/lib.rs", ""),
                ("a/src/b/mod.rs", ""),
                ("a/fuzz/Cargo.toml", ""),
            ];
            let readme = format!("| folder | holds |\n|---|---|\n{rows}");
            assert_eq!(wrong_map(&readme, &repository(&files)).len(), complaints, "{rows}");
        };
        check("| `a/` | x |\n| `a/src/b/` | y |\n", 0);
        check("| `a/` | x |\n| `a/src/b/` | y |\n| `a/fuzz` | z |\n", 0);
        check("| `a/` | x |\n", 1);
        check("| `a/` | x |\n| `a/src/b/` | y |\n| `a/src/c/` | z |\n", 1);
        assert_eq!(wrong_map("", &[]).len(), 1);
    }

    #[test]
    fn command_that_is_not_there_is_found() {
        let help = "A node.\n\nCommands:\n  init    makes\n          more\n  cat     shows\n  help    Print this\n\nOptions:\n  -v  more\n";
        let check = |rows: &str, complaints: usize| {
            let readme = format!("| command | does |\n|---|---|\n{rows}");
            assert_eq!(wrong_commands(&readme, help).len(), complaints, "{rows}");
        };
        check("| `init`, `cat ID PATH` | x |\n", 0);
        check("| `init` | x |\n", 1);
        check("| `init`, `cat`, `dog` | x |\n", 1);
        assert_eq!(wrong_commands("", help).len(), 1);
    }

    #[test]
    fn metric_that_no_source_makes_is_found() {
        let check = |name: &str, source: &str, complaints: usize| {
            let files = repository(&[("a.rs", source)]);
            assert_eq!(
                unknown_metrics(&format!("see `{name}`."), &files).len(),
                complaints,
                "{name} {source}"
            );
        };
        check("tesseras_blob_reads_total", r#"counter("blob_reads")"#, 0);
        check("tesseras_cache_bytes", r#"gauge("tesseras_cache")"#, 0);
        check("tesseras_put_seconds", r#"histogram("put_seconds")"#, 0);
        check("tesseras_wal_bytes", r#"gauge("wal_file")"#, 1);
    }
}
