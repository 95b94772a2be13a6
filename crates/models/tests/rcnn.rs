//! Two-stage detectors on tiny images: every loss, empty images, no proposals, one class, refusals.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;
#[path = "common/formula.rs"]
mod formula;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor};
use common::tensor;
use formula::gradient_norms;
use longtail_losses::{
    BackgroundPrior, BalancedSoftmaxConfig, ClassificationLoss, ClassificationLossConfig as Loss,
    CrossEntropyConfig, EqualizationConfig,
};
use longtail_models::{
    BackboneConfig, BoxHeadConfig, BoxLayersConfig, BoxTargetConfig, CascadeRcnnConfig,
    ClassifierHead, Detector, DetectorBackboneConfig, DetectorConfig, FasterRcnnConfig, FpnConfig,
    FreezeScope, MaskHeadConfig, MaskRcnnConfig, NormConfig, ProposalLimits, RoiSamplingConfig,
    RpnConfig, StepKey,
};
use longtail_ops::ImageBatch;
use longtail_testing::values;
use longtail_types::{BBox, ClassCounts, Instance, Mask, TailRule};

const KEY: StepKey = StepKey { seed: 5, step: 3 };
const HEIGHT: usize = 64;
const WIDTH: usize = 96;

fn backbone() -> DetectorBackboneConfig {
    let backbone = DetectorBackboneConfig::from_scratch(BackboneConfig::ResNet18);
    DetectorBackboneConfig { base_width: 8, norm: NormConfig::group(4), ..backbone }
}

fn rpn() -> RpnConfig {
    let limits = ProposalLimits { before_nms: 60, after_nms: 40 };
    RpnConfig {
        anchor_sizes: [8.0, 16.0, 32.0, 48.0, 64.0].map(|size| vec![size]).into(),
        anchors_per_image: 32,
        train: limits,
        test: limits,
        ..Default::default()
    }
}

fn box_head() -> BoxHeadConfig {
    let layers = BoxLayersConfig::TwoFc { width: 16 };
    BoxHeadConfig { pooled_size: 3, layers, ..Default::default() }
}

fn mask_head() -> MaskHeadConfig {
    MaskHeadConfig { pooled_size: 4, num_convs: 2, channels: 8, ..Default::default() }
}

fn mask_rcnn() -> MaskRcnnConfig {
    MaskRcnnConfig {
        backbone: backbone(),
        fpn: FpnConfig { channels: 8, ..Default::default() },
        rpn: rpn(),
        rois: RoiSamplingConfig { per_image: 16, ..Default::default() },
        box_head: box_head(),
        mask_head: mask_head(),
        ..Default::default()
    }
}

fn faster_rcnn() -> FasterRcnnConfig {
    let MaskRcnnConfig { backbone, fpn, rpn, rois, box_head, box_targets, detection, .. } =
        mask_rcnn();
    FasterRcnnConfig { backbone, fpn, rpn, rois, box_head, box_targets, detection }
}

fn cascade_rcnn() -> CascadeRcnnConfig {
    let MaskRcnnConfig { backbone, fpn, rpn, rois, box_head, mask_head, detection, .. } =
        mask_rcnn();
    let mask_head = Some(mask_head);
    let cascade = CascadeRcnnConfig::default();
    CascadeRcnnConfig { backbone, fpn, rpn, rois, box_head, mask_head, detection, ..cascade }
}

/// Images of two sizes; the second is padded.
fn batch(device: &Device) -> ImageBatch {
    let images = tensor("images", [2, 3, HEIGHT, WIDTH], device);
    ImageBatch { images, sizes: vec![[HEIGHT, WIDTH], [50, 70]] }
}

fn object(label: usize, bbox: [f32; 4]) -> Instance {
    let bbox = BBox::from(bbox);
    let [left, top, right, bottom] = bbox.to_array().map(|v| v as usize);
    let size = [bottom - top, right - left];
    let mask = Mask::new([left, top], size, vec![true; size[0] * size[1]]);
    Instance { label, bbox, mask }
}

fn objects(num_classes: usize) -> Vec<Instance> {
    let last = num_classes - 1;
    vec![object(0, [4.0, 6.0, 30.0, 40.0]), object(last, [40.0, 10.0, 64.0, 45.0])]
}

/// Class `j` is in `10 (j + 1)` images; the first is tail.
fn make(loss: &Loss, num_classes: usize, device: &Device) -> ClassificationLoss {
    let counts: Vec<u64> = (1..=num_classes as u64).map(|j| 10 * j).collect();
    let counts = ClassCounts::new(counts.clone(), counts, 1000).unwrap();
    loss.init(&counts, device).unwrap()
}

fn softmax() -> Loss {
    Loss::CrossEntropy(CrossEntropyConfig { background: true })
}

fn eql() -> Loss {
    let tail = TailRule::ImageCountAtMost(10);
    Loss::Equalization(EqualizationConfig { tail, ..Default::default() })
}

