//! Balanced Group Softmax: which rows count, and the case of one group.

use longtail_losses::{
    BalancedGroupSoftmaxConfig, BalancedGroupSoftmaxLoss, ClassificationLoss, LossMethod, Reduction,
};
use longtail_testing::{assert_close, values};
use longtail_types::ClassCounts;
use serde_json::json;

use crate::support::{classes, counts, device, evaluate, init, matrix, some_logits};

const NUM_ROWS: usize = 12;
/// Groups of `counts()` with one bound at 20: classes 0 and 2 are frequent, 1, 3 and 4 rare; 5 is
/// background.
const LABELS: [usize; NUM_ROWS] = [0, 5, 2, 5, 5, 3, 5, 5, 0, 5, 5, 5];

fn make(others_ratio: f64, seed: u64) -> BalancedGroupSoftmaxLoss {
    let config = BalancedGroupSoftmaxConfig {
        bounds: vec![20],
        others_ratio,
        background: true,
        seed: Some(seed),
    };
    config.init(&counts(), &device()).unwrap()
}

fn cross_entropy(logits: &[f64], target: usize) -> f64 {
    let sum: f64 = logits.iter().map(|z| z.exp()).sum();
    sum.ln() - logits[target]
}

/// Loss and gradient of one group over the counted rows, one row after the other; columns of the
/// group, "others" last.
fn slow_group(
    entries: &[f64],
    columns: &[usize],
    is_counted: &[bool],
    gradient: &mut [f64],
) -> f64 {
    let width = entries.len() / NUM_ROWS;
    let count = is_counted.iter().filter(|&&counted| counted).count() as f64;
    let mut loss = 0.0;
    for row in (0..NUM_ROWS).filter(|&row| is_counted[row]) {
        let own = columns[..columns.len() - 1].iter().position(|&class| class == LABELS[row]);
        let target = own.unwrap_or(columns.len() - 1);
        let logits: Vec<f64> = columns.iter().map(|&j| entries[row * width + j]).collect();
        loss += cross_entropy(&logits, target) / count;
        let sum: f64 = logits.iter().map(|z| z.exp()).sum();
        for (place, &column) in columns.iter().enumerate() {
            let target = f64::from(u8::from(place == target));
            gradient[row * width + column] += (logits[place].exp() / sum - target) / count;
        }
    }
    loss
}

#[test]
fn drawn_rows_match_a_slow_loop() {
    // 3 rows of the frequent group and 1 of the rare one; 1.5 others each are 4 and 1.
    let loss = make(1.5, 9);
    assert_eq!(loss.groups(), [1, 0, 1, 0, 0]);
    let entries = some_logits(NUM_ROWS * 9);
    let mut gradient = vec![0.0; entries.len()];
    let mut expected = 0.0;
    for (group, columns, num_others) in [(0, vec![1, 3, 4, 5], 1), (1, vec![0, 2, 6], 4)] {
        let is_own = |row: usize| columns[..columns.len() - 1].contains(&LABELS[row]);
        let mut is_counted: Vec<bool> = (0..NUM_ROWS).map(is_own).collect();
        let order = loss.next_order(group, NUM_ROWS);
        let others = order.into_iter().filter(|&row| !is_own(row));
        others.take(num_others).for_each(|row| is_counted[row] = true);
        expected += slow_group(&entries, &columns, &is_counted, &mut gradient);
    }
    for (row, label) in LABELS.into_iter().enumerate() {
        let logits = &entries[row * 9 + 7..row * 9 + 9];
        let target = usize::from(label == 5);
        expected += cross_entropy(logits, target) / NUM_ROWS as f64;
        let background = 1.0 / (1.0 + (logits[0] - logits[1]).exp());
        let difference = (background - target as f64) / NUM_ROWS as f64;
        gradient[row * 9 + 7] -= difference;
        gradient[row * 9 + 8] += difference;
    }
    let loss = ClassificationLoss::BalancedGroupSoftmax(loss);
    let (found, found_gradient) = evaluate(&loss, &entries, classes(&LABELS), Reduction::Mean);
    assert_close("loss", &[found as f32], &[expected], 1e-6);
    assert_close("gradient", &found_gradient, &gradient, 1e-6);
}

