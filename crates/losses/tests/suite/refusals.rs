//! What must be refused, with the message.

use burn::tensor::Tensor;
use longtail_losses::{
    BalancedSigmoidConfig, BalancedSigmoidForm, CalibrationConfig, ClassificationLossConfig,
    EqualizationConfig, LossError, Reduction, RowLabels, StatisticsUpdate, check,
};
use longtail_testing::values;
use longtail_types::ClassCounts;
use serde_json::{Value, json};

use crate::support::{all_configs, classes, config, counts, device, init, matrix, some_logits};

fn init_error(value: Value) -> String {
    config(value).init(&counts(), &device()).unwrap_err().to_string()
}

fn parse_error(value: Value) -> String {
    serde_json::from_value::<ClassificationLossConfig>(value).unwrap_err().to_string()
}

#[test]
fn logits_of_the_wrong_width() {
    for value in all_configs() {
        let loss = init(value, &counts());
        for width in [loss.num_logits() - 1, loss.num_logits() + 1] {
            let logits = Tensor::<2>::zeros([4, width], &device());
            let error = loss.forward(logits.clone(), classes(&[0; 4])).unwrap_err();
            assert!(matches!(error, LossError::LogitWidth { found, .. } if found == width));
            assert!(matches!(loss.scores(logits).unwrap_err(), LossError::LogitWidth { .. }));
        }
    }
    let logits = || Tensor::<2>::zeros([4, 6], &device());
    let message = |value| init(value, &counts()).forward(logits(), classes(&[0; 4])).unwrap_err();
    let tail = json!({"image-count-at-most": 4});
    assert_eq!(
        message(json!({"method": "eql", "tail": tail})).to_string(),
        "eql over 5 classes wants logits of 5 columns (one per class, none for background), got 6"
    );
    assert_eq!(
        message(json!({"method": "seesaw"})).to_string(),
        "seesaw over 5 classes wants logits of 7 columns \
         (one per class, then foreground and background), got 6"
    );
    assert_eq!(
        message(json!({"method": "bags"})).to_string(),
        "bags over 5 classes wants logits of 11 columns (one per class, then \"others\" of each \
         group, then foreground and background), got 6"
    );
}

#[test]
fn shapes_that_disagree() {
    let bce = init(json!({"method": "binary-cross-entropy"}), &counts());
    let logits = || Tensor::<2>::zeros([4, 5], &device());
    let refuse = |labels| bce.forward(logits(), labels).unwrap_err().to_string();
    assert_eq!(refuse(classes(&[0; 3])), "labels: 3 rows, but the logits have 4");
    let ignore = Tensor::from_data([true, false], &device());
    let error = refuse(classes(&[0; 4]).ignoring(ignore));
    assert_eq!(error, "ignore mask: 2 rows, but the logits have 4");
    let error = refuse(RowLabels::multi_label(Tensor::zeros([4, 6], &device())));
    assert_eq!(error, "multi-label targets: 6 columns, expected one per class, 5");
}

#[test]
fn several_labels_under_softmax() {
    for value in all_configs() {
        let loss = init(value, &counts());
        let logits = Tensor::<2>::zeros([4, loss.num_logits()], &device());
        let targets = RowLabels::multi_label(Tensor::zeros([4, 5], &device()));
        let result = loss.forward(logits, targets);
        let method = loss.layout().method();
        if loss.layout().is_multi_label() {
            result.unwrap();
        } else {
            assert_eq!(result.unwrap_err(), LossError::MultiLabel { method });
        }
    }
}

#[test]
fn labels_out_of_range() {
    let error = RowLabels::from_host(&[0, 1, 5], 5, &device()).unwrap_err();
    assert_eq!(error.to_string(), "label 5 in row 2 is outside 0..5");

    for value in all_configs() {
        let loss = init(value.clone(), &counts());
        let labels =
            |label: i32| RowLabels::classes(Tensor::from_ints([0, label, 2, 1], &device()));
        let logits = || matrix(&some_logits(4 * loss.num_logits()), 4, &device());
        for bad in [-1, loss.num_labels() as i32, 1000] {
            // Without reading back: NaN, in the row at fault only.
            let output = loss.forward_with(logits(), labels(bad), Reduction::None).unwrap();
            let is_nan: Vec<bool> = values(output.loss).iter().map(|v| v.is_nan()).collect();
            assert_eq!(is_nan, [false, true, false, false], "{value}");
            let mean = loss.forward(logits(), labels(bad)).unwrap();
            assert!(values(mean.loss)[0].is_nan());
            let error = loss.check(&logits(), &labels(bad)).unwrap_err();
            let (label, num_labels) = (i64::from(bad), loss.num_labels());
            assert_eq!(error, LossError::LabelOutOfRange { row: 1, label, num_labels });
        }
        loss.check(&logits(), &labels(loss.num_labels() as i32 - 1)).unwrap();
    }
}

