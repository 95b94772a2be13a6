//! Limit cases: parameters at which a method becomes another, empty and extreme input, reductions.

use burn::tensor::{Device, Tensor};
use longtail_losses::{
    ClassificationLoss, EqualizationConfig, LossMethod, Reduction, RowLabels,
    SoftmaxEqualizationConfig, balanced_sigmoid, balanced_softmax,
};
use longtail_testing::{assert_close, values};
use longtail_types::ClassCounts;
use serde_json::{Value, json};

use crate::support::{
    all_configs, classes, config, counts, device, evaluate, gradient, init, matrix, some_logits,
    tracked,
};

const LABELS: [usize; 4] = [3, 0, 1, 4];

fn assert_same(name: &str, a: &ClassificationLoss, b: &ClassificationLoss, labels: &RowLabels) {
    assert_eq!(a.num_logits(), b.num_logits());
    let entries = some_logits(labels.num_rows() * a.num_logits());
    let (loss_a, gradient_a) = evaluate(a, &entries, labels.clone(), Reduction::Mean);
    let (loss_b, gradient_b) = evaluate(b, &entries, labels.clone(), Reduction::Mean);
    let gradient_b: Vec<f64> = gradient_b.into_iter().map(f64::from).collect();
    assert_close(name, &[loss_a as f32], &[loss_b], 2e-6);
    assert_close(name, &gradient_a, &gradient_b, 2e-6);
}

fn assert_becomes(value: Value, other: Value, counts: &ClassCounts) {
    let name = format!("{value} becomes {other}");
    assert_same(&name, &init(value, counts), &init(other, counts), &classes(&LABELS));
}

#[test]
fn methods_become_their_baselines() {
    let ce = json!({"method": "cross-entropy"});
    let equal = ClassCounts::new(vec![7; 5], vec![9; 5], 20).unwrap();
    let tail = json!({"image-count-at-most": 4});
    assert_becomes(json!({"method": "balanced-softmax"}), ce.clone(), &equal);
    assert_becomes(json!({"method": "seql", "tail": tail, "gamma": 0.0}), ce.clone(), &counts());
    assert_becomes(json!({"method": "logit-adjustment", "tau": 0.0}), ce.clone(), &counts());
    assert_becomes(json!({"method": "class-balanced", "beta": 0.0}), ce.clone(), &counts());
    assert_becomes(
        json!({"method": "ldam", "max_margin": 0.0, "scale": 1.0}),
        ce.clone(),
        &counts(),
    );
    assert_becomes(
        json!({"method": "balanced-softmax"}),
        json!({"method": "logit-adjustment", "tau": 1.0}),
        &counts(),
    );
    assert_becomes(
        json!({"method": "balanced-softmax", "background": "keep"}),
        json!({"method": "cross-entropy", "background": true}),
        &equal,
    );
    // Seesaw before any batch: no factor is left without exponents.
    let seesaw = json!({"method": "seesaw", "p": 0.0, "q": 0.0, "objectness": false});
    assert_becomes(seesaw, ce, &counts());
    // Before any batch no gradient is known; with tau = 0 none matters.
    let equalized = json!({"method": "equalized-softmax", "form": "share"});
    assert_becomes(equalized, json!({"method": "cross-entropy"}), &counts());
    // Equal mean scores, background's included.
    let loce = json!({"method": "loce", "alpha": 1.0});
    let with_background = json!({"method": "cross-entropy", "background": true});
    assert_becomes(loce, with_background, &counts());
    // The exact shift is 0 when every class has its share.
    let bce = json!({"method": "binary-cross-entropy"});
    assert_becomes(json!({"method": "balanced-sigmoid"}), bce.clone(), &equal);
    let class_balanced = json!({"method": "class-balanced", "beta": 0.0, "form": "sigmoid"});
    assert_becomes(class_balanced, bce, &counts());
}

#[test]
fn without_tail_eql_is_sigmoid_cross_entropy() {
    let logits = tracked(&some_logits(20), 4);
    let bce = init(json!({"method": "binary-cross-entropy"}), &counts());
    let expected = bce.forward(logits.clone(), classes(&[3, 5, 1, 4])).unwrap();
    let (expected, expected_gradient) = gradient(&logits, &expected);
    let expected_gradient: Vec<f64> = expected_gradient.into_iter().map(f64::from).collect();

    let frequency = [0.75, 0.0, 0.3, 0.05, 0.01];
    let config = EqualizationConfig::default();
    let eql = config.init_with_frequency(&frequency, 0.0, &device()).unwrap(); // lambda = 0
    let output = eql.forward(logits.clone(), classes(&[3, 5, 1, 4])).unwrap();
    let (loss, gradient) = gradient(&logits, &output);
    assert_close("loss", &[loss as f32], &[expected], 1e-6);
    assert_close("gradient", &gradient, &expected_gradient, 1e-6);
}