#[test]
fn draws_are_reproducible_and_fair() {
    let mut loss = make(1.0, 3);
    let first = loss.next_order(0, 50);
    assert_eq!(first, loss.next_order(0, 50), "forward draws nothing by itself");
    assert_ne!(first, loss.next_order(1, 50), "groups draw apart");
    assert_ne!(first, make(1.0, 4).next_order(0, 50));
    // One own row, so one of the eleven others each time.
    let mut drawn = [0_u32; NUM_ROWS];
    let logits = || matrix(&some_logits(NUM_ROWS * 9), NUM_ROWS, &device());
    for _ in 0..2200 {
        let row = loss.next_order(0, NUM_ROWS).into_iter().find(|&row| row != 5).unwrap();
        drawn[row] += 1;
        let update = loss.forward(logits(), classes(&LABELS)).unwrap().update;
        loss.apply(update).unwrap();
    }
    assert_eq!(drawn[5], 0);
    let is_fair = |&(row, &count): &(usize, &u32)| row == 5 || count.abs_diff(200) < 60;
    assert!(drawn.iter().enumerate().all(|pair| is_fair(&pair)), "{drawn:?}"); // deviation 13
}

/// With one group the loss is cross-entropy over classes and "others", and a two-way one of
/// background.
#[test]
fn one_group_is_cross_entropy_with_others_and_background() {
    let bags = init(json!({"method": "bags", "bounds": []}), &counts());
    let others = init(json!({"method": "cross-entropy", "background": true}), &counts());
    let two = ClassCounts::new(vec![9, 9], vec![9, 9], 9).unwrap();
    let background = init(json!({"method": "cross-entropy"}), &two);
    let entries = some_logits(NUM_ROWS * 8);
    let cut = |columns: std::ops::Range<usize>| -> Vec<f64> {
        entries.chunks(8).flat_map(|row| row[columns.clone()].to_vec()).collect()
    };
    let is_background: Vec<usize> = LABELS.iter().map(|&label| usize::from(label == 5)).collect();
    for reduction in [Reduction::Mean, Reduction::Sum, Reduction::Count(7.0)] {
        let (a, gradient_a) = evaluate(&others, &cut(0..6), classes(&LABELS), reduction);
        let (b, gradient_b) = evaluate(&background, &cut(6..8), classes(&is_background), reduction);
        let rows = gradient_a.chunks(6).zip(gradient_b.chunks(2));
        let expected: Vec<f64> = rows.flat_map(|(a, b)| [a, b].concat()).map(f64::from).collect();
        let (loss, gradient) = evaluate(&bags, &entries, classes(&LABELS), reduction);
        assert_close("loss", &[loss as f32], &[a + b], 2e-6);
        assert_close("gradient", &gradient, &expected, 2e-6);
    }
}

#[test]
fn scores_without_background_are_those_of_each_group() {
    let value = json!({"method": "bags", "bounds": [20], "background": false});
    let bags = init(value, &counts());
    let entries = some_logits(14);
    let found = values(bags.scores(matrix(&entries, 2, &device())).unwrap());
    let mut expected = vec![0.0; 10];
    for (row, entries) in entries.chunks(7).enumerate() {
        for columns in [vec![1, 3, 4, 5], vec![0, 2, 6]] {
            let sum: f64 = columns.iter().map(|&j: &usize| entries[j].exp()).sum();
            for &class in &columns[..columns.len() - 1] {
                expected[row * 5 + class] = entries[class].exp() / sum;
            }
        }
    }
    assert_close("scores", &found, &expected, 1e-6);
}
