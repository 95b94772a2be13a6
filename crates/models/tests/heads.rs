//! Classifier heads against their sources' formulas in PyTorch, values and gradients.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use burn::module::Param;
use burn::tensor::{Device, Tensor};
use common::{numbers, reference, tensor};
use longtail_models::{
    ClassifierHead, CosineConfig, CosineScale, HeadConfig, LinearConfig, MeanDistance,
    MeanFeatures, ModelError, NearestMeanConfig, TauNormalizedConfig, WeightInit,
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
        ClassifierHead::ScaledLinear(_)
        | ClassifierHead::NearestMean(_)
        | ClassifierHead::CausalNorm(_) => panic!("tested elsewhere"),
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
            _ => panic!("{name}"),
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

/// What a recipe's table says is what the constructors of the published variants make.
#[test]
fn tables_reach_every_variant() {
    let exact = r#""kind": "cosine", "eps": 1e-12, "weight_eps": 1e-12"#;
    let learnable = CosineConfig::default().with_scale(CosineScale::Learnable(16.0));
    for (table, expected) in [
        (
            format!(r#"{{{exact}, "scale": {{"fixed": 30}}, "init": "unit-uniform"}}"#),
            CosineConfig::ldam(),
        ),
        (
            format!(r#"{{{exact}, "scale": {{"fixed": 20}}, "init": "glorot"}}"#),
            CosineConfig::class_balanced_distillation(),
        ),
        (r#"{"kind": "cosine", "bias": true}"#.to_owned(), CosineConfig::mmdetection()),
        (
            format!(r#"{{{exact}, "scale": {{"fixed": 16}}, "squash": true, "init": "fan-in"}}"#),
            CosineConfig::oltr(),
        ),
        (format!(r#"{{{exact}, "scale": {{"fixed": 30}}}}"#), CosineConfig::softmax_equalization()),
        (
            r#"{"kind": "cosine", "scale": {"fixed": 16}, "eps": 1e-12, "weight_eps": 0.03125,
                "num_heads": 2, "init": "fan-in"}"#
                .to_owned(),
            CosineConfig::multi_head(),
        ),
        (r#"{"kind": "cosine", "scale": {"learnable": 16}}"#.to_owned(), learnable),
    ] {
        let found: HeadConfig = serde_json::from_str(&table).unwrap();
        assert_eq!(found, HeadConfig::Cosine(expected));
    }
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

/// `s_j (w_j . x + b_j)` and `s_j w_j . x + b_j` by a loop, and the gradient of the scales.
#[test]
fn scaled_heads_train_their_scales_alone() {
    let device = longtail_testing::device().autodiff();
    let linear = head(&HeadConfig::default(), &device);
    let ClassifierHead::Linear(layer) = &linear else { panic!("linear") };
    let bias = values(layer.bias.as_ref().unwrap().val());
    let (features, probe) = (tensor("features", [5, 8], &device), tensor("probe", [5, 7], &device));
    let plain = values(linear.forward(features.clone()));
    let probes = values(probe.clone());
    for scale_bias in [true, false] {
        let mut scaled = linear.scaled(scale_bias).unwrap();
        let first = values(scaled.forward(features.clone()));
        let expected: Vec<f64> = plain.iter().map(|&v| v.into()).collect();
        assert_close("scale 1", &first, &expected, 1e-6);

        let ClassifierHead::ScaledLinear(head) = &mut scaled else { panic!("scaled") };
        let scales = [0.5_f32, 2.0, -1.0, 0.0, 1.5, 3.0, 0.1];
        head.scale = Param::from_tensor(Tensor::from_floats(scales, &device));
        let (weight, scale) = (head.weight.clone(), head.scale.clone());
        let kept = |column: usize| if scale_bias { 0.0 } else { f64::from(bias[column]) };
        let logits = scaled.forward(features.clone());
        let moved = |(i, &v): (usize, &f32)| {
            (f64::from(v) - kept(i % 7)) * f64::from(scales[i % 7]) + kept(i % 7)
        };
        let expected: Vec<f64> = plain.iter().enumerate().map(moved).collect();
        assert_close("logits", &values(logits.clone()), &expected, 1e-5);
        let gradients = (logits * probe.clone()).sum().backward();
        let mut expected = [0.0; 7];
        for (i, (&v, &probe)) in plain.iter().zip(&probes).enumerate() {
            expected[i % 7] += f64::from(probe) * (f64::from(v) - kept(i % 7));
        }
        let gradient = values(scale.val().grad(&gradients).unwrap());
        assert_close("gradient", &gradient, &expected, 1e-5);
        assert!(weight.val().grad(&gradients).is_none());
    }
    let cosine = head(&HeadConfig::Cosine(CosineConfig::ldam()), &device);
    assert!(cosine.scaled(true).unwrap_err().to_string().contains("a cosine head"));
}

/// Means, distances and angles by loops in f64.
#[test]
fn nearest_means_match_a_loop() {
    let device = longtail_testing::device();
    let rows: Vec<f32> = values(tensor("features", [5, 8], &device));
    let labels = [0_usize, 2, 0, 2, 2]; // class 1 has no image
    let length = |row: &[f64]| row.iter().map(|v| v * v).sum::<f64>().sqrt();
    for features in [MeanFeatures::Raw, MeanFeatures::L2n, MeanFeatures::Cl2n] {
        let mut x: Vec<Vec<f64>> =
            rows.chunks(8).map(|row| row.iter().map(|&v| v.into()).collect()).collect();
        if features == MeanFeatures::Cl2n {
            let center: Vec<f64> =
                (0..8).map(|i| x.iter().map(|row| row[i]).sum::<f64>() / 5.0).collect();
            x.iter_mut().for_each(|row| row.iter_mut().zip(&center).for_each(|(v, c)| *v -= c));
        }
        if features != MeanFeatures::Raw {
            x.iter_mut().for_each(|row| {
                let length = length(row);
                row.iter_mut().for_each(|v| *v /= length);
            });
        }
        let mean = |class: usize| -> Vec<f64> {
            let own: Vec<_> = x.iter().zip(labels).filter(|(_, label)| *label == class).collect();
            (0..8)
                .map(|i| own.iter().map(|(row, _)| row[i]).sum::<f64>() / own.len() as f64)
                .collect()
        };
        for distance in [MeanDistance::L2, MeanDistance::Cosine] {
            let config = NearestMeanConfig { distance, features };
            let head = config.fit(&rows, &labels, 3, &device).unwrap();
            let logits = values(head.forward(tensor("features", [5, 8], &device)));
            for (r, row) in x.iter().enumerate() {
                for class in [0, 2] {
                    let mean = mean(class);
                    let dot: f64 = row.iter().zip(&mean).map(|(a, b)| a * b).sum();
                    let expected = match distance {
                        MeanDistance::L2 => 2.0 * dot - length(row).powi(2) - length(&mean).powi(2),
                        MeanDistance::Cosine => dot / length(row) / length(&mean),
                    };
                    assert_close("logit", &logits[r * 3 + class..][..1], &[expected], 2e-5);
                }
                assert!(logits[r * 3 + 1] < -1e8, "a class without images is never the nearest");
            }
        }
    }
    let error = NearestMeanConfig::default().fit(&rows, &[0, 3, 0, 1, 2], 3, &device).unwrap_err();
    assert!(error.to_string().contains("label = 3"), "{error}");
}
