//! The later sigmoid losses: parameters and batches at which one becomes another, and their draws.

use burn::tensor::Tensor;
use longtail_losses::{
    AdaptiveSuppressionConfig, ClassificationLoss, DropLossConfig, FederatedConfig, LossMethod,
    Reduction, RowLabels, StatisticsUpdate,
};
use longtail_testing::{assert_close, values};
use longtail_types::{ClassCounts, FrequencyGroup};
use serde_json::{Value, json};

use crate::support::{
    classes, counts, device, evaluate, gradient, init, matrix, some_logits, tracked,
};

/// Both with the same labels; loss and gradient.
fn assert_same(a: &ClassificationLoss, b: &ClassificationLoss, labels: &RowLabels) {
    let entries = some_logits(labels.num_rows() * a.num_logits());
    let (loss_a, gradient_a) = evaluate(a, &entries, labels.clone(), Reduction::Mean);
    let (loss_b, gradient_b) = evaluate(b, &entries, labels.clone(), Reduction::Mean);
    let gradient_b: Vec<f64> = gradient_b.into_iter().map(f64::from).collect();
    let name = a.layout().method();
    assert_close(name, &[loss_a as f32], &[loss_b], 2e-6);
    assert_close(name, &gradient_a, &gradient_b, 2e-6);
}

fn assert_becomes(value: Value, other: Value, labels: &[usize]) {
    assert_same(&init(value, &counts()), &init(other, &counts()), &classes(labels));
}

const LABELS: [usize; 6] = [3, 0, 5, 1, 4, 5];

#[test]
fn limits() {
    let bce = json!({"method": "binary-cross-entropy"});
    // Nothing is known of the gradients: every ratio is 1.
    assert_becomes(json!({"method": "efl"}), json!({"method": "focal"}), &LABELS);
    // No class scores too high to be spared, and every background row counts.
    let acsl = json!({
        "method": "acsl", "threshold": 0.0, "common_share": 1.0, "rare_share": 1.0
    });
    assert_becomes(acsl, json!({"method": "eql-v2"}), &LABELS);
    let federated = |form| json!({"method": "federated", "sampled_classes": 6, "form": form});
    assert_becomes(federated("sigmoid"), bce, &LABELS);
    let ce = json!({"method": "cross-entropy"});
    assert_becomes(federated("softmax"), ce, &[3, 0, 1, 4]);
    let ce = json!({"method": "cross-entropy", "background": true});
    assert_becomes(federated("softmax-with-background"), ce, &LABELS);
}

#[test]
fn efl_without_scale_stays_focal_loss() {
    let focal = init(json!({"method": "focal", "alpha": 0.3, "gamma": 1.2}), &counts());
    let value = json!({"method": "efl", "alpha": 0.3, "gamma": 1.2, "scale": 0.0});
    let mut efl = init(value, &counts());
    for _ in 0..2 {
        let logits = matrix(&some_logits(30), 6, &device());
        let update = efl.forward(logits, classes(&LABELS)).unwrap().update;
        efl.apply(update).unwrap();
    }
    let ratio = values(efl.state()[2].1.clone());
    assert!(ratio.iter().all(|ratio| (0.0..1.0).contains(ratio)), "{ratio:?}");
    assert_same(&efl, &focal, &classes(&LABELS));
}

