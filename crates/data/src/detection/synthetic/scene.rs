//! Where the objects of a synthetic image lie, and which pixels of them are seen.

use longtail_types::{Instance, KeyedRng, Mask};

use super::SyntheticDetectionConfig;
use super::look::Look;
use super::plan::Planned;

/// Places tried for an object; it shrinks on the way.
const TRIES: usize = 64;

/// A shape in the image.
#[derive(Debug, Clone, Copy)]
pub(super) struct Figure {
    pub(super) look: Look,
    pub(super) center: [f64; 2],
    /// In pixels.
    pub(super) radius: f64,
    /// Direction of the shape's own first axis, of length 1.
    pub(super) axis: [f64; 2],
}

impl Figure {
    /// Columns and rows that the shape may touch.
    pub(super) fn window(&self, [height, width]: [usize; 2]) -> [std::ops::Range<usize>; 2] {
        let reach = 1.3 * self.radius + 1.0;
        let range = |center: f64, len: usize| {
            let start = (center - reach).floor().max(0.0) as usize;
            let end = ((center + reach).ceil().max(0.0) as usize).min(len);
            start.min(end)..end
        };
        [range(self.center[0], width), range(self.center[1], height)]
    }

    /// Centre of a pixel in the shape's own coordinates.
    pub(super) fn local(&self, x: usize, y: usize) -> [f64; 2] {
        let dx = (x as f64 + 0.5 - self.center[0]) / self.radius;
        let dy = (y as f64 + 0.5 - self.center[1]) / self.radius;
        let [c, s] = self.axis;
        [dx * c + dy * s, dy * c - dx * s]
    }
}

/// One object that is there.
#[derive(Debug)]
pub(super) struct Object {
    pub(super) figure: Figure,
    pub(super) is_annotated: bool,
    /// Label, the pixels that no other object hides, and their bounding box.
    pub(super) instance: Instance,
}

/// Places the objects of an image, each behind those before it.
///
/// An object that finds no place where enough of it is seen is left out.
pub(super) fn place(
    config: &SyntheticDetectionConfig,
    planned: &[Planned],
    rng: &mut KeyedRng,
) -> Vec<Object> {
    let size = [config.height, config.width];
    let mut is_taken = vec![false; config.width * config.height];
    let mut objects = Vec::with_capacity(planned.len());
    for &Planned { label, is_annotated } in planned {
        let object = (0..TRIES).find_map(|attempt| {
            let figure = draw_figure(config, label, attempt, rng);
            let (mask, visible) = see(&figure, size, &is_taken)?;
            let bbox = mask.bounding_box().filter(|_| visible >= config.min_visible)?;
            let instance = Instance { label, bbox, mask: Some(mask) };
            Some(Object { figure, is_annotated, instance })
        });
        let Some(object) = object else { continue };
        if let Some(mask) = &object.instance.mask {
            for (row, y) in mask.pixels().chunks_exact(mask.width().max(1)).zip(mask.top()..) {
                let start = y * config.width + mask.left();
                let taken = &mut is_taken[start..start + row.len()];
                taken.iter_mut().zip(row).for_each(|(taken, &seen)| *taken |= seen);
            }
        }
        objects.push(object);
    }
    objects
}

fn draw_figure(
    config: &SyntheticDetectionConfig,
    label: usize,
    attempt: usize,
    rng: &mut KeyedRng,
) -> Figure {
    let [smallest, largest] = config.object_size.map(|size| size as f64 / 2.0);
    let shrink = 1.0 - attempt as f64 / TRIES as f64;
    let radius = smallest + (largest - smallest) * rng.unit() * shrink;
    let place = |len: usize, rng: &mut KeyedRng| {
        let margin = (0.8 * radius).min(len as f64 / 2.0);
        rng.uniform(margin, len as f64 - margin)
    };
    let center = [place(config.width, rng), place(config.height, rng)];
    // A tilt of at most 24 degrees, without trigonometry.
    let tilt = rng.uniform(-0.45, 0.45);
    let length = (1.0 + tilt * tilt).sqrt();
    Figure { look: Look::of(label), center, radius, axis: [1.0 / length, tilt / length] }
}

/// The pixels of a figure that are not taken, cut to their bounding box, and their share of all
/// its pixels; `None` if none is seen.
fn see(figure: &Figure, size: [usize; 2], is_taken: &[bool]) -> Option<(Mask, f64)> {
    let [columns, rows] = figure.window(size);
    let (mut seen, mut all) = (0_usize, 0_usize);
    let mut pixels = Vec::with_capacity(columns.len() * rows.len());
    let [mut left, mut right] = [columns.end, columns.start];
    let [mut top, mut bottom] = [rows.end, rows.start];
    for y in rows.clone() {
        for x in columns.clone() {
            let is_inside = figure.look.distance(figure.local(x, y)) < 0.0;
            let is_seen = is_inside && !is_taken[y * size[1] + x];
            all += usize::from(is_inside);
            if is_seen {
                seen += 1;
                (left, right) = (left.min(x), right.max(x + 1));
                (top, bottom) = (top.min(y), bottom.max(y + 1));
            }
            pixels.push(is_seen);
        }
    }
    if seen == 0 {
        return None;
    }
    let stride = columns.len();
    let row = |y: usize| {
        let start = (y - rows.start) * stride + left - columns.start;
        &pixels[start..start + right - left]
    };
    let window = (top..bottom).flat_map(row).copied().collect();
    let mask = Mask::new([left, top], [bottom - top, right - left], window)?;
    Some((mask, seen as f64 / all as f64))
}
