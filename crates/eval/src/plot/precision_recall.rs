//! Precision over recall, all classes and by group.

use super::{
    axes::{Axes, Scale, whole_percent},
    canvas::{Color, draw},
    theme::{INK, MARGIN, frequency_color, heading, legend},
};
use crate::{
    DetectionReport, EvalError,
    detection::{GROUPS, group_name},
    shot_accuracy::mean,
    table::percent,
};

const SIZE: [f64; 2] = [720.0, 560.0];

pub(crate) fn svg(report: &DetectionReport) -> Result<String, EvalError> {
    let curves = &report.precision_recall;
    let groups = GROUPS
        .into_iter()
        .rev()
        .map(|group| (frequency_color(Some(group)), group_name(group), curves.group(group)));
    let all: Vec<(Color, &str, &[f64])> =
        [(INK, "all", curves.all.as_slice())].into_iter().chain(groups).collect();
    let subtitle = format!(
        "mean of the classes at overlap {:.2}, {}; {}",
        curves.overlap, report.protocol.overlap, report.protocol.test_set
    );
    draw("precision and recall", SIZE, |canvas| {
        heading(canvas, &format!("Precision over recall: {}", report.name), &subtitle);
        let entries = all.iter().filter_map(|(color, name, curve)| {
            let area = mean(curve.iter().copied())?;
            Some((*color, format!("{name}: {} %", percent(area))))
        });
        let entries: Vec<_> = entries.collect();
        legend(canvas, &entries, [MARGIN, canvas.width - MARGIN], 84.0);
        let unit = Scale::linear(0.0, 1.0);
        let (right, bottom) = (canvas.width - MARGIN, canvas.height - 60.0);
        let axes = Axes { left: 86.0, top: 112.0, right, bottom, x: unit, y: unit };
        axes.draw_y(canvas, "precision, %", whole_percent);
        axes.draw_x(canvas, "recall, %", whole_percent);
        for (color, _, curve) in all.iter().rev() {
            let last = curve.len().saturating_sub(1).max(1) as f64;
            let points = curve
                .iter()
                .enumerate()
                .map(|(index, &precision)| (axes.x(index as f64 / last), axes.y(precision)));
            canvas.line(&points.collect::<Vec<_>>(), *color, 2.2);
        }
    })
}
