//! What a training run wrote down while it ran.

use std::{collections::BTreeMap, path::Path};

use serde_json::Value;

use crate::EvalError;

/// The lines of a `metrics.jsonl`: one JSON object each, of which the numbers are kept. A number in
/// a nested object is named with dots: `{"eval": {"accuracy": 0.5}}` is `eval.accuracy`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MetricsLog {
    rows: Vec<BTreeMap<String, f64>>,
}

impl MetricsLog {
    /// Reads the text of the file. A last line that was cut off by a kill is left out.
    ///
    /// # Errors
    /// If any other line is no JSON object; the error gives its number.
    pub fn parse(text: &str) -> Result<Self, EvalError> {
        let mut log = Self::default();
        for (index, line) in text.lines().enumerate() {
            if line.trim().is_empty() {
                continue;
            }
            match serde_json::from_str::<serde_json::Map<String, Value>>(line) {
                Ok(object) => {
                    let mut row = BTreeMap::new();
                    object.iter().for_each(|(name, value)| flatten(name, value, &mut row));
                    log.rows.push(row);
                }
                // A complete line ends with a newline; `lines` hides it.
                Err(_) if !text.ends_with('\n') && text.lines().count() == index + 1 => {}
                Err(source) => return Err(EvalError::MetricsLine { line: index + 1, source }),
            }
        }
        Ok(log)
    }

    /// Reads the file; see [`parse`](Self::parse).
    ///
    /// # Errors
    /// If the file cannot be read, and as [`parse`](Self::parse); the error names the file.
    pub fn read(path: &Path) -> Result<Self, EvalError> {
        let io = |source| EvalError::Io { path: path.to_path_buf(), source };
        Self::parse(&std::fs::read_to_string(path).map_err(io)?).map_err(|error| {
            EvalError::BadFile { path: path.to_path_buf(), message: error.to_string() }
        })
    }

    /// The names that occur, sorted.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> =
            self.rows.iter().flat_map(|row| row.keys().map(String::as_str)).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The points (`x`, `y`) of the lines that have both, sorted by `x`. Where an `x` occurs again,
    /// as after a resumed run, the later line counts.
    pub fn series(&self, x: &str, y: &str) -> Vec<(f64, f64)> {
        let points = self.rows.iter().filter_map(|row| Some((*row.get(x)?, *row.get(y)?)));
        let mut points: Vec<(f64, f64)> = points.collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0)); // stable: later lines stay behind
        let mut series: Vec<(f64, f64)> = Vec::with_capacity(points.len());
        for point in points {
            match series.last_mut() {
                Some(last) if last.0 == point.0 => *last = point,
                _ => series.push(point),
            }
        }
        series
    }
}

fn flatten(name: &str, value: &Value, row: &mut BTreeMap<String, f64>) {
    match value {
        Value::Number(number) => {
            if let Some(number) = number.as_f64() {
                row.insert(name.to_string(), number);
            }
        }
        Value::Object(object) => {
            object.iter().for_each(|(key, value)| flatten(&format!("{name}.{key}"), value, row));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_series_and_later_lines_count() {
        let text = r#"
{"step": 1, "loss": 2.5, "phase": "train"}
{"step": 2, "loss": 2.0}
{"step": 3, "loss": 1.0, "eval": {"accuracy": 0.25}}
{"step": 2, "loss": 1.5, "nothing": null}
{"step": 3, "lo"#;
        let log = MetricsLog::parse(text).unwrap();
        assert_eq!(log.names(), ["eval.accuracy", "loss", "step"]);
        assert_eq!(log.series("step", "loss"), [(1.0, 2.5), (2.0, 1.5), (3.0, 1.0)]);
        assert_eq!(log.series("step", "eval.accuracy"), [(3.0, 0.25)]);
        assert_eq!(log.series("step", "none"), []);
    }

    #[test]
    fn a_bad_line_is_named() {
        let text = "{\"step\": 1}\n[1, 2]\n{\"step\": 2}\n";
        let message = MetricsLog::parse(text).unwrap_err().to_string();
        assert!(message.starts_with("metrics line 2: invalid type"), "{message}");
        assert!(MetricsLog::parse("{\"step\": 1}\n{\"st\n").is_err());
    }
}
