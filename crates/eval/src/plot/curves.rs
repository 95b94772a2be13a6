//! Loss and accuracy while a model trains.

use super::{
    axes::{Axes, Scale, short, whole_percent},
    canvas::{Canvas, Color, draw},
    theme::{MARGIN, heading, legend, series_color},
};
use crate::{EvalError, MetricsLog, shot_accuracy::mean};

const PANEL: [f64; 2] = [480.0, 400.0];
/// Above the panels.
const HEADING: f64 = 70.0;
/// A curve of more points than this is drawn faintly, with its running mean on top.
const MAX_SHARP: usize = 120;
/// Up to this many points, each has a dot.
const MAX_DOTTED: usize = 30;

/// Curves that share an axis.
struct Panel {
    name: &'static str,
    is_share: bool,
    curves: Vec<(String, Vec<(f64, f64)>)>,
}

impl MetricsLog {
    /// The training curves: one panel each for the numbers whose name contains `loss`, for those
    /// with `accuracy`, `top1` or `top5`, and for `lr` or `learning_rate`, over `epoch` where each
    /// line of a curve has its own, else over `step` or `iteration`.
    ///
    /// # Errors
    /// If the plotting library fails.
    pub fn curves_svg(&self, title: &str) -> Result<String, EvalError> {
        let (x_name, panels) = self.panels();
        let panels: Vec<Panel> =
            panels.into_iter().filter(|panel| !panel.curves.is_empty()).collect();
        let width = PANEL[0] * panels.len().max(1) as f64;
        draw("training curves", [width, HEADING + PANEL[1]], |canvas| {
            let subtitle =
                if panels.is_empty() { "no loss and no accuracy was recorded" } else { "" };
            heading(canvas, title, subtitle);
            for (index, panel) in panels.iter().enumerate() {
                panel.draw(canvas, index as f64 * PANEL[0], x_name);
            }
        })
    }

    fn panels(&self) -> (&'static str, [Panel; 3]) {
        let names = self.names();
        let known = ["step", "iteration", "epoch"];
        let x = known.into_iter().find(|x| names.contains(x)).unwrap_or("step");
        let curves = |words: &[&str]| {
            let chosen = names
                .iter()
                .filter(|name| words.iter().any(|word| name.to_lowercase().contains(word)));
            let curves = chosen.map(|name| (name.to_string(), self.series(x, name)));
            curves.filter(|(_, points)| points.len() > 1).collect()
        };
        let rates = names
            .iter()
            .filter(|name| matches!(name.rsplit('.').next(), Some("lr" | "learning_rate")));
        let rates = rates.map(|name| (name.to_string(), self.series(x, name)));
        let rates = rates.filter(|(_, points)| points.len() > 1).collect();
        let panels = [
            Panel { name: "loss", is_share: false, curves: curves(&["loss"]) },
            Panel {
                name: "accuracy, %",
                is_share: true,
                curves: curves(&["accuracy", "top1", "top5"]),
            },
            Panel { name: "learning rate", is_share: false, curves: rates },
        ];
        (x, panels)
    }
}

