//! The plots of a detector's report.

use super::{
    canvas::{Canvas, draw},
    class_accuracy::{Bar, bars_with_means, scatter},
    class_distribution::{self, MAX_NAMED},
    confusion, precision_recall,
    theme::{MARGIN, frequency_color, heading, legend},
    tide,
};
use crate::{
    DetectionReport, EvalError,
    detection::{GROUPS, group_name},
    table::{percent, plural},
};

const SIZE: [f64; 2] = [960.0, 540.0];

impl DetectionReport {
    /// The plots of a report by file name: average precision against training images, of each class
    /// where there are few, precision over recall, training images where they are known, and kinds
    /// of errors and confusion where they were analysed.
    ///
    /// # Errors
    /// If the plotting library fails.
    pub fn plots(&self) -> Result<Vec<(&'static str, String)>, EvalError> {
        let mut plots = vec![
            ("ap_by_frequency.svg", ap_by_frequency(self)?),
            ("precision_recall.svg", precision_recall::svg(self)?),
        ];
        if self.classes.len() <= MAX_NAMED {
            plots.push(("class_ap.svg", class_ap(self)?));
        }
        if let Some(svg) = class_distribution::of_detection(self) {
            plots.push(("class_distribution.svg", svg?));
        }
        if let Some(analysis) = &self.analysis {
            plots.push(("errors.svg", tide::svg(&self.name, analysis)?));
            plots.push(("confusion.svg", confusion::of_detection(self, analysis)?));
        }
        Ok(plots)
    }

    /// File name and title of each plot.
    pub(crate) fn plot_titles(&self) -> Vec<(&'static str, &'static str)> {
        let (is_named, has_counts) = (self.classes.len() <= MAX_NAMED, has_counts(self));
        let has_analysis = self.analysis.is_some();
        let all = [
            (true, ("ap_by_frequency.svg", "Average precision by class frequency")),
            (is_named, ("class_ap.svg", "Average precision of each class")),
            (true, ("precision_recall.svg", "Precision over recall")),
            (has_counts, ("class_distribution.svg", "Training images of each class")),
            (has_analysis, ("errors.svg", "Kinds of errors")),
            (has_analysis, ("confusion.svg", "Confusion")),
        ];
        all.into_iter().filter_map(|(is_there, plot)| is_there.then_some(plot)).collect()
    }
}

/// Average precision of each class, from the most frequent to the rarest.
fn class_ap(report: &DetectionReport) -> Result<String, EvalError> {
    let bars = report.by_frequency().into_iter().map(|label| {
        let class = &report.classes[label];
        let (number, share) = (class.train_images, class.ap);
        Bar { name: &class.name, number, share, color: frequency_color(class.group) }
    });
    let bars: Vec<Bar> = bars.collect();
    let means = GROUPS
        .into_iter()
        .filter_map(|group| Some((frequency_color(Some(group)), report.metrics.group(group)?)));
    let means: Vec<_> = means.collect();
    let name = match has_counts(report) {
        true => "classes, from most to fewest training images (number in the bar; dashes: mean)",
        false => "classes (dashes: mean of a group)",
    };
    draw("class AP", SIZE, |canvas| {
        headings(canvas, report, "Average precision of each class");
        bars_with_means(canvas, &bars, &means, ["AP, %", name]);
    })
}

/// Average precision of each class against its training images; against its objects in the test set
/// where those are not known.
fn ap_by_frequency(report: &DetectionReport) -> Result<String, EvalError> {
    let has_counts = has_counts(report);
    let dots = report.classes.iter().filter_map(|class| {
        let number = if has_counts { class.train_images? } else { class.num_objects };
        Some((number, class.ap?, frequency_color(class.group)))
    });
    let mut dots: Vec<_> = dots.collect();
    dots.sort_by_key(|dot| std::cmp::Reverse(dot.0));
    let name = match has_counts {
        true => "training images of the class (log scale); line: running mean",
        false => "objects of the class in the test set (log scale); line: running mean",
    };
    draw("AP by frequency", SIZE, |canvas| {
        headings(canvas, report, "Average precision by class frequency");
        scatter(canvas, &dots, ["AP, %", name]);
    })
}

fn has_counts(report: &DetectionReport) -> bool {
    report.classes.iter().all(|class| class.train_images.is_some())
}

fn headings(canvas: &mut Canvas, report: &DetectionReport, what: &str) {
    let unseen = report.classes.iter().filter(|class| class.ap.is_none()).count() as u64;
    let mut subtitle = report.metrics.ap.map_or("nothing to be found".into(), |ap| {
        format!("AP {} %; {}", percent(ap), report.protocol.test_set)
    });
    if unseen > 0 {
        subtitle.push_str(&format!("; {} without an object", plural(unseen, "class", "classes")));
    }
    let overlap = report.protocol.overlap;
    heading(canvas, &format!("{what}, {overlap}: {}", report.name), &subtitle);
    let means = GROUPS.into_iter().rev().filter_map(|group| {
        let size = plural(report.group_size(group)[1] as u64, "class", "classes");
        let ap = percent(report.metrics.group(group)?);
        Some((frequency_color(Some(group)), format!("{}: {ap} % ({size})", group_name(group))))
    });
    let means: Vec<_> = means.collect();
    legend(canvas, &means, [MARGIN, canvas.width - MARGIN], 84.0);
}