fn detector(config: &DetectorConfig, loss: &Loss, num_classes: usize) -> Detector {
    let device = longtail_testing::device().autodiff();
    config.init(make(loss, num_classes, &device), 1, &device).unwrap()
}

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
        Loss::BalancedSoftmax(BalancedSoftmaxConfig { background: exclude, ..Default::default() }),
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

fn numbers_of(detector: &Detector, key: StepKey) -> Vec<f32> {
    let device = longtail_testing::device().autodiff();
    let targets = [objects(3), objects(3)];
    let losses = detector.losses(&batch(&device), &targets, key).unwrap();
    losses.losses.into_iter().flat_map(|(_, loss)| values(loss)).collect()
}

#[test]
fn the_key_decides_the_choice() {
    let detector = detector(&DetectorConfig::FasterRcnn(faster_rcnn()), &softmax(), 3);
    let first = numbers_of(&detector, KEY);
    assert_eq!(first, numbers_of(&detector, KEY));
    assert_ne!(first, numbers_of(&detector, StepKey { step: 4, ..KEY }));
    assert_ne!(first, numbers_of(&detector, StepKey { seed: 6, ..KEY }));
}

#[test]
fn losses_have_their_names() {
    let device = longtail_testing::device().autodiff();
    let names = |config: DetectorConfig| -> Vec<&'static str> {
        let detector = detector(&config, &softmax(), 3);
        let targets = [objects(3), Vec::new()];
        let losses = detector.losses(&batch(&device), &targets, KEY).unwrap();
        assert!(losses.get("loss_objectness").is_some() && losses.get("loss").is_none());
        losses.losses.into_iter().map(|(name, _)| name).collect()
    };
    let rpn = ["loss_objectness", "loss_rpn_box_reg"];
    let expected = [&rpn[..], &["loss_classifier", "loss_box_reg"]].concat();
    assert_eq!(names(DetectorConfig::FasterRcnn(faster_rcnn())), expected);
    let expected = [&expected[..], &["loss_mask"]].concat();
    assert_eq!(names(DetectorConfig::MaskRcnn(mask_rcnn())), expected);
    let cascade = names(DetectorConfig::CascadeRcnn(cascade_rcnn()));
    assert_eq!(cascade[2..4], ["loss_classifier_stage1", "loss_box_reg_stage1"]);
    assert_eq!(cascade[6..], ["loss_classifier_stage3", "loss_box_reg_stage3", "loss_mask"]);
}

#[test]
fn statistics_are_applied_saved_and_put_back() {
    let config = DetectorConfig::CascadeRcnn(cascade_rcnn());
    let loss = Loss::EqualizationV2(Default::default());
    let mut trained = detector(&config, &loss, 3);
    let fresh = trained.loss_state();
    let device = longtail_testing::device().autodiff();
    let targets = [objects(3), objects(3)];
    let updates = trained.losses(&batch(&device), &targets, KEY).unwrap().updates;
    assert_eq!(updates.len(), 3);
    trained.apply(updates.clone()).unwrap();
    let state = trained.loss_state();
    let names: Vec<&str> = state.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names[..4],
        ["stage1.positive", "stage1.negative", "stage1.ratio", "stage2.positive"]
    );
    let numbers = |state: &[(String, Tensor<1>)]| -> Vec<Vec<f32>> {
        state.iter().map(|(_, value)| values(value.clone())).collect()
    };
    assert!(numbers(&state).iter().zip(numbers(&fresh)).all(|(a, b)| *a != b), "{state:?}");

    let mut restored = detector(&config, &loss, 3);
    assert_ne!(numbers_of(&restored, KEY), numbers_of(&trained, KEY));
    restored.load_loss_state(state.clone()).unwrap();
    assert_eq!(numbers_of(&restored, KEY), numbers_of(&trained, KEY));

    let mut single = detector(&DetectorConfig::FasterRcnn(faster_rcnn()), &loss, 3);
    let message = single.apply(updates).unwrap_err().to_string();
    assert_eq!(message, "updates of statistics: a detector with 1 classification losses got 3");
    assert!(single.load_loss_state(state.clone()).is_err());
    let extra = [state, vec![("stage4.ratio".to_owned(), Tensor::zeros([3], &device))]].concat();
    let message = restored.load_loss_state(extra).unwrap_err().to_string();
    assert!(message.contains("stage4.ratio"), "{message}");
}

#[test]
fn the_prior_is_in_the_columns_of_the_classes() {
    let bias = |loss: Loss| {
        let detector = detector(&DetectorConfig::FasterRcnn(faster_rcnn()), &loss, 3);
        let Detector::RCnn(rcnn) = detector else { panic!("two stages") };
        let ClassifierHead::Linear(head) = &rcnn.roi_heads.stages[0].box_predictor.cls_score else {
            panic!("linear")
        };
        values(head.bias.as_ref().unwrap().val())
    };
    let prior = (0.001_f32 / 0.999).ln();
    assert_eq!(bias(eql()), [prior; 3]);
    let with_background = bias(Loss::EqualizationV2(Default::default()));
    assert_eq!(with_background[..3], [prior; 3]);
    assert!(with_background.len() == 4 && with_background[3].abs() <= 0.25, "{with_background:?}");
}

