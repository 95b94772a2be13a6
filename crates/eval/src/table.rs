//! Tables for the terminal and for Markdown.

use std::fmt::Write;

/// Rows of text cells: the first column is aligned to the left, the others to the right.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new<S: Into<String>>(header: impl IntoIterator<Item = S>) -> Self {
        let mut table = Self::default();
        table.row(header);
        table
    }

    pub(crate) fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// Columns of equal width, a line under the header.
    pub(crate) fn text(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for (index, row) in self.rows.iter().enumerate() {
            let mut line = String::new();
            for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
                // Writing into a String cannot fail.
                let _ = match column {
                    0 => write!(line, "{cell:<width$}"),
                    _ => write!(line, "  {cell:>width$}"),
                };
            }
            text.push_str(line.trim_end());
            text.push('\n');
            if index == 0 {
                let total = widths.iter().sum::<usize>() + 2 * columns.saturating_sub(1);
                text.push_str(&"─".repeat(total));
                text.push('\n');
            }
        }
        text
    }

    /// A pipe table.
    pub(crate) fn markdown(&self) -> String {
        let mut text = String::new();
        for (index, row) in self.rows.iter().enumerate() {
            let cells: Vec<String> = row.iter().map(|cell| escape(cell)).collect();
            text.push_str(&format!("| {} |\n", cells.join(" | ")));
            if index == 0 {
                let rules: Vec<&str> =
                    (0..row.len()).map(|column| if column == 0 { "---" } else { "---:" }).collect();
                text.push_str(&format!("| {} |\n", rules.join(" | ")));
            }
        }
        text
    }
}

/// A report lists all classes up to this many.
const MAX_LISTED: usize = 60;
/// Beyond, it lists this many of the most and of the least frequent.
const LISTED_ENDS: usize = 20;

/// The classes of a report in Markdown, one row for each label of `order`; the middle of a long list
/// is left out, and said to be. `intro` is the sentence before.
pub(crate) fn class_list<const N: usize>(
    intro: &str,
    header: [&str; N],
    order: &[usize],
    row: impl Fn(usize) -> [String; N],
) -> String {
    let mut text = intro.to_string();
    let mut table = Table::new(header);
    if order.len() > MAX_LISTED {
        let left = order.len() - 2 * LISTED_ENDS;
        text.push_str(&format!(" {left} in the middle are left out: see `classes.csv`."));
        order[..LISTED_ENDS].iter().for_each(|&label| table.row(row(label)));
        table.row(["…"; N]);
        order[order.len() - LISTED_ENDS..].iter().for_each(|&label| table.row(row(label)));
    } else {
        order.iter().for_each(|&label| table.row(row(label)));
    }
    match text.trim_start() {
        "" => table.markdown(),
        text => format!("{text}\n\n{}", table.markdown()),
    }
}

/// Keeps a name from opening a cell, a tag or a line of its own.
fn escape(cell: &str) -> String {
    let cell = cell.replace('\\', "\\\\").replace('|', "\\|").replace('<', "&lt;");
    cell.replace(['\n', '\r'], " ")
}

/// `0.6497` as `64.97`.
pub(crate) fn percent(fraction: f64) -> String {
    format!("{:.2}", 100.0 * fraction)
}

/// `12406` as `12,406`.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 class`, `10 classes`.
pub(crate) fn plural(number: u64, one: &str, several: &str) -> String {
    format!("{} {}", thousands(number), if number == 1 { one } else { several })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!([7, 999, 1000, 1_234_567].map(thousands), ["7", "999", "1,000", "1,234,567"]);
        assert_eq!(percent(0.64974), "64.97");
        assert_eq!(plural(1, "class", "classes"), "1 class");
    }

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(["", "many"]);
        table.row(["é|<b>", "1.00"]);
        table.row(["longer", "100.00"]);
        let text = "          many\n──────────────\né|<b>     1.00\nlonger  100.00\n";
        assert_eq!(table.text(), text);
        let markdown = "|  | many |\n| --- | ---: |\n| é\\|&lt;b> | 1.00 |\n| longer | 100.00 |\n";
        assert_eq!(table.markdown(), markdown);
    }
}
