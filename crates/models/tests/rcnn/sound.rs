//! Losses are finite, every parameter learns, detections are legal: whatever the images hold.

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;
use longtail_losses::{BackgroundPrior, BalancedSoftmaxConfig, ClassificationLossConfig as Loss};
use longtail_models::{
    BoxLayersConfig, BoxTargetConfig, CascadeRcnnConfig, Detector, DetectorConfig, NormConfig,
    ProposalLimits,
};
use longtail_testing::values;
use longtail_types::Instance;

use crate::formula::gradient_norms;
use crate::tiny::{KEY, batch, cascade_rcnn, detector, eql, mask_rcnn, objects, softmax};

/// Number of parameters that train.
struct Trained(usize);

impl ModuleVisitor for Trained {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0 += usize::from(param.val().is_require_grad());
    }
}

/// Losses are finite, every parameter has a gradient, detections are legal.
fn assert_sound(name: &str, detector: &Detector, targets: &[Vec<Instance>]) -> Vec<f32> {
    let device = longtail_testing::device().autodiff();
    let losses = detector.losses(&batch(&device), targets, KEY).unwrap();
    let found: Vec<f32> = losses.losses.iter().flat_map(|(_, loss)| values(loss.clone())).collect();
    assert!(found.iter().all(|loss| loss.is_finite() && *loss >= 0.0), "{name}: {found:?}");
    let gradients = losses.total().backward();
    let norms = gradient_norms(detector, &gradients);
    let infinite = norms.iter().find(|(_, norm)| !norm.is_finite());
    assert!(infinite.is_none(), "{name}: {infinite:?}");
    let mut trained = Trained(0);
    detector.visit(&mut trained);
    let paths = norms.keys();
    assert_eq!(norms.len(), trained.0, "{name}: only these have a gradient: {paths:?}");

    let plain = detector.valid();
    let batch = batch(&plain.devices()[0]);
    for (detections, size) in plain.detect(&batch).unwrap().iter().zip(&batch.sizes) {
        assert!(detections.is_sorted_by(|a, b| a.score >= b.score), "{name}");
        for detection in detections {
            assert!(detection.label < detector.num_classes(), "{name}: {detection:?}");
            assert!((0.0..=1.0).contains(&detection.score), "{name}: {detection:?}");
            assert!(!detection.bbox.is_empty(), "{name}: {detection:?}");
            assert_eq!(detection.bbox.clip(*size), detection.bbox, "{name}");
            assert_eq!(detection.mask.is_some(), detector.has_masks(), "{name}");
        }
    }
    found
}

#[test]
fn every_kind_of_loss_and_image_is_sound() {
    let exclude = Some(BackgroundPrior::Exclude);
    let losses = [
        softmax(),
        eql(),
        Loss::Seesaw(Default::default()),
        Loss::EqualizationV2(Default::default()),
        Loss::BinaryCrossEntropy(Default::default()),
        Loss::Focal(Default::default()),
        Loss::BalancedSigmoid(Default::default()),
        Loss::BalancedSoftmax(BalancedSoftmaxConfig { background: exclude }),
    ];
    let configs =
        [DetectorConfig::MaskRcnn(mask_rcnn()), DetectorConfig::CascadeRcnn(cascade_rcnn())];
    for config in configs {
        for loss in &losses {
            let name = format!("{} with {}", config.name(), loss.method());
            let detector = detector(&config, loss, 3);
            for targets in [
                vec![objects(3), objects(3)],
                vec![objects(3), Vec::new()],
                vec![Vec::new(), Vec::new()],
            ] {
                assert_sound(&name, &detector, &targets);
            }
        }
    }
}

#[test]
fn agnostic_heads_and_one_class_are_sound() {
    let mut config = mask_rcnn();
    config.box_targets = BoxTargetConfig { class_agnostic: true, ..config.box_targets };
    config.mask_head.class_agnostic = true;
    config.box_head.layers = BoxLayersConfig::ConvFc {
        num_convs: 2,
        channels: 8,
        width: 16,
        norm: Some(NormConfig::group(2)),
    };
    let config = DetectorConfig::MaskRcnn(config);
    for (loss, num_classes) in [(softmax(), 3), (softmax(), 1), (eql(), 3)] {
        let detector = detector(&config, &loss, num_classes);
        let Detector::RCnn(rcnn) = &detector else { panic!("two stages") };
        assert_eq!(rcnn.roi_heads.stages[0].box_predictor.bbox_pred.weight.dims(), [4, 16]);
        let name = format!("agnostic {}", loss.method());
        assert_sound(&name, &detector, &[objects(num_classes), Vec::new()]);
    }
}

#[test]
fn no_proposals_survive() {
    let mut config = cascade_rcnn();
    let none = ProposalLimits { before_nms: 0, after_nms: 0 };
    (config.rpn.train, config.rpn.test) = (none, none);
    let config = DetectorConfig::CascadeRcnn(config);
    for loss in [softmax(), eql(), Loss::Seesaw(Default::default())] {
        let detector = detector(&config, &loss, 3);
        // With objects, their own boxes remain; without, nothing at all does.
        assert_sound("objects alone", &detector, &[objects(3), Vec::new()]);
        let losses = assert_sound("nothing", &detector, &[Vec::new(), Vec::new()]);
        assert!(losses[2..].iter().all(|&loss| loss == 0.0), "{losses:?}");
        let device = longtail_testing::device();
        assert_eq!(detector.valid().detect(&batch(&device)).unwrap(), [vec![], vec![]]);
    }
}

#[test]
fn low_thresholds_give_many_detections_with_masks() {
    let mut config = mask_rcnn();
    config.detection.score_threshold = 0.0;
    config.detection.max_per_image = 7;
    for config in [DetectorConfig::MaskRcnn(config.clone()), {
        let detection = config.detection;
        DetectorConfig::CascadeRcnn(CascadeRcnnConfig { detection, ..cascade_rcnn() })
    }] {
        let detector = detector(&config, &softmax(), 3);
        assert_sound("low threshold", &detector, &[objects(3), Vec::new()]);
        let device = longtail_testing::device();
        let found = detector.valid().predict(&batch(&device)).unwrap();
        assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [7, 7]);
        let masks = found.iter().flatten().filter_map(|d| d.mask.as_ref());
        assert!(masks.clone().all(|mask| mask.iter().all(|p| (0.0..=1.0).contains(p))));
        assert_eq!(masks.map(Vec::len).collect::<Vec<_>>(), [64; 14]);
    }
}