#[test]
fn seql_masks_are_drawn_by_seed_and_draw() {
    let is_tail = [false, true, true, false, true];
    let config =
        |gamma, seed| SoftmaxEqualizationConfig { gamma, seed: Some(seed), ..Default::default() };
    let make = |gamma, seed| config(gamma, seed).init_with_tail(&is_tail, &device()).unwrap();
    // gamma = 1 takes every tail class whatever the seed, and no head class.
    let all: Vec<f32> = is_tail.repeat(3).into_iter().map(f32::from).collect();
    assert_eq!(make(1.0, 0).next_mask(3), all);
    assert_eq!(make(1.0, 9).next_mask(3), all);

    let mut seql = make(0.3, 5);
    let first = seql.next_mask(2000);
    assert_eq!(first, seql.next_mask(2000), "forward draws nothing by itself");
    assert_eq!(first[..50], seql.next_mask(10)[..], "a row's mask does not depend on the others");
    assert_ne!(first, make(0.3, 6).next_mask(2000));
    let share = first.iter().sum::<f32>() / 6000.0; // 3 tail classes; deviation 0.006
    assert!((share - 0.3).abs() < 0.03, "{share}");

    let logits = matrix(&some_logits(20), 4, &device());
    let update = seql.forward(logits, classes(&LABELS)).unwrap().update;
    seql.apply(update).unwrap();
    assert_ne!(first, seql.next_mask(2000), "the next draw is another");
}

#[test]
fn empty_batches_give_zero() {
    let device = device().autodiff();
    for value in all_configs() {
        let mut loss = init(value.clone(), &counts());
        let before: Vec<_> = loss.state().into_iter().map(|(_, t)| values(t)).collect();
        let columns = loss.num_logits();
        for reduction in [Reduction::Mean, Reduction::Sum, Reduction::Count(3.0)] {
            let logits = Tensor::<2>::zeros([0, columns], &device).require_grad();
            let output = loss.forward_with(logits.clone(), classes(&[]), reduction).unwrap();
            assert_eq!(values(output.loss.clone()), [0.0], "{value}");
            let gradients = output.loss.backward();
            assert_eq!(logits.grad(&gradients).unwrap().dims(), [0, columns]);
            loss.apply(output.update).unwrap();
        }
        let logits = Tensor::<2>::zeros([0, columns], &device);
        let rows = loss.forward_with(logits.clone(), classes(&[]), Reduction::None).unwrap();
        assert_eq!(rows.loss.dims(), [0]);
        assert_eq!(loss.scores(logits).unwrap().dims(), [0, loss.num_classes()]);
        let after: Vec<_> = loss.state().into_iter().map(|(_, t)| values(t)).collect();
        assert_eq!(before, after, "{value}");
    }
}

#[test]
fn all_rows_ignored_is_zero() {
    let ignore = Tensor::from_data([true; 4], &device());
    let weights = [1.0, 2.0, 0.5, 1.0, 0.5];
    for value in all_configs() {
        let plain = init(value.clone(), &counts());
        let reweighted = plain.clone().reweighted(&weights, &device()).ok();
        for loss in [Some(plain), reweighted].into_iter().flatten() {
            let entries = some_logits(4 * loss.num_logits());
            let labels = classes(&LABELS).ignoring(ignore.clone());
            let (value, gradient) = evaluate(&loss, &entries, labels, Reduction::Mean);
            assert_eq!(value, 0.0);
            assert!(gradient.iter().all(|&g| g == 0.0), "{gradient:?}");
        }
    }
}

#[test]
fn ignored_rows_may_hold_anything() {
    let ignore = Tensor::from_data([false, true, true, false], &device());
    for value in all_configs() {
        let loss = init(value.clone(), &counts());
        let columns = loss.num_logits();
        let mut entries = some_logits(4 * columns);
        let good = classes(&LABELS).ignoring(ignore.clone());
        let expected = evaluate(&loss, &entries, good, Reduction::Mean);
        entries[columns..2 * columns].fill(f64::NAN);
        entries[2 * columns] = f64::INFINITY;
        let bad = classes(&[3, 99, 7, 4]).ignoring(ignore.clone());
        loss.check(&matrix(&entries, 4, &device()), &bad).unwrap();
        assert_eq!(evaluate(&loss, &entries, bad, Reduction::Mean), expected, "{value}");
    }
}

#[test]
fn huge_logits_stay_finite() {
    for value in all_configs() {
        let loss = init(value.clone(), &counts());
        let columns = loss.num_logits();
        for size in [1e4, -1e4] {
            let alternate: Vec<f64> =
                (0..4 * columns).map(|i| if i % 3 == 0 { size } else { -size }).collect();
            for entries in [alternate, vec![size; 4 * columns]] {
                let (loss_value, gradient) =
                    evaluate(&loss, &entries, classes(&LABELS), Reduction::Mean);
                assert!(loss_value.is_finite(), "{value}: {loss_value}");
                assert!(gradient.iter().all(|g| g.is_finite()), "{value}: {gradient:?}");
                let scores = values(loss.scores(matrix(&entries, 4, &device())).unwrap());
                assert!(scores.iter().all(|s| (0.0..=1.0).contains(s)), "{value}: {scores:?}");
            }
        }
    }
}

