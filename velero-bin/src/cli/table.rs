//! Tables and aligned text.

use std::fmt::Write as _;

/// Least width of a cell that another one follows.
const MIN_WIDTH: usize = 6;
/// Blanks between the longest text of a column and the next column.
const PADDING: usize = 3;

/// A table with a heading, in the layout of the peer.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Begins a table; headings are printed in capitals.
    pub(crate) fn new<I: IntoIterator<Item = S>, S: AsRef<str>>(headings: I) -> Self {
        Self {
            rows: vec![
                headings
                    .into_iter()
                    .map(|heading| heading.as_ref().to_uppercase())
                    .collect(),
            ],
        }
    }

    /// Adds a row. A cell is cut at its first line feed.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        let cut = |cell: String| match cell.split_once('\n') {
            Some((first, _)) => format!("{first}..."),
            None => cell,
        };
        self.rows.push(cells.into_iter().map(cut).collect());
    }

    /// Whether there are no rows below the heading.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.len() < 2
    }

    /// The table as text; nothing when it is empty.
    pub(crate) fn render(&self) -> String {
        if self.is_empty() {
            String::new()
        } else {
            align(&self.rows, MIN_WIDTH, PADDING)
        }
    }
}

/// Aligns cells as Go's `text/tabwriter` does: cells in a column of successive rows have one width, and the last cell
/// of a row belongs to no column.
pub(crate) fn align(rows: &[Vec<String>], min_width: usize, padding: usize) -> String {
    let mut aligner = Aligner {
        rows,
        min_width,
        padding,
        widths: Vec::new(),
        out: String::new(),
    };
    aligner.block(0, rows.len());
    aligner.out
}

struct Aligner<'a> {
    rows: &'a [Vec<String>],
    min_width: usize,
    padding: usize,
    widths: Vec<usize>,
    out: String,
}

impl Aligner<'_> {
    /// Writes rows whose first columns have their widths; finds the blocks of the next column.
    fn block(&mut self, mut start: usize, end: usize) {
        let column = self.widths.len();
        let mut row = start;
        while row < end {
            if !self.has(row, column) {
                row += 1;
                continue;
            }
            self.write(start, row);
            start = row;
            let mut width = self.min_width;
            while row < end && self.has(row, column) {
                width = width.max(self.rows[row][column].chars().count() + self.padding);
                row += 1;
            }
            self.widths.push(width);
            self.block(start, row);
            self.widths.pop();
            start = row;
        }
        self.write(start, end);
    }

    /// Whether a row has a cell in a column, its last cell aside.
    fn has(&self, row: usize, column: usize) -> bool {
        column + 1 < self.rows[row].len()
    }

    fn write(&mut self, start: usize, end: usize) {
        for row in &self.rows[start..end] {
            for (column, cell) in row.iter().enumerate() {
                match self.widths.get(column).filter(|_| column + 1 < row.len()) {
                    // Writing to a String cannot fail.
                    Some(width) => drop(write!(self.out, "{cell:<width$}")),
                    None => self.out.push_str(cell),
                }
            }
            self.out.push('\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_have_the_width_of_their_longest_text_and_padding() {
        let mut table = Table::new(["name", "status", "x"]);
        assert_eq!(table.render(), "");
        table.row(vec!["a".into(), "Completed".into(), "1".into()]);
        table.row(vec![
            "longer\nthan a line".into(),
            String::new(),
            String::new(),
        ]);
        assert_eq!(
            table.render(),
            "NAME        STATUS      X\na           Completed   1\nlonger...               \n"
        );
    }

    #[test]
    fn rows_of_other_lengths_begin_new_columns() {
        let row = |text: &str| text.split('\t').map(str::to_owned).collect::<Vec<_>>();
        let rows: Vec<_> = [
            "Name:\ta",
            "Phase:\tNew",
            "",
            "Long name of a block:",
            "\tIn:\tx",
            "\tExcluded:\ty",
        ]
        .map(row)
        .into();
        assert_eq!(
            align(&rows, 0, 2),
            "Name:   a\nPhase:  New\n\nLong name of a block:\n  In:        x\n  Excluded:  y\n"
        );
    }
}