#[test]
fn logits_that_are_not_finite() {
    let mut entries = some_logits(20);
    entries[13] = f64::NAN;
    for value in all_configs() {
        let loss = init(value, &counts());
        if loss.num_logits() == 5 {
            let output = loss.forward(matrix(&entries, 4, &device()), classes(&[0; 4])).unwrap();
            assert!(values(output.loss)[0].is_nan());
        }
    }
    let error = check(&matrix(&entries, 4, &device()), &classes(&[0; 4]), 5).unwrap_err();
    assert_eq!(error.to_string(), "logit NaN in row 2, column 3 is not finite");
    entries[13] = f64::NEG_INFINITY;
    let error = check(&matrix(&entries, 4, &device()), &classes(&[0; 4]), 5).unwrap_err();
    assert_eq!(error.to_string(), "logit -inf in row 2, column 3 is not finite");

    let targets = RowLabels::multi_label(matrix(&[0.0, 1.0, 0.5, 0.0], 2, &device()));
    let error = check(&Tensor::zeros([2, 2], &device()), &targets, 2).unwrap_err();
    assert_eq!(error.to_string(), "target 0.5 in row 1, column 0 is neither 0 nor 1");
}

#[test]
fn frequencies() {
    let config = EqualizationConfig::default();
    let refuse = |frequency: &[f64], lambda| {
        config.init_with_frequency(frequency, lambda, &device()).unwrap_err().to_string()
    };
    assert_eq!(refuse(&[0.5, 1.5], 0.1), "frequency 1.5 of class 1 is outside [0, 1]");
    assert_eq!(refuse(&[f64::NAN, 0.5], 0.1), "frequency NaN of class 0 is outside [0, 1]");
    assert_eq!(refuse(&[0.5, 0.5], -0.1), "lambda must be in [0, 1], got -0.1");

    let released = BalancedSigmoidConfig { form: BalancedSigmoidForm::Released, prior: None };
    let refuse = |frequency: &[f64]| {
        released.init_with_frequency(frequency, &device()).unwrap_err().to_string()
    };
    assert_eq!(refuse(&[-0.1, 0.5]), "frequency -0.1 of class 0 is outside [0, 1]");
    let message = "frequency 0 of class 1 has infinite log-odds; it must lie between 0 and 1";
    assert_eq!(refuse(&[0.5, 0.0]), message);
    let one = ClassCounts::new(vec![3], vec![3], 3).unwrap();
    let error = BalancedSigmoidConfig::default().init(&one, &device()).unwrap_err();
    assert_eq!(error.to_string(), "balanced-sigmoid needs at least 2 classes, got 1");
}

#[test]
fn tail_rules_that_select_none_or_all() {
    let cifar = ClassCounts::new(vec![5000, 500, 50], vec![5000, 500, 50], 5550).unwrap();
    for method in ["eql", "seql", "drop-loss"] {
        let refuse = |value| config(value).init(&cifar, &device()).unwrap_err().to_string();
        let error = refuse(json!({"method": method})); // the default rule
        assert!(error.contains("selects none of 3 classes"), "{error}");
        let all = json!({"method": method, "tail": {"image-count-at-most": 5000}});
        let error = refuse(all);
        assert!(error.contains("selects all 3 classes"), "{error}");
    }
}