#[test]
fn reductions_agree() {
    let ignore = Tensor::from_data([false, true, false, false], &device());
    let weights = [1.0, 2.0, 0.5, 1.0, 0.25];
    for value in all_configs() {
        let loss = init(value, &counts());
        let logits = || matrix(&some_logits(4 * loss.num_logits()), 4, &device());
        let labels = || classes(&LABELS).ignoring(ignore.clone());
        let reduce = |loss: &ClassificationLoss, reduction| {
            values(loss.forward_with(logits(), labels(), reduction).unwrap().loss)
        };
        let rows = reduce(&loss, Reduction::None);
        assert_eq!((rows.len(), rows[1]), (4, 0.0));
        if loss.layout().num_groups() > 0 {
            continue; // a mean for each group: see groups.rs
        }
        let sum: f64 = rows.iter().map(|&v| f64::from(v)).sum();
        assert_close("sum", &reduce(&loss, Reduction::Sum), &[sum], 1e-6);
        assert_close("mean", &reduce(&loss, Reduction::Mean), &[sum / 3.0], 1e-6);
        assert_close("count", &reduce(&loss, Reduction::Count(7.0)), &[sum / 7.0], 1e-6);

        // Re-weighted: each row times its weight, divided by the weights that are left.
        let Ok(loss) = loss.clone().reweighted(&weights, &device()) else { continue };
        let weighted = [rows[0] * 1.0, 0.0, rows[2] * 2.0, rows[3] * 0.25].map(f64::from);
        let sum: f64 = weighted.iter().sum();
        assert_close("rows", &reduce(&loss, Reduction::None), &weighted, 1e-6);
        assert_close("sum", &reduce(&loss, Reduction::Sum), &[sum], 1e-6);
        assert_close("mean", &reduce(&loss, Reduction::Mean), &[sum / 3.25], 1e-6);
    }
}

#[test]
fn priors_of_empty_classes_are_finite() {
    let empty = ClassCounts::new(vec![80, 0, 0, 80, 3], vec![80, 0, 0, 90, 3], 80).unwrap();
    for value in all_configs() {
        let loss = init(value.clone(), &empty);
        let entries = some_logits(4 * loss.num_logits());
        let (value_of, gradient) = evaluate(&loss, &entries, classes(&LABELS), Reduction::Mean);
        assert!(value_of.is_finite() && value_of > 0.0, "{value}: {value_of}");
        assert!(gradient.iter().all(|g| g.is_finite()), "{value}: {gradient:?}");
    }
}

#[test]
fn tables_meet_any_device_association() {
    // Built with autodiff or without, used with autodiff or without.
    for value in all_configs() {
        let mut found = Vec::new();
        for built_on in [device(), device().autodiff()] {
            let mut loss = config(value.clone()).init(&counts(), &built_on).unwrap();
            for used_on in [device(), device().autodiff()] {
                let used = |labels: &[usize], device: &Device| {
                    RowLabels::from_host(labels, 5, device).unwrap()
                };
                let logits = matrix(&some_logits(4 * loss.num_logits()), 4, &used_on);
                let output = loss.forward(logits, used(&LABELS, &used_on)).unwrap();
                found.push(values(output.loss));
                let update = output.update;
                let mut copy = loss.clone();
                copy.apply(update).unwrap();
                loss.load_state(loss.state()).unwrap();
            }
        }
        assert!(found.iter().all(|loss| *loss == found[0]), "{value}: {found:?}");
    }
}

#[test]
fn activations_balance() {
    // Written out: 6 e^0 : 3 e^1 : 1 e^2.
    let logits = matrix(&[0.0, 1.0, 2.0], 1, &device());
    let counts = Tensor::<1>::from_floats([6.0, 3.0, 1.0], &device());
    let e = std::f64::consts::E;
    let sum = 6.0 + 3.0 * e + e * e;
    let expected = [6.0 / sum, 3.0 * e / sum, e * e / sum];
    let actual = values(balanced_softmax(logits.clone(), counts.log()));
    assert_close("balanced softmax", &actual, &expected, 1e-6);

    let shift = Tensor::<1>::from_floats([0.5, -1.0, -3.0], &device());
    let expected = [0.5, 0.0, -1.0].map(|z: f64| 1.0 / (1.0 + (-z).exp()));
    let actual = values(balanced_sigmoid(logits, shift));
    assert_close("balanced sigmoid", &actual, &expected, 1e-6);
}
