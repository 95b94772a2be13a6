//! Kinds of errors as bars.

use super::{
    canvas::{Anchor, Color, Font, draw},
    theme::{AXIS, BLUE, INK, MARGIN, MUTED, RED, heading},
};
use crate::{
    ErrorAnalysis, EvalError,
    table::{percent, plural, thousands},
};

const WIDTH: f64 = 840.0;
const ROW: f64 = 40.0;
const TOP: f64 = 92.0;
/// Where the bars begin.
const LEFT: f64 = 270.0;

pub(crate) fn svg(name: &str, analysis: &ErrorAnalysis) -> Result<String, EvalError> {
    let errors = analysis.errors.iter().map(|error| {
        (error.kind.as_str(), error.gain, format!(", {}", thousands(error.count)), BLUE)
    });
    let sums = [
        ("all false detections", analysis.false_positive_gain, String::new(), RED),
        ("all objects not found", analysis.false_negative_gain, String::new(), RED),
    ];
    let bars: Vec<(&str, f64, String, Color)> = errors.chain(sums).collect();
    let most = bars.iter().map(|bar| bar.1).fold(0.01, f64::max);
    let subtitle = format!(
        "what AP50 ({} %) would gain, in points, and number of errors; {}",
        percent(analysis.ap),
        plural(analysis.num_images, "image", "images"),
    );
    let height = TOP + ROW * bars.len() as f64 + 24.0;
    draw("kinds of errors", [WIDTH, height], |canvas| {
        heading(canvas, &format!("Kinds of errors: {name}"), &subtitle);
        let reach = canvas.width - MARGIN - 150.0 - LEFT;
        for (index, (kind, gain, count, color)) in bars.iter().enumerate() {
            let middle = TOP + ROW * (index as f64 + 0.5);
            canvas.text(kind, (LEFT - 10.0, middle), Font::new(13.0, INK), Anchor::End);
            let right = LEFT + reach * gain.max(0.0) / most;
            canvas.rect([LEFT, middle - 12.0, right, middle + 12.0], *color);
            let text = format!("{:+.2}{count}", 100.0 * gain);
            canvas.text(&text, (right + 8.0, middle), Font::new(13.0, MUTED), Anchor::Start);
        }
        canvas.line(&[(LEFT, TOP), (LEFT, TOP + ROW * bars.len() as f64)], AXIS, 1.2);
    })
}
