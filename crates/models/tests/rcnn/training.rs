//! What a training loop relies on: keys, names, statistics, first biases, frozen parts.

use burn::tensor::Tensor;
use longtail_losses::{CalibrationConfig, ClassificationLossConfig as Loss, NorCalCalibration};
use longtail_models::{
    ClassifierHead, Detector, DetectorConfig, FasterRcnnConfig, FeatureMemoryConfig, FreezeScope,
    StepKey,
};
use longtail_testing::values;
use longtail_types::ClassCounts;

use crate::formula::gradient_norms;
use crate::tiny::{
    KEY, batch, cascade_rcnn, detector, eql, faster_rcnn, make, mask_rcnn, objects, softmax,
};

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
        assert_eq!(losses.updated_losses.len(), losses.updates.len());
        let updated = losses.updated_losses.iter().map(|&place| losses.losses[place].0);
        assert!(updated.into_iter().all(|name| name.starts_with("loss_classifier")));
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

/// A second step with the same key draws from what the first one saw.
#[test]
fn a_memory_of_features_joins_the_batch() {
    let device = longtail_testing::device().autodiff();
    let memory = FeatureMemoryConfig { queue: 4, ..Default::default() };
    let config = FasterRcnnConfig { feature_memory: Some(memory), ..faster_rcnn() };
    let (config, loss) =
        (DetectorConfig::FasterRcnn(config), Loss::Equilibrium(Default::default()));
    let mut with_memory = detector(&config, &loss, 3);
    let without = detector(&DetectorConfig::FasterRcnn(faster_rcnn()), &loss, 3);
    let targets = [objects(3), Vec::new()];
    let classifier = |detector: &Detector| {
        let losses = detector.losses(&batch(&device), &targets, KEY).unwrap();
        (values(losses.get("loss_classifier").unwrap().clone())[0], losses)
    };
    let (first, losses) = classifier(&with_memory);
    assert!(first.is_finite() && first != classifier(&without).0);
    let gradients = losses.total().backward();
    let norms = gradient_norms(&with_memory, &gradients);
    assert!(norms.values().all(|norm| norm.is_finite()), "{norms:?}");
    with_memory.apply(losses.updates).unwrap();

    let state = with_memory.loss_state();
    let names: Vec<&str> = state.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["mean_scores", "memory.features", "memory.offsets", "memory.counts"]);
    // Classes 0 and 2 have an object each, with 16 boxes: the queue of 4 is full.
    assert_eq!(values(state[3].1.clone()), [4.0, 0.0, 4.0]);
    let mut restored = detector(&config, &loss, 3);
    restored.load_loss_state(state.clone()).unwrap();
    assert_eq!(classifier(&restored).0, classifier(&with_memory).0);
    let message = detector(&config, &loss, 3).load_loss_state(state[..2].to_vec()).unwrap_err();
    assert!(message.to_string().contains("memory.offsets is missing"), "{message}");

    // Detections do without it.
    let inference = with_memory.for_inference();
    inference.detect(&batch(&longtail_testing::device())).unwrap();
    assert_eq!(inference.loss_state().len(), 1);
    let message = config.init(make(&softmax(), 3, &device), 1, &device).unwrap_err().to_string();
    assert_eq!(
        message,
        "feature_memory draws by the mean scores of the loss loce; cross-entropy keeps none"
    );
}

/// Scores of detections change, losses do not.
#[test]
fn detections_can_be_calibrated() {
    let counts = ClassCounts::new(vec![900, 30, 1], vec![1000, 40, 1], 1000).unwrap();
    let config: CalibrationConfig = CalibrationConfig::NorCal(NorCalCalibration { gamma: 0.7 });
    let plain = detector(&DetectorConfig::CascadeRcnn(cascade_rcnn()), &softmax(), 3);
    let mut calibrated = plain.clone();
    calibrated.calibrate(Some(&config), &counts).unwrap();
    assert_eq!(numbers_of(&plain, KEY), numbers_of(&calibrated, KEY));
    let scores = |detector: &Detector| -> Vec<f32> {
        let found = detector.for_inference().detect(&batch(&longtail_testing::device())).unwrap();
        found.into_iter().flatten().map(|detection| detection.score).collect()
    };
    let (before, after) = (scores(&plain), scores(&calibrated));
    assert!(!before.is_empty() && before != after);
    calibrated.calibrate(None, &counts).unwrap();
    assert_eq!(scores(&calibrated), before);
    let mut sigmoid = detector(&DetectorConfig::FasterRcnn(faster_rcnn()), &eql(), 3);
    let message = sigmoid.calibrate(Some(&config), &counts).unwrap_err().to_string();
    assert!(message.starts_with("eql has no scores to calibrate"), "{message}");
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
