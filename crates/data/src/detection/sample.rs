//! One image with its objects, and what can be done to both.

use std::borrow::Cow;

use longtail_types::{BBox, Instance, Mask};

use crate::transforms::resize_box;
use crate::{DataError, RgbImage};

/// An image with its objects, in the pixels of the image.
///
/// What is done to the image is done to boxes and masks. Boxes keep fractions of pixels. An object
/// of which nothing is left is dropped; the box of one that lost pixels becomes the bounding box of
/// those that are left.
#[derive(Debug, Clone, PartialEq)]
pub struct DetectionSample {
    /// The pixels.
    pub image: RgbImage,
    /// The objects.
    pub instances: Vec<Instance>,
}

impl DetectionSample {
    /// `[height, width]` of the image.
    pub fn size(&self) -> [usize; 2] {
        [self.image.height(), self.image.width()]
    }

    /// To `[height, width]`: the image with an antialiased bilinear filter, boxes by the two
    /// ratios, masks by the pixel in whose middle a new pixel lies. Objects too small to hold the
    /// middle of a pixel are dropped if they have a mask.
    pub(crate) fn resized(self, size: [usize; 2]) -> Result<Self, DataError> {
        let from = self.size();
        if size == from {
            return Ok(self);
        }
        let [height, width] = size;
        let whole = [0, 0, self.image.width(), self.image.height()];
        let image = resize_box(Cow::Owned(self.image), whole, [width, height])?.into_owned();
        let ratio = |axis: usize| (size[axis] as f64 / from[axis].max(1) as f64) as f32;
        let (down, across) = (ratio(0), ratio(1));
        let resize = |instance: Instance| {
            let BBox { x1, y1, x2, y2 } = instance.bbox;
            let bbox = BBox::new(x1 * across, y1 * down, x2 * across, y2 * down).clip(size);
            let mask = match instance.mask {
                Some(mask) => Some(resize_mask(&mask, from, size)?),
                None => None,
            };
            Some(Instance { bbox, mask, ..instance })
        };
        Ok(Self { image, instances: self.instances.into_iter().filter_map(resize).collect() })
    }

    /// Left and right swapped.
    pub(crate) fn flipped(mut self) -> Self {
        let width = self.image.width();
        self.image.flip_horizontal();
        for instance in &mut self.instances {
            let BBox { x1, x2, .. } = instance.bbox;
            (instance.bbox.x1, instance.bbox.x2) = (width as f32 - x2, width as f32 - x1);
            instance.mask = instance.mask.take().and_then(|mask| flip_mask(mask, width));
        }
        self
    }

    /// The `[height, width]` window at `[left, top]`, which may reach outside; what lies outside
    /// becomes `color`, and blank where `is_blank`.
    pub(crate) fn window(
        self,
        [left, top]: [isize; 2],
        size: [usize; 2],
        color: [u8; 3],
        is_blank: bool,
    ) -> Self {
        let [height, width] = size;
        if [left, top] == [0, 0] && size == self.size() {
            return self;
        }
        let image = self.image.window([left, top], [width, height], color, is_blank);
        let cut = |instance: Instance| {
            let BBox { x1, y1, x2, y2 } = instance.bbox;
            let (dx, dy) = (left as f32, top as f32);
            let bbox = BBox::new(x1 - dx, y1 - dy, x2 - dx, y2 - dy).clip(size);
            match instance.mask {
                None => Some(Instance { bbox, ..instance }).filter(|i| !i.bbox.is_empty()),
                Some(mask) => {
                    let rest = shift_mask(&mask, [left, top], size)?;
                    let instance = Instance { bbox, mask: None, ..instance };
                    with_rest(instance, mask.area(), rest)
                }
            }
        };
        Self { image, instances: self.instances.into_iter().filter_map(cut).collect() }
    }

    /// Drops objects with a side below `min_side` pixels.
    pub(crate) fn drop_small(&mut self, min_side: f32) {
        let is_kept = |bbox: BBox| !bbox.is_empty() && bbox.width().min(bbox.height()) >= min_side;
        self.instances.retain(|instance| is_kept(instance.bbox));
    }
}

