//! Detections drawn on an image: masks, boxes, names and scores.

use std::borrow::Cow;
use std::io;
use std::path::Path;

use font8x8::{BASIC_FONTS, LATIN_FONTS, UnicodeFonts};
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};
use longtail_data::RgbImage;
use longtail_types::{ClassMap, Detection, Mask};

use crate::error::TrainingError;
use crate::files::write_whole;

/// Side of a character before it is scaled.
const FONT_SIZE: usize = 8;

/// Draws detections on a copy of the image they were found in, the best on top.
///
/// Every class has a colour of its own, the same in every image. Lines and letters grow with the
/// image.
pub fn draw_detections(image: &RgbImage, detections: &[Detection], classes: &ClassMap) -> RgbImage {
    let mut order: Vec<&Detection> = detections.iter().collect();
    order.sort_by(|a, b| a.score.total_cmp(&b.score));
    let masks =
        order.iter().filter_map(|found| Some((found.label, Cow::Borrowed(found.mask.as_ref()?))));
    draw(image, &order, masks, classes)
}

/// Draws masks with their labels, then boxes, then names; of each the last on top.
pub(super) fn draw<'a>(
    image: &RgbImage,
    order: &[&Detection],
    masks: impl Iterator<Item = (usize, Cow<'a, Mask>)>,
    classes: &ClassMap,
) -> RgbImage {
    let mut canvas = Canvas::new(image);
    masks.for_each(|(label, mask)| canvas.mask(&mask, color(label)));
    for detection in order {
        canvas.outline(detection, color(detection.label));
    }
    for detection in order {
        let name = classes.name(detection.label).unwrap_or("?");
        let text = format!("{name} {:.2}", detection.score);
        canvas.label(detection, &text, color(detection.label));
    }
    canvas.image
}

/// An image and its detections, every pixel `factor` pixels wide and high: where images are so small
/// that letters would hide them.
pub fn enlarge(
    image: &RgbImage,
    detections: &[Detection],
    factor: usize,
) -> (RgbImage, Vec<Detection>) {
    let factor = factor.max(1);
    let mut large = RgbImage::filled(factor * image.width(), factor * image.height(), [0; 3]);
    let width = large.width();
    for (index, pixel) in large.pixels_mut().chunks_exact_mut(3).enumerate() {
        pixel.copy_from_slice(&image.get(index % width / factor, index / width / factor));
    }
    let detections = detections.iter().map(|detection| {
        let bbox = detection.bbox.to_array().map(|border| border * factor as f32);
        let mask = detection.mask.as_ref().and_then(|mask| {
            let size = [factor * mask.height(), factor * mask.width()];
            let pixel = |index| {
                let (x, y) = (index % size[1] / factor, index / size[1] / factor);
                mask.get(mask.left() + x, mask.top() + y)
            };
            let pixels = (0..size[0] * size[1]).map(pixel).collect();
            Mask::new([factor * mask.left(), factor * mask.top()], size, pixels)
        });
        Detection { bbox: bbox.into(), mask, ..*detection }
    });
    (large, detections.collect())
}

/// Images in a row, with a gap between them.
pub fn side_by_side(images: &[RgbImage]) -> RgbImage {
    const GAP: usize = 8;
    let height = images.iter().map(RgbImage::height).max().unwrap_or_default();
    let widths: usize = images.iter().map(RgbImage::width).sum();
    let width = widths + GAP * images.len().saturating_sub(1);
    let mut row = RgbImage::filled(width, height, [255; 3]);
    let mut left = 0;
    for image in images {
        for (y, line) in image.pixels().chunks_exact(3 * image.width().max(1)).enumerate() {
            let start = 3 * (y * width + left);
            row.pixels_mut()[start..start + line.len()].copy_from_slice(line);
        }
        left += image.width() + GAP;
    }
    row
}

/// Writes an image as PNG, whole or not at all.
/// # Errors
/// If the file cannot be written.
pub fn write_png(path: &Path, image: &RgbImage) -> Result<(), TrainingError> {
    let (width, height) = (image.width() as u32, image.height() as u32);
    write_whole(path, |file| {
        let encoder = PngEncoder::new(file);
        encoder
            .write_image(image.pixels(), width, height, ExtendedColorType::Rgb8)
            .map_err(io::Error::other)
    })
}

