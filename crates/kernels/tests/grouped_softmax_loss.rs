//! The fused softmax loss of groups of columns beside the composed one, a slow loop and limits.

mod reference;

use burn::tensor::{Int, Tensor, TensorData};
use longtail_kernels::{ColumnGroups, composed, grouped_softmax_loss};
use longtail_testing::{assert_close, device, is_flex, values};
use reference::{assert_same_bits_with_threads, numbers, tensor};

/// Groups of columns, and the place of each label's target among them.
#[derive(Clone)]
struct Groups {
    columns: Vec<Vec<usize>>,
    places: Vec<Vec<usize>>,
}

impl Groups {
    /// Column `j` is in group `7 j mod count`, so that no group's columns lie together.
    fn scattered(num_columns: usize, count: usize, num_labels: usize) -> Self {
        let columns: Vec<Vec<usize>> = (0..count)
            .map(|group| (0..num_columns).filter(|j| 7 * j % count == group).collect())
            .collect();
        let place = |group: &Vec<usize>, label: usize| (5 * label + 2) % group.len();
        let places = |group| (0..num_labels).map(|label| place(group, label)).collect();
        Self { places: columns.iter().map(places).collect(), columns }
    }

    fn tensors(&self, num_columns: usize) -> ColumnGroups {
        let num_groups = self.columns.len();
        let members = self.columns.iter().flat_map(|columns| {
            (0..num_columns).map(|column| f32::from(u8::from(columns.contains(&column))))
        });
        let members: Vec<f32> = members.collect();
        let targets = self.columns.iter().zip(&self.places);
        let targets: Vec<i32> = targets
            .flat_map(|(columns, places)| places.iter().map(|&place| columns[place] as i32))
            .collect();
        let num_labels = self.places[0].len();
        let targets = TensorData::new(targets, [num_groups, num_labels]);
        ColumnGroups {
            members: tensor(&members, [num_groups, num_columns], &device()),
            targets: Tensor::from_data(targets, &device()),
        }
    }
}

struct Case {
    logits: Vec<f32>,
    shape: [usize; 2],
    labels: Vec<usize>,
    groups: Groups,
    /// `[groups, rows]`
    weights: Vec<f32>,
}

impl Case {
    fn new(shape: [usize; 2], num_groups: usize) -> Self {
        let [rows, columns] = shape;
        let num_labels = 4;
        let weight = |index: usize| if index % 3 == 1 { 0.0 } else { 0.25 + (index % 5) as f32 };
        Self {
            logits: numbers(rows * columns, columns as u64).into_iter().map(|v| 6.0 * v).collect(),
            shape,
            labels: (0..rows).map(|row| row * 3 % num_labels).collect(),
            groups: Groups::scattered(columns, num_groups, num_labels),
            weights: (0..num_groups * rows).map(weight).collect(),
        }
    }

    /// Losses and gradient, with a different factor of every row's loss after the kernel.
    fn outcome(&self, loss: Loss) -> (Vec<f32>, Vec<f32>) {
        let [rows, columns] = self.shape;
        let logits = tensor(&self.logits, [rows, columns], &device().autodiff()).require_grad();
        let labels: Vec<i32> = self.labels.iter().map(|&label| label as i32).collect();
        let labels = Tensor::<1, Int>::from_data(TensorData::new(labels, [rows]), &device());
        let weights = tensor(&self.weights, [self.groups.columns.len(), rows], &device());
        let losses = loss(logits.clone(), labels, self.groups.tensors(columns), weights);
        let factors: Vec<f32> = (0..rows).map(factor).collect();
        let factors: Tensor<1> = tensor(&factors, [rows], &device());
        let gradients = (losses.clone() * factors.autodiff()).sum().backward();
        let gradient = logits.grad(&gradients).expect("the logits are tracked");
        (values(losses), values(gradient))
    }

    fn slow_loop(&self) -> (Vec<f64>, Vec<f64>) {
        let [rows, columns] = self.shape;
        let mut losses = vec![0.0; rows];
        let mut gradient = vec![0.0; rows * columns];
        for row in 0..rows {
            let logits = &self.logits[row * columns..(row + 1) * columns];
            for (number, group) in self.groups.columns.iter().enumerate() {
                let weight = f64::from(self.weights[number * rows + row]);
                if weight == 0.0 {
                    continue;
                }
                let target = group[self.groups.places[number][self.labels[row]]];
                let largest = group.iter().map(|&j| f64::from(logits[j])).fold(f64::MIN, f64::max);
                let power = |j: usize| (f64::from(logits[j]) - largest).exp();
                let sum: f64 = group.iter().map(|&j| power(j)).sum();
                losses[row] += weight * (sum.ln() + largest - f64::from(logits[target]));
                for &j in group {
                    let slope = power(j) / sum - f64::from(u8::from(j == target));
                    gradient[row * columns + j] += weight * slope * f64::from(factor(row));
                }
            }
        }
        (losses, gradient)
    }
}

