//! What a training loop relies on: keys, names, statistics, first biases, frozen parts.

use burn::tensor::Tensor;
use longtail_losses::ClassificationLossConfig as Loss;
use longtail_models::{ClassifierHead, Detector, DetectorConfig, FreezeScope, StepKey};
use longtail_testing::values;

use crate::formula::gradient_norms;
use crate::tiny::{
    KEY, batch, cascade_rcnn, detector, eql, faster_rcnn, mask_rcnn, objects, softmax,
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