#[test]
fn perfect_boxes_need_no_quality() {
    let eqfl = init(json!({"method": "eqfl"}), &counts());
    assert!(eqfl.wants_qualities());
    let entries = some_logits(30);
    let plain = evaluate(&eqfl, &entries, classes(&LABELS), Reduction::Mean);
    let perfect = classes(&LABELS).with_qualities(Tensor::ones([6], &device()));
    let (loss, gradient) = evaluate(&eqfl, &entries, perfect, Reduction::Mean);
    let expected: Vec<f64> = plain.1.into_iter().map(f64::from).collect();
    assert_close("loss", &[loss as f32], &[plain.0], 1e-6);
    assert_close("gradient", &gradient, &expected, 1e-6);

    // Each row by itself, and rows that are left out whatever they hold.
    let qualities = || Tensor::from_floats([0.9, 0.2, f32::NAN, 0.0, 1.0, 7.0], &device());
    let labels = || classes(&LABELS).with_qualities(qualities());
    let (sum, _) = evaluate(&eqfl, &entries, labels(), Reduction::Sum);
    let logits = || matrix(&entries, 6, &device());
    let rows = eqfl.forward_with(logits(), labels(), Reduction::None).unwrap().loss;
    let rows: f64 = values(rows).into_iter().map(f64::from).sum();
    assert_close("rows", &[rows as f32], &[sum], 1e-6);
    let ignore = Tensor::from_data([false, true, false, false, false, false], &device());
    let mut broken = entries.clone();
    broken[5..10].fill(f64::NAN);
    let (loss, gradient) = evaluate(&eqfl, &broken, labels().ignoring(ignore), Reduction::Mean);
    assert!(loss.is_finite() && gradient[5..10] == [0.0; 5], "{loss} {gradient:?}");
}

#[test]
fn drop_loss_becomes_equalization_loss() {
    let is_tail = [false, true, false, true, true];
    let tail = json!({"image-count-at-most": 4});
    let drop = |seed| init(json!({"method": "drop-loss", "tail": tail, "seed": seed}), &counts());
    let eql = init(json!({"method": "eql", "tail": tail}), &counts());
    // Every positive is of a tail class: rho = 1.
    assert_same(&drop(4), &eql, &classes(&[3, 1, 5, 4, 5]));
    // No positive at all: nothing is dropped.
    let bce = init(json!({"method": "binary-cross-entropy"}), &counts());
    assert_same(&drop(4), &bce, &classes(&[5; 4]));
    // No positive of a tail class: on no row does one of them count.
    let (_, gradient) =
        evaluate(&drop(4), &some_logits(20), classes(&[0, 5, 2, 5]), Reduction::Sum);
    for (entry, slope) in gradient.into_iter().enumerate() {
        assert_eq!(slope == 0.0, is_tail[entry % 5], "{entry}");
    }
    // An ignored row does not count in rho.
    let ignore = Tensor::from_data([false, true, false, false, false], &device());
    let labels = classes(&[3, 0, 5, 4, 5]).ignoring(ignore);
    assert_same(&drop(4), &eql, &labels);
}

#[test]
fn drop_loss_drops_its_share() {
    let is_tail = [false, true];
    let drop = DropLossConfig::default().init_with_tail(&is_tail, &device()).unwrap();
    // A quarter of the positives is tail: three quarters of the entries are dropped.
    let mut labels = vec![2; 4000];
    labels[..4].copy_from_slice(&[0, 0, 1, 0]);
    let logits = tracked(&vec![0.0; 8000], 4000);
    let output = drop.forward_with(logits.clone(), classes(&labels), Reduction::Sum).unwrap();
    let (_, gradient) = gradient(&logits, &output);
    let kept = gradient[8..].chunks(2).filter(|row| row[1] != 0.0).count() as f64 / 3996.0;
    assert!((kept - 0.25).abs() < 0.03, "{kept}"); // deviation 0.007
    assert!(gradient[8..].chunks(2).all(|row| row[0] == 0.5));
}