type Loss = fn(Tensor<2>, Tensor<1, Int>, ColumnGroups, Tensor<2>) -> Tensor<1>;

const FORMS: [Loss; 2] = [grouped_softmax_loss, composed::grouped_softmax_loss];

fn factor(row: usize) -> f32 {
    0.25 + row as f32 % 3.0
}

fn assert_matches(name: &str, case: &Case) {
    let (losses, gradient) = case.slow_loop();
    for loss in FORMS {
        let (found_losses, found_gradient) = case.outcome(loss);
        assert_close(name, &found_losses, &losses, 2e-6);
        assert_close(name, &found_gradient, &gradient, 2e-6);
    }
}

#[test]
fn both_forms_match_a_slow_loop_at_many_widths() {
    for columns in [5, 16, 17, 33, 80, 127, 1209] {
        for num_groups in [1, 2, 5] {
            let case = Case::new([9, columns], num_groups);
            assert_matches(&format!("{columns} columns, {num_groups} groups"), &case);
        }
    }
    assert_matches("several blocks", &Case::new([600, 121], 4));
}

#[test]
fn groups_may_share_columns() {
    let mut case = Case::new([7, 20], 2);
    case.groups.columns[1] = (0..20).collect();
    assert_matches("shared columns", &case);
}

#[test]
fn groups_far_apart_keep_their_digits() {
    let mut case = Case::new([6, 40], 2);
    for (index, logit) in case.logits.iter_mut().enumerate() {
        *logit += if 7 * (index % 40) % 2 == 0 { 1000.0 } else { -1000.0 };
    }
    assert_matches("2000 apart", &case);
}

#[test]
fn a_group_of_weight_0_may_hold_anything() {
    let mut case = Case::new([4, 10], 2);
    case.weights = vec![1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0];
    let (losses, gradient) = case.slow_loop();
    for row in 0..4 {
        case.logits[row * 10 + 3] = f32::NAN; // of the second group
    }
    let (found_losses, found_gradient) = case.outcome(grouped_softmax_loss);
    if is_flex() {
        assert_close("losses", &found_losses, &losses, 2e-6);
        assert_close("gradient", &found_gradient, &gradient, 2e-6);
    }
    case.weights.fill(0.0);
    for loss in FORMS {
        let (losses, gradient) = case.outcome(loss);
        assert!(losses.iter().chain(&gradient).all(|&value| value == 0.0));
    }
}

#[test]
fn no_rows() {
    let (losses, gradient) = Case::new([0, 6], 2).outcome(grouped_softmax_loss);
    assert!(losses.is_empty() && gradient.is_empty());
}

#[test]
#[should_panic(expected = "at least one group")]
fn no_groups() {
    let groups = ColumnGroups {
        members: Tensor::zeros([0, 3], &device()),
        targets: Tensor::zeros([0, 2], &device()),
    };
    let labels = Tensor::zeros([2], &device());
    let logits = Tensor::zeros([2, 3], &device());
    grouped_softmax_loss(logits, labels, groups, Tensor::zeros([0, 2], &device()));
}

/// Runs itself in processes of one and of three threads, which write the bits to a file.
#[test]
fn bits_do_not_depend_on_threads() {
    if !is_flex() {
        return;
    }
    assert_same_bits_with_threads("grouped_softmax_loss", 4 * 150 * 1209, || {
        let (losses, gradient) = Case::new([150, 1209], 5).outcome(grouped_softmax_loss);
        [losses, gradient].concat().into_iter().flat_map(f32::to_le_bytes).collect()
    });
}

/// Runs tests above once more in processes limited to other instruction sets.
#[test]
fn with_other_vector_instructions() {
    if !is_flex() {
        return;
    }
    for limit in ["portable", "avx2"] {
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["both_forms_match", "groups_far_apart", "groups_may_share"])
            .env("LONGTAIL_SIMD", limit)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
}