impl Panel {
    fn draw(&self, canvas: &mut Canvas, left: f64, x_name: &str) {
        let entries = self.curves.iter().enumerate();
        let entries: Vec<(Color, String)> =
            entries.map(|(index, (name, _))| (color(index), readable(name))).collect();
        let ends = [left + 80.0, left + PANEL[0] - MARGIN];
        let below = legend(canvas, &entries, ends, HEADING + 4.0);
        let points = || self.curves.iter().flat_map(|(_, points)| points);
        let range = |values: &mut dyn Iterator<Item = f64>| {
            values.fold([f64::INFINITY, f64::NEG_INFINITY], |[min, max], value| {
                [min.min(value), max.max(value)]
            })
        };
        let [first, last] = range(&mut points().map(|point| point.0));
        let [min, max] = range(&mut points().map(|point| point.1));
        let y = match self.is_share {
            true if min >= 0.0 && max <= 1.0 => Scale::linear(0.0, 1.0),
            _ => Scale::linear(min.min(0.0), if max > 0.0 { 1.05 * max } else { 0.0 }),
        };
        let axes = Axes {
            left: ends[0],
            top: below + 22.0,
            right: ends[1],
            bottom: HEADING + PANEL[1] - 60.0,
            x: Scale::linear(first, last),
            y,
        };
        let format = if self.is_share && max <= 1.0 { whole_percent } else { short };
        axes.draw_y(canvas, self.name, format);
        let place = |&(x, y): &(f64, f64)| (axes.x(x), axes.y(y));
        let curves = || self.curves.iter().map(|(_, points)| points).enumerate();
        for (index, points) in curves().filter(|(_, points)| points.len() > MAX_SHARP) {
            let raw: Vec<_> = thin(points, 1500).iter().map(place).collect();
            canvas.line(&raw, color(index).opacity(0.28), 1.0);
        }
        for (index, points) in curves() {
            let is_sharp = points.len() <= MAX_SHARP;
            let reach = if is_sharp { 0 } else { points.len() / 40 };
            let line = thin(&running_mean(points, reach), 1000);
            let line: Vec<_> = line.iter().map(place).collect();
            canvas.line(&line, color(index), 2.2);
            if line.len() <= MAX_DOTTED {
                line.into_iter().for_each(|at| canvas.dot(at, 3.0, color(index)));
            }
        }
        axes.draw_x(canvas, x_name, short);
    }
}

/// Grey is left to baselines.
fn color(index: usize) -> Color {
    series_color(index + 1)
}

/// `train.loss` or `train_loss` as `train loss`.
fn readable(name: &str) -> String {
    name.replace(['.', '_'], " ")
}

/// Every n-th point so that at most `limit` are left, the last one included.
fn thin(points: &[(f64, f64)], limit: usize) -> Vec<(f64, f64)> {
    let step = points.len().div_ceil(limit).max(1);
    let mut thinned: Vec<_> = points.iter().copied().step_by(step).collect();
    if let (Some(&last), true) = (points.last(), !(points.len() - 1).is_multiple_of(step)) {
        thinned.push(last);
    }
    thinned
}

/// Mean over up to `reach` neighbours on either side.
fn running_mean(points: &[(f64, f64)], reach: usize) -> Vec<(f64, f64)> {
    let smooth = points.iter().enumerate().filter_map(|(index, &(x, _))| {
        let near = &points[index.saturating_sub(reach)..(index + reach + 1).min(points.len())];
        Some((x, mean(near.iter().map(|point| point.1))?))
    });
    smooth.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_are_sorted_into_panels() {
        let text = r#"{"step": 1, "train.loss": 2, "lr": 0.1, "other": 5, "eval": {"accuracy": 0.1}}
{"step": 2, "train.loss": 1, "lr": 0.2, "other": 6, "eval": {"accuracy": 0.2}}"#;
        let (x, [loss, accuracy, rate]) = MetricsLog::parse(text).unwrap().panels();
        let names = |panel: &Panel| panel.curves.iter().map(|c| c.0.clone()).collect::<Vec<_>>();
        assert_eq!(x, "step");
        assert_eq!(names(&loss), ["train.loss"]);
        assert_eq!(names(&accuracy), ["eval.accuracy"]);
        assert_eq!(names(&rate), ["lr"]);
    }

    #[test]
    fn an_empty_log_still_draws() {
        let svg = MetricsLog::default().curves_svg("nothing").unwrap();
        assert!(svg.contains("no loss and no accuracy was recorded"));
    }

    #[test]
    fn thinning_and_smoothing_keep_the_ends() {
        let points: Vec<_> = (0..1000).map(|i| (f64::from(i), f64::from(i % 2))).collect();
        let thinned = thin(&points, 300);
        assert_eq!((thinned.len(), thinned[250]), (251, (999.0, 1.0)));
        let smooth = running_mean(&points, 50);
        assert_eq!(smooth.len(), 1000);
        assert!((smooth[500].1 - 0.5).abs() < 0.01);
    }
}
