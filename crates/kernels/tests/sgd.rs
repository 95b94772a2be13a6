//! A step of gradient descent, fused and composed, against the formula.
#![allow(clippy::unwrap_used, reason = "tests")]

use burn::tensor::{Tensor, TensorData};
use longtail_kernels::{SgdTerms, composed, sgd_step};
use longtail_testing::{assert_close, device, values};

const TERMS: [SgdTerms; 3] = [
    SgdTerms { lr: 0.1, momentum: 0.9, weight_decay: 0.01, nesterov: false },
    SgdTerms { lr: 0.02, momentum: 0.5, weight_decay: 0.1, nesterov: true },
    SgdTerms { lr: 0.02, momentum: 0.0, weight_decay: 0.0, nesterov: false },
];

/// Waves of three different lengths.
fn inputs(count: usize) -> [Vec<f32>; 3] {
    [0.37, 0.11, 0.73].map(|step| (0..count).map(|i| (i as f32 * step).sin()).collect())
}

fn tensor(values: &[f32]) -> Tensor<2> {
    let data = TensorData::new(values.to_vec(), [values.len() / 3, 3]);
    Tensor::from_data(data, &device())
}

#[test]
fn both_forms_follow_the_formula() {
    for count in [0, 3, 48, 300_003] {
        let [value, gradient, velocity] = inputs(count);
        for terms in TERMS {
            let (mut values_after, mut velocities) = (Vec::new(), Vec::new());
            for ((&p, &g), &v) in value.iter().zip(&gradient).zip(&velocity) {
                let (p, g, v) = (f64::from(p), f64::from(g), f64::from(v));
                let g = g + terms.weight_decay * p;
                let v = terms.momentum * v + g;
                let step = if terms.nesterov { g + terms.momentum * v } else { v };
                values_after.push(p - terms.lr * step);
                velocities.push(v);
            }
            let make = || [&value, &gradient, &velocity].map(|values| tensor(values));
            for form in [sgd_step::<2>, composed::sgd_step::<2>] {
                let [p, g, v] = make();
                let held = p.clone(); // shared memory is left alone
                let (p, v) = form(p, g, v, terms);
                assert_close("value", &values(p), &values_after, 1e-6);
                assert_close("velocity", &values(v), &velocities, 1e-6);
                assert_eq!(values(held), value);
            }
        }
    }
}

#[test]
fn memory_that_nobody_holds_is_written_over() {
    let [value, gradient, velocity] = inputs(48);
    let [p, g, v] = [&value, &gradient, &velocity].map(|values| tensor(values));
    let whole = sgd_step(p.clone(), g.clone(), v.clone(), TERMS[0]);
    let (p, v) = (p * 1.0, v * 1.0); // of one owner
    let (p, v) = sgd_step(p, g, v, TERMS[0]);
    assert_eq!(values(p), values(whole.0));
    assert_eq!(values(v), values(whole.1));
}
