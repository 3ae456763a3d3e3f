//! Text that comes from somewhere else, made fit for a terminal: names come from other people's files, and a terminal
//! obeys them. The one rule for what is printed, logged and told as an error.

/// Whether a letter does something to a terminal, or to the text around it: it ends a line, or turns its direction
/// (<https://unicode.org/reports/tr9/>).
pub(crate) fn controls(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{61c}' | '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The text on one line, what controls escaped.
pub(crate) fn printable(text: &str) -> String {
    escaped(text, controls)
}

/// The same for a text of several lines, which stay.
pub(crate) fn printable_lines(text: &str) -> String {
    escaped(text, |letter| letter != '\n' && controls(letter))
}

fn escaped(text: &str, is_escaped: impl Fn(char) -> bool) -> String {
    let shown = |letter: char| {
        if is_escaped(letter) { letter.escape_default().to_string() } else { letter.into() }
    };
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_controls_is_escaped_and_nothing_else() {
        assert_eq!(printable("a\u{1b}[2Jb\n"), "a\\u{1b}[2Jb\\n");
        assert_eq!(printable("\u{202e}gpj.exe"), "\\u{202e}gpj.exe");
        assert_eq!(printable("Ångström"), "Ångström");
    }

    #[test]
    fn lines_of_a_text_stay() {
        assert_eq!(printable_lines("a:\n  \u{9b}b\r\n"), "a:\n  \\u{9b}b\\r\n");
    }
}