/// The instance with what is left of a mask that had `area` pixels: where it lost some, its box
/// shrinks to the rest. `None` if nothing is left.
pub(super) fn with_rest(instance: Instance, area: usize, rest: Mask) -> Option<Instance> {
    let around = rest.bounding_box()?;
    if rest.area() == area && !instance.bbox.is_empty() {
        return Some(Instance { mask: Some(rest), ..instance });
    }
    let (a, b) = (instance.bbox, around);
    let both = BBox::new(a.x1.max(b.x1), a.y1.max(b.y1), a.x2.min(b.x2), a.y2.min(b.y2));
    // A box beside its own mask says nothing about where the rest is.
    let bbox = if both.is_empty() { around } else { both };
    Some(Instance { bbox, mask: Some(rest), ..instance })
}

fn resize_mask(mask: &Mask, from: [usize; 2], to: [usize; 2]) -> Option<Mask> {
    let (first_row, rows) = sources(mask.top(), mask.height(), from[0], to[0]);
    let (first_column, columns) = sources(mask.left(), mask.width(), from[1], to[1]);
    let row = |&y: &usize| columns.iter().map(move |x| mask.pixels()[y * mask.width() + x]);
    let pixels: Vec<bool> = rows.iter().flat_map(row).collect();
    if !pixels.contains(&true) {
        return None;
    }
    Mask::new([first_column, first_row], [rows.len(), columns.len()], pixels)
}

/// New pixels whose middles lie in `start..start + len` of a line of `from` pixels that becomes
/// `to` long: the first one, and for each the pixel of the window that it lies in.
fn sources(start: usize, len: usize, from: usize, to: usize) -> (usize, Vec<usize>) {
    let source = |pixel: usize| (2 * pixel + 1) * from / (2 * to);
    let near = (start * to / from.max(1)).saturating_sub(1);
    let inside = |pixel: &usize| (start..start + len).contains(&source(*pixel));
    let after = |pixel: &usize| source(*pixel) < start + len;
    let pixels: Vec<usize> = (near..to).take_while(after).filter(inside).collect();
    let first = pixels.first().copied().unwrap_or(0);
    (first, pixels.into_iter().map(|pixel| source(pixel) - start).collect())
}

fn flip_mask(mask: Mask, image_width: usize) -> Option<Mask> {
    let (width, height) = (mask.width(), mask.height());
    let left = image_width.saturating_sub(mask.left() + width);
    let mut pixels = mask.pixels().to_vec();
    pixels.chunks_exact_mut(width.max(1)).for_each(<[bool]>::reverse);
    Mask::new([left, mask.top()], [height, width], pixels)
}

/// What of a mask lies in the `[height, width]` window at `[left, top]`, in its pixels; `None` if
/// nothing does.
fn shift_mask(mask: &Mask, [left, top]: [isize; 2], [height, width]: [usize; 2]) -> Option<Mask> {
    // Rows and columns of the mask's own window that are kept.
    let kept = |offset: usize, len: usize, start: isize, limit: usize| {
        let before = start.saturating_sub_unsigned(offset);
        let first = before.max(0).unsigned_abs().min(len);
        let last = before.saturating_add_unsigned(limit).max(0).unsigned_abs().min(len);
        first..last.max(first)
    };
    let columns = kept(mask.left(), mask.width(), left, width);
    let rows = kept(mask.top(), mask.height(), top, height);
    let row = |y: usize| &mask.pixels()[y * mask.width() + columns.start..][..columns.len()];
    let pixels: Vec<bool> = rows.clone().flat_map(row).copied().collect();
    if !pixels.contains(&true) {
        return None;
    }
    let corner = [
        (mask.left() + columns.start).checked_add_signed(left.checked_neg()?)?,
        (mask.top() + rows.start).checked_add_signed(top.checked_neg()?)?,
    ];
    Mask::new(corner, [rows.len(), columns.len()], pixels)
}
