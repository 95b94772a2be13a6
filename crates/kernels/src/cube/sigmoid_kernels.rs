//! The kernels of the sigmoid losses.

use burn_cubecl::cubecl::{self, prelude::*};

use super::reduce::{cube_max, cube_sum};
use super::sigmoid_entry::{Form, Numbers, entry, error_bin, is_foreground, is_positive};

/// Cube `row`: 1 if one of its first targets is 1, else 0.
#[cube(launch)]
pub(super) fn foreground_kernel(
    targets: &[f32],
    flags: &mut [f32],
    num_rows: usize,
    num_columns: usize,
    num_classes: usize,
    #[comptime] num_units: usize,
) {
    let row = CUBE_POS;
    if row >= num_rows {
        terminate!();
    }
    let mut flag = 0.0f32;
    let mut column = UNIT_POS as usize;
    while column < num_classes {
        flag = max(flag, targets[row * num_columns + column]);
        column += num_units;
    }
    let flag = cube_max(flag, num_units);
    if UNIT_POS == 0 {
        flags[row] = flag;
    }
}

/// Cube `row`: the sum of the losses of its entries.
#[cube(launch)]
pub(super) fn losses_kernel(
    logits: &[f32],
    labels: &[f32],
    tables: &[f32],
    entries: &[f32],
    row_weights: &[f32],
    bins: &[f32],
    losses: &mut [f32],
    numbers: &Numbers,
    #[comptime] form: Form,
) {
    let row = CUBE_POS;
    let num_columns = numbers.num_columns;
    if row >= numbers.num_rows {
        terminate!();
    }
    let mut weight = numbers.factor;
    let mut end = num_columns;
    if comptime!(form.has_row_weights) {
        // A row of weight 0 is not read: its logits may be anything.
        let of_row = row_weights[row];
        weight *= of_row;
        end = select(of_row == 0.0f32, 0, num_columns);
    }
    let mut label = 0.0f32;
    if comptime!(!form.is_multi_label || form.asks_for_foreground()) {
        label = labels[row];
    }
    let is_foreground = is_foreground(label, num_columns, form);
    let mut sum = 0.0f32;
    let mut column = UNIT_POS as usize;
    while column < end {
        let is_positive = is_positive(label, entries, row, column, num_columns, form);
        let logit = logits[row * num_columns + column];
        let (loss, _gradient) =
            entry(logit, is_positive, is_foreground, tables, bins, row, column, numbers, form);
        sum += loss;
        column += comptime!(form.num_units);
    }
    let sum = cube_sum(sum, comptime!(form.num_units));
    if UNIT_POS == 0 {
        losses[row] = weight * sum;
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
    bins: &[f32],
    gradient: &[f32],
    output: &mut [f32],
    numbers: &Numbers,
    #[comptime] form: Form,
) {
    let row = CUBE_POS;
    let num_columns = numbers.num_columns;
    if row >= numbers.num_rows {
        terminate!();
    }
    let mut weight = numbers.factor * gradient[row];
    let mut is_left_out = false;
    if comptime!(form.has_row_weights) {
        let of_row = row_weights[row];
        weight *= of_row;
        is_left_out = of_row == 0.0f32;
    }
    let mut label = 0.0f32;
    if comptime!(!form.is_multi_label || form.asks_for_foreground()) {
        label = labels[row];
    }
    let is_foreground = is_foreground(label, num_columns, form);
    let mut column = UNIT_POS as usize;
    while column < num_columns {
        let is_positive = is_positive(label, entries, row, column, num_columns, form);
        let logit = logits[row * num_columns + column];
        let (_loss, absolute) =
            entry(logit, is_positive, is_foreground, tables, bins, row, column, numbers, form);
        let of_logit = weight * select(is_positive, -absolute, absolute);
        output[row * num_columns + column] = select(is_left_out, 0.0f32, of_logit);
        column += comptime!(form.num_units);
    }
}

/// Unit `(chunk, column)`: the absolute gradients of a column, summed over a chunk of the rows.
#[cube(launch)]
pub(super) fn partial_sums_kernel(
    logits: &[f32],
    labels: &[f32],
    tables: &[f32],
    entries: &[f32],
    row_weights: &[f32],
    bins: &[f32],
    sums: &mut [f32],
    numbers: &Numbers,
    chunk: usize,
    num_units: usize,
    #[comptime] form: Form,
) {
    if ABSOLUTE_POS >= num_units {
        terminate!();
    }
    let num_columns = numbers.num_columns;
    let column = ABSOLUTE_POS % num_columns;
    let index = ABSOLUTE_POS / num_columns;
    let mut positive = 0.0f32;
    let mut negative = 0.0f32;
    for row in index * chunk..min(index * chunk + chunk, numbers.num_rows) {
        let mut is_counted = true;
        if comptime!(form.has_row_weights) {
            is_counted = row_weights[row] != 0.0f32;
        }
        if is_counted {
            let mut label = 0.0f32;
            if comptime!(!form.is_multi_label || form.asks_for_foreground()) {
                label = labels[row];
            }
            let is_foreground = is_foreground(label, num_columns, form);
            let is_positive = is_positive(label, entries, row, column, num_columns, form);
            let logit = logits[row * num_columns + column];
            let (_loss, absolute) =
                entry(logit, is_positive, is_foreground, tables, bins, row, column, numbers, form);
            positive += select(is_positive, absolute, 0.0f32);
            negative += select(is_positive, 0.0f32, absolute);
        }
    }
    sums[2 * index * num_columns + column] = positive;
    sums[(2 * index + 1) * num_columns + column] = negative;
}

/// Unit `i`: the sum of element `i` of all chunks.
#[cube(launch)]
pub(super) fn total_kernel(partial: &[f32], sums: &mut [f32], num_chunks: usize, num_units: usize) {
    if ABSOLUTE_POS >= num_units {
        terminate!();
    }
    let mut sum = 0.0f32;
    for chunk in 0..num_chunks {
        sum += partial[chunk * num_units + ABSOLUTE_POS];
    }
    sums[ABSOLUTE_POS] = sum;
}

/// Unit `(chunk, bin)`: the entries of a chunk of the rows whose error lies in a bin.
#[cube(launch)]
pub(super) fn partial_counts_kernel(
    logits: &[f32],
    labels: &[f32],
    entries: &[f32],
    row_weights: &[f32],
    counts: &mut [f32],
    num_rows: usize,
    num_columns: usize,
    chunk: usize,
    num_bins: usize,
    num_units: usize,
    #[comptime] form: Form,
) {
    if ABSOLUTE_POS >= num_units {
        terminate!();
    }
    let own = (ABSOLUTE_POS % num_bins) as f32;
    let index = ABSOLUTE_POS / num_bins;
    let mut count = 0.0f32;
    for row in index * chunk..min(index * chunk + chunk, num_rows) {
        let mut is_counted = true;
        if comptime!(form.has_row_weights) {
            is_counted = row_weights[row] != 0.0f32;
        }
        if is_counted {
            let mut label = 0.0f32;
            if comptime!(!form.is_multi_label) {
                label = labels[row];
            }
            for column in 0..num_columns {
                let is_positive = is_positive(label, entries, row, column, num_columns, form);
                let logit = logits[row * num_columns + column];
                let of_entry = error_bin(logit, is_positive, num_bins as f32);
                count += select(of_entry == own, 1.0f32, 0.0f32);
            }
        }
    }
    counts[ABSOLUTE_POS] = count;
}
