//! The commented example: every key with its default, generated from the same code that reads it.

use crate::{
    machine::Machine,
    raw::Layers,
    reader::{Reader, Setting},
    sections::{self, Surroundings},
};

const HEAD: &str = "\
# Every setting of a Tesseras node, with its default. Nothing has to be set.
#
# Later ones win: this file, the environment (TESSERAS_STORAGE__MIN_FREE=\"2 GiB\"), flags.
# Sizes are whole numbers with a unit: \"64 KiB\", \"256 MiB\", \"2 TiB\" (\"500 GB\" is decimal).
# `config show --origin` tells where each value came from; `config check` finds all mistakes at once.
# Variables that begin with TESSERAS_TEST_ are no settings: our own tests use them.
";

/// The example, as it lies beside this crate: `config/node.example.toml`.
pub fn example() -> String {
    let small = defaults_with(0);
    let mut text = String::from(HEAD);
    let mut section = "";
    for (setting, small) in defaults().iter().zip(&small) {
        let (name, key) = setting.key.split_once('.').unwrap_or(("", setting.key));
        if name != section {
            text.push_str(&format!("\n\n[{name}]\n"));
            section = name;
        }
        text.push('\n');
        text.push_str(&entry(key, setting, small));
    }
    text
}

/// Every setting with the value that the example gives it.
pub fn defaults() -> Vec<Setting> {
    defaults_with(u64::MAX)
}

fn entry(key: &str, setting: &Setting, small: &Setting) -> String {
    let mut text = String::new();
    for line in setting.meaning.lines() {
        text.push_str(&format!("# {line}\n"));
    }
    if small.value != setting.value {
        text.push_str(&format!("# With profile \"small\": {}\n", small.value));
    }
    text.push_str(&format!("#{key} = {}\n", setting.value));
    text
}

/// What root has when nothing is written, on a machine with this much memory.
fn defaults_with(memory_bytes: u64) -> Vec<Setting> {
    let machine = Machine { memory_bytes: Some(memory_bytes), is_root: true };
    let mut reader = Reader::new(Layers::new(Vec::new(), Vec::new(), Vec::new()), Vec::new());
    sections::read(&mut reader, &Surroundings { machine, env: &[], data_dir_is_named: false });
    reader.finish().0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn example_in_the_repository_is_the_generated_one() {
        let committed = include_str!("../node.example.toml");
        let remedy = "run `cargo run -q -p node -- config default > config/node.example.toml`";
        assert!(committed == example(), "config/node.example.toml is stale: {remedy}");
    }

    #[test]
    fn example_has_no_line_too_long_to_read() {
        assert!(example().lines().all(|line| line.chars().count() <= 120), "{}", example());
    }
}
