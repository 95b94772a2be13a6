//! Small JPEG pictures of objects and images, for pages that people look at.

use std::borrow::Cow;

use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;
use longtail_types::{BBox, Mask};

use crate::error::check_positive;
use crate::transforms::resize_box;
use crate::{DataError, RgbImage};

/// JPEG quality: letters and edges stay clear at about 5 KB for a picture of 144 pixels.
const QUALITY: u8 = 78;
/// Share of the longer side of a box that is shown around it.
const CONTEXT: f32 = 0.35;
/// At least so many pixels are shown around a box.
const MIN_CONTEXT: f32 = 8.0;
/// How much of a mask's colour lies over its pixels.
const TINT: f32 = 0.3;
/// Dark line around the coloured one, so that it is seen on any background.
const SHADE: [u8; 3] = [20, 20, 20];

/// A JPEG file and its size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thumbnail {
    /// The file.
    pub jpeg: Vec<u8>,
    /// `[height, width]` in pixels.
    pub size: [usize; 2],
}

/// A box and, where there is one, a mask to be drawn on a [`Thumbnail`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mark<'a> {
    /// Its box in pixels of the image.
    pub bbox: BBox,
    /// Its pixels.
    pub mask: Option<&'a Mask>,
    /// Red, green, blue.
    pub color: [u8; 3],
}

impl RgbImage {
    /// The whole image, its longer side at most `side` pixels.
    ///
    /// # Errors
    /// If `side` is 0, or the image has no pixel.
    pub fn thumbnail(&self, side: usize) -> Result<Thumbnail, DataError> {
        self.window_thumbnail([0, 0, self.width(), self.height()], &[], side)
    }

    /// The part around `focus` with marks drawn on it, its longer side `side` pixels; the parts of
    /// marks outside of it are left out. Small objects are enlarged.
    ///
    /// # Errors
    /// If `side` is 0, or the image has no pixel.
    pub fn object_thumbnail(
        &self,
        focus: BBox,
        marks: &[Mark],
        side: usize,
    ) -> Result<Thumbnail, DataError> {
        self.window_thumbnail(window(focus, [self.height(), self.width()]), marks, side)
    }

    /// `window` is `[left, top, width, height]`.
    fn window_thumbnail(
        &self,
        window: [usize; 4],
        marks: &[Mark],
        side: usize,
    ) -> Result<Thumbnail, DataError> {
        check_positive("side of a thumbnail", side)?;
        let [left, top, width, height] = window;
        check_positive("width of an image", width)?;
        check_positive("height of an image", height)?;
        // A whole image is never enlarged; an object is, with its window.
        let is_whole = marks.is_empty();
        let scale = side as f32 / width.max(height) as f32;
        let scale = if is_whole { scale.min(1.0) } else { scale };
        let to = [width, height].map(|length| ((length as f32 * scale).round() as usize).max(1));
        let mut image = resize_box(Cow::Borrowed(self), window, to)?.into_owned();
        let place = Place { left: left as f32, top: top as f32, scale };
        for mark in marks {
            place.tint(&mut image, mark);
        }
        for mark in marks {
            place.outline(&mut image, mark);
        }
        let mut jpeg = Vec::new();
        let (width, height) = (image.width() as u32, image.height() as u32);
        JpegEncoder::new_with_quality(&mut jpeg, QUALITY)
            .encode(image.pixels(), width, height, ExtendedColorType::Rgb8)
            .map_err(|error| DataError::Decode {
                item: String::new(),
                message: error.to_string(),
            })?;
        Ok(Thumbnail { jpeg, size: [image.height(), image.width()] })
    }
}

/// `[left, top, width, height]` of the part of an image of `[height, width]` around a box.
fn window(focus: BBox, [height, width]: [usize; 2]) -> [usize; 4] {
    let focus = focus.clip([height, width]);
    let longer = focus.width().max(focus.height());
    let margin = (CONTEXT * longer).max(MIN_CONTEXT);
    let span = |low: f32, high: f32, limit: usize| {
        let length = high - low + 2.0 * margin;
        let middle = (low + high) / 2.0;
        let start = (middle - length / 2.0).max(0.0).floor() as usize;
        let end = ((middle + length / 2.0).ceil() as usize).min(limit);
        let start = start.min(limit.saturating_sub(1));
        (start, end.saturating_sub(start).max(1))
    };
    let ((left, width), (top, height)) =
        (span(focus.x1, focus.x2, width), span(focus.y1, focus.y2, height));
    [left, top, width, height]
}

/// Where pixels of an image lie on its thumbnail.
#[derive(Clone, Copy)]
struct Place {
    left: f32,
    top: f32,
    scale: f32,
}

impl Place {
    fn tint(self, image: &mut RgbImage, mark: &Mark) {
        let Some(mask) = mark.mask else { return };
        let width = image.width();
        for (index, pixel) in image.pixels_mut().chunks_exact_mut(3).enumerate() {
            let [x, y] = [index % width, index / width].map(|at| (at as f32 + 0.5) / self.scale);
            let (x, y) = ((x + self.left) as usize, (y + self.top) as usize);
            if mask.get(x, y) {
                for (value, color) in pixel.iter_mut().zip(mark.color) {
                    let mixed = f32::from(*value) * (1.0 - TINT) + f32::from(color) * TINT;
                    *value = mixed.round() as u8;
                }
            }
        }
    }

