use super::*;
use longtail_testing::{assert_close, device, values};

const WIDTH: usize = 3;
const PER_CLASS: usize = 4;
/// Images of each class in a full epoch; the last class has none.
const COUNTS: [u64; 4] = [6, 3, 1, 0];

/// One row of an epoch.
type Row = (usize, [f64; WIDTH]);

/// Epochs of rows, with other values each time; `skip` is a class that is not seen.
fn epoch(number: usize, skip: Option<usize>) -> Vec<Row> {
    let labels = [0, 1, 0, 2, 0, 1, 0, 0, 1, 0].into_iter().filter(|&label| Some(label) != skip);
    let value = |row: usize, column: usize| {
        let x = ((31 * number + 7 * row + 3 * column) % 17) as f64;
        x / 4.0 - 1.5 + number as f64
    };
    let row = |(row, label)| (label, std::array::from_fn(|column| value(row, column)));
    labels.enumerate().map(row).collect()
}

/// The queues of the paper, class by class: all rows less their mean, newest epoch first; then the
/// newest mean.
fn slowly(epochs: &[Vec<Row>], label: usize) -> Option<Vec<[f64; WIDTH]>> {
    let mut trail = Vec::new();
    let mut newest_mean = None;
    for rows in epochs.iter().rev() {
        let own: Vec<_> = rows.iter().filter(|(l, _)| *l == label).map(|(_, row)| row).collect();
        if own.is_empty() {
            continue;
        }
        let mean: [f64; WIDTH] = std::array::from_fn(|column| {
            own.iter().map(|row| row[column]).sum::<f64>() / own.len() as f64
        });
        newest_mean.get_or_insert(mean);
        trail.extend(own.iter().map(|row| std::array::from_fn(|i| row[i] - mean[i])));
    }
    let mean = newest_mean?;
    let add = |row: [f64; WIDTH]| std::array::from_fn(|column| row[column] + mean[column]);
    (trail.len() >= PER_CLASS).then(|| trail.into_iter().take(PER_CLASS).map(add).collect())
}

fn push(trail: &mut FeatureTrail, rows: &[Row]) {
    // Batches of four, the last one smaller.
    for batch in rows.chunks(4) {
        let labels: Vec<usize> = batch.iter().map(|(label, _)| *label).collect();
        let values: Vec<f32> = batch.iter().flat_map(|(_, row)| row.map(|v| v as f32)).collect();
        let data = TensorData::new(values, [batch.len(), WIDTH]);
        trail.push(Tensor::from_data(data, &device()), &labels);
    }
}

#[test]
fn rows_are_those_of_the_queues_of_the_paper() {
    let new = || FeatureTrail::new(PER_CLASS, &COUNTS, &device());
    let mut trail = new();
    let mut epochs: Vec<Vec<Row>> = Vec::new();
    // The rarest class needs four epochs, and is not seen in the third.
    for number in 0..7 {
        trail.begin_epoch(number as u64);
        let expected: Option<Vec<_>> = (0..3).map(|label| slowly(&epochs, label)).collect();
        assert_eq!(trail.is_ready(), expected.is_some(), "epoch {number}");
        assert_eq!(trail.is_ready(), number >= 5, "epoch {number}");
        if let Some(expected) = expected {
            let all: Vec<usize> = (0..3 * PER_CLASS).collect();
            let (rows, labels) = trail.select(&all).unwrap();
            assert_eq!(labels, [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]);
            let expected = expected.concat().concat();
            assert_close("rows", &values(rows), &expected, 1e-6);
        }
        let rows = epoch(number, (number == 2).then_some(2));
        let (first, rest) = rows.split_at(4);
        push(&mut trail, first);
        // In the middle of each epoch, and at its end, the state goes through a checkpoint.
        let through_checkpoint = |trail: FeatureTrail| {
            let mut tensors = NamedTensors::new();
            trail.collect(&mut tensors).unwrap();
            let trail = new().restore(&mut tensors).unwrap();
            assert!(tensors.is_empty(), "{:?}", tensors.keys());
            trail
        };
        trail = through_checkpoint(trail);
        trail.begin_epoch(number as u64);
        push(&mut trail, rest);
        trail = through_checkpoint(trail);
        epochs.push(rows);
    }
}

#[test]
fn memory_is_bounded_and_the_order_is_of_permutations() {
    let mut trail = FeatureTrail::new(PER_CLASS, &COUNTS, &device());
    for number in 0..20 {
        trail.begin_epoch(number as u64);
        push(&mut trail, &epoch(number, None));
        assert!(trail.labels.len() <= 3 * PER_CLASS && trail.collected_labels.len() == 10);
    }
    trail.begin_epoch(20);
    assert_eq!(trail.rows.as_ref().unwrap().dims(), [3 * PER_CLASS, WIDTH]);
    let mut order = trail.order(1, 20, 30);
    assert_ne!(order, trail.order(1, 21, 30));
    assert_eq!(order[..5], trail.order(1, 20, 5));
    assert_eq!(order.len(), 30);
    for part in order.chunks_exact_mut(12) {
        part.sort_unstable();
        assert_eq!(part, (0..12).collect::<Vec<_>>());
    }
}
