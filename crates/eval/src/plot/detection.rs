//! The plots of a detector's report.

use super::{
    canvas::draw,
    class_accuracy::scatter,
    class_distribution, confusion, precision_recall,
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
    /// The plots of a report by file name: average precision and number of training images of each
    /// class, precision over recall, and if they were measured kinds of errors and confusion.
    ///
    /// # Errors
    /// If the plotting library fails.
    pub fn plots(&self) -> Result<Vec<(&'static str, String)>, EvalError> {
        let mut plots = vec![
            ("class_ap.svg", class_ap(self)?),
            ("precision_recall.svg", precision_recall::svg(self)?),
        ];
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
        let has_counts = self.classes.iter().all(|class| class.train_images.is_some());
        let has_analysis = self.analysis.is_some();
        let all = [
            (true, ("class_ap.svg", "Average precision of each class")),
            (true, ("precision_recall.svg", "Precision over recall")),
            (has_counts, ("class_distribution.svg", "Training images of each class")),
            (has_analysis, ("errors.svg", "Kinds of errors")),
            (has_analysis, ("confusion.svg", "Confusion")),
        ];
        all.into_iter().filter_map(|(is_there, plot)| is_there.then_some(plot)).collect()
    }
}

/// Average precision of each class against its training images; against its objects in the test set
/// where those are not known.
fn class_ap(report: &DetectionReport) -> Result<String, EvalError> {
    let has_counts = report.classes.iter().all(|class| class.train_images.is_some());
    let dots = report.classes.iter().filter_map(|class| {
        let number = if has_counts { class.train_images? } else { class.num_objects };
        Some((number, class.ap?, frequency_color(class.group)))
    });
    let mut dots: Vec<_> = dots.collect();
    dots.sort_by_key(|dot| std::cmp::Reverse(dot.0));
    let unseen = report.classes.iter().filter(|class| class.ap.is_none()).count() as u64;
    let mut subtitle = report.metrics.ap.map_or("nothing to be found".into(), |ap| {
        format!("AP {} %; {}", percent(ap), report.protocol.test_set)
    });
    if unseen > 0 {
        subtitle.push_str(&format!("; {} without an object", plural(unseen, "class", "classes")));
    }
    let x_name = match has_counts {
        true => "training images of the class (log scale); line: running mean",
        false => "objects of the class in the test set (log scale); line: running mean",
    };
    draw("class AP", SIZE, |canvas| {
        let overlap = report.protocol.overlap;
        let title = format!("Average precision of each class, {overlap}: {}", report.name);
        heading(canvas, &title, &subtitle);
        let means = GROUPS.into_iter().rev().filter_map(|group| {
            let size = plural(report.group_size(group)[1] as u64, "class", "classes");
            let ap = percent(report.metrics.group(group)?);
            Some((frequency_color(Some(group)), format!("{}: {ap} % ({size})", group_name(group))))
        });
        let means: Vec<_> = means.collect();
        legend(canvas, &means, [MARGIN, canvas.width - MARGIN], 84.0);
        scatter(canvas, &dots, ["AP, %", x_name]);
    })
}
