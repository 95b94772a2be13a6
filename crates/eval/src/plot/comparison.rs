//! Several methods side by side.

use super::{
    axes::{Axes, Scale, whole_percent},
    canvas::{Anchor, Canvas, Font, draw},
    theme::{INK, MARGIN, MUTED, heading, legend, series_color},
};
use crate::{
    Comparison, EvalError,
    comparison::{Column, Method},
    table::plural,
};

const SIZE: [f64; 2] = [960.0, 540.0];

impl Comparison {
    /// Bars of each method's accuracy, overall and by training images, with whiskers of one standard
    /// deviation where there are several runs.
    ///
    /// # Errors
    /// If the plotting library fails.
    pub fn svg(&self, title: &str) -> Result<String, EvalError> {
        svg(title, "accuracy, %", self.columns(), self.methods())
    }
}

/// Bars of the columns that have a number of classes.
pub(crate) fn svg(
    title: &str,
    measure: &str,
    columns: &[Column],
    methods: &[Method],
) -> Result<String, EvalError> {
    let columns = columns.iter().enumerate();
    let columns: Vec<(usize, &Column)> =
        columns.filter(|(_, column)| column.num_classes.is_some()).collect();
    let has_runs = methods.iter().any(|method| method.num_runs > 1);
    let subtitle = match has_runs {
        true => format!("{measure}; whiskers: one standard deviation over runs"),
        false => measure.to_string(),
    };
    let cells = methods.iter().flat_map(|method| {
        columns.iter().filter_map(|(index, _)| method.cells.get(*index).copied().flatten())
    });
    let highest = cells.map(|cell| cell.mean + cell.deviation.unwrap_or_default());
    let highest = ((highest.fold(0.0, f64::max) + 0.04) * 10.0).ceil() / 10.0;
    draw("comparison", SIZE, |canvas| {
        heading(canvas, title, &subtitle);
        let entries = methods.iter().enumerate();
        let entries = entries.map(|(index, method)| (series_color(index), method.name.clone()));
        let entries: Vec<_> = entries.collect();
        let below = legend(canvas, &entries, [MARGIN, canvas.width - MARGIN], 84.0);
        let axes = Axes {
            left: 60.0,
            top: below + 34.0,
            right: canvas.width - MARGIN,
            bottom: canvas.height - 60.0,
            x: Scale::linear(0.0, columns.len() as f64),
            y: Scale::linear(0.0, highest.min(1.0)),
        };
        axes.draw_y(canvas, "", whole_percent);
        for (place, (index, column)) in columns.iter().enumerate() {
            draw_column(canvas, &axes, place, *index, methods);
            let middle = axes.x(place as f64 + 0.5);
            let at = (middle, axes.bottom + 18.0);
            canvas.text(&column.name, at, Font::bold(14.0, INK), Anchor::Middle);
            if let Some(number) = column.num_classes {
                let text = plural(number as u64, "class", "classes");
                let at = (middle, axes.bottom + 38.0);
                canvas.text(&text, at, Font::new(12.0, MUTED), Anchor::Middle);
            }
        }
        axes.draw_base(canvas);
    })
}

fn draw_column(canvas: &mut Canvas, axes: &Axes, place: usize, index: usize, methods: &[Method]) {
    let (start, end) = (axes.x(place as f64), axes.x(place as f64 + 1.0));
    let width = (0.84 * (end - start) / methods.len().max(1) as f64).min(90.0);
    let first = (start + end) / 2.0 - width * methods.len() as f64 / 2.0;
    for (number, method) in methods.iter().enumerate() {
        let Some(cell) = method.cells.get(index).copied().flatten() else { continue };
        let left = first + number as f64 * width;
        let (middle, mut top) = (left + width / 2.0, axes.y(cell.mean));
        let gap = 0.05 * width;
        canvas.rect([left + gap, top, left + width - gap, axes.bottom], series_color(number));
        if let Some(deviation) = cell.deviation {
            let [high, low] = [deviation, -deviation].map(|shift| axes.y(cell.mean + shift));
            canvas.line(&[(middle, high), (middle, low)], INK, 1.4);
            for y in [high, low] {
                canvas.line(&[(middle - 4.0, y), (middle + 4.0, y)], INK, 1.4);
            }
            top = high;
        }
        let text = format!("{:.1}", 100.0 * cell.mean);
        let font = [13.0, 12.0, 11.0, 10.0].map(|size| Font::new(size, INK));
        if let Some(font) = font.into_iter().find(|font| font.width(&text) <= width + 4.0) {
            canvas.text(&text, (middle, top - 10.0), font, Anchor::Middle);
        }
    }
}
