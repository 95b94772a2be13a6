//! What a person sees while a run goes on: a bar on a terminal, plain lines elsewhere.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::metrics::TrainPoint;

/// How to report progress, on standard error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProgressMode {
    /// A bar if standard error is a terminal, else lines.
    #[default]
    Auto,
    /// One line per logged point.
    Lines,
    /// Nothing.
    Quiet,
}

/// Shows points of the training curve.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    is_quiet: bool,
    num_steps: u64,
    num_epochs: u64,
}

impl Progress {
    /// Starts at `step` of `num_steps`.
    pub(crate) fn new(mode: ProgressMode, step: u64, num_steps: u64, num_epochs: u64) -> Self {
        let is_terminal = mode == ProgressMode::Auto && io::stderr().is_terminal();
        let bar = is_terminal.then(|| {
            let template = "{bar:30} {pos}/{len} steps, {msg}";
            // A fixed template; without it the default style is fine too.
            let style = ProgressStyle::with_template(template)
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            let target = ProgressDrawTarget::stderr();
            let bar = ProgressBar::with_draw_target(Some(num_steps), target).with_style(style);
            bar.set_position(step);
            bar
        });
        Self { bar, is_quiet: mode == ProgressMode::Quiet, num_steps, num_epochs }
    }

    /// Moves the bar; the numbers stay.
    pub(crate) fn step(&self, step: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(step);
        }
    }

    /// Shows a point of the curve.
    pub(crate) fn train(&self, point: &TrainPoint, left: Duration) {
        let accuracy = point.accuracy.map(|share| format!(", accuracy {:.1} %", 100.0 * share));
        let numbers = format!(
            "epoch {:.1}/{}, loss {:.4}{}{}, {} images/s, {} left",
            point.epoch,
            self.num_epochs,
            point.loss,
            accuracy.unwrap_or_default(),
            parts(point),
            speed(point.images_per_second),
            clock(left),
        );
        match &self.bar {
            Some(bar) => {
                bar.set_position(point.step);
                bar.set_message(numbers);
            }
            None => self.line(&format!("step {}/{}, {numbers}", point.step, self.num_steps)),
        }
    }

    /// Shows what the run is busy with, until the next point of the curve.
    pub(crate) fn message(&self, text: &'static str) {
        if let Some(bar) = &self.bar {
            bar.set_message(text);
        }
    }

    /// Shows a sentence.
    pub(crate) fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None if self.is_quiet => {}
            // A closed standard error must not stop a training.
            None => drop(writeln!(io::stderr(), "{text}")),
        }
    }

    /// Leaves the terminal clean.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// The parts of the loss, ` (classifier 0.1234, mask 0.6931)`.
fn parts(point: &TrainPoint) -> String {
    let part = |(name, value): &(&'static str, f32)| {
        format!("{} {value:.4}", name.trim_start_matches("loss_").replace('_', " "))
    };
    let parts: Vec<String> = point.losses.0.iter().map(part).collect();
    if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) }
}

/// Three digits of a speed.
fn speed(images_per_second: f64) -> String {
    match images_per_second {
        value if value < 1.0 => format!("{value:.3}"),
        value if value < 10.0 => format!("{value:.2}"),
        value => format!("{value:.0}"),
    }
}

/// `1:02:03` or `2:03`.
fn clock(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_clocks() {
        let shown = [59, 61, 3723].map(|seconds| clock(Duration::from_secs(seconds)));
        assert_eq!(shown, ["0:59", "1:01", "1:02:03"]);
    }
}
