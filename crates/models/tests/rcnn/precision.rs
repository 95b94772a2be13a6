//! Layers in half precision, weights, losses and boxes in single precision.

use burn::tensor::{DType, FloatDType};
use longtail_models::{Detector, DetectorConfig};
use longtail_testing::values;

use crate::formula::gradient_norms;
use crate::tiny::{KEY, batch, cascade_rcnn, detector, mask_rcnn, objects, softmax};

fn losses(detector: &Detector, dtype: FloatDType) -> (Vec<(&'static str, f32)>, Vec<f64>) {
    let device = longtail_testing::device().autodiff();
    let targets = [objects(3), objects(3)];
    let output = detector.losses(&batch(&device).cast(dtype), &targets, KEY).unwrap();
    let mut numbers = Vec::new();
    let mut total = None;
    for (name, loss) in output.losses {
        assert_eq!(loss.dtype(), DType::F32, "{name}");
        numbers.push((name, values(loss.clone())[0]));
        total = Some(total.map_or(loss.clone(), |sum| sum + loss));
    }
    let norms = gradient_norms(detector, &total.unwrap().backward());
    (numbers, norms.into_values().collect())
}

/// bfloat16 keeps 8 bits: the losses of a small detector stay within a few percent, and so does
/// the length of the whole gradient.
#[test]
fn losses_in_bfloat16_are_near_those_in_single_precision() {
    let device = longtail_testing::device();
    if !device.supports_dtype(FloatDType::BF16) {
        eprintln!("skipped: {device:?} has no bfloat16");
        return;
    }
    for config in
        [DetectorConfig::MaskRcnn(mask_rcnn()), DetectorConfig::CascadeRcnn(cascade_rcnn())]
    {
        let detector = detector(&config, &softmax(), 3);
        let (single, single_norms) = losses(&detector, FloatDType::F32);
        let (half, half_norms) = losses(&detector, FloatDType::BF16);
        for ((name, single), (_, half)) in single.iter().zip(&half) {
            assert!((single - half).abs() < 0.05 * single.abs(), "{name}: {single}, {half}");
            assert_ne!(single, half, "{name} was not computed in half precision");
        }
        let length = |norms: &[f64]| norms.iter().map(|norm| norm * norm).sum::<f64>().sqrt();
        let [single, half] = [length(&single_norms), length(&half_norms)];
        assert!((single - half).abs() < 0.1 * single, "{single}, {half}");
    }
}

#[test]
fn detections_in_half_precision_are_near_those_in_single_precision() {
    let device = longtail_testing::device();
    let detector = detector(&DetectorConfig::MaskRcnn(mask_rcnn()), &softmax(), 3).for_inference();
    let single = detector.detect(&batch(&device)).unwrap();
    for dtype in [FloatDType::F16, FloatDType::BF16] {
        if !device.supports_dtype(dtype) {
            eprintln!("skipped: {device:?} has no {dtype:?}");
            continue;
        }
        let half = detector.detect(&batch(&device).cast(dtype)).unwrap();
        for (single, half) in single.iter().zip(&half) {
            assert!(!half.is_empty() && half.len().abs_diff(single.len()) <= single.len() / 2);
            assert!((single[0].score - half[0].score).abs() < 0.02, "{dtype:?}");
        }
    }
}