#[test]
fn parameters_out_of_range() {
    let cases = [
        (json!({"method": "focal", "alpha": 1.5}), "alpha must be in [0, 1], got 1.5"),
        (json!({"method": "focal", "alpha": [0.5]}), "alpha: 1 values, expected one per class, 5"),
        (json!({"method": "focal", "gamma": -1.0}), "gamma must be at least 0 and finite, got -1"),
        (json!({"method": "focal", "prior": 1.0}), "prior must be between 0 and 1, got 1"),
        (json!({"method": "class-balanced", "beta": 1.0}), "beta must be in [0, 1), got 1"),
        (json!({"method": "ldam", "scale": 0.0}), "scale must be positive and finite, got 0"),
        (json!({"method": "seesaw", "epsilon": 0.0}), "epsilon must be in (0, 1], got 0"),
        (
            json!({"method": "bags", "bounds": [10, 10]}),
            "a bound must be above 0 and the bound before it, got 10",
        ),
        (
            json!({"method": "bags", "others_ratio": -1.0}),
            "others_ratio must be at least 0 and finite, got -1",
        ),
        (json!({"method": "loce", "alpha": 0.0}), "alpha must be in (0, 1], got 0"),
        (json!({"method": "efl", "gamma": 0.0}), "gamma must be positive and finite, got 0"),
        (json!({"method": "efl", "alpha": 2.0}), "alpha must be in [0, 1], got 2"),
        (json!({"method": "eqfl", "scale": -1.0}), "scale must be at least 0 and finite, got -1"),
        (json!({"method": "eqfl", "prior": 0.0}), "prior must be between 0 and 1, got 0"),
        (json!({"method": "acsl", "threshold": 1.5}), "threshold must be in [0, 1], got 1.5"),
        (json!({"method": "acsl", "rare_share": -0.1}), "rare_share must be in [0, 1], got -0.1"),
        (
            json!({"method": "drop-loss", "prior": 1.0, "tail": {"image-count-at-most": 4}}),
            "prior must be between 0 and 1, got 1",
        ),
        (
            json!({"method": "federated", "sampled_classes": 0}),
            "sampled_classes must be at least 1, got 0",
        ),
        (json!({"method": "ghm-c", "bins": 0}), "bins must be in 1 to 65536, got 0"),
        (json!({"method": "ghm-c", "momentum": 1.0}), "momentum must be in [0, 1), got 1"),
        (
            json!({"method": "equalized-softmax", "tau": -1.0}),
            "tau must be at least 0 and finite, got -1",
        ),
        (
            json!({"method": "seql", "gamma": 1.1, "tail": {"image-count-at-most": 4}}),
            "gamma must be in [0, 1], got 1.1",
        ),
        (
            json!({"method": "balanced-softmax", "background": {"count": 0.0}}),
            "the background count must be positive and finite, got 0",
        ),
    ];
    for (value, message) in cases {
        assert_eq!(init_error(value), message);
    }
    let ce = init(json!({"method": "cross-entropy"}), &counts());
    let logits = Tensor::<2>::zeros([1, 5], &device());
    let error = ce.forward_with(logits, classes(&[0]), Reduction::Count(0.0)).unwrap_err();
    assert_eq!(error.to_string(), "the count to divide by must be positive and finite, got 0");
}

#[test]
fn calibrations_out_of_place() {
    let refuse = |loss: Value, calibration: Value| {
        let calibration: CalibrationConfig = serde_json::from_value(calibration).unwrap();
        let loss = init(loss, &counts());
        calibration.init(&counts(), &loss, &device()).unwrap_err().to_string()
    };
    let norcal = json!({"method": "norcal", "gamma": 0.5});
    for method in ["eql-v2", "bags"] {
        let message = format!(
            "{method} has no scores to calibrate by the counts; the softmax methods over all \
             classes have"
        );
        assert_eq!(refuse(json!({"method": method}), norcal.clone()), message);
    }
    let ce = json!({"method": "cross-entropy"});
    let negative = json!({"method": "norcal", "gamma": -0.5});
    let message = "calibration.gamma must be at least 0 and finite, got -0.5";
    assert_eq!(refuse(ce.clone(), negative), message);
    let ce = init(ce, &counts());
    let other = ClassCounts::new(vec![3; 2], vec![3; 2], 9).unwrap();
    let config: CalibrationConfig = serde_json::from_value(norcal).unwrap();
    let error = config.init(&other, &ce, &device()).unwrap_err().to_string();
    assert_eq!(error, "the counts of the calibration: 2 values, expected one per class, 5");
    let calibration = config.init(&counts(), &ce, &device()).unwrap();
    let error = calibration.scores(&ce, Tensor::zeros([2, 6], &device())).unwrap_err();
    assert!(matches!(error, LossError::LogitWidth { found: 6, .. }));
    let unknown = json!({"method": "norcal", "tau": 1.0});
    let error = serde_json::from_value::<CalibrationConfig>(unknown).unwrap_err().to_string();
    assert!(error.contains("unknown field `tau`") && error.contains("`gamma`"), "{error}");
}

