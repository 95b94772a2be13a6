//! The error of outputs beside their reference.

use crate::case::{Found, Output, Quantity, Record};

/// Where a tensor's own largest value is below this part of the largest of its kind, that counts
/// instead: what cancels to nothing has no digits to compare.
const SMALLEST_SCALE: f64 = 1e-3;
/// Pixels that a box may be off for it to be the same box.
const SAME_BOX: f32 = 0.5;

/// The largest error of each quantity, in the order of the reference. Infinite where the outputs
/// differ in number, length or kind, or are no numbers.
pub(crate) fn errors(record: &Record, reference: &Record) -> Vec<(Quantity, f64)> {
    let mut errors: Vec<(Quantity, f64)> = Vec::new();
    let scales = scales(reference);
    for (index, (quantity, expected)) in reference.outputs.iter().enumerate() {
        let error = match record.outputs.get(index) {
            Some((found, output)) if found == quantity => {
                let scale = scales.iter().find(|(known, _)| known == quantity);
                error(output, expected, scale.map_or(0.0, |(_, scale)| *scale))
            }
            _ => f64::INFINITY,
        };
        match errors.iter_mut().find(|(known, _)| known == quantity) {
            Some((_, worst)) => *worst = worst.max(error),
            None => errors.push((*quantity, error)),
        }
    }
    if record.outputs.len() != reference.outputs.len() {
        errors.iter_mut().for_each(|(_, error)| *error = f64::INFINITY);
    }
    errors
}

/// The largest absolute value of each quantity.
fn scales(reference: &Record) -> Vec<(Quantity, f64)> {
    let mut scales: Vec<(Quantity, f64)> = Vec::new();
    for (quantity, output) in &reference.outputs {
        let Output::Values(values) = output else { continue };
        match scales.iter_mut().find(|(known, _)| known == quantity) {
            Some((_, scale)) => *scale = scale.max(largest(values)),
            None => scales.push((*quantity, largest(values))),
        }
    }
    scales
}

fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |most, value| value.abs().max(most))
}

fn error(found: &Output, expected: &Output, scale: f64) -> f64 {
    match (found, expected) {
        (Output::Values(found), Output::Values(expected)) if found.len() == expected.len() => {
            let scale = largest(expected).max(SMALLEST_SCALE * scale).max(f64::MIN_POSITIVE);
            let pairs = found.iter().zip(expected);
            pairs.fold(0.0, |worst, (a, b)| worst.max(distance(*a, *b) / scale))
        }
        (Output::Detections(found), Output::Detections(expected)) => unmatched(found, expected),
        (Output::Count(found), Output::Count(_)) => *found as f64,
        _ => f64::INFINITY,
    }
}

/// Infinite if one of them is no number.
fn distance(a: f64, b: f64) -> f64 {
    let distance = (a - b).abs();
    if distance.is_nan() { f64::INFINITY } else { distance }
}

/// The largest difference of the scores and mask pixels of partners; infinite if a detection has
/// no partner.
fn unmatched(found: &[Found], expected: &[Found]) -> f64 {
    if found.len() != expected.len() {
        return f64::INFINITY;
    }
    let mut rest: Vec<&Found> = found.iter().collect();
    let mut worst: f64 = 0.0;
    for detection in expected {
        let difference = |other: &Found| {
            let is_same = other.image == detection.image
                && other.label == detection.label
                && other.mask.len() == detection.mask.len()
                && other.bbox.iter().zip(detection.bbox).all(|(a, b)| (a - b).abs() <= SAME_BOX);
            let pixels = other.mask.iter().zip(&detection.mask);
            let values = pixels.chain([(&other.score, &detection.score)]);
            let difference = values
                .fold(0.0, |most: f64, (a, b)| most.max(distance(f64::from(*a), f64::from(*b))));
            if is_same { difference } else { f64::INFINITY }
        };
        let differences = rest.iter().map(|other| difference(other)).enumerate();
        let Some((partner, difference)) = differences.min_by(|a, b| a.1.total_cmp(&b.1)) else {
            return f64::INFINITY;
        };
        rest.swap_remove(partner);
        worst = worst.max(difference);
    }
    worst
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(outputs: &[(Quantity, &[f64])]) -> Record {
        let mut record = Record::default();
        outputs.iter().for_each(|(quantity, values)| record.doubles(*quantity, values.to_vec()));
        record
    }

    #[test]
    fn errors_are_relative_to_each_tensor_and_the_worst_counts() {
        use Quantity::{Forward, Gradient};
        let reference =
            record(&[(Forward, &[2.0, -4.0]), (Gradient, &[100.0]), (Gradient, &[1.0, 0.5])]);
        let found =
            record(&[(Forward, &[2.0, -4.04]), (Gradient, &[101.0]), (Gradient, &[1.0, 0.55])]);
        let errors = errors(&found, &reference);
        let rounded: Vec<_> = errors.iter().map(|(q, e)| (*q, (e * 1e6).round())).collect();
        assert_eq!(rounded, [(Forward, 1e4), (Gradient, 5e4)]);
    }

    #[test]
    fn noise_around_zero_is_measured_by_its_kind() {
        let reference = record(&[(Quantity::Gradient, &[100.0]), (Quantity::Gradient, &[1e-9])]);
        let found = record(&[(Quantity::Gradient, &[100.0]), (Quantity::Gradient, &[-1e-9])]);
        assert!(errors(&found, &reference)[0].1 < 1e-7);
    }

    #[test]
    fn what_is_missing_or_no_number_is_infinitely_wrong() {
        let reference = record(&[(Quantity::Forward, &[1.0, 2.0])]);
        for found in [
            record(&[]),
            record(&[(Quantity::Forward, &[1.0])]),
            record(&[(Quantity::Gradient, &[1.0, 2.0])]),
            record(&[(Quantity::Forward, &[1.0, f64::NAN])]),
            record(&[(Quantity::Forward, &[1.0, 2.0]), (Quantity::Forward, &[1.0])]),
        ] {
            assert_eq!(errors(&found, &reference), [(Quantity::Forward, f64::INFINITY)]);
        }
    }

    #[test]
    fn detections_are_a_set() {
        let one = |label: usize, score: f32, x: f32| Found {
            image: 0,
            label,
            score,
            bbox: [x, 0.0, x + 5.0, 5.0],
            mask: vec![0.5],
        };
        let expected = [one(1, 0.9, 0.0), one(1, 0.8, 3.0), one(2, 0.8, 3.0)];
        let found = [one(2, 0.75, 3.1), one(1, 0.8, 3.0), one(1, 0.9, 0.2)];
        assert!((unmatched(&found, &expected) - 0.05).abs() < 1e-6);
        let moved = [one(2, 0.8, 4.0), one(1, 0.8, 3.0), one(1, 0.9, 0.0)];
        assert_eq!(unmatched(&moved, &expected), f64::INFINITY);
        assert_eq!(unmatched(&found[..2], &expected), f64::INFINITY);
    }
}
