//! Detectors with weights by formula, and what the references of torchvision say of them.
#![allow(dead_code, reason = "every test binary uses a part")]

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Device, Gradients, Tensor, TensorData};
use longtail_models::RawDetection;
use longtail_ops::ImageBatch;
use longtail_testing::{assert_close, values};
use longtail_types::{BBox, Instance};
use serde_json::Value;

use crate::common::{numbers, sampled, value, weights};

/// Gain of the last layers, as the script of the references lists them.
const GAINS: [(&str, f32); 6] = [
    ("rpn.head.cls_logits.weight", 0.1),
    ("rpn.head.bbox_pred.weight", 0.05),
    ("roi_heads.box_predictor.cls_score.weight", 0.03),
    ("roi_heads.box_predictor.bbox_pred.weight", 0.1),
    ("head.classification_head.cls_logits.weight", 0.02),
    ("head.regression_head.bbox_reg.weight", 0.05),
];

/// Gain of a parameter, by its name in torchvision.
pub(crate) fn gain(name: &str) -> f32 {
    GAINS.iter().find(|(gained, _)| *gained == name).map_or(1.0, |(_, gain)| *gain)
}

/// Values of a parameter of one of torchvision's detectors, by its name there.
pub(crate) fn detector_weights(name: &str, shape: &[usize]) -> Vec<f32> {
    let gain = gain(name);
    weights(name, shape, "bn3").into_iter().map(|v| v * gain).collect()
}

/// Names of the module tree without those of enum variants.
#[derive(Default)]
struct Path(Vec<String>);

impl Path {
    fn enter(&mut self, name: &str, container: &str) {
        self.0.push(if container.starts_with("Enum") { String::new() } else { name.into() });
    }

    fn name(&self) -> String {
        self.0.iter().filter(|name| !name.is_empty()).cloned().collect::<Vec<_>>().join(".")
    }
}

struct Filler<F> {
    path: Path,
    make: F,
}

impl<F: FnMut(&str, &[usize]) -> Vec<f32>> ModuleMapper for Filler<F> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.0.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let values = (self.make)(&self.path.name(), &param.dims());
        param.map(|old| {
            let data = TensorData::new(values, old.dims());
            let new = Tensor::from_data(data, &old.device());
            if old.is_require_grad() { new.require_grad() } else { new }
        })
    }
}

/// The module with other values: `make` gets the path of each parameter and its shape.
pub(crate) fn filled<M: Module>(module: M, make: impl FnMut(&str, &[usize]) -> Vec<f32>) -> M {
    module.map(&mut Filler { path: Path::default(), make })
}

struct Norms<'a> {
    path: Path,
    gradients: &'a Gradients,
    found: BTreeMap<String, f64>,
}

impl ModuleVisitor for Norms<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.0.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = param.val().grad(self.gradients) {
            let sum: f64 = values(gradient).iter().map(|&v| f64::from(v).powi(2)).sum();
            self.found.insert(self.path.name(), sum.sqrt());
        }
    }
}

/// Euclidean norm of the gradient of each parameter that has one, by its path.
pub(crate) fn gradient_norms<M: Module>(
    module: &M,
    gradients: &Gradients,
) -> BTreeMap<String, f64> {
    let mut norms = Norms { path: Path::default(), gradients, found: BTreeMap::new() };
    module.visit(&mut norms);
    norms.found
}

/// The image of a reference, normalised by ImageNet's numbers.
pub(crate) fn image(expected: &Value, device: &Device) -> ImageBatch {
    let size = |key: &str| expected[key].as_u64().unwrap() as usize;
    let [height, width] = [size("height"), size("width")];
    let padded: Vec<usize> = numbers(&expected["padded"]).into_iter().map(|v| v as usize).collect();
    let (mean, std) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
    let pixels = value(&format!("image:{}", size("seed")), 3 * height * width);
    let mut padded_pixels = vec![0.0_f32; padded.iter().product()];
    for (i, v) in pixels.into_iter().enumerate() {
        let (channel, row, column) = (i / (height * width), i / width % height, i % width);
        let at = (channel * padded[2] + row) * padded[3] + column;
        padded_pixels[at] = ((v + 1.0) / 2.0 - mean[channel]) / std[channel];
    }
    let data = TensorData::new(padded_pixels, [padded[0], padded[1], padded[2], padded[3]]);
    ImageBatch { images: Tensor::from_data(data, device), sizes: vec![[height, width]] }
}