#[test]
fn acsl_chooses_rows_by_group() {
    let groups = [FrequencyGroup::Frequent, FrequencyGroup::Common, FrequencyGroup::Rare];
    let acsl = AdaptiveSuppressionConfig::default().init_with_groups(&groups, &device()).unwrap();
    let logits = tracked(&vec![0.0; 4 * 8000], 8000);
    let labels = classes(&vec![3; 8000]);
    let output = acsl.forward_with(logits.clone(), labels, Reduction::Sum).unwrap();
    let (_, gradient) = gradient(&logits, &output);
    let mut num_kept = [0; 4];
    let draw = acsl.next_draw();
    for (row, slopes) in gradient.chunks(4).enumerate() {
        for (column, slope) in slopes.iter().enumerate() {
            num_kept[column] += u32::from(*slope != 0.0);
        }
        assert_eq!(slopes[1] != 0.0, draw.number(row, 1) < 0.1_f32.into());
    }
    let share = num_kept.map(|count| f64::from(count) / 8000.0);
    assert_eq!((share[0], share[3]), (1.0, 1.0));
    assert!((share[1] - 0.1).abs() < 0.015 && (share[2] - 0.01).abs() < 0.005, "{share:?}");

    // A foreground row pushes down what scores high.
    let high = [2.0, 0.84, 0.85, 3.0]; // ln(0.7 / 0.3) = 0.8473
    let logits = tracked(&high, 1);
    let output = acsl.forward_with(logits.clone(), classes(&[0]), Reduction::Sum).unwrap();
    let (_, slopes) = crate::support::gradient(&logits, &output);
    let is_spared: Vec<bool> = slopes.into_iter().map(|slope| slope == 0.0).collect();
    assert_eq!(is_spared, [false, true, false, false]);
    // Background is no part of the scores.
    let scores = values(acsl.scores(matrix(&high, 1, &device())).unwrap());
    assert_close("scores", &scores, &[0.880_797, 0.698_466, 0.700_567], 1e-5);
}

#[test]
fn federated_loss_counts_so_many_classes() {
    let images: Vec<u64> = (0..40).map(|class| 1 + class * class).collect();
    let counts = ClassCounts::new(images.clone(), images.clone(), 2000).unwrap();
    let config = FederatedConfig { sampled_classes: 12, seed: Some(7), ..Default::default() };
    let mut loss = config.init(&counts, &device()).unwrap();
    let counted = |loss: &dyn LossMethod, labels: &[usize]| -> Vec<usize> {
        let logits = tracked(&vec![0.0; 40 * labels.len()], labels.len());
        let output = loss.forward(logits.clone(), classes(labels)).unwrap();
        let (_, gradient) = gradient(&logits, &output);
        (0..40).filter(|&class| gradient[class] != 0.0).collect()
    };
    let first = counted(&loss, &[3, 3, 17]);
    assert_eq!(first.len(), 12);
    assert!(first.contains(&3) && first.contains(&17));
    assert_eq!(counted(&loss, &[3, 3, 40]).len(), 11, "background takes a place");
    let many: Vec<usize> = (0..20).collect();
    assert_eq!(counted(&loss, &many), many);
    // The order is one of draws without replacement by the root of the image counts.
    let mut firsts = [0.0_f64; 40];
    for _ in 0..5000 {
        let order = loss.next_order();
        firsts[order[0]] += 1.0 / 5000.0;
        loss.apply(StatisticsUpdate::Draws(1)).unwrap();
    }
    let weights: Vec<f64> = images.iter().map(|&count| (count as f64).sqrt()).collect();
    let total: f64 = weights.iter().sum();
    for (share, weight) in firsts.iter().zip(&weights) {
        assert!((share - weight / total).abs() < 0.012, "{firsts:?}"); // deviation 0.003
    }
    assert_ne!(counted(&loss, &[3, 3, 17]), first);
}

#[test]
fn ghm_with_one_bin_is_the_mean_over_entries() {
    let ghm = init(json!({"method": "ghm-c", "bins": 1}), &counts());
    let bce = init(json!({"method": "binary-cross-entropy"}), &counts());
    let entries = some_logits(30);
    let (loss, gradient) = evaluate(&ghm, &entries, classes(&LABELS), Reduction::Mean);
    let (expected, slopes) = evaluate(&bce, &entries, classes(&LABELS), Reduction::Mean);
    let slopes: Vec<f64> = slopes.into_iter().map(|slope| f64::from(slope) / 5.0).collect();
    assert_close("loss", &[loss as f32], &[expected / 5.0], 2e-6);
    assert_close("gradient", &gradient, &slopes, 2e-6);
    assert_eq!(ghm.dense_reduction(3), Reduction::Mean);
    assert_eq!(bce.dense_reduction(0), Reduction::Count(1.0));
}
