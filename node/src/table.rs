//! Aligned tables of text.

use crate::printable::printable;

/// How a column is aligned.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// Rows under a heading, each column as wide as its widest cell.
pub(crate) struct Table<const N: usize> {
    columns: [(&'static str, Align); N],
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    /// An empty table.
    pub(crate) fn new(columns: [(&'static str, Align); N]) -> Self {
        Self { columns, rows: Vec::new() }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: [String; N]) {
        self.rows.push(cells.map(|cell| printable(&cell)));
    }

    /// The heading and the rows, without spaces at the ends of lines.
    pub(crate) fn lines(&self) -> impl Iterator<Item = String> {
        let heading = self.columns.map(|(title, _)| title.to_owned());
        let widths = self.rows.iter().fold(heading.each_ref().map(|title| width(title)), |widest, row| {
            let mut cells = row.iter().map(|cell| width(cell));
            widest.map(|known| known.max(cells.next().unwrap_or(0)))
        });
        let columns = self.columns;
        std::iter::once(heading).chain(self.rows.iter().cloned()).map(move |cells| {
            let cells = cells.iter().zip(&widths).zip(&columns).map(|((cell, width), (_, align))| {
                let space = " ".repeat(width.saturating_sub(self::width(cell)));
                if *align == Align::Left { format!("{cell}{space}") } else { format!("{space}{cell}") }
            });
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        })
    }
}

fn width(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new([("NAME", Align::Left), ("SIZE", Align::Right), ("TITLE", Align::Left)]);
        table.row(["a".into(), "1".into(), "x".into()]);
        table.row(["abcdef".into(), "12345".into(), String::new()]);
        let lines: Vec<_> = table.lines().collect();
        assert_eq!(lines, ["NAME     SIZE  TITLE", "a           1  x", "abcdef  12345"]);
    }
}
