//! The little of Markdown that the README's tables need.

/// The rows of the first table whose header is this, cell by cell; `None` when there is none.
pub(crate) fn table(text: &str, header: &[&str]) -> Option<Vec<Vec<String>>> {
    let mut lines = text.lines().skip_while(|line| cells(line) != header);
    lines.next()?;
    // The line below the header only draws a rule.
    Some(lines.skip(1).take_while(|line| line.starts_with('|')).map(cells).collect())
}

/// The pieces of a text that stand `in backticks`.
pub(crate) fn code_spans(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The cells of a row. `\|` is a bar within a cell.
fn cells(line: &str) -> Vec<String> {
    let line = line.trim().replace("\\|", "\u{1}");
    let Some(row) = line.strip_prefix('|').and_then(|rest| rest.strip_suffix('|')) else { return Vec::new() };
    row.split('|').map(|cell| cell.trim().replace('\u{1}', "|")).collect()
}

#[test]
fn table_is_found_by_its_header() {
    let text = "# A\n\n| x | y |\n|---|---|\n| 1 | 2 |\n\n| a | b |\n|---|:-:|\n| `p\\|q` | |\n| r | s |\nend\n| t | u |\n";
    let row = |a: &str, b: &str| vec![a.to_owned(), b.to_owned()];
    assert_eq!(table(text, &["a", "b"]), Some(vec![row("`p|q`", ""), row("r", "s")]));
    assert_eq!(table(text, &["b", "a"]), None);
}

#[test]
fn code_spans_are_what_stands_in_backticks() {
    assert_eq!(code_spans("use `a`, or `b c`; `").collect::<Vec<_>>(), ["a", "b c", ""]);
}
