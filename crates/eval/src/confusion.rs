//! Which class is taken for which.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Counts of (label, predicted class) pairs. Only pairs that occur take memory, so 8,142 classes
/// cost no more than their test images.
///
/// In JSON: `{"num_classes": 2, "cells": [[label, predicted, count], ...]}`, sorted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Cells", into = "Cells")]
pub struct ConfusionMatrix {
    num_classes: usize,
    cells: BTreeMap<(usize, usize), u64>,
}

impl ConfusionMatrix {
    /// An empty matrix.
    pub fn new(num_classes: usize) -> Self {
        Self { num_classes, cells: BTreeMap::new() }
    }

    /// Counts one example; both indices are in `0..num_classes`.
    pub(crate) fn add(&mut self, label: usize, predicted: usize) {
        self.add_many(label, predicted, 1);
    }

    /// Counts so many of one pair at once; both indices are in `0..num_classes`.
    pub(crate) fn add_many(&mut self, label: usize, predicted: usize, count: u64) {
        if count > 0 {
            *self.cells.entry((label, predicted)).or_default() += count;
        }
    }

    /// Number of classes.
    pub fn num_classes(&self) -> usize {
        self.num_classes
    }

    /// How many examples of `label` were taken for `predicted`.
    pub fn count(&self, label: usize, predicted: usize) -> u64 {
        self.cells.get(&(label, predicted)).copied().unwrap_or_default()
    }

    /// The pairs that occur, as (label, predicted class, count), sorted.
    pub fn cells(&self) -> impl Iterator<Item = (usize, usize, u64)> {
        self.cells.iter().map(|(&(label, predicted), &count)| (label, predicted, count))
    }

    /// Examples of each class.
    pub fn label_totals(&self) -> Vec<u64> {
        self.totals(|label, _| label)
    }

    /// Predictions of each class.
    pub fn predicted_totals(&self) -> Vec<u64> {
        self.totals(|_, predicted| predicted)
    }

    /// The pairs off the diagonal that occur most, at most `limit` of them; ties in class order.
    pub fn most_confused(&self, limit: usize) -> Vec<(usize, usize, u64)> {
        let mut pairs: Vec<_> = self.cells().filter(|(a, b, _)| a != b).collect();
        pairs.sort_by_key(|&(_, _, count)| std::cmp::Reverse(count));
        pairs.truncate(limit);
        pairs
    }

    fn totals(&self, axis: impl Fn(usize, usize) -> usize) -> Vec<u64> {
        let mut totals = vec![0; self.num_classes];
        for (label, predicted, count) in self.cells() {
            if let Some(total) = totals.get_mut(axis(label, predicted)) {
                *total += count;
            }
        }
        totals
    }
}

/// What is written to files.
#[derive(Serialize, Deserialize)]
struct Cells {
    num_classes: usize,
    cells: Vec<(usize, usize, u64)>,
}

impl TryFrom<Cells> for ConfusionMatrix {
    type Error = String;

    fn try_from(Cells { num_classes, cells }: Cells) -> Result<Self, String> {
        let outside = |&&(label, predicted, _): &&(usize, usize, u64)| {
            label >= num_classes || predicted >= num_classes
        };
        if let Some(&(label, predicted, _)) = cells.iter().find(outside) {
            return Err(format!("cell [{label}, {predicted}] is outside {num_classes} classes"));
        }
        let cells = cells.into_iter().map(|(label, predicted, count)| ((label, predicted), count));
        Ok(Self { num_classes, cells: cells.collect() })
    }
}

impl From<ConfusionMatrix> for Cells {
    fn from(matrix: ConfusionMatrix) -> Self {
        Self { num_classes: matrix.num_classes, cells: matrix.cells().collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix() -> ConfusionMatrix {
        let mut matrix = ConfusionMatrix::new(3);
        for (label, predicted) in [(0, 0), (0, 1), (0, 1), (2, 1), (2, 0), (2, 0)] {
            matrix.add(label, predicted);
        }
        matrix
    }

    #[test]
    fn totals_and_worst_pairs() {
        let matrix = matrix();
        assert_eq!(matrix.label_totals(), [3, 0, 3]);
        assert_eq!(matrix.predicted_totals(), [3, 3, 0]);
        assert_eq!(matrix.most_confused(2), [(0, 1, 2), (2, 0, 2)]);
        assert_eq!((matrix.count(2, 1), matrix.count(2, 2)), (1, 0));
    }

    #[test]
    fn json_lists_the_cells() {
        let text = serde_json::to_string(&matrix()).unwrap();
        let expected = r#"{"num_classes":3,"cells":[[0,0,1],[0,1,2],[2,0,2],[2,1,1]]}"#;
        assert_eq!(text, expected);
        assert_eq!(serde_json::from_str::<ConfusionMatrix>(&text).unwrap(), matrix());
        let outside = text.replace("[2,1,1]", "[2,3,1]");
        let error = serde_json::from_str::<ConfusionMatrix>(&outside).unwrap_err().to_string();
        assert!(error.contains("cell [2, 3] is outside 3 classes"), "{error}");
    }
}
