//! Classifier heads against their sources' formulas in PyTorch, values and gradients.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use burn::module::Param;
use burn::tensor::{Device, Tensor};
use common::{numbers, reference, tensor};
use longtail_models::{
    ClassifierHead, CosineConfig, CosineScale, HeadConfig, LinearConfig, ModelError,
    TauNormalizedConfig, WeightInit,
};
use longtail_testing::{assert_close, values};

fn make(config: &HeadConfig, device: &Device) -> Result<ClassifierHead, ModelError> {
    config.init(8, 7, None, &WeightInit::new(0, device))
}

/// The head with the weights of the reference.
fn head(config: &HeadConfig, device: &Device) -> ClassifierHead {
    let weight = Param::from_tensor(tensor("weight", [7, 8], device));
    let bias = || Param::from_tensor(tensor("bias", [7], device));
    let mut head = make(config, device).unwrap();
    match &mut head {
        ClassifierHead::Linear(head) => {
            head.weight = weight;
            head.bias = head.bias.take().map(|_| bias());
        }
        ClassifierHead::Cosine(head) => {
            head.weight = weight;
            head.bias = head.bias.take().map(|_| bias());
        }
        ClassifierHead::TauNormalized(head) => head.weight = weight,
    }
    head
}

fn tau(tau: f64) -> HeadConfig {
    HeadConfig::TauNormalized(TauNormalizedConfig { tau })
}

#[test]
fn heads_match() {
    let expected = reference("heads.json");
    let device = longtail_testing::device().autodiff();
    let learnable = CosineConfig::ldam().with_scale(CosineScale::Learnable(30.0));
    let cases = [
        ("linear", HeadConfig::default()),
        ("ldam", HeadConfig::Cosine(CosineConfig::ldam())),
        ("ldam", HeadConfig::Cosine(learnable)),
        (
            "class_balanced_distillation",
            HeadConfig::Cosine(CosineConfig::class_balanced_distillation()),
        ),
        ("mmdetection", HeadConfig::Cosine(CosineConfig::mmdetection())),
        ("oltr", HeadConfig::Cosine(CosineConfig::oltr())),
        ("softmax_equalization", HeadConfig::Cosine(CosineConfig::softmax_equalization())),
        ("multi_head", HeadConfig::Cosine(CosineConfig::multi_head())),
        ("tau_0", tau(0.0)),
        ("tau_0.7", tau(0.7)),
        ("tau_1", tau(1.0)),
    ];
    for (name, config) in cases {
        let expected = &expected[name];
        let head = head(&config, &device);
        let features = tensor("features", [5, 8], &device).require_grad();
        let logits = head.forward(features.clone());
        assert_close(name, &values(logits.clone()), &numbers(&expected["logits"]), 1e-5);
        let gradients = (logits * tensor("probe", [5, 7], &device)).sum().backward();
        let gradient = values(features.grad(&gradients).unwrap());
        assert_close(name, &gradient, &numbers(&expected["features"]), 1e-5);
        let (weight, bias) = match &head {
            ClassifierHead::Linear(head) => (&head.weight, head.bias.as_ref()),
            ClassifierHead::Cosine(head) => (&head.weight, head.bias.as_ref()),
            ClassifierHead::TauNormalized(head) => (&head.weight, None),
        };
        let gradient = values(weight.val().grad(&gradients).unwrap());
        assert_close(name, &gradient, &numbers(&expected["weight"]), 1e-5);
        assert_eq!(bias.is_none(), expected["bias"].is_null(), "{name}");
        if let Some(bias) = bias {
            let gradient = values(bias.val().grad(&gradients).unwrap());
            assert_close(name, &gradient, &numbers(&expected["bias"]), 1e-5);
        }
    }
}

/// The gradient of a scale that multiplies everything is the sum of logits * probe over the scale.
#[test]
fn a_learnable_scale_has_its_gradient() {
    let device = longtail_testing::device().autodiff();
    let config = CosineConfig::ldam().with_scale(CosineScale::Learnable(30.0));
    let ClassifierHead::Cosine(head) = head(&HeadConfig::Cosine(config), &device) else {
        panic!("cosine")
    };
    let logits = head.forward(tensor("features", [5, 8], &device));
    let loss = (logits * tensor("probe", [5, 7], &device)).sum();
    let expected = f64::from(values(loss.clone())[0]) / 30.0;
    let scale = head.scale.as_ref().unwrap();
    let gradient = values(scale.val().grad(&loss.backward()).unwrap());
    assert_close("scale", &gradient, &[expected], 1e-5);
}