#[test]
fn qualities_out_of_place() {
    let eqfl = init(json!({"method": "eqfl"}), &counts());
    let logits = || Tensor::zeros([4, 5], &device());
    let labels = classes(&[0; 4]).with_qualities(Tensor::ones([3], &device()));
    let error = eqfl.forward(logits(), labels).unwrap_err();
    assert_eq!(error.to_string(), "qualities: 3 rows, but the logits have 4");
    let targets = RowLabels::multi_label(Tensor::zeros([4, 5], &device()));
    let labels = targets.with_qualities(Tensor::ones([4], &device()));
    let error = eqfl.forward(logits(), labels).unwrap_err();
    assert_eq!(error, LossError::QualityOfSeveralLabels);
}

#[test]
fn object_shares_of_another_length() {
    let loce = init(json!({"method": "loce"}), &counts());
    let labels = classes(&[0; 4]).sharing_objects(Tensor::ones([3], &device()));
    let error = loce.forward(Tensor::zeros([4, 6], &device()), labels).unwrap_err();
    assert_eq!(error.to_string(), "object shares: 3 rows, but the logits have 4");
}

#[test]
fn class_weights_out_of_place() {
    let eql = init(json!({"method": "eql-v2"}), &counts());
    let error = eql.reweighted(&[1.0; 5], &device()).unwrap_err();
    assert_eq!(error, LossError::NotReweightable { method: "eql-v2" });
    let ce = init(json!({"method": "cross-entropy"}), &counts());
    let error = ce.clone().reweighted(&[1.0; 4], &device()).unwrap_err();
    assert_eq!(error.to_string(), "class weights: 4 values, expected one per class, 5");
    let error = ce.reweighted(&[1.0, 1.0, 0.0, 1.0, 1.0], &device()).unwrap_err();
    assert_eq!(error.to_string(), "a class weight must be positive and finite, got 0");
}

#[test]
fn updates_and_states_of_another_method() {
    let mut seesaw = init(json!({"method": "seesaw"}), &counts());
    let error = seesaw.apply(StatisticsUpdate::Draws(1)).unwrap_err();
    assert_eq!(error.to_string(), "seesaw cannot take the statistics update of another method");
    let counts_of = Tensor::<1>::zeros([5], &device());
    let mixed = StatisticsUpdate::LabelCounts(counts_of).merge(StatisticsUpdate::Draws(1));
    assert!(matches!(mixed, Err(LossError::ForeignUpdate { .. })));

    let eql = init(json!({"method": "eql-v2"}), &counts());
    let error = seesaw.load_state(eql.state()).unwrap_err();
    assert_eq!(error.to_string(), "saved state of seesaw: expected 1 tensors, got 3");
    let short = vec![("label_counts".to_string(), Tensor::<1>::zeros([4], &device()))];
    let error = seesaw.load_state(short).unwrap_err();
    assert_eq!(error.to_string(), "saved state of seesaw: label_counts has 4 values, expected 5");
    let mut ce = init(json!({"method": "cross-entropy"}), &counts());
    ce.load_state(Vec::new()).unwrap();
    assert!(ce.load_state(eql.state()).is_err());
}

#[test]
fn unknown_keys_and_methods() {
    let error = parse_error(json!({"method": "eql", "lamda": 0.1}));
    assert!(error.contains("unknown field `lamda`"), "{error}");
    let error = parse_error(json!({"method": "cross-entropy", "gamma": 1.0}));
    assert!(error.contains("unknown field `gamma`"), "{error}");
    let error = parse_error(json!({"method": "balanced-softmx"}));
    assert!(error.contains("unknown variant `balanced-softmx`"), "{error}");
    assert!(error.contains("`balanced-softmax`"), "the message lists the methods: {error}");
    // Integers where numbers are wanted, and the round trip.
    assert_eq!(
        config(json!({"method": "focal", "gamma": 2, "alpha": 1})),
        config(json!({
            "method": "focal", "gamma": 2.0, "alpha": 1.0, "prior": 0.01
        }))
    );
    for value in all_configs() {
        let parsed = config(value.clone());
        assert_eq!(config(serde_json::to_value(&parsed).unwrap()), parsed);
        assert_eq!(Value::from(parsed.method()), value["method"]);
        assert_eq!(parsed.num_logits(5), init(value, &counts()).num_logits());
    }
}
