//! The table of a run.

use std::fmt;

use serde::Serialize;

use crate::case::Quantity;
use crate::tolerance::Arithmetic;

/// Which form of the operations ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// Burn's operations.
    Composed,
    /// The fused forms, where there are any.
    Fused,
}

impl Form {
    /// As the table says it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Composed => "composed",
            Self::Fused => "fused",
        }
    }
}

/// A device in one form.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Column {
    /// Name of the device.
    pub device: String,
    /// The form.
    pub form: Form,
    /// Time of all cases, the compilation of kernels included.
    pub seconds: f64,
}

/// A quantity of a case on every device.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// Name of the case.
    pub case: String,
    /// What the case computes.
    pub arithmetic: Arithmetic,
    /// What is compared.
    pub quantity: Quantity,
    /// Whether it is compared with a float64 loop on the host; else with the first column.
    pub is_host_reference: bool,
    /// One for each column.
    pub cells: Vec<Cell>,
}

/// How a quantity came out on a device.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cell {
    /// Largest error, relative to the largest value of the reference, or the number of host reads;
    /// none where nothing came out.
    pub error: Option<f64>,
    /// The largest error that passes.
    pub tolerance: f64,
    /// Whether it passed.
    pub verdict: Verdict,
}

/// How a quantity came out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "verdict")]
pub enum Verdict {
    /// Within the tolerance.
    Passed,
    /// The device does not have what the case is about.
    NotThere,
    /// A fault of the backend that is known, and not this library's.
    Known {
        /// The fault.
        reason: String,
    },
    /// Anything else.
    Failed {
        /// What happened.
        reason: String,
    },
}

/// Every case on every device; its text is a table in Markdown.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The devices and forms.
    pub columns: Vec<Column>,
    /// The cases.
    pub rows: Vec<Row>,
}

impl Report {
    /// Whether nothing failed but known faults of backends.
    pub fn is_passed(&self) -> bool {
        self.failures().is_empty()
    }

    /// One line for everything that failed.
    pub fn failures(&self) -> Vec<String> {
        self.remarks(|verdict| match verdict {
            Verdict::Failed { reason } => Some(reason),
            _ => None,
        })
    }

    /// One line for every known fault that was met.
    pub fn known_faults(&self) -> Vec<String> {
        self.remarks(|verdict| match verdict {
            Verdict::Known { reason } => Some(reason),
            _ => None,
        })
    }

    fn remarks(&self, reason: impl Fn(&Verdict) -> Option<&String>) -> Vec<String> {
        let mut lines = Vec::new();
        for row in &self.rows {
            for (column, cell) in self.columns.iter().zip(&row.cells) {
                let Some(reason) = reason(&cell.verdict) else { continue };
                let (device, form) = (&column.device, column.form.name());
                let (case, quantity) = (&row.case, row.quantity.name());
                lines.push(format!("{case}, {quantity}, on {device}, {form}: {reason}"));
            }
        }
        lines
    }

    fn cells(&self, row: &Row) -> Vec<String> {
        let reference = if row.is_host_reference { "float64" } else { "first column" };
        let mut tolerances: Vec<String> = Vec::new();
        for cell in &row.cells {
            let tolerance = match row.quantity {
                Quantity::HostReads => format!("{}", cell.tolerance),
                _ => format!("{:.0e}", cell.tolerance),
            };
            if !tolerances.contains(&tolerance) {
                tolerances.push(tolerance);
            }
        }
        let first = [row.case.as_str(), row.quantity.name(), reference].map(str::to_owned);
        let mut cells = Vec::from(first);
        cells.push(tolerances.join(" or "));
        cells.extend(row.cells.iter().map(Cell::to_string));
        cells
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.error, &self.verdict) {
            (_, Verdict::Known { .. }) => f.write_str("known fault"),
            (_, Verdict::NotThere) => f.write_str("-"),
            (Some(error), Verdict::Passed) if error.fract() == 0.0 => write!(f, "{error}"),
            (Some(error), Verdict::Passed) => write!(f, "{error:.1e}"),
            (Some(error), Verdict::Failed { .. }) if error.is_finite() => {
                write!(f, "FAILED {error:.1e}")
            }
            _ => f.write_str("FAILED"),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines =
            vec![Vec::from(["Case", "Quantity", "Reference", "Tolerance"].map(str::to_owned))];
        lines[0].extend(self.columns.iter().map(|c| format!("{} {}", c.device, c.form.name())));
        lines.extend(self.rows.iter().map(|row| self.cells(row)));
        let widths: Vec<usize> = (0..lines[0].len())
            .map(|column| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0))
            .collect();
        for (index, line) in lines.iter().enumerate() {
            let cells = line.iter().zip(&widths).map(|(cell, &width)| format!(" {cell:<width$} |"));
            writeln!(f, "|{}", cells.collect::<String>())?;
            if index == 0 {
                let rule = widths.iter().map(|width| format!("{}|", "-".repeat(width + 2)));
                writeln!(f, "|{}", rule.collect::<String>())?;
            }
        }
        writeln!(f)?;
        for column in &self.columns {
            let Column { device, form, seconds } = column;
            writeln!(f, "{device} {}: {seconds:.1} s", form.name())?;
        }
        for line in self.known_faults() {
            writeln!(f, "known fault: {line}")?;
        }
        for line in self.failures() {
            writeln!(f, "FAILED: {line}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_lines_up_and_failures_are_told() {
        let cell =
            |error: f64, verdict: Verdict| Cell { error: Some(error), tolerance: 1e-5, verdict };
        let failed = Verdict::Failed { reason: "beyond the tolerance".into() };
        let column = |form: Form| Column { device: "flex".into(), form, seconds: 1.25 };
        let report = Report {
            columns: vec![column(Form::Composed), column(Form::Fused)],
            rows: vec![Row {
                case: "relu".into(),
                arithmetic: Arithmetic::Sums,
                quantity: Quantity::Forward,
                is_host_reference: false,
                cells: vec![cell(0.0, Verdict::Passed), cell(3e-4, failed)],
            }],
        };
        let expected = "\
| Case | Quantity | Reference    | Tolerance | flex composed | flex fused    |
|------|----------|--------------|-----------|---------------|---------------|
| relu | forward  | first column | 1e-5      | 0             | FAILED 3.0e-4 |

flex composed: 1.2 s
flex fused: 1.2 s
FAILED: relu, forward, on flex, fused: beyond the tolerance
";
        assert_eq!(report.to_string(), expected);
        assert!(!report.is_passed() && report.known_faults().is_empty());
    }
}
