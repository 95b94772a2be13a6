//! Statistics: forward leaves them alone, a checkpoint carries them, batches merge.

use burn::module::Module;
use longtail_losses::{ClassificationLoss, StatisticsUpdate};
use longtail_testing::{assert_close, values};
use serde_json::{Value, json};

use crate::support::{all_configs, classes, counts, device, init, matrix, some_logits};

fn stateful() -> Vec<Value> {
    let tail = json!({"image-count-at-most": 4});
    vec![
        json!({"method": "eql-v2"}),
        json!({"method": "seesaw"}),
        json!({"method": "seql", "tail": tail, "gamma": 0.5}),
        json!({"method": "equalized-softmax"}),
        json!({"method": "bags", "bounds": [20], "others_ratio": 1.0}),
        json!({"method": "loce"}),
        json!({"method": "efl"}),
        json!({"method": "eqfl"}),
        json!({"method": "acsl", "common_share": 0.5, "rare_share": 0.25}),
        json!({"method": "drop-loss", "tail": tail}),
        json!({"method": "federated", "sampled_classes": 4, "seed": 1}),
        json!({"method": "ghm-c", "bins": 30, "momentum": 0.75}),
    ]
}

fn state(loss: &ClassificationLoss) -> Vec<(String, Vec<f32>)> {
    loss.state().into_iter().map(|(name, tensor)| (name, values(tensor))).collect()
}

fn step(loss: &ClassificationLoss, index: usize) -> (Vec<f32>, StatisticsUpdate) {
    let columns = loss.num_logits();
    let entries = some_logits((4 + index) * columns);
    let logits = matrix(&entries[index * columns..], 4, &device());
    let last = loss.num_labels() - 1; // background, where there is any
    let output = loss.forward(logits, classes(&[index % 5, 0, 3, last])).unwrap();
    (values(output.loss), output.update)
}

#[test]
fn forward_changes_nothing() {
    for value in all_configs() {
        let loss = init(value.clone(), &counts());
        let before = state(&loss);
        let first = step(&loss, 0).0;
        assert_eq!(first, step(&loss, 0).0, "{value}");
        assert_eq!(before, state(&loss));
        let is_stateful = stateful().iter().any(|other| other["method"] == value["method"])
            && (value["method"] != "ghm-c" || !value["momentum"].is_null());
        assert_eq!(before.is_empty(), !is_stateful, "{value}");
        assert_eq!(step(&loss, 0).1.is_none(), !is_stateful, "{value}");
    }
}

#[test]
fn resumed_losses_go_on_exactly() {
    for value in stateful() {
        let mut straight = init(value.clone(), &counts());
        let mut first = init(value.clone(), &counts());
        for index in 0..3 {
            for loss in [&mut straight, &mut first] {
                let update = step(loss, index).1;
                loss.apply(update).unwrap();
            }
        }
        let fresh_loss = step(&init(value.clone(), &counts()), 3).0;
        let mut resumed = init(value.clone(), &counts());
        resumed.load_state(first.state()).unwrap();
        assert_ne!(step(&resumed, 3).0, fresh_loss, "{value}: the state matters");
        for index in 3..6 {
            let (expected, update) = step(&straight, index);
            straight.apply(update).unwrap();
            let (actual, update) = step(&resumed, index);
            resumed.apply(update).unwrap();
            assert_eq!(actual, expected, "{value}");
        }
        assert_eq!(state(&straight), state(&resumed));
    }
}

#[test]
fn module_records_carry_tensors() {
    for value in stateful() {
        let is_drawing =
            matches!(step(&init(value.clone(), &counts()), 1).1, StatisticsUpdate::Draws(_));
        if is_drawing {
            continue;
        }
        let mut loss = init(value.clone(), &counts());
        let update = step(&loss, 1).1;
        loss.apply(update).unwrap();
        let loaded = init(value, &counts()).load_record(loss.clone().into_record());
        assert_eq!(state(&loaded), state(&loss));
    }
}

#[test]
fn updates_merge_by_adding() {
    // The mean of two batches is no mean of means: losses_softmax.json has objects of one batch.
    // So it is with the moving average of error counts.
    let by_sums = stateful()
        .into_iter()
        .filter(|value| value["method"] != "loce" && value["method"] != "ghm-c");
    for value in by_sums {
        let loss = init(value.clone(), &counts());
        let updates = || [step(&loss, 0).1, step(&loss, 1).1];
        let mut one_by_one = loss.clone();
        for update in updates() {
            one_by_one.apply(update).unwrap();
        }
        let [first, second] = updates();
        let merged = first.merge(second).unwrap().merge(StatisticsUpdate::None).unwrap();
        let mut at_once = loss.clone();
        at_once.apply(merged).unwrap();
        for ((name, actual), (_, expected)) in state(&at_once).iter().zip(state(&one_by_one)) {
            let expected: Vec<f64> = expected.into_iter().map(f64::from).collect();
            assert_close(name, actual, &expected, 1e-6);
        }
    }
}

#[test]
fn draws_survive_beyond_f32() {
    let mut seql = init(stateful()[2].clone(), &counts());
    let draws = 0x0123_4567_89ab_cdef;
    seql.apply(StatisticsUpdate::Draws(draws)).unwrap();
    let mut other = init(stateful()[2].clone(), &counts());
    other.load_state(seql.state()).unwrap();
    assert_eq!(state(&seql), state(&other));
    assert_eq!(state(&seql)[0].1, [0x0123, 0x4567, 0x89ab, 0xcdef].map(|v| v as f32));
    assert_eq!(step(&seql, 2).0, step(&other, 2).0);
}

/// Two halves of a batch, merged, are the batch.
#[test]
fn merged_mean_scores_are_those_of_one_batch() {
    let value = json!({"method": "loce", "background": false});
    let mut whole = init(value.clone(), &counts());
    let mut merged = whole.clone();
    let entries = some_logits(20);
    let update = |entries: &[f64], labels: &[usize]| {
        let logits = matrix(entries, labels.len(), &device());
        init(value.clone(), &counts()).forward(logits, classes(labels)).unwrap().update
    };
    whole.apply(update(&entries, &[3, 0, 3, 3])).unwrap();
    let halves = update(&entries[..10], &[3, 0]).merge(update(&entries[10..], &[3, 3]));
    merged.apply(halves.unwrap()).unwrap();
    let expected: Vec<f64> = state(&whole)[0].1.iter().map(|&v| f64::from(v)).collect();
    assert_close("mean scores", &state(&merged)[0].1, &expected, 1e-6);
    assert!((expected[1] - 0.01).abs() < 1e-9, "a class without an object stays: {expected:?}");
}