#[test]
fn scopes_freeze() {
    let device = longtail_testing::device().autodiff();
    let trained = |scope: FreezeScope| -> Vec<String> {
        let config = DetectorConfig::CascadeRcnn(cascade_rcnn());
        let detector = detector(&config, &softmax(), 3).freeze_scope(scope);
        let targets = [objects(3), objects(3)];
        let losses = detector.losses(&batch(&device), &targets, KEY).unwrap();
        let gradients = losses.total().backward();
        gradient_norms(&detector, &gradients).into_keys().collect()
    };
    let names = trained(FreezeScope::AllButClassifier);
    assert_eq!(names.len(), 6);
    assert!(names.iter().all(|name| name.contains(".box_predictor.cls_score.")), "{names:?}");
    let all = trained(FreezeScope::BackboneStages(0)).len();
    let names = trained(FreezeScope::BackboneStages(2));
    assert!(names.len() < all && !names.iter().any(|n| n.starts_with("backbone.body.layer1")));
    assert!(names.iter().any(|name| name.starts_with("backbone.body.layer2")));
}

fn refused(targets: &[Vec<Instance>], change: fn(&mut ImageBatch)) -> String {
    let detector = detector(&DetectorConfig::MaskRcnn(mask_rcnn()), &softmax(), 3);
    let mut batch = batch(&longtail_testing::device().autodiff());
    change(&mut batch);
    detector.losses(&batch, targets, KEY).unwrap_err().to_string()
}

#[test]
fn bad_batches_are_refused() {
    let good = || vec![objects(3), objects(3)];
    let with = |instance: Instance| vec![Vec::new(), vec![instance]];
    assert_eq!(
        refused(&with(object(3, [0.0, 0.0, 9.0, 9.0])), |_| ()),
        "object 0 of image 1 of the batch: label 3 is outside 0..3"
    );
    let message = refused(&with(object(0, [5.0, 5.0, 5.0, 9.0])), |_| ());
    assert_eq!(message, "object 0 of image 1 of the batch: box [5, 5, 5, 9] has no area");
    let nan = Instance { bbox: BBox::new(0.0, f32::NAN, 5.0, 9.0), ..object(0, [0.0; 4]) };
    assert!(refused(&with(nan), |_| ()).contains("box [0, NaN, 5, 9] has no area"));
    let maskless = Instance { mask: None, ..object(0, [0.0, 0.0, 9.0, 9.0]) };
    assert!(refused(&with(maskless), |_| ()).contains("it has no mask"));
    assert_eq!(
        refused(&good()[..1], |_| ()),
        "a batch of 2 images has 1 lists of objects: it must be one for each"
    );
    let message = refused(&good(), |batch| batch.sizes.truncate(1));
    assert_eq!(message, "a batch of 2 images has 1 sizes: it must be one for each");
    let message = refused(&good(), |batch| batch.sizes[1] = [65, 70]);
    assert_eq!(message, "image 1 of the batch: its size 65x70 does not lie in 1x1 to 64x96");
    let message = refused(&[], |batch| {
        batch.images = Tensor::zeros([0, 3, 64, 96], &batch.images.device());
        batch.sizes.clear();
    });
    assert_eq!(message, "images in the batch = 0, but it must be at least 1");
}

#[test]
fn impossible_detectors_are_refused() {
    let device = longtail_testing::device();
    let refused = |loss: Loss, change: fn(&mut FasterRcnnConfig)| -> String {
        let mut config = faster_rcnn();
        change(&mut config);
        let made = DetectorConfig::FasterRcnn(config).init(make(&loss, 3, &device), 0, &device);
        made.unwrap_err().to_string()
    };
    let message = refused(Loss::CrossEntropy(Default::default()), |_| ());
    assert!(message.starts_with("cross-entropy has no background"), "{message}");
    assert!(message.ends_with("set background = true"), "{message}");
    let message = refused(softmax(), |c| c.rpn.anchor_sizes.truncate(4));
    assert!(message.starts_with("rpn.anchor_sizes = ") && message.contains("for 5 levels"));
    let message = refused(softmax(), |c| c.rpn.anchor_sizes[2].push(20.0));
    assert!(message.contains("all of one length"), "{message}");
    assert!(refused(softmax(), |c| c.rpn.aspect_ratios.clear()).contains("no anchor ratios"));
    let message = refused(softmax(), |c| c.rpn.negative_iou = 0.8);
    assert!(message.contains("0.8 below a positive IoU of 0.7"), "{message}");
    let message = refused(softmax(), |c| c.detection.score_threshold = 1.5);
    assert_eq!(message, "detection.score_threshold = 1.5, but it must be between 0 and 1");
    let message = refused(softmax(), |c| c.rois.per_image = 0);
    assert_eq!(message, "rois.per_image = 0, but it must be at least 1");
    let message = refused(softmax(), |c| c.box_targets.weights[3] = 0.0);
    assert!(message.starts_with("box_targets.weights = [10.0, 10.0, 5.0, 0.0]"), "{message}");
}