#[test]
fn zero_features_stay_finite() {
    let device = longtail_testing::device().autodiff();
    for config in [CosineConfig::default(), CosineConfig::oltr(), CosineConfig::multi_head()] {
        let head = head(&HeadConfig::Cosine(config), &device);
        let features = Tensor::<2>::zeros([2, 8], &device).require_grad();
        let logits = head.forward(features.clone());
        assert!(values(logits.clone()).iter().all(|&v| v == 0.0));
        let gradient = features.grad(&logits.sum().backward()).unwrap();
        assert!(values(gradient).iter().all(|v| v.is_finite()));
    }
}

#[test]
fn first_cosine_weights_of_ldam_have_length_one() {
    let device = longtail_testing::device();
    let head = make(&HeadConfig::Cosine(CosineConfig::ldam()), &device).unwrap();
    let ClassifierHead::Cosine(head) = head else { panic!("cosine") };
    for row in values(head.weight.val()).chunks(8) {
        let length = row.iter().map(|v| v * v).sum::<f32>().sqrt();
        assert!((length - 1.0).abs() < 1e-5, "{length}");
    }
}

#[test]
fn tau_normalisation_takes_linear_weights_only() {
    let device = longtail_testing::device();
    let linear = head(&HeadConfig::default(), &device);
    let features = tensor("features", [5, 8], &device);
    let found = linear.tau_normalized(0.7).unwrap().tau_normalized(1.0).unwrap();
    let expected = numbers(&reference("heads.json")["tau_1"]["logits"]);
    assert_close("tau", &values(found.forward(features)), &expected, 1e-5);

    let cosine = make(&HeadConfig::Cosine(CosineConfig::default()), &device).unwrap();
    let message = cosine.tau_normalized(1.0).unwrap_err().to_string();
    assert!(message.starts_with("a cosine head can't be tau-normalised"), "{message}");
    let message = linear.tau_normalized(f64::NAN).unwrap_err().to_string();
    assert_eq!(message, "head.tau = NaN, but it must be finite and at least 0");
}

#[test]
fn wrong_configurations_are_refused() {
    let device = longtail_testing::device();
    let init = WeightInit::new(0, &device);
    let refused = |config: HeadConfig, num_logits: usize, prior: Option<f32>| {
        config.init(8, num_logits, prior, &init).unwrap_err().to_string()
    };
    let cosine = |change: fn(&mut CosineConfig)| {
        let mut config = CosineConfig::default();
        change(&mut config);
        HeadConfig::Cosine(config)
    };
    let scale = cosine(|c| c.scale = CosineScale::Fixed(-1.0));
    assert_eq!(refused(scale, 7, None), "head.scale = -1, but it must be finite and above 0");
    let message = refused(cosine(|c| c.num_heads = 3), 7, None);
    assert_eq!(message, "head.num_heads = 3, but it must be a divisor of the number of features");
    assert!(refused(cosine(|c| c.eps = 0.0), 7, None).contains("head.eps = 0"));
    assert_eq!(
        refused(HeadConfig::default(), 0, None),
        "num_logits = 0, but it must be at least 1"
    );
    let message = refused(cosine(|_| ()), 7, Some(-4.5));
    assert!(
        message.contains("prior bias of -4.5") && message.contains("set bias = true"),
        "{message}"
    );
    let linear = HeadConfig::Linear(LinearConfig { bias: false });
    assert!(refused(linear, 7, Some(1.0)).contains("linear head has no bias"));
    assert!(refused(tau(1.0), 7, Some(1.0)).contains("no bias by definition"));
}

#[test]
fn configurations_are_strict() {
    let parse = |json: &str| serde_json::from_str::<HeadConfig>(json);
    let config =
        parse(r#"{"kind": "cosine", "scale": {"learnable": 25}, "squash": true}"#).unwrap();
    let expected = CosineConfig { squash: true, ..Default::default() };
    let expected = expected.with_scale(CosineScale::Learnable(25.0));
    assert_eq!(config, HeadConfig::Cosine(expected));
    assert_eq!(parse(r#"{"kind": "linear"}"#).unwrap(), HeadConfig::default());
    assert!(parse(r#"{"kind": "linear", "tau": 1}"#).unwrap_err().to_string().contains("tau"));
    assert!(parse(r#"{"kind": "cosinus"}"#).unwrap_err().to_string().contains("cosinus"));
}
