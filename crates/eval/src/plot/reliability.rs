//! Confidence against accuracy.

use super::{
    axes::{Axes, Scale, whole_percent},
    canvas::{Color, draw},
    theme::{AXIS, BLUE, MARGIN, MUTED, heading, legend},
};
use crate::{Calibration, EvalError, table::percent};

/// Confidence above the accuracy.
const BOLD: Color = Color::hex(0xec_b9_ae);
/// Accuracy above the confidence.
const CAUTIOUS: Color = Color::hex(0x8f_b8_e0);
const SIZE: [f64; 2] = [640.0, 680.0];

pub(crate) fn svg(name: &str, calibration: &Calibration) -> Result<String, EvalError> {
    let subtitle = format!(
        "expected calibration error {} %, mean confidence {} %",
        percent(calibration.expected_error),
        percent(calibration.mean_confidence)
    );
    draw("calibration", SIZE, |canvas| {
        heading(canvas, &format!("Calibration: {name}"), &subtitle);
        let entries: [(Color, String); 3] = [
            (BLUE, "accuracy".into()),
            (BOLD, "too confident".into()),
            (CAUTIOUS, "accuracy, not confident enough".into()),
        ];
        let right = canvas.width - MARGIN;
        legend(canvas, &entries, [MARGIN, right], 84.0);
        let unit = Scale::linear(0.0, 1.0);
        let axes = Axes { left: 86.0, top: 108.0, right, bottom: 500.0, x: unit, y: unit };
        axes.draw_y(canvas, "accuracy, %", whole_percent);
        for bin in &calibration.bins {
            let (x1, x2) = (axes.x(bin.above) + 1.0, axes.x(bin.at_most) - 1.0);
            let (accuracy, confidence) = (axes.y(bin.accuracy), axes.y(bin.confidence));
            let (lower, upper) = (accuracy.max(confidence), accuracy.min(confidence));
            canvas.rect([x1, lower, x2, axes.bottom], BLUE);
            canvas.rect([x1, upper, x2, lower], if upper == accuracy { CAUTIOUS } else { BOLD });
        }
        let diagonal = [(axes.left, axes.bottom), (axes.right, axes.top)];
        canvas.line(&diagonal, MUTED, 1.2);
        axes.draw_base(canvas);
        let total: u64 = calibration.bins.iter().map(|bin| bin.num_examples).sum();
        let share = |number: u64| number as f64 / total.max(1) as f64;
        let most = calibration.bins.iter().map(|bin| share(bin.num_examples)).fold(0.0, f64::max);
        let y = Scale::linear(0.0, 1.1 * most);
        let histogram = Axes { top: 524.0, bottom: SIZE[1] - 56.0, y, ..axes };
        histogram.draw_y(canvas, "images, %", whole_percent);
        for bin in &calibration.bins {
            let (x1, x2) = (histogram.x(bin.above) + 1.0, histogram.x(bin.at_most) - 1.0);
            let top = histogram.y(share(bin.num_examples));
            canvas.rect([x1, top, x2, histogram.bottom], AXIS);
        }
        histogram.draw_x(canvas, "confidence: highest score, %", whole_percent);
    })
}