/// The objects of a reference; `first_label` is the label there of our class 0.
pub(crate) fn targets(expected: &Value, first_label: usize) -> Vec<Instance> {
    let targets = &expected["targets"];
    let boxes = targets["boxes"].as_array().unwrap().iter().map(|b| bbox(&numbers(b)));
    let labels = numbers(&targets["labels"]).into_iter().map(|v| v as usize - first_label);
    boxes.zip(labels).map(|(bbox, label)| Instance { label, bbox, mask: None }).collect()
}

fn bbox(v: &[f64]) -> BBox {
    BBox::new(v[0] as f32, v[1] as f32, v[2] as f32, v[3] as f32)
}

/// Every level of the pyramid, by its mean magnitude.
pub(crate) fn assert_pyramid(levels: &[Tensor<4>], names: &[&str], expected: &Value) {
    assert_eq!(levels.len(), names.len());
    for (level, name) in levels.iter().zip(names) {
        let expected = &expected["fpn"][name];
        let shape: Vec<usize> =
            numbers(&expected["shape"]).into_iter().map(|v| v as usize).collect();
        assert_eq!(level.dims().to_vec(), shape, "{name}");
        let found = values(level.clone());
        let magnitude = expected["abs_mean"].as_f64().unwrap();
        for (found, expected) in sampled(&found, expected).iter().zip(numbers(&expected["values"]))
        {
            let error = (f64::from(*found) - expected).abs() / magnitude;
            assert!(
                error <= 1e-4,
                "{name}: {found} instead of {expected}, {error:.1e} of the mean"
            );
        }
        let mean = found.iter().map(|v| f64::from(v.abs())).sum::<f64>() / found.len() as f64;
        assert!((mean / magnitude - 1.0).abs() <= 1e-4, "{name}: {mean} and {magnitude}");
    }
}

/// One to one: the same label, boxes within 0.05 pixels, scores within 1e-4, and the same order but
/// where scores are within 2e-5 of each other.
pub(crate) fn assert_detections(found: &[RawDetection], expected: &Value, first_label: usize) {
    let expected = &expected["detections"];
    let boxes: Vec<BBox> =
        expected["boxes"].as_array().unwrap().iter().map(|b| bbox(&numbers(b))).collect();
    let labels = numbers(&expected["labels"]);
    let scores = numbers(&expected["scores"]);
    assert_eq!(found.len(), boxes.len());
    let mut is_free = vec![true; boxes.len()];
    for (rank, detection) in found.iter().enumerate() {
        let fits = |&i: &usize| {
            let distance = |(a, b): (f32, f32)| (a - b).abs() <= 0.05;
            is_free[i]
                && labels[i] as usize == detection.label + first_label
                && (scores[i] - f64::from(detection.score)).abs() <= 1e-4
                && detection.bbox.to_array().into_iter().zip(boxes[i].to_array()).all(distance)
        };
        let partner = (0..boxes.len()).find(fits);
        let partner = partner.unwrap_or_else(|| panic!("no partner of {rank}: {detection:?}"));
        is_free[partner] = false;
        let gap = (scores[partner] - scores[rank]).abs();
        assert!(gap <= 2e-5, "{partner} stands at {rank}, scores {gap:.1e} apart");
    }
}

/// Every named loss within 1e-4 of itself.
pub(crate) fn assert_losses(found: &[(&'static str, Tensor<1>)], expected: &Value) {
    let expected = expected["losses"].as_object().unwrap();
    assert_eq!(found.len(), expected.len());
    for (name, loss) in found {
        let expected = expected[*name].as_f64().unwrap();
        assert_close(name, &values(loss.clone()), &[expected], 1e-4);
    }
}

/// The norm of every gradient within 1e-3 of itself.
pub(crate) fn assert_gradients(found: &BTreeMap<String, f64>, expected: &Value) {
    let expected = expected["grad_norms"].as_object().unwrap();
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (name, expected) in expected {
        let (found, expected) = (found[name], expected.as_f64().unwrap());
        let error = (found - expected).abs() / expected.abs().max(1e-12);
        assert!(
            error <= 1e-3,
            "{name}: norm {found:.6e} instead of {expected:.6e}, {error:.1e} off"
        );
    }
}
