//! Where values stand on a plot.

use super::{
    canvas::{Anchor, Canvas, Font},
    theme::{AXIS, GRID, INK, MUTED},
};

/// A range of values along an axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Scale {
    min: f64,
    max: f64,
    is_log: bool,
}

impl Scale {
    /// Equal steps; a range without width is widened.
    pub(crate) fn linear(min: f64, max: f64) -> Self {
        if max > min {
            Self { min, max, is_log: false }
        } else {
            Self { min: min - 0.5, max: min + 0.5, is_log: false }
        }
    }

    /// Equal factors, for positive numbers of things: from the power of ten below the smallest
    /// (below 1 if there is a 1, so that a bar of 1 is seen) to somewhat above the largest.
    pub(crate) fn log(min: u64, max: u64) -> Self {
        let min = min.max(1) as f64;
        let lower = if min <= 1.0 { 0.6 } else { 10_f64.powf(min.log10().floor()) };
        Self { min: lower, max: 1.6 * (max as f64).max(min), is_log: true }
    }

    /// Position of a value, 0 at the lower and 1 at the upper end, not beyond.
    pub(crate) fn place(&self, value: f64) -> f64 {
        let share = if self.is_log {
            (value.max(self.min).ln() - self.min.ln()) / (self.max.ln() - self.min.ln())
        } else {
            (value - self.min) / (self.max - self.min)
        };
        share.clamp(0.0, 1.0)
    }

    /// Round values within the range, about five.
    pub(crate) fn ticks(&self) -> Vec<f64> {
        if self.is_log {
            return self.log_ticks();
        }
        let rough = (self.max - self.min) / 6.0;
        let power = 10_f64.powf(rough.log10().floor());
        let factor = [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().find(|f| f * power >= rough * 0.999);
        let step = factor.unwrap_or(10.0) * power;
        let first = (self.min / step - 1e-6).ceil() as i64;
        let last = (self.max / step + 1e-6).floor() as i64;
        (first..=last).map(|tick| tick as f64 * step).collect()
    }

    fn log_ticks(&self) -> Vec<f64> {
        let decades = self.min.log10().floor() as i32..=self.max.log10().ceil() as i32;
        let factors: &[f64] = if self.max / self.min > 200.0 { &[1.0] } else { &[1.0, 2.0, 5.0] };
        let ticks = decades.flat_map(|d| factors.iter().map(move |f| f * 10_f64.powi(d)));
        ticks.filter(|&tick| tick >= 1.0 && tick >= self.min && tick <= self.max).collect()
    }
}

/// The rectangle of a plot and its two scales.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Axes {
    pub(crate) left: f64,
    pub(crate) top: f64,
    pub(crate) right: f64,
    pub(crate) bottom: f64,
    pub(crate) x: Scale,
    pub(crate) y: Scale,
}

impl Axes {
    pub(crate) fn x(&self, value: f64) -> f64 {
        self.left + self.x.place(value) * (self.right - self.left)
    }

    pub(crate) fn y(&self, value: f64) -> f64 {
        self.bottom - self.y.place(value) * (self.bottom - self.top)
    }

    /// Grid lines and numbers of the vertical axis, and its name.
    pub(crate) fn draw_y(&self, canvas: &mut Canvas, name: &str, format: impl Fn(f64) -> String) {
        for tick in self.y.ticks() {
            let y = self.y(tick);
            canvas.line(&[(self.left, y), (self.right, y)], GRID, 1.0);
            let at = (self.left - 8.0, y);
            canvas.text(&format(tick), at, Font::new(12.0, MUTED), Anchor::End);
        }
        let middle = (self.top + self.bottom) / 2.0;
        let at = (self.left - 60.0, middle);
        canvas.text(name, at, Font::new(13.0, INK), Anchor::Upwards);
    }

    /// The horizontal axis with numbers, and its name.
    pub(crate) fn draw_x(&self, canvas: &mut Canvas, name: &str, format: impl Fn(f64) -> String) {
        self.draw_base(canvas);
        for tick in self.x.ticks() {
            let x = self.x(tick);
            canvas.line(&[(x, self.bottom), (x, self.bottom + 5.0)], AXIS, 1.0);
            let at = (x, self.bottom + 17.0);
            canvas.text(&format(tick), at, Font::new(12.0, MUTED), Anchor::Middle);
        }
        self.name_x(canvas, name, 40.0);
    }

    /// The line under the plot.
    pub(crate) fn draw_base(&self, canvas: &mut Canvas) {
        canvas.line(&[(self.left, self.bottom), (self.right, self.bottom)], AXIS, 1.2);
    }

    /// Name of the horizontal axis, so many pixels under it.
    pub(crate) fn name_x(&self, canvas: &mut Canvas, name: &str, below: f64) {
        let at = ((self.left + self.right) / 2.0, self.bottom + below);
        canvas.text(name, at, Font::new(13.0, INK), Anchor::Middle);
    }
}

/// `1500000` as `1.5M`, `0.25` as `0.25`.
pub(crate) fn short(value: f64) -> String {
    let (value, unit) = match value.abs() {
        size if size >= 1e6 => (value / 1e6, "M"),
        size if size >= 1e4 => (value / 1e3, "k"),
        size if size > 0.0 && size < 1e-3 => return format!("{value:.0e}"),
        _ => (value, ""),
    };
    let digits = format!("{value:.3}");
    let digits = digits.trim_end_matches('0').trim_end_matches('.');
    format!("{digits}{unit}")
}

/// `0.25` as `25`.
pub(crate) fn whole_percent(value: f64) -> String {
    format!("{:.0}", 100.0 * value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round() {
        assert_eq!(Scale::linear(0.0, 1.0).ticks(), [0.0, 0.2, 0.4, 0.6000000000000001, 0.8, 1.0]);
        assert_eq!(Scale::linear(0.0, 23.0).ticks(), [0.0, 5.0, 10.0, 15.0, 20.0]);
        assert_eq!(
            Scale::linear(3.0, 3.0).ticks(),
            [2.6, 2.8000000000000003, 3.0, 3.2, 3.4000000000000004]
        );
        assert_eq!(Scale::log(5, 5000).ticks(), [1.0, 10.0, 100.0, 1000.0]);
        assert_eq!(Scale::log(50, 90).ticks(), [10.0, 20.0, 50.0, 100.0]);
    }

    #[test]
    fn values_stay_inside() {
        let scale = Scale::log(1, 1000);
        assert_eq!((scale.place(0.0), scale.place(1e9)), (0.0, 1.0));
        assert!(scale.place(1.0) > 0.05 && scale.place(1000.0) < 0.95);
        assert_eq!(Scale::linear(0.0, 4.0).place(1.0), 0.25);
    }

    #[test]
    fn numbers_are_short() {
        let numbers = [0.0, 0.25, 12.0, 9000.0, 12_500.0, 1.5e6, 1e-5].map(short);
        assert_eq!(numbers, ["0", "0.25", "12", "9000", "12.5k", "1.5M", "1e-5"]);
    }
}
