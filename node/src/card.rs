//! The key card: an author's key on paper.
//!
//! A card is a text of at most 80 columns that is also an identity file of age: what age does not need stands in
//! comments. Five lines count, and the last says for each of them, in order, the first 16 bits of its BLAKE3 in
//! hexadecimal, and then those of these numbers themselves. So whoever types it in again learns which line is wrong.
//!
//! | line begins with | holds |
//! |---|---|
//! | `# author: ` | the public half of the signing key |
//! | `# public key: ` | what others encrypt to |
//! | `# signing key: ` | PKCS#8 in base64. A secret |
//! | `AGE-SECRET-KEY-` | the identity of age. A secret |
//! | `# made: ` | when, and by which version |
//! | `# checksum: ` | the checks of the lines above |
//!
//! # Invariants
//! 1. No error tells a secret, nor a part of one.
//! 2. A card that is read back is the author it was made of, or an error.

use actors::keys::{AUTHOR_LINE, Author, SIGNING_LINE};
use proto::{Checksum, keys::Zeroizing};

/// What stands on a card.
#[derive(Debug)]
pub(crate) struct Card {
    /// Whose it is.
    pub(crate) author: Author,
    /// When it was made, and by which version.
    pub(crate) made: String,
}

impl Card {
    /// The text to be printed. A secret.
    pub(crate) fn render(&self) -> Zeroizing<String> {
        let key = self.author.text();
        let value = |start: &str| key.lines().find_map(|line| line.strip_prefix(start)).unwrap_or_default();
        let values =
            [value(AUTHOR_LINE), value(PUBLIC_LINE), value(SIGNING_LINE), value(AGE_LINE), &self.made];
        let checks = values.map(check).join(" ");
        // One buffer that never moves: what is left behind when it grows would not be overwritten with zeros.
        let mut text = Zeroizing::new(String::with_capacity(CARD_BYTES_MAX));
        text.push_str(PREFACE);
        for (start, value) in STARTS.into_iter().zip(values) {
            for part in [start, value, "\n"] {
                text.push_str(part);
            }
        }
        text.push_str(&format!("{CHECKSUM_LINE}{checks} {}\n{END}", check(&checks)));
        text
    }

    /// Reads a card, as it was written or typed in again: spaces do not count, nor do other lines. Errors with every line
    /// that is wrong.
    pub(crate) fn parse(text: &str) -> Result<Self, Vec<String>> {
        let lines = STARTS.map(|start| only(text, start));
        let mut wrong: Vec<String> = lines.iter().filter_map(|line| line.clone().err()).collect();
        match checks(text) {
            Ok(checks) => wrong.extend(differing(&lines, &checks)),
            Err(reason) => wrong.push(reason),
        }
        match lines {
            [Ok(author), Ok(public), Ok(signing), Ok(identity), Ok(made)] if wrong.is_empty() => {
                let (author, public, signing) = (compact(author), compact(public), compact(signing));
                let identity = compact(identity);
                let key = Zeroizing::new(format!(
                    "{AUTHOR_LINE}{}\n{SIGNING_LINE}{}\n{AGE_LINE}{}\n",
                    author.as_str(),
                    signing.as_str(),
                    identity.as_str()
                ));
                let author = Author::parse(&key).map_err(|reason| vec![reason])?;
                if author.recipient().to_string() != *public {
                    return Err(vec!["its public key is not that of its secret key".to_owned()]);
                }
                Ok(Self { author, made: made.value.trim().to_owned() })
            }
            _ => Err(wrong),
        }
    }
}

/// A line that counts.
#[derive(Debug, Clone, Copy)]
struct Line<'a> {
    /// From 1, as editors count.
    number: usize,
    /// What follows its beginning.
    value: &'a str,
}

/// The one line that begins so.
fn only<'a>(text: &'a str, start: &str) -> Result<Line<'a>, String> {
    let lines = text.lines().zip(1..);
    let mut found = lines.filter_map(|(line, number)| {
        let value = line.trim_start().strip_prefix(start.trim_end())?;
        Some(Line { number, value })
    });
    match (found.next(), found.next()) {
        (Some(line), None) => Ok(line),
        (None, _) => Err(format!("the line that begins with `{start}` is missing")),
        (Some(first), Some(second)) => {
            Err(format!("lines {} and {} both begin with `{start}`", first.number, second.number))
        }
    }
}

