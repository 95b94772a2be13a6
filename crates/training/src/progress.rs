//! What a person sees while a run goes on: a bar on a terminal, plain lines elsewhere.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::metrics::{EvalNumbers, TrainPoint};

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
        let numbers = format!(
            "epoch {:.1}/{}, loss {:.4}, accuracy {:.1} %, {:.0} images/s, {} left",
            point.epoch,
            self.num_epochs,
            point.loss,
            100.0 * point.accuracy,
            point.images_per_second,
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

    /// Shows an evaluation.
    pub(crate) fn evaluation(&self, epoch: u64, numbers: &EvalNumbers) {
        let percent = |value: f64| format!("{:.2}", 100.0 * value);
        let groups = [("many", numbers.many), ("medium", numbers.medium), ("few", numbers.few)];
        let groups: String = groups
            .iter()
            .filter_map(|(name, value)| Some(format!(", {name} {}", percent((*value)?))))
            .collect();
        self.line(&format!(
            "epoch {epoch}: test accuracy {} %, mean over classes {}{groups}",
            percent(numbers.accuracy),
            percent(numbers.macro_accuracy),
        ));
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