/// Colours around the circle by steps of the golden angle, so that neighbours differ.
fn color(label: usize) -> [u8; 3] {
    let hue = 6.0 * (label as f64 * 0.618_033_988_75 + 0.02).fract();
    let value = [1.0, 0.82, 0.92][label / 7 % 3];
    let channel = |shift: f64| {
        let distance = ((hue + shift).rem_euclid(6.0) - 3.0).abs() - 1.0;
        (255.0 * value * (0.12 + 0.88 * distance.clamp(0.0, 1.0))) as u8
    };
    [channel(0.0), channel(4.0), channel(2.0)]
}

struct Canvas {
    image: RgbImage,
    thickness: usize,
    letter: usize, // pixels per dot of the font
}

impl Canvas {
    fn new(image: &RgbImage) -> Self {
        let side = image.width().min(image.height());
        Self { image: image.clone(), thickness: (side / 200).max(1), letter: (side / 400).max(1) }
    }

    /// Mixes a colour into a pixel; outside of the image nothing happens.
    fn blend(&mut self, x: usize, y: usize, color: [u8; 3], share: f32) {
        if x < self.image.width() && y < self.image.height() {
            let start = 3 * (y * self.image.width() + x);
            for (value, target) in self.image.pixels_mut()[start..].iter_mut().zip(color) {
                let mixed = f32::from(*value) * (1.0 - share) + f32::from(target) * share;
                *value = mixed.round() as u8;
            }
        }
    }

    fn fill(&mut self, columns: [usize; 2], rows: [usize; 2], color: [u8; 3]) {
        for y in rows[0]..rows[1].min(self.image.height()) {
            for x in columns[0]..columns[1].min(self.image.width()) {
                self.blend(x, y, color, 1.0);
            }
        }
    }

    fn mask(&mut self, mask: &Mask, color: [u8; 3]) {
        for (row, pixels) in mask.pixels().chunks_exact(mask.width().max(1)).enumerate() {
            for (column, _) in pixels.iter().enumerate().filter(|(_, is_set)| **is_set) {
                self.blend(mask.left() + column, mask.top() + row, color, 0.45);
            }
        }
    }

    /// Borders of the box in pixels: left, upper, right, lower.
    fn corners(&self, detection: &Detection) -> [usize; 4] {
        let size = [self.image.height(), self.image.width()];
        detection.bbox.clip(size).to_array().map(|border| border.round() as usize)
    }

    fn outline(&mut self, detection: &Detection, color: [u8; 3]) {
        let [left, top, right, bottom] = self.corners(detection);
        let line = self.thickness;
        let (inner_right, inner_bottom) = (right.saturating_sub(line), bottom.saturating_sub(line));
        self.fill([left, right], [top, top + line], color);
        self.fill([left, right], [inner_bottom.max(top), bottom], color);
        self.fill([left, left + line], [top, bottom], color);
        self.fill([inner_right.max(left), right], [top, bottom], color);
    }

    /// Text above the box, or inside where there is no room.
    fn label(&mut self, detection: &Detection, text: &str, color: [u8; 3]) {
        let [left, top, ..] = self.corners(detection);
        let side = FONT_SIZE * self.letter;
        let (width, height) = (side * text.chars().count() + 2, side + 2);
        let left = left.min(self.image.width().saturating_sub(width));
        let top = if top >= height { top - height } else { top };
        self.fill([left, left + width], [top, top + height], color);
        let luminance = 299 * u32::from(color[0]) + 587 * u32::from(color[1]);
        let is_bright = luminance + 114 * u32::from(color[2]) > 128_000;
        let ink = if is_bright { [0; 3] } else { [255; 3] };
        for (index, letter) in text.chars().enumerate() {
            self.letter([left + 1 + index * side, top + 1], letter, ink);
        }
    }