    fn outline(self, image: &mut RgbImage, mark: &Mark) {
        let [x1, y1, x2, y2] = mark.bbox.to_array();
        let column = |x: f32| ((x - self.left) * self.scale).round() as i64;
        let row = |y: f32| ((y - self.top) * self.scale).round() as i64;
        let borders = [column(x1), row(y1), column(x2) - 1, row(y2) - 1];
        frame(image, borders, 2, mark.color);
        let [x1, y1, x2, y2] = borders;
        frame(image, [x1 - 1, y1 - 1, x2 + 1, y2 + 1], 1, SHADE);
    }
}

/// Lines inside the borders left, upper, right, lower, all of them included.
fn frame(image: &mut RgbImage, [x1, y1, x2, y2]: [i64; 4], thickness: i64, color: [u8; 3]) {
    let (width, height) = (image.width() as i64, image.height() as i64);
    for y in y1.max(0)..=y2.min(height - 1) {
        let is_row = y < y1 + thickness || y > y2 - thickness;
        for x in x1.max(0)..=x2.min(width - 1) {
            if is_row || x < x1 + thickness || x > x2 - thickness {
                let start = 3 * (y * width + x) as usize;
                image.pixels_mut()[start..start + 3].copy_from_slice(&color);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode_image;

    const RED: [u8; 3] = [230, 30, 30];

    fn decoded(thumbnail: &Thumbnail) -> RgbImage {
        let image = decode_image(&thumbnail.jpeg, "thumbnail").unwrap();
        assert_eq!([image.height(), image.width()], thumbnail.size);
        image
    }

    /// JPEG moves colours a little.
    fn is_near(found: [u8; 3], expected: [u8; 3]) -> bool {
        found.iter().zip(expected).all(|(&a, b)| a.abs_diff(b) < 60)
    }

    #[test]
    fn whole_images_shrink_and_never_grow() {
        let image = RgbImage::filled(300, 100, [90, 120, 40]);
        let small = image.thumbnail(60).unwrap();
        assert_eq!(small.size, [20, 60]);
        assert!(is_near(decoded(&small).get(30, 10), [90, 120, 40]));
        assert_eq!(image.thumbnail(1000).unwrap().size, [100, 300]);
        assert!(image.thumbnail(0).unwrap_err().to_string().contains("side of a thumbnail"));
    }

    #[test]
    fn the_window_has_context_and_stays_inside() {
        // 35 % of the longer side, 100: 35 pixels on each side.
        let middle = window(BBox::new(100.0, 100.0, 200.0, 150.0), [400, 400]);
        assert_eq!(middle, [65, 65, 170, 120]);
        let corner = window(BBox::new(0.0, 0.0, 10.0, 10.0), [400, 400]);
        assert_eq!(corner, [0, 0, 18, 18]);
        // A pole of 4 x 200 has 70 pixels on each side.
        let [_, _, width, height] = window(BBox::new(198.0, 100.0, 202.0, 300.0), [400, 400]);
        assert_eq!((width, height), (144, 340));
        for bbox in [[500.0, 500.0, 600.0, 600.0], [0.0; 4], [f32::MIN, f32::MIN, 1e9, 1e9]] {
            let [left, top, width, height] = window(bbox.into(), [30, 40]);
            assert!(width > 0 && left + width <= 40, "{bbox:?}");
            assert!(height > 0 && top + height <= 30, "{bbox:?}");
        }
    }

    #[test]
    fn box_and_mask_are_where_the_object_is() {
        let image = RgbImage::filled(200, 200, [100; 3]);
        let bbox = BBox::new(60.0, 60.0, 140.0, 140.0);
        let mask = Mask::new([60, 60], [40, 80], vec![true; 3200]);
        let mark = Mark { bbox, mask: mask.as_ref(), color: RED };
        // The window is 136 pixels from (32, 32) on: as large as the thumbnail.
        let drawn = decoded(&image.object_thumbnail(bbox, &[mark], 136).unwrap());
        assert_eq!((drawn.width(), drawn.height()), (136, 136));
        for (x, y) in [(29, 70), (106, 70), (70, 29), (70, 106)] {
            let [red, green, _] = drawn.get(x, y);
            assert!(red > 130 && green < 110, "({x}, {y}) {:?}", drawn.get(x, y));
        }
        let [tinted, plain] = [drawn.get(68, 48), drawn.get(68, 90)];
        assert!(tinted[0] > 120 && tinted[1] < 95, "{tinted:?}");
        assert!(is_near(plain, [100; 3]) && is_near(drawn.get(10, 10), [100; 3]));
    }

    #[test]
    fn marks_far_outside_are_cut_off() {
        let image = RgbImage::filled(20, 10, [0; 3]);
        for bbox in [[-1e6, -1e6, 1e6, 1e6], [15.0, 5.0, 400.0, 400.0], [90.0, 90.0, 95.0, 95.0]] {
            let mark = Mark { bbox: bbox.into(), mask: None, color: RED };
            // The window is all of the height, and 16 of 20 columns: enlarged four times.
            let drawn = image.object_thumbnail(BBox::new(2.0, 2.0, 8.0, 8.0), &[mark], 64);
            assert_eq!(drawn.unwrap().size, [40, 64]);
        }
    }
}
