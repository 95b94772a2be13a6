//! Many times as a few numbers.

use serde::{Deserialize, Serialize};

/// Times of one side of a case, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The first call of the process: with what is loaded, compiled, tuned and allocated once.
    pub cold_ms: f64,
    /// Half of the warm calls took less.
    pub median_ms: f64,
    /// A quarter took less.
    pub lower_ms: f64,
    /// A quarter took more.
    pub upper_ms: f64,
    /// The fastest.
    pub min_ms: f64,
    /// Warm calls that were timed.
    pub calls: usize,
}

impl Summary {
    /// Summarises the warm calls; `None` without any.
    pub fn new(cold_ms: f64, mut warm_ms: Vec<f64>) -> Option<Self> {
        warm_ms.sort_by(f64::total_cmp);
        Some(Self {
            cold_ms,
            median_ms: quantile(&warm_ms, 0.5)?,
            lower_ms: quantile(&warm_ms, 0.25)?,
            upper_ms: quantile(&warm_ms, 0.75)?,
            min_ms: *warm_ms.first()?,
            calls: warm_ms.len(),
        })
    }

    /// Distance of the quartiles over the median.
    pub fn spread(&self) -> f64 {
        (self.upper_ms - self.lower_ms) / self.median_ms
    }
}

/// Linear between the two nearest values of a sorted list.
fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let place = share * sorted.len().checked_sub(1)? as f64;
    let below = place.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    Some(sorted[below] + (place - below as f64) * (sorted[above] - sorted[below]))
}

/// Geometric mean of positive values, each counted so many times; `None` without values.
pub fn geometric_mean(values: impl IntoIterator<Item = (f64, usize)>) -> Option<f64> {
    let (mut sum, mut total) = (0.0, 0);
    for (value, count) in values {
        sum += count as f64 * value.ln();
        total += count;
    }
    (total > 0).then(|| (sum / total as f64).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_of_five_and_of_two() {
        let summary = Summary::new(9.0, vec![5.0, 1.0, 4.0, 2.0, 3.0]).unwrap();
        assert_eq!((summary.median_ms, summary.min_ms, summary.calls), (3.0, 1.0, 5));
        assert_eq!([summary.lower_ms, summary.upper_ms], [2.0, 4.0]);
        assert_eq!((summary.cold_ms, summary.spread()), (9.0, 2.0 / 3.0));
        let summary = Summary::new(0.0, vec![3.0, 1.0]).unwrap();
        assert_eq!([summary.lower_ms, summary.median_ms, summary.upper_ms], [1.5, 2.0, 2.5]);
        assert_eq!(Summary::new(1.0, vec![]), None);
    }

    #[test]
    fn geometric_means_count() {
        assert!((geometric_mean([(1.0, 1), (8.0, 2)]).unwrap() - 4.0).abs() < 1e-12);
        assert_eq!(geometric_mean([]), None);
    }
}
