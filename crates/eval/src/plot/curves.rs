//! Loss and accuracy while a model trains.

use std::path::Path;

use super::{
    axes::{Axes, Scale, short, whole_percent},
    canvas::{Canvas, Color, draw},
    theme::{MARGIN, heading, legend, series_color},
};
use crate::{EvalError, MetricsLog, files::write_whole, shot_accuracy::mean};

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
    curves: Vec<Curve>,
}

struct Curve {
    name: String,
    points: Vec<(f64, f64)>,
}

impl MetricsLog {
    /// The training curves: one panel for the numbers that are a `loss`, one for `accuracy`, `top1`,
    /// `top5`, `many`, `medium` and `few`, one for `lr` or `learning_rate`; over `step`, else
    /// `iteration`, else `epoch`. Two curves that are the same are drawn once.
    ///
    /// # Errors
    /// If the plotting library fails.
    pub fn curves_svg(&self, title: &str) -> Result<String, EvalError> {
        let (x_name, panels) = self.panels();
        let panels: Vec<Panel> =
            panels.into_iter().filter(|panel| !panel.curves.is_empty()).collect();
        let width = PANEL[0] * panels.len().max(1) as f64;
        draw("training curves", [width, HEADING + PANEL[1]], |canvas| {
            let subtitle = if panels.is_empty() { "nothing was recorded" } else { "" };
            heading(canvas, title, subtitle);
            for (index, panel) in panels.iter().enumerate() {
                panel.draw(canvas, index as f64 * PANEL[0], x_name);
            }
        })
    }

    /// Writes [`curves_svg`](Self::curves_svg) into a file, whole or not at all.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write_curves(&self, path: &Path, title: &str) -> Result<(), EvalError> {
        write_whole(path, self.curves_svg(title)?.as_bytes())
    }

    fn panels(&self) -> (&'static str, [Panel; 3]) {
        let names = self.names();
        let known = ["step", "iteration", "epoch"];
        let x = known.into_iter().find(|x| names.contains(x)).unwrap_or("step");
        let panel = |name, is_share, belongs: fn(&str) -> bool| {
            let mut curves: Vec<Curve> = Vec::new();
            for name in names.iter().filter(|name| belongs(name.rsplit('.').next().unwrap_or(name)))
            {
                let points = self.series(x, name);
                if points.len() > 1 && curves.iter().all(|curve| curve.points != points) {
                    curves.push(Curve { name: readable(name), points });
                }
            }
            Panel { name, is_share, curves }
        };
        let is_accuracy = |name: &str| {
            name.contains("accuracy") || ["top1", "top5", "many", "medium", "few"].contains(&name)
        };
        let panels = [
            panel("loss", false, |name| name.contains("loss")),
            panel("accuracy, %", true, is_accuracy),
            panel("learning rate", false, |name| name == "lr" || name == "learning_rate"),
        ];
        (x, panels)
    }
}

impl Panel {
    fn draw(&self, canvas: &mut Canvas, left: f64, x_name: &str) {
        let entries = self.curves.iter().enumerate();
        let entries: Vec<(Color, String)> =
            entries.map(|(index, curve)| (color(index), curve.name.clone())).collect();
        let ends = [left + 80.0, left + PANEL[0] - MARGIN];
        let below = legend(canvas, &entries, ends, HEADING + 4.0);
        let points = || self.curves.iter().flat_map(|curve| &curve.points);
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
        let curves = || self.curves.iter().map(|curve| &curve.points).enumerate();
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

/// `loss` as `training loss`, `eval.accuracy` as `test accuracy`, `lr` as `learning rate`.
fn readable(name: &str) -> String {
    let words = |name: &str| name.replace(['.', '_'], " ");
    match name.split_once('.') {
        _ if name == "lr" || name == "learning_rate" => "learning rate".into(),
        Some(("eval", name)) => format!("test {}", words(name)),
        None if name == "loss" || name == "accuracy" => format!("training {name}"),
        _ => words(name),
    }
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
        let text = r#"{"step": 1, "loss": 2, "accuracy": 0.3, "lr": 0.1, "images_per_second": 5}
{"step": 2, "loss": 1, "accuracy": 0.4, "lr": 0.2, "images_per_second": 6}
{"step": 1, "eval": {"accuracy": 0.1, "macro_accuracy": 0.1, "few": 0}}
{"step": 2, "eval": {"accuracy": 0.2, "macro_accuracy": 0.2, "few": 0.1}}"#;
        let (x, [loss, accuracy, rate]) = MetricsLog::parse(text).unwrap().panels();
        let names = |panel: &Panel| panel.curves.iter().map(|c| c.name.clone()).collect::<Vec<_>>();
        assert_eq!(x, "step");
        assert_eq!(names(&loss), ["training loss"]);
        assert_eq!(names(&accuracy), ["training accuracy", "test accuracy", "test few"]);
        assert_eq!(names(&rate), ["learning rate"]);
    }

    #[test]
    fn an_empty_log_still_draws() {
        let svg = MetricsLog::default().curves_svg("nothing").unwrap();
        assert!(svg.contains("nothing was recorded"));
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
