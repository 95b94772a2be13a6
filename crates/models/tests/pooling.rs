//! The causal-norm classifier and pooling by shared regions against xtask/reference/pooling.py.
#![allow(clippy::unwrap_used, reason = "tests")]

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};
use longtail_models::{
    BackboneConfig, CamCalibrationConfig, CausalNorm, CausalNormConfig, ClassifierConfig,
    ClassifierHead, HeadConfig, WeightInit,
};
use longtail_testing::{assert_close, values};
use serde_json::{Value, json};

const TOLERANCE: f64 = 1e-5;

fn reference() -> Value {
    serde_json::from_str(include_str!("data/pooling.json")).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

fn tensor<const D: usize>(value: &Value, shape: [usize; D], device: &Device) -> Tensor<D> {
    let values: Vec<f32> = numbers(value).into_iter().map(|v| v as f32).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

fn causal(config: CausalNormConfig, weight: &Value, device: &Device) -> CausalNorm {
    let head = HeadConfig::CausalNorm(config).init(8, 7, None, &WeightInit::new(0, device));
    let ClassifierHead::CausalNorm(mut head) = head.unwrap() else { panic!("causal norm") };
    head.weight = Param::from_tensor(tensor(weight, [7, 8], device));
    head
}

#[test]
fn causal_norm_matches_the_released_code() {
    let data = &reference()["causal_norm"];
    let device = longtail_testing::device().autodiff();
    let head = causal(CausalNormConfig::default(), &data["weight"], &device);
    for step in data["training"].as_array().unwrap() {
        let features = tensor(&step["features"], [5, 8], &device).require_grad();
        let logits = head.forward(features.clone());
        assert_close("logits", &values(logits.clone()), &numbers(&step["logits"]), TOLERANCE);
        let gradients = (logits * tensor(&step["probe"], [5, 7], &device)).sum().backward();
        let gradient = values(features.grad(&gradients).unwrap());
        assert_close("features", &gradient, &numbers(&step["features_grad"]), TOLERANCE);
        let gradient = values(head.weight.val().grad(&gradients).unwrap());
        assert_close("weight", &gradient, &numbers(&step["weight_grad"]), TOLERANCE);
    }
    let mean = values(head.running_mean.value());
    assert_close("mean feature", &mean, &numbers(&data["mean"]), TOLERANCE);

    let plain = longtail_testing::device();
    let features = || tensor(&data["test"]["features"], [4, 8], &plain);
    for alpha in [0.0, 1.5, 3.0] {
        // Another alpha than it was trained with, and the mean feature by way of a record.
        let config = CausalNormConfig { alpha, ..Default::default() };
        let trained = causal(config, &data["weight"], &device);
        let trained = trained.load_record(head.clone().into_record()).valid();
        let expected = numbers(&data["test"][format!("logits_{alpha:.1}")]);
        let logits = values(trained.forward(features()));
        assert_close(&format!("alpha {alpha}"), &logits, &expected, TOLERANCE);
        let after = values(trained.running_mean.value());
        assert_eq!(after, mean, "tests leave the mean alone");
    }
}

/// Untrained, there is no mean feature and nothing to take away.
#[test]
fn causal_norm_without_a_mean_is_a_cosine_classifier() {
    let device = longtail_testing::device();
    let data = &reference()["causal_norm"];
    let features = || tensor(&data["training"][0]["features"], [5, 8], &device);
    let head = causal(CausalNormConfig::default(), &data["weight"], &device);
    let expected = numbers(&data["training"][0]["logits"]);
    assert_close("logits", &values(head.forward(features())), &expected, TOLERANCE);
    let zeros = head.forward(Tensor::zeros([2, 8], &device));
    assert!(values(zeros).iter().all(|&v| v == 0.0));
    assert_eq!(head.forward(Tensor::zeros([0, 8], &device.autodiff())).dims(), [0, 7]);
}

#[test]
fn wrong_settings_are_refused() {
    let device = longtail_testing::device();
    let refuse = |settings: Value, prior| {
        let config: HeadConfig = serde_json::from_value(settings).unwrap();
        config.init(9, 7, prior, &WeightInit::new(0, &device)).unwrap_err().to_string()
    };
    let kind = "causal-norm";
    let cases = [
        (
            json!({"kind": kind}),
            "head.num_heads = 2, but it must be a divisor of the number of features",
        ),
        (
            json!({"kind": kind, "num_heads": 3, "alpha": -1.0}),
            "head.alpha = -1, but it must be finite and at least 0",
        ),
        (
            json!({"kind": kind, "num_heads": 3, "momentum": 1.0}),
            "head.momentum = 1, but it must be in [0, 1)",
        ),
        (
            json!({"kind": kind, "num_heads": 3, "scale": 0.0}),
            "head.scale = 0, but it must be finite and above 0",
        ),
    ];
    for (settings, message) in cases {
        assert_eq!(refuse(settings, None), message);
    }
    let message = refuse(json!({"kind": kind, "num_heads": 3}), Some(-4.6));
    assert!(message.contains("causal-norm") && message.contains("by definition"), "{message}");

    for (settings, part) in [
        (json!({"temperature": 0.0}), "cam_calibration.temperature = 0"),
        (json!({"strength": 1.5}), "cam_calibration.strength = 1.5"),
        (json!({"partners": 0}), "cam_calibration.partners = 0"),
        (json!({"agreement": -0.1}), "cam_calibration.agreement = -0.1"),
    ] {
        let config: CamCalibrationConfig = serde_json::from_value(settings).unwrap();
        let message = config.init().unwrap_err().to_string();
        assert!(message.starts_with(part), "{message}");
    }
}

#[test]
fn pooling_matches_loops() {
    let data = &reference()["pooling"];
    let device = longtail_testing::device().autodiff();
    let labels: Vec<usize> = numbers(&data["labels"]).into_iter().map(|v| v as usize).collect();
    for case in data["cases"].as_array().unwrap() {
        let name = case["config"].to_string();
        let config: CamCalibrationConfig = serde_json::from_value(case["config"].clone()).unwrap();
        let pooling = config.init().unwrap();
        let maps = tensor(&data["maps"], [6, 5, 3, 2], &device).require_grad();
        let weights = tensor(&data["class_weights"], [4, 5], &device).require_grad();
        let pooled = pooling.pool_labeled(maps.clone(), weights.clone(), &labels);
        let expected = numbers(&case["features"]);
        assert_close(&name, &values(pooled.features.clone()), &expected, TOLERANCE);
        let mut loss = (pooled.features * tensor(&data["probe"], [6, 5], &device)).sum();
        assert_eq!(pooled.agreement.is_some(), config.agreement > 0.0);
        if let Some(agreement) = pooled.agreement {
            let expected = case["agreement"].as_f64().unwrap();
            assert_close(&name, &values(agreement.clone()), &[expected], TOLERANCE);
            loss = loss + agreement;
        }
        let gradients = loss.backward();
        let gradient = values(maps.grad(&gradients).unwrap());
        assert_close(&name, &gradient, &numbers(&case["maps_grad"]), TOLERANCE);
        match weights.grad(&gradients) {
            Some(gradient) => {
                let expected = numbers(&case["weights_grad"]);
                assert_close(&name, &values(gradient), &expected, TOLERANCE);
            }
            None => assert!(numbers(&case["weights_grad"]).iter().all(|&v| v == 0.0)),
        }

        let (maps, weights) = (maps.inner(), weights.inner());
        let classify = |even: Tensor<2>| even.matmul(weights.clone().transpose());
        let unlabeled = pooling.pool_unlabeled(maps, weights.clone(), classify);
        assert_close(&name, &values(unlabeled), &numbers(&case["unlabeled"]), TOLERANCE);
    }
}

fn classifier(settings: Value, device: &Device) -> longtail_models::Classifier {
    let mut config = ClassifierConfig::new(BackboneConfig::CifarResNet20);
    config.cam_calibration = Some(serde_json::from_value(settings).unwrap());
    config.init(5, None, 3, device).unwrap()
}

/// With strength 0 the classifier is the one without the module, in training and at test time.
#[test]
fn no_strength_is_average_pooling() {
    let device = longtail_testing::device().autodiff();
    let config = ClassifierConfig::new(BackboneConfig::CifarResNet20);
    let plain = config.init(5, None, 3, &device).unwrap().freeze();
    let images = Tensor::<1>::from_floats(
        (0..2 * 3 * 16 * 16).map(|i| (i as f32 * 0.37).sin()).collect::<Vec<_>>().as_slice(),
        &device,
    );
    let images = images.reshape([2, 3, 16, 16]);
    let none = classifier(json!({"strength": 0.0}), &device).freeze();
    let expected: Vec<f64> =
        values(plain.forward(images.clone())).into_iter().map(f64::from).collect();
    let labeled = none.forward_labeled(images.clone(), &[1, 1]);
    assert!(labeled.auxiliary.is_none());
    assert_close("training", &values(labeled.logits), &expected, 1e-5);
    let inference = none.for_inference().forward(images.clone().inner());
    assert_close("test", &values(inference), &expected, 1e-4);

    let some = classifier(json!({"strength": 1.0, "agreement": 0.5}), &device).freeze();
    let labeled = some.forward_labeled(images.clone(), &[1, 1]);
    let other = values(labeled.logits);
    assert!(other.iter().zip(&expected).any(|(&a, &b)| (f64::from(a) - b).abs() > 1e-4));
    assert!(values(labeled.auxiliary.unwrap())[0] > 0.0);
    let alone = some.forward_labeled(images, &[1, 2]);
    assert!(alone.auxiliary.is_none(), "no two images of a class");
    let empty = some.forward_labeled(Tensor::zeros([0, 3, 16, 16], &device), &[]);
    assert_eq!(empty.logits.dims(), [0, 5]);
}
