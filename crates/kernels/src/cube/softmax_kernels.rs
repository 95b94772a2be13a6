//! The kernels of the softmax losses.

use burn_cubecl::cubecl::{self, prelude::*};

use super::reduce::log_one_plus;
use super::softmax_row::{Form, Numbers, objectness, row_state, shifted};

/// Cube `row`: its loss.
#[cube(launch)]
pub(super) fn losses_kernel(
    logits: &[f32],
    labels: &[f32],
    tables: &[f32],
    entries: &[f32],
    row_weights: &[f32],
    losses: &mut [f32],
    numbers: Numbers,
    #[comptime] form: Form,
) {
    let row = CUBE_POS;
    if row >= numbers.num_rows {
        terminate!();
    }
    let state = row_state(logits, labels, tables, entries, row_weights, row, &numbers, form);
    if UNIT_POS == 0 {
        let mut loss = 0.0f32;
        if state.is_counted {
            if state.is_class {
                let of_label =
                    shifted(logits, tables, entries, state.label, &state, &numbers, form);
                loss += state.largest - of_label + state.sum.ln();
            }
            if comptime!(form.has_objectness) {
                let right = objectness(logits, &state, &numbers);
                loss += max(-right, 0.0f32) + log_one_plus((-right.abs()).exp());
            }
            loss *= state.weight;
        }
        losses[row] = loss;
    }
}

/// Cube `row`: the gradients of its logits.
#[cube(launch)]
pub(super) fn gradient_kernel(
    logits: &[f32],
    labels: &[f32],
    tables: &[f32],
    entries: &[f32],
    row_weights: &[f32],
    gradient: &[f32],
    output: &mut [f32],
    numbers: Numbers,
    #[comptime] form: Form,
) {
    let row = CUBE_POS;
    if row >= numbers.num_rows {
        terminate!();
    }
    let state = row_state(logits, labels, tables, entries, row_weights, row, &numbers, form);
    let weight = state.weight * gradient[row];
    let mut column = UNIT_POS as usize;
    while column < numbers.num_columns {
        let mut of_logit = 0.0f32;
        if state.is_counted && state.is_class {
            let logit = shifted(logits, tables, entries, column, &state, &numbers, form);
            let score = (logit - state.largest).exp() / state.sum;
            let target = select(column == state.label, 1.0f32, 0.0f32);
            of_logit = weight * numbers.scale * (score - target);
        }
        output[row * numbers.num_logits + column] = of_logit;
        column += comptime!(form.num_units);
    }
    if comptime!(form.has_objectness) {
        if UNIT_POS == 0 {
            let mut of_right = 0.0f32;
            if state.is_counted {
                // -sigmoid(-right)
                let right = objectness(logits, &state, &numbers);
                let small = (-right.abs()).exp();
                let inverse = 1.0f32 / (small + 1.0f32);
                of_right = -weight * select(right >= 0.0f32, small * inverse, inverse);
            }
            let of_foreground = select(state.is_class, of_right, -of_right);
            let at = row * numbers.num_logits + numbers.num_columns;
            output[at] = of_foreground;
            output[at + 1] = -of_foreground;
        }
    }
}