    fn letter(&mut self, [left, top]: [usize; 2], letter: char, ink: [u8; 3]) {
        let glyph = BASIC_FONTS.get(letter).or_else(|| LATIN_FONTS.get(letter));
        let glyph = glyph.or_else(|| BASIC_FONTS.get('?')).unwrap_or_default();
        let dot = self.letter;
        for (row, bits) in glyph.into_iter().enumerate() {
            for column in (0..FONT_SIZE).filter(|column| bits >> column & 1 == 1) {
                let (x, y) = (left + column * dot, top + row * dot);
                self.fill([x, x + dot], [y, y + dot], ink);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use longtail_types::BBox;

    fn classes() -> ClassMap {
        ClassMap::from_names(["owl", "wren"]).unwrap()
    }

    fn detection(bbox: [f32; 4]) -> Detection {
        Detection { label: 1, score: 0.5, bbox: bbox.into(), mask: None }
    }

    #[test]
    fn the_box_is_drawn_and_its_inside_is_kept() {
        let image = RgbImage::filled(120, 60, [10, 20, 30]);
        let drawn = draw_detections(&image, &[detection([20.0, 30.0, 60.0, 50.0])], &classes());
        for (x, y) in [(20, 40), (59, 40), (30, 49), (59, 30)] {
            assert_eq!(drawn.get(x, y), color(1), "({x}, {y})");
        }
        for (x, y) in [(40, 40), (60, 40), (100, 20), (30, 50)] {
            assert_eq!(drawn.get(x, y), [10, 20, 30], "({x}, {y})");
        }
        // The text lies above the box, dark or light on the colour of the class.
        let text = (20..26).map(|y| (20..90).filter(|&x| drawn.get(x, y) != color(1)).count());
        assert!(text.sum::<usize>() > 50);
    }

    #[test]
    fn a_mask_shines_through() {
        let image = RgbImage::filled(120, 60, [0; 3]);
        let mask = Mask::new([10, 12], [2, 3], vec![true, false, true, true, true, true]);
        let detection = Detection { mask, ..detection([60.0, 55.0, 60.0, 55.0]) };
        let drawn = draw_detections(&image, &[detection], &classes());
        let tint = color(1).map(|value| (f32::from(value) * 0.45).round() as u8);
        assert_eq!([drawn.get(10, 12), drawn.get(11, 12), drawn.get(12, 13)], [tint, [0; 3], tint]);
    }

    #[test]
    fn nothing_reaches_outside() {
        for size in [[1, 1], [3, 50], [50, 3]] {
            let image = RgbImage::filled(size[0], size[1], [200; 3]);
            let boxes = [[-5.0, -5.0, 500.0, 500.0], [0.0; 4], [49.0, 2.0, 50.0, 3.0]];
            let mask = Mask::new([0, 0], [60, 60], vec![true; 3600]);
            for bbox in boxes {
                let detection = Detection { mask: mask.clone(), ..detection(bbox) };
                let drawn = draw_detections(&image, &[detection], &classes());
                assert_eq!([drawn.width(), drawn.height()], size);
            }
        }
        let nowhere = Detection { label: 7, bbox: BBox::default(), score: 1.0, mask: None };
        draw_detections(&RgbImage::filled(9, 9, [0; 3]), &[nowhere], &classes());
    }

    #[test]
    fn neighbouring_classes_differ_in_colour() {
        let distance = |a: [u8; 3], b: [u8; 3]| -> u32 {
            a.iter().zip(b).map(|(&a, b)| u32::from(a.abs_diff(b))).sum()
        };
        assert!((0..200).all(|label| distance(color(label), color(label + 1)) > 100));
    }

    #[test]
    fn enlarged_images_keep_what_is_where() {
        let mut image = RgbImage::filled(3, 2, [0; 3]);
        image.pixels_mut()[3 * 5..].copy_from_slice(&[1, 2, 3]); // x = 2, y = 1
        let mask = Mask::new([1, 0], [2, 2], vec![true, false, false, true]);
        let detection = Detection { mask, ..detection([1.0, 0.0, 3.0, 2.0]) };
        let (large, found) = enlarge(&image, &[detection], 2);
        assert_eq!((large.width(), large.height()), (6, 4));
        assert_eq!(
            [large.get(4, 2), large.get(5, 3), large.get(3, 2)],
            [[1, 2, 3], [1, 2, 3], [0; 3]]
        );
        assert_eq!(found[0].bbox, BBox::new(2.0, 0.0, 6.0, 4.0));
        let mask = found[0].mask.as_ref().unwrap();
        assert!(mask.get(2, 0) && mask.get(3, 1) && mask.get(5, 3) && !mask.get(4, 1));
        let row = side_by_side(&[image.clone(), large]);
        assert_eq!((row.width(), row.height(), row.get(2, 1)), (17, 4, [1, 2, 3]));
        assert_eq!((row.get(2, 2), row.get(15, 2)), ([255; 3], [1, 2, 3]));
        assert_eq!(side_by_side(&[]).pixels().len(), 0);
    }

    #[test]
    fn a_png_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        let image = draw_detections(
            &RgbImage::filled(30, 20, [9; 3]),
            &[detection([3.0, 3.0, 9.0, 9.0])],
            &classes(),
        );
        write_png(&path, &image).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(longtail_data::decode_image(&bytes, "a.png").unwrap(), image);
        let error = write_png(&folder.path().join("none/a.png"), &image).unwrap_err().to_string();
        assert!(error.contains("none/a.png"), "{error}");
    }
}
