//! The three box heads of a cascade, one after the other.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use longtail_models::{ClassifierHead, Detector, DetectorConfig, RawDetection};
use longtail_testing::assert_close;
use longtail_types::BBox;

use crate::tiny::{HEIGHT, WIDTH, batch, cascade_rcnn, detector, faster_rcnn, softmax};

/// The detector with box heads that say the same of every region: the bias of each stage, logits of
/// the class and of background, then offsets.
fn constant(detector: Detector, biases: &[([f32; 2], [f32; 4])], device: &Device) -> Detector {
    let Detector::RCnn(mut rcnn) = detector.valid() else { panic!("two stages") };
    for (stage, (logits, offsets)) in rcnn.roi_heads.stages.iter_mut().zip(biases) {
        let predictor = &mut stage.box_predictor;
        let ClassifierHead::Linear(classifier) = &mut predictor.cls_score else { panic!("linear") };
        classifier.weight = Param::from_tensor(classifier.weight.val().zeros_like());
        classifier.bias = Some(Param::from_tensor(Tensor::from_floats(*logits, device)));
        let boxes = &mut predictor.bbox_pred;
        boxes.weight = Param::from_tensor(boxes.weight.val().zeros_like());
        boxes.bias = Some(Param::from_tensor(Tensor::from_floats(*offsets, device)));
    }
    Detector::RCnn(rcnn)
}

fn boxes_of(detector: &Detector, device: &Device) -> Vec<RawDetection> {
    detector.predict(&batch(device)).unwrap().remove(0)
}

#[test]
fn stages_move_boxes_one_after_the_other_and_average_their_scores() {
    let device = longtail_testing::device();
    let mut cascade = cascade_rcnn();
    cascade.mask_head = None;
    let mut faster = faster_rcnn();
    faster.box_targets.class_agnostic = true;
    for detection in [&mut cascade.detection, &mut faster.detection] {
        (detection.nms_threshold, detection.max_per_image) = (1.0, 1000);
    }
    // Without offsets, Faster R-CNN gives the proposals back.
    let faster = detector(&DetectorConfig::FasterRcnn(faster), &softmax(), 1);
    let faster = constant(faster, &[([0.0; 2], [0.0; 4])], &device);
    let proposals = boxes_of(&faster, &device);
    // The weights of the stages are (10, 5), (20, 10), (30, 15): shifts by 0.1, 0.05, -0.1 of the
    // width, then by 0.1 of the height; the width shrinks by e^-0.2 in the second stage.
    let biases = [
        ([0.0, 0.0], [1.0, 0.0, 0.0, 0.0]),
        ([3.0_f32.ln(), 0.0], [1.0, 0.0, -2.0, 0.0]),
        ([0.0, 3.0_f32.ln()], [-3.0, 3.0, 0.0, 0.0]),
    ];
    let cascade = detector(&DetectorConfig::CascadeRcnn(cascade), &softmax(), 1);
    let found = boxes_of(&constant(cascade, &biases, &device), &device);
    assert_eq!(found.len(), proposals.len());
    let mut num_compared = 0;
    for (found, RawDetection { bbox, .. }) in found.iter().zip(&proposals) {
        assert!((found.score - (0.5 + 0.75 + 0.25) / 3.0).abs() < 1e-6);
        let (width, height) = (bbox.width(), bbox.height());
        let narrow = width * (-0.2_f32).exp();
        let x = bbox.x1 + 0.5 * width + 0.15 * width - 0.1 * narrow;
        let y = bbox.y1 + 0.5 * height + 0.1 * height;
        let expected =
            BBox::new(x - 0.5 * narrow, y - 0.5 * height, x + 0.5 * narrow, y + 0.5 * height);
        let moved = BBox { x1: bbox.x1 + 0.15 * width, x2: bbox.x2 + 0.15 * width, ..expected };
        let is_inside = |b: BBox| b.clip([HEIGHT, WIDTH]) == b;
        if is_inside(moved) && is_inside(expected) && bbox.x1 > 0.0 && bbox.y1 > 0.0 {
            let expected = expected.to_array().map(f64::from);
            assert_close("box", &found.bbox.to_array(), &expected, 1e-5);
            num_compared += 1;
        }
    }
    assert!(num_compared >= 3, "only {num_compared} of {} proposals stay inside", proposals.len());
}
