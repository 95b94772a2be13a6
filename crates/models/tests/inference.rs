//! Models for inference alone: the same numbers without batch norms.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;
#[path = "common/formula.rs"]
mod formula;
#[path = "rcnn/tiny.rs"]
mod tiny;

use std::task::{Context, Poll, Waker};

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;
use common::{tensor, weights};
use formula::{filled, gain};
use longtail_kernels::host_reads;
use longtail_models::{
    BackboneConfig, BoxHeadConfig, BoxLayersConfig, ClassifierConfig, DetectionConfig, Detector,
    DetectorBackboneConfig, DetectorConfig, FpnConfig, MaskHeadConfig, MaskRcnnConfig, NormConfig,
    RetinaNetConfig, RetinaNetDetectionConfig,
};
use longtail_ops::ImageBatch;
use longtail_testing::{assert_close, values};
use longtail_types::BBox;
use tiny::{batch, cascade_rcnn, detector, eql, mask_rcnn, softmax};

/// Names of the running statistics.
#[derive(Default)]
struct Statistics {
    path: Vec<String>,
    found: Vec<String>,
}

impl ModuleVisitor for Statistics {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, _: &Param<Tensor<D>>) {
        self.found.extend(self.path.last().filter(|name| name.starts_with("running_")).cloned());
    }
}

fn num_statistics<M: Module>(module: &M) -> usize {
    let mut statistics = Statistics::default();
    module.visit(&mut statistics);
    statistics.found.len()
}

fn backbone(norm: NormConfig) -> DetectorBackboneConfig {
    DetectorBackboneConfig { norm, ..tiny::backbone() }
}

/// Everything that has a batch norm has one.
fn mask_with(norm: NormConfig) -> DetectorConfig {
    let layers =
        BoxLayersConfig::ConvFc { num_convs: 2, channels: 8, width: 16, norm: Some(norm.clone()) };
    let mask_head = MaskHeadConfig { norm: Some(norm.clone()), ..tiny::mask_head() };
    DetectorConfig::MaskRcnn(MaskRcnnConfig {
        backbone: backbone(norm.clone()),
        fpn: FpnConfig { channels: 8, norm: Some(norm), ..Default::default() },
        box_head: BoxHeadConfig { pooled_size: 3, layers, ..Default::default() },
        mask_head,
        detection: DetectionConfig { score_threshold: 0.0, ..Default::default() },
        ..mask_rcnn()
    })
}

fn retinanet(norm: NormConfig) -> DetectorConfig {
    DetectorConfig::RetinaNet(RetinaNetConfig {
        backbone: backbone(norm),
        fpn: FpnConfig { channels: 8, ..Default::default() },
        detection: RetinaNetDetectionConfig { score_threshold: 0.0, ..Default::default() },
        ..Default::default()
    })
}

fn corners(bbox: BBox) -> [f64; 4] {
    bbox.to_array().map(f64::from)
}

/// Same labels in the same order; scores, boxes and masks within 1e-4 of the largest.
fn assert_same_detections(name: &str, plain: &Detector, folded: &Detector) {
    let batch = batch(&plain.devices()[0]);
    let (expected, found) = (plain.predict(&batch).unwrap(), folded.predict(&batch).unwrap());
    for (expected, found) in expected.iter().zip(&found) {
        assert!(expected.len() > 10, "{name}: {}", expected.len());
        let labels = |list: &[longtail_models::RawDetection]| -> Vec<usize> {
            list.iter().map(|detection| detection.label).collect()
        };
        assert_eq!(labels(found), labels(expected), "{name}");
        for (found, expected) in found.iter().zip(expected) {
            assert_close(name, &[found.score], &[expected.score.into()], 1e-4);
            assert_close(name, &found.bbox.to_array(), &corners(expected.bbox), 1e-4);
            let mask = |mask: &Option<Vec<f32>>| mask.clone().unwrap_or_default();
            let expected: Vec<f64> = mask(&expected.mask).into_iter().map(f64::from).collect();
            if !expected.is_empty() {
                assert_close(name, &mask(&found.mask), &expected, 1e-4);
            }
        }
    }
}

#[test]
fn detectors_find_the_same() {
    let cases = [
        ("mask, batch", mask_with(NormConfig::batch()), softmax(), true),
        ("mask, frozen", mask_with(NormConfig::frozen()), eql(), true),
        ("mask, group", mask_with(NormConfig::group(4)), softmax(), false),
        ("cascade", DetectorConfig::CascadeRcnn(cascade_rcnn()), softmax(), false),
        ("retinanet", retinanet(NormConfig::batch()), eql(), true),
    ];
    for (name, config, loss, has_statistics) in cases {
        let detector = detector(&config, &loss, 3);
        let detector = filled(detector, |path, shape| {
            weights(path, shape, "bn2").into_iter().map(|v| v * gain(path)).collect()
        });
        let (plain, folded) = (detector.valid(), detector.for_inference());
        assert_eq!(num_statistics(&plain) > 0, has_statistics, "{name}");
        assert_eq!(num_statistics(&folded), 0, "{name}");
        assert!(!folded.devices()[0].is_autodiff(), "{name}");
        assert_same_detections(name, &plain, &folded);
        // The original still trains.
        assert_eq!(num_statistics(&detector), num_statistics(&plain), "{name}");
    }
}

/// The result of a future, asked for again and again.
fn wait<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(result) => return result,
            Poll::Pending => std::thread::yield_now(),
        }
    }
}

#[test]
fn without_blocking_detectors_find_the_same() {
    let cases = [
        ("mask", mask_with(NormConfig::batch()), softmax()),
        ("cascade", DetectorConfig::CascadeRcnn(cascade_rcnn()), softmax()),
        ("retinanet", retinanet(NormConfig::batch()), eql()),
    ];
    for (name, config, loss) in cases {
        let detector = detector(&config, &loss, 3);
        let detector = filled(detector, |path, shape| {
            weights(path, shape, "bn2").into_iter().map(|v| v * gain(path)).collect()
        });
        let detector = detector.for_inference();
        let batch = batch(&detector.devices()[0]);
        let before = host_reads();
        let expected = detector.predict(&batch).unwrap();
        let num_reads = host_reads() - before;
        assert!(num_reads > 0 && expected.iter().all(|found| found.len() > 10), "{name}");
        assert_eq!(wait(detector.predict_async(&batch)).unwrap(), expected, "{name}");
        assert_eq!(host_reads() - before, 2 * num_reads, "{name}");
        let broken = ImageBatch { sizes: Vec::new(), ..batch };
        let message = wait(detector.predict_async(&broken)).unwrap_err().to_string();
        assert_eq!(message, detector.predict(&broken).unwrap_err().to_string());
    }
}

#[test]
fn classifiers_give_the_same_logits() {
    let device = longtail_testing::device().autodiff();
    for (backbone, last) in
        [(BackboneConfig::ResNet18, "bn2"), (BackboneConfig::CifarResNet20, "bn2")]
    {
        let classifier = ClassifierConfig::new(backbone).init(7, None, 0, &device).unwrap();
        let classifier = filled(classifier, |path, shape| weights(path, shape, last));
        let (plain, folded) = (classifier.valid(), classifier.for_inference());
        assert!(num_statistics(&plain) > 0);
        assert_eq!(num_statistics(&folded), 0);
        let images = tensor("images", [2, 3, 48, 40], &device.clone().inner());
        let logits = |values: Vec<f32>| values.into_iter().map(f64::from).collect::<Vec<_>>();
        let expected = logits(values(plain.forward(images.clone())));
        assert_close(backbone.name(), &values(folded.forward(images)), &expected, 1e-4);
    }
}
