//! Sizes and shapes of annotated boxes, and how many an image holds.

use super::{
    axes::{Axes, Scale, short},
    canvas::{Anchor, Canvas, Font, draw},
    theme::{BLUE, INK, MARGIN, MUTED, heading},
};
use crate::{EvalError, table::plural};

const PANEL: [f64; 2] = [400.0, 330.0];
/// Above the panels.
const HEADING: f64 = 76.0;

/// Side of a square of the same area, in pixels; 32 and 96 are COCO's bounds of small and large.
const SIDES: [f64; 11] = [8.0, 16.0, 24.0, 32.0, 48.0, 64.0, 96.0, 128.0, 192.0, 256.0, 512.0];
const SIDE_NAMES: [&str; 12] =
    ["0", "8", "16", "24", "32", "48", "64", "96", "128", "192", "256", "512"];
/// Width over height: five bins on each side of the squares.
const RATIOS: [f64; 10] = [0.2, 1.0 / 3.0, 0.5, 2.0 / 3.0, 0.8, 1.25, 1.5, 2.0, 3.0, 5.0];
const RATIO_NAMES: [&str; 11] =
    ["0", "1:5", "1:3", "1:2", "2:3", "4:5", "5:4", "3:2", "2:1", "3:1", "5:1"];
const NUMBERS: [f64; 11] = [1.0, 2.0, 3.0, 4.0, 5.0, 8.0, 12.0, 16.0, 24.0, 48.0, 96.0];
const NUMBER_NAMES: [&str; 12] = ["0", "1", "2", "3", "4", "5", "8", "12", "16", "24", "48", "96"];

/// Counts of boxes by size and by shape, and of images by the number of their objects.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct BoxShapes {
    sides: [u64; SIDES.len() + 1],
    ratios: [u64; RATIOS.len() + 1],
    numbers: [u64; NUMBERS.len() + 1],
    num_small: u64,
    num_large: u64,
}

impl BoxShapes {
    /// Counts a box of this width and height in pixels; one without area is left out.
    pub fn add_box(&mut self, width: f64, height: f64) {
        if !(width > 0.0 && height > 0.0) {
            return;
        }
        let area = width * height;
        self.sides[bin(&SIDES, area.sqrt())] += 1;
        self.ratios[bin(&RATIOS, width / height)] += 1;
        self.num_small += u64::from(area < 32.0 * 32.0);
        self.num_large += u64::from(area >= 96.0 * 96.0);
    }

    /// Counts an image with so many objects.
    pub fn add_image(&mut self, num_objects: usize) {
        self.numbers[bin(&NUMBERS, num_objects as f64)] += 1;
    }

    /// Number of boxes.
    pub fn num_boxes(&self) -> u64 {
        self.sides.iter().sum()
    }

    /// Shares of boxes below 32 x 32 pixels, between, and from 96 x 96 pixels on: COCO's small,
    /// medium and large. `None` without a box.
    pub fn shares(&self) -> Option<[f64; 3]> {
        let total = self.num_boxes();
        let share = |number: u64| number as f64 / total as f64;
        let medium = total - self.num_small - self.num_large;
        (total > 0).then(|| [self.num_small, medium, self.num_large].map(share))
    }

    /// Three histograms side by side: sizes, shapes, objects per image.
    ///
    /// # Errors
    /// If the plotting library fails.
    pub fn svg(&self) -> Result<String, EvalError> {
        let boxes = plural(self.num_boxes(), "box", "boxes");
        let shares = self.shares().map(|[small, medium, large]| {
            let percent = |share: f64| format!("{:.0} %", 100.0 * share);
            format!(
                "; {} small (below 32 × 32 px), {} medium, {} large (from 96 × 96 px)",
                percent(small),
                percent(medium),
                percent(large)
            )
        });
        let subtitle = format!("{boxes}{}", shares.unwrap_or_default());
        draw("box shapes", [3.0 * PANEL[0], HEADING + PANEL[1]], |canvas| {
            heading(canvas, "Sizes and shapes of the boxes", &subtitle);
            let panels: [(&[u64], &[&str], &str, &str); 3] = [
                (&self.sides, &SIDE_NAMES, "√ area, px", "boxes"),
                (&self.ratios, &RATIO_NAMES, "width : height", "boxes"),
                (&self.numbers, &NUMBER_NAMES, "objects in an image", "images"),
            ];
            for (index, (counts, names, x_name, y_name)) in panels.into_iter().enumerate() {
                draw_panel(canvas, index as f64 * PANEL[0], counts, names, [x_name, y_name]);
            }
        })
    }
}

/// Bars from `left` on; each name stands at the lower end of its bin.
fn draw_panel(
    canvas: &mut Canvas,
    left: f64,
    counts: &[u64],
    names: &[&str],
    [x_name, y_name]: [&str; 2],
) {
    let most = counts.iter().copied().max().unwrap_or_default();
    let axes = Axes {
        left: left + 78.0,
        top: HEADING + 8.0,
        right: left + PANEL[0] - MARGIN,
        bottom: HEADING + PANEL[1] - 62.0,
        x: Scale::linear(0.0, counts.len() as f64),
        y: Scale::linear(0.0, 1.08 * most.max(1) as f64),
    };
    axes.draw_y(
        canvas,
        y_name,
        |tick| if tick.fract() == 0.0 { short(tick) } else { String::new() },
    );
    for (place, (&count, name)) in counts.iter().zip(names).enumerate() {
        let [x1, x2] = [axes.x(place as f64), axes.x(place as f64 + 1.0)];
        canvas.rect([x1 + 1.0, axes.y(count as f64), x2 - 1.0, axes.bottom], BLUE);
        let at = (x1, axes.bottom + 15.0);
        canvas.text(name, at, Font::new(10.5, MUTED), Anchor::Middle);
    }
    axes.draw_base(canvas);
    let at = ((axes.left + axes.right) / 2.0, axes.bottom + 38.0);
    canvas.text(x_name, at, Font::new(13.0, INK), Anchor::Middle);
}

/// Place of a value between edges; a value on an edge belongs above it.
fn bin(edges: &[f64], value: f64) -> usize {
    edges.partition_point(|&edge| edge <= value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_fall_into_their_bins() {
        let mut shapes = BoxShapes::default();
        shapes.add_box(7.0, 7.0);
        shapes.add_box(32.0, 32.0); // medium begins here
        shapes.add_box(96.0, 96.0); // large begins here
        shapes.add_box(2000.0, 1000.0);
        shapes.add_box(10.0, 0.0);
        shapes.add_box(f64::NAN, 1.0);
        assert_eq!(shapes.sides, [1, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 1]);
        assert_eq!(shapes.ratios, [0, 0, 0, 0, 0, 3, 0, 0, 1, 0, 0]);
        assert_eq!((shapes.num_boxes(), shapes.shares()), (4, Some([0.25, 0.25, 0.5])));
        shapes.add_image(0);
        shapes.add_image(4);
        shapes.add_image(1000);
        assert_eq!(shapes.numbers, [1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1]);
        assert!(shapes.svg().unwrap().contains("4 boxes; 25 % small"));
    }

    #[test]
    fn nothing_still_draws() {
        let shapes = BoxShapes::default();
        assert_eq!(shapes.shares(), None);
        assert!(shapes.svg().unwrap().contains("0 boxes"));
    }
}
