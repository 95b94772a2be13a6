//! Which class is taken for which, as a heat map.

use super::{
    axes::whole_percent,
    canvas::{Anchor, Canvas, Color, Font, draw},
    theme::{AXIS, GRID, INK, MARGIN, MUTED, heading},
};
use crate::{
    ClassificationReport, ConfusionMatrix, DetectionReport, ErrorAnalysis, EvalError, table::plural,
};

/// Up to this many classes, rows and columns have names.
const MAX_NAMED: usize = 40;
/// Up to this many classes, each cell has its number.
const MAX_NUMBERED: usize = 20;
/// More classes than this are drawn in this many groups of neighbours.
const MAX_CELLS: usize = 100;
/// Side of the map.
const SIDE: f64 = 620.0;
const TOP: f64 = 84.0;

/// Shares of a row, darker from 0 to 1.
const COLORS: [Color; 4] = [
    Color::hex(0xf7_fa_fd),
    Color::hex(0xa9_cb_e8),
    Color::hex(0x2f_6d_b5),
    Color::hex(0x0b_2a_55),
];

pub(crate) fn svg(report: &ClassificationReport) -> Result<String, EvalError> {
    let order = report.by_frequency();
    let num_cells = order.len().min(MAX_CELLS);
    let mut cell_of = vec![0; order.len()];
    for (place, &label) in order.iter().enumerate() {
        cell_of[label] = place * num_cells / order.len();
    }
    let names: Vec<&str> = order.iter().map(|&label| report.classes[label].name.as_str()).collect();
    let map = Map { cells: shares(&report.confusion, &cell_of, num_cells), names };
    map.svg(&report.name, "share of each row, %; frequent classes first")
}

/// Objects against detections; background comes last, in a row and a column of its own.
pub(crate) fn of_detection(
    report: &DetectionReport,
    analysis: &ErrorAnalysis,
) -> Result<String, EvalError> {
    let order = report.by_frequency();
    let num_groups = order.len().min(MAX_CELLS - 1);
    let mut cell_of = vec![num_groups; order.len() + 1];
    for (place, &label) in order.iter().enumerate() {
        cell_of[label] = place * num_groups / order.len();
    }
    let names = order.iter().map(|&label| report.classes[label].name.as_str());
    let names: Vec<&str> = names.chain(["background"]).collect();
    let map = Map { cells: shares(&analysis.confusion, &cell_of, num_groups + 1), names };
    let subtitle = format!(
        "share of each row, %; frequent first, background last; overlap ≥ {:.2}, score ≥ {}; {}",
        analysis.overlap,
        analysis.min_score,
        plural(analysis.num_images, "image", "images"),
    );
    map.svg(&report.name, &subtitle)
}

/// Shares of rows, and the names of all classes in the same order.
struct Map<'a> {
    cells: Vec<Option<Vec<f64>>>,
    names: Vec<&'a str>,
}

impl Map<'_> {
    fn svg(&self, name: &str, subtitle: &str) -> Result<String, EvalError> {
        let Self { cells, names } = self;
        let num_cells = cells.len();
        let font = Font::new(12.0, INK);
        let longest = names.iter().map(|name| font.width(name)).fold(0.0, f64::max).min(130.0);
        let room = if names.len() <= MAX_NAMED { longest } else { 20.0 };
        let left = MARGIN + 30.0 + room;
        let size = [left + SIDE + 100.0, TOP + SIDE + room + 50.0];
        let mut subtitle = subtitle.to_string();
        if num_cells < names.len() {
            let classes = plural(names.len() as u64, "class", "classes");
            subtitle.push_str(&format!("; {classes} in {num_cells} groups"));
        }
        draw("confusion", size, |canvas| {
            heading(canvas, &format!("Confusion: {name}"), &subtitle);
            let step = SIDE / num_cells.max(1) as f64;
            canvas.rect([left, TOP, left + SIDE, TOP + SIDE], color(0.0));
            for (row, shares) in cells.iter().enumerate() {
                let y = TOP + row as f64 * step;
                let Some(shares) = shares else {
                    canvas.rect([left, y, left + SIDE, y + step], GRID);
                    continue;
                };
                for (column, &share) in shares.iter().enumerate().filter(|(_, share)| **share > 0.0)
                {
                    let x = left + column as f64 * step;
                    canvas.rect([x, y, x + step, y + step], color(share));
                    if names.len() <= MAX_NUMBERED && share >= 0.005 {
                        let ink = color(share).ink();
                        let size = (step / 3.2).min(14.0);
                        let at = (x + step / 2.0, y + step / 2.0);
                        canvas.text(
                            &whole_percent(share),
                            at,
                            Font::new(size, ink),
                            Anchor::Middle,
                        );
                    }
                }
            }
            draw_frame(canvas, left);
            if names.len() <= MAX_NAMED {
                for (place, name) in names.iter().enumerate() {
                    let middle = (place as f64 + 0.5) * step;
                    let name = font.fit(name, 130.0);
                    canvas.text(&name, (left - 8.0, TOP + middle), font, Anchor::End);
                    canvas.text(&name, (left + middle, TOP + SIDE + 8.0), font, Anchor::Hanging);
                }
            }
            let font = Font::new(13.0, INK);
            let middle = SIDE / 2.0;
            canvas.text("label", (MARGIN, TOP + middle), font, Anchor::Upwards);
            canvas.text("prediction", (left + middle, canvas.height - 20.0), font, Anchor::Middle);
            draw_color_bar(canvas, left + SIDE + 24.0);
        })
    }
}

/// Row shares of the confusion matrix, classes put together into `num_cells` rows and columns. A
/// row without examples is `None`.
fn shares(
    confusion: &ConfusionMatrix,
    cell_of: &[usize],
    num_cells: usize,
) -> Vec<Option<Vec<f64>>> {
    let mut rows = vec![vec![0.0; num_cells]; num_cells];
    for (label, predicted, count) in confusion.cells() {
        rows[cell_of[label]][cell_of[predicted]] += count as f64;
    }
    let normalize = |row: Vec<f64>| {
        let total: f64 = row.iter().sum();
        (total > 0.0).then(|| row.into_iter().map(|count| count / total).collect())
    };
    rows.into_iter().map(normalize).collect()
}

fn color(share: f64) -> Color {
    let place = share.clamp(0.0, 1.0) * (COLORS.len() - 1) as f64;
    let index = (place as usize).min(COLORS.len() - 2);
    COLORS[index].mix(COLORS[index + 1], place - index as f64)
}

fn draw_frame(canvas: &mut Canvas, left: f64) {
    let (right, bottom) = (left + SIDE, TOP + SIDE);
    let corners = [(left, TOP), (right, TOP), (right, bottom), (left, bottom), (left, TOP)];
    canvas.line(&corners, AXIS, 1.0);
}

fn draw_color_bar(canvas: &mut Canvas, left: f64) {
    const STEPS: u32 = 60;
    let height = SIDE / f64::from(STEPS);
    for step in (0..STEPS).rev() {
        let bottom = TOP + SIDE - f64::from(step) * height;
        let share = (f64::from(step) + 0.5) / f64::from(STEPS);
        // Down to the foot, under the next step: no seams.
        canvas.rect([left, bottom - height, left + 16.0, TOP + SIDE], color(share));
    }
    for tick in [0.0, 0.25, 0.5, 0.75, 1.0] {
        let at = (left + 22.0, TOP + SIDE - tick * SIDE);
        let text = format!("{} %", whole_percent(tick));
        canvas.text(&text, at, Font::new(12.0, MUTED), Anchor::Start);
    }
}
