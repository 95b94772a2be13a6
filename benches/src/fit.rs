//! How the time of a loss grows with its logits.

use std::collections::BTreeMap;

use crate::report::{Record, Session, Side};
use crate::work::{Suite, Work};

/// Logits below this size are fitted; above, the time per logit should stay the same.
pub(crate) const LARGE_BYTES: u64 = 16 << 20;

/// Fixed cost and slope of one side of a method.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CostFit {
    /// Time of no logits, in microseconds.
    pub fixed_us: f64,
    /// Nanoseconds for each further logit, below 16 MiB.
    pub slope_ns: f64,
    /// Smallest and largest nanoseconds per logit from 16 MiB on; `None` without such cases.
    pub large_ns: Option<[f64; 2]>,
}

impl CostFit {
    /// How much more the dearest logit costs than the cheapest from 16 MiB on, as a share.
    pub fn large_spread(&self) -> Option<f64> {
        self.large_ns.map(|[low, high]| high / low - 1.0)
    }
}

/// Number of logits and median milliseconds of each case of the losses, by method.
pub(crate) fn points(session: &Session, side: Side) -> BTreeMap<&str, Vec<(u64, f64)>> {
    let mut found: BTreeMap<&str, Vec<(u64, f64)>> = BTreeMap::new();
    for record in session.suite(Suite::Losses) {
        if let Some((method, point)) = point(record, side) {
            found.entry(method).or_default().push(point);
        }
    }
    found.values_mut().for_each(|points| points.sort_by_key(|point| point.0));
    found
}

fn point(record: &Record, side: Side) -> Option<(&str, (u64, f64))> {
    let Work::Loss(shape) = &record.case.work else { return None };
    let logits = (shape.rows * shape.columns) as u64;
    Some((&shape.method, (logits, record.median_ms(side)?)))
}

/// Least squares of the relative error over the cases below 16 MiB of logits, given as number of
/// logits and milliseconds; `None` with fewer than two sizes.
pub fn cost_fit(points: &[(u64, f64)]) -> Option<CostFit> {
    let (large, small): (Vec<_>, Vec<_>) =
        points.iter().partition(|(logits, _)| 4 * logits >= LARGE_BYTES);
    // Weights 1 / time^2: a microsecond matters where there are few.
    let [mut w, mut wx, mut wxx, mut wy, mut wxy] = [0.0; 5];
    for &(logits, ms) in &small {
        let (x, weight) = (logits as f64, ms.powi(-2));
        w += weight;
        wx += weight * x;
        wxx += weight * x * x;
        wy += weight * ms;
        wxy += weight * x * ms;
    }
    let determinant = w * wxx - wx * wx;
    let sizes = |&(logits, _): &(u64, f64)| small.first().is_some_and(|first| first.0 != logits);
    if !small.iter().any(sizes) || determinant <= 0.0 {
        return None;
    }
    let slope = (w * wxy - wx * wy) / determinant;
    let fixed = (wxx * wy - wx * wxy) / determinant;
    let per_logit = large.iter().map(|&(logits, ms)| 1e6 * ms / logits as f64);
    let low = per_logit.clone().min_by(f64::total_cmp);
    let high = per_logit.max_by(f64::total_cmp);
    let large_ns = low.zip(high).map(|(low, high)| [low, high]);
    Some(CostFit { fixed_us: 1e3 * fixed, slope_ns: 1e6 * slope, large_ns })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_again() {
        let line = |logits: u64| (logits, 0.050 + 2e-6 * logits as f64); // 50 us + 2 ns each
        let mut points = vec![line(1000), line(50_000), line(1_000_000)];
        let fit = cost_fit(&points).unwrap();
        assert!((fit.fixed_us - 50.0).abs() < 1e-6 && (fit.slope_ns - 2.0).abs() < 1e-9, "{fit:?}");
        assert_eq!(fit.large_ns, None);
        points.extend([(5_000_000, 10.0), (10_000_000, 30.0)]); // 2 and 3 ns
        let fit = cost_fit(&points).unwrap();
        assert!((fit.fixed_us - 50.0).abs() < 1e-6);
        assert_eq!(fit.large_ns, Some([2.0, 3.0]));
        assert_eq!(fit.large_spread(), Some(0.5));
    }

    #[test]
    fn one_size_has_no_slope() {
        assert_eq!(cost_fit(&[(10, 1.0), (10, 2.0)]), None);
        assert_eq!(cost_fit(&[]), None);
    }
}
