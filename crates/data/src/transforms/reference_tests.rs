//! Transforms against PIL and torchvision (`xtask/reference/data.py`).

use std::borrow::Cow;

use serde::Deserialize;

use super::augment_op::AugmentOp;
use super::resize::resize_box;
use super::{CenterCrop, Fill, Normalize, Pipeline, Resize, ResizeShorter, enhance};
use crate::{DataError, RgbImage};
use longtail_types::{KeyedRng, Stream};

#[derive(Deserialize)]
struct Reference {
    source: Raw,
    augment: Vec<Case>,
    color: Vec<Case>,
    resize: Vec<Case>,
    normalized: Vec<f32>,
}

#[derive(Deserialize)]
struct Case {
    op: String,
    #[serde(default)]
    bins: usize,
    #[serde(default)]
    bin: usize,
    #[serde(default)]
    sign: f64,
    #[serde(default)]
    magnitude: f64,
    #[serde(default)]
    factor: f64,
    #[serde(default)]
    size: [usize; 2],
    #[serde(default, rename = "box")]
    part: [usize; 4],
    #[serde(flatten)]
    image: Raw,
}

#[derive(Deserialize)]
struct Raw {
    width: usize,
    height: usize,
    pixels: String,
}

impl Raw {
    fn image(&self) -> RgbImage {
        let byte = |i| u8::from_str_radix(&self.pixels[i..i + 2], 16).unwrap();
        let pixels = (0..self.pixels.len()).step_by(2).map(byte).collect();
        RgbImage::new(self.width, self.height, pixels).unwrap()
    }
}

fn reference() -> Reference {
    serde_json::from_str(include_str!("../../tests/data/transforms.json")).unwrap()
}

/// Largest difference of two images of one size.
fn difference(actual: &RgbImage, expected: &RgbImage) -> u8 {
    let size = |image: &RgbImage| (image.width(), image.height());
    assert_eq!(size(actual), size(expected));
    let pairs = actual.pixels().iter().zip(expected.pixels());
    pairs.map(|(a, e)| a.abs_diff(*e)).max().unwrap()
}

#[test]
fn augment_operations_equal_torchvision() {
    let reference = reference();
    assert!(reference.augment.len() >= 30);
    for case in reference.augment {
        let op = match case.op.as_str() {
            "Identity" => AugmentOp::Identity,
            "ShearX" => AugmentOp::ShearX,
            "ShearY" => AugmentOp::ShearY,
            "TranslateX" => AugmentOp::TranslateX,
            "TranslateY" => AugmentOp::TranslateY,
            "Rotate" => AugmentOp::Rotate,
            "Brightness" => AugmentOp::Brightness,
            "Color" => AugmentOp::Color,
            "Contrast" => AugmentOp::Contrast,
            "Sharpness" => AugmentOp::Sharpness,
            "Posterize" => AugmentOp::Posterize,
            "Solarize" => AugmentOp::Solarize,
            "AutoContrast" => AugmentOp::AutoContrast,
            "Equalize" => AugmentOp::Equalize,
            "Invert" => AugmentOp::Invert,
            other => panic!("{other}"),
        };
        let mut image = reference.source.image();
        let (size, name) = ((image.width(), image.height()), &case.op);
        let (magnitude, is_signed) = op.magnitude(case.bin, case.bins, size.0, size.1);
        assert!(is_signed || case.sign > 0.0, "{name}");
        assert!((magnitude * case.sign - case.magnitude).abs() < 1e-9, "{name} {magnitude}");
        op.apply(&mut image, case.magnitude, Fill::Color([0; 3]), [9; 3]);
        assert_eq!(difference(&image, &case.image.image()), 0, "{name} {magnitude}");
    }
}

#[test]
fn color_functions_equal_torchvision() {
    let reference = reference();
    for case in reference.color {
        let mut image = reference.source.image();
        let function = match case.op.as_str() {
            "brightness" => enhance::brightness,
            "contrast" => enhance::contrast,
            "saturation" => enhance::saturation,
            "hue" => enhance::hue,
            other => panic!("{other}"),
        };
        function(&mut image, case.factor);
        assert_eq!(difference(&image, &case.image.image()), 0, "{} {}", case.op, case.factor);
    }
}

/// PIL filters rows first, the crate used here columns first, both with 8-bit results in between.
#[test]
fn resizing_agrees_with_pil_within_one_level() {
    let reference = reference();
    let image = reference.source.image();
    for case in reference.resize {
        let source = Cow::Borrowed(&image);
        let [width, height] = case.size;
        let resized: Result<Cow<'_, RgbImage>, DataError> = match case.op.as_str() {
            "resize" => Resize { width, height }.apply(source),
            "shorter" => ResizeShorter { size: width }.apply(source),
            "center" => CenterCrop { size: width }.apply(source),
            "box" => resize_box(source, case.part, [width, width]),
            other => panic!("{other}"),
        };
        let limit = u8::from(case.op != "center");
        let found = difference(&resized.unwrap(), &case.image.image());
        assert!(found <= limit, "{} {:?}: {found}", case.op, case.size);
    }
}

#[test]
fn normalized_values_equal_torch() {
    let reference = reference();
    let image = reference.source.image();
    let pipeline = Pipeline::new(Vec::new(), Normalize::CIFAR).unwrap();
    let mut rng = KeyedRng::new(0, Stream::Augment, 0, 0);
    let mut values = Vec::new();
    let size = pipeline.apply(Cow::Borrowed(&image), &mut rng, &mut values).unwrap();
    assert_eq!(size, [image.height(), image.width()]);
    assert_eq!(values.len(), reference.normalized.len());
    for (value, expected) in values.iter().zip(&reference.normalized) {
        assert!((value - expected).abs() < 1e-6, "{value} {expected}");
    }
}