/// The checks of the lines, in their order.
fn checks(text: &str) -> Result<Vec<String>, String> {
    let line = only(text, CHECKSUM_LINE)?;
    let letters: Vec<char> = compact(line).to_lowercase().chars().collect();
    let mut checks: Vec<String> = letters.chunks(CHECK_LETTERS).map(|chunk| chunk.iter().collect()).collect();
    let last = checks.pop();
    if checks.len() == STARTS.len() && last == Some(check(&checks.join(" "))) {
        return Ok(checks);
    }
    Err(format!("line {} (`{CHECKSUM_LINE}…`) is itself not as it was printed", line.number))
}

fn differing(lines: &[Result<Line<'_>, String>], checks: &[String]) -> Vec<String> {
    let lines = STARTS.iter().zip(lines).zip(checks);
    let differs = |((start, line), told): ((&&str, &Result<Line<'_>, String>), &String)| {
        let line = line.as_ref().ok()?;
        let number = line.number;
        (check(line.value) != *told).then(|| {
            format!("line {number} (`{start}…`) is not as it was printed: compare it letter by letter")
        })
    };
    lines.filter_map(differs).collect()
}

/// The value without its spaces.
fn compact(line: Line<'_>) -> Zeroizing<String> {
    let mut compact = Zeroizing::new(String::with_capacity(line.value.len()));
    compact.extend(line.value.split_whitespace());
    compact
}

/// The first 16 bits of a value's BLAKE3, whatever its spaces.
fn check(value: &str) -> String {
    let value = compact(Line { number: 0, value });
    Checksum::of(value.as_bytes()).to_string().chars().take(CHECK_LETTERS).collect()
}

const PUBLIC_LINE: &str = "# public key: ";
const AGE_LINE: &str = "AGE-SECRET-KEY-";
const CHECKSUM_LINE: &str = "# checksum: ";
/// How the lines that count begin, in their order. That of the signing key is shorter than in a key file, to fit.
const STARTS: [&str; 5] = [AUTHOR_LINE, PUBLIC_LINE, "# signing key: ", AGE_LINE, "# made: "];
const CHECK_LETTERS: usize = 4;
/// Longer than any card.
pub(crate) const CARD_BYTES_MAX: usize = 16 << 10;
const PREFACE: &str = "\
# TESSERAS KEY CARD                          secret: for you and those you trust
#
# WHAT THIS IS
#
# The key of one person. It opens the private memories that this person keeps
# with Tesseras, and it signs what they make. Whoever has it can read and sign
# as that person. When it is lost together with the computer that has it, those
# memories stay closed for ever: nobody has a second key.
#
# WHAT TO DO WITH IT
#
# Print it twice. Keep one copy in a drawer and one in another house, with
# somebody you trust. Tell those who shall have your memories where it is.
# Do not send it, photograph it, or keep it online. Then delete this file.
#
# HOW TO USE IT
#
# Type the lines below, from `# author` to `# checksum`, into a file card.txt.
# Spaces do not matter, every other letter does. These files are secret, too.
#
# 1. Look whether all is typed as it is printed; wrong lines are named:
#
#        tesseras key card --check card.txt
#
# 2. Open a private memory without any program of Tesseras, with the tool `age`
#    (https://age-encryption.org) and the memory's file content.tar.age:
#
#        age -d -i card.txt content.tar.age | tar -x
#
#    The line that begins with AGE-SECRET-KEY is enough for that.
#
# 3. Get back all that this person has published, on a new computer, from those
#    that keep it. It takes one of their nodes, by its id and its address:
#
#        tesseras recover --card card.txt --peer NODE@HOST:PORT
#
# The signing key is Ed25519, as PKCS#8 in base64: what stands between the lines
# of a PEM file `PRIVATE KEY`.
#
# ------------------------------------------------------------------------------
";
const END: &str = "# ------------------------------------------------------------------------------\n";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn card() -> Card {
        Card { author: Author::generate().unwrap(), made: "2026-11-28 by tesseras 0.1.0".to_owned() }
    }

    /// What of a line a check is made of: of the checks, all but their own.
    fn checked(line: &str, start: &str) -> String {
        let value: String = line[start.len()..].split_whitespace().collect();
        let checks = value.len() - CHECK_LETTERS;
        if start == CHECKSUM_LINE { value[..checks].to_lowercase() } else { value }
    }

    #[test]
    fn card_fits_a_page_and_leads_with_its_lines_in_comments() {
        let text = card().render();
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{}", text.as_str());
        assert!(text.is_ascii() && text.lines().count() <= 55 && text.len() <= CARD_BYTES_MAX / 4);
        let outside: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert!(matches!(outside[..], [line] if line.starts_with(AGE_LINE)), "age reads nothing else");
    }

    #[test]
    fn card_with_a_line_gone_or_twice_says_which() {
        let text = card().render();
        for start in STARTS.into_iter().chain([CHECKSUM_LINE]) {
            let line = text.lines().find(|line| line.starts_with(start)).unwrap();
            let missing = Card::parse(&text.replace(line, "")).unwrap_err();
            assert_eq!(missing, [format!("the line that begins with `{start}` is missing")]);
            let twice = Card::parse(&text.replace(line, &format!("{line}\n{line}"))).unwrap_err();
            assert!(twice.iter().any(|reason| reason.contains(&format!("both begin with `{start}`"))));
        }
    }

    #[test]
    fn card_of_two_authors_is_refused() {
        let (one, other) = (card().render(), card().render());
        let line = |text: &str| text.lines().find(|line| line.starts_with(AGE_LINE)).unwrap().to_owned();
        let wrong = Card::parse(&one.replace(&line(&one), &line(&other))).unwrap_err();
        assert!(matches!(&wrong[..], [one] if one.contains(AGE_LINE)), "{wrong:?}");
        let secret = line(&other);
        assert!(wrong.iter().all(|reason| !reason.contains(&secret[20..])));
    }

    proptest! {
        #[test]
        fn card_typed_with_any_spaces_is_the_same_author(gaps in prop::collection::vec(1_usize..30, 40), made in "[ -~]{0,40}") {
            let card = Card { made: made.trim().to_owned(), ..card() };
            let mut typed = String::new();
            let mut gaps = gaps.into_iter().cycle();
            for line in card.render().lines() {
                let start = STARTS.into_iter().chain([CHECKSUM_LINE]).find(|start| line.starts_with(start));
                let (start, mut rest) = line.split_at(start.map_or(line.len(), str::len));
                typed.push_str(start);
                if start == "# made: " {
                    typed.push_str(rest);
                    rest = "";
                }
                while let Some((letters, more)) = rest.split_at_checked(gaps.next().unwrap()) {
                    typed.push_str(letters);
                    typed.push(' ');
                    rest = more;
                }
                typed.push_str(rest);
                typed.push_str("\r\n");
            }
            let read = Card::parse(&typed).unwrap();
            prop_assert_eq!((read.author.id(), &read.made), (card.author.id(), &card.made));
            prop_assert!(read.author.text() == card.author.text());
        }

        #[test]
        fn letter_that_is_wrong_is_found_in_its_line(line in 0_usize..6, at in any::<prop::sample::Index>(), letter in "[!-~]") {
            let text = card().render();
            let start = STARTS.into_iter().chain([CHECKSUM_LINE]).nth(line).unwrap();
            let old = text.lines().find(|line| line.starts_with(start)).unwrap();
            let mut letters: Vec<char> = old.chars().collect();
            let at = start.len() + at.index(letters.len() - start.len());
            let letter = letter.chars().next().unwrap();
            prop_assume!(letters[at] != ' ' && !letters[at].eq_ignore_ascii_case(&letter));
            letters[at] = letter;
            let new: String = letters.into_iter().collect();
            // One value in 65,536 has the check of the right one: that cannot be seen.
            let (right, wrong) = (checked(old, start), checked(&new, start));
            prop_assume!(right == wrong || check(&right) != check(&wrong));
            let typed = text.replace(old, &new);
            let wrong = Card::parse(&typed).unwrap_err();
            let number = text.lines().position(|line| line == old).unwrap() + 1;
            let named = format!("line {number} (`{start}…`)");
            prop_assert!(matches!(&wrong[..], [one] if one.starts_with(&named)), "{:?}", wrong);
        }
    }
}
