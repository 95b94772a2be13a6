//! The kernels of the sigmoid losses.

use burn_cubecl::cubecl::{self, prelude::*};

use super::reduce::{cube_max, cube_sum, log_one_plus};
use crate::RowSet;
use crate::loss_backend::SigmoidConfig;

/// What a kernel is compiled for: which tables there are, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Form {
    pub(super) shift: Option<usize>,
    pub(super) shifts_foreground: bool,
    pub(super) positive: Option<usize>,
    pub(super) negative: Option<usize>,
    pub(super) weighs_foreground: bool,
    pub(super) gamma: Option<usize>,
    pub(super) is_multi_label: bool,
    pub(super) has_row_weights: bool,
    pub(super) num_units: usize,
}

impl Form {
    pub(super) fn new(config: &SigmoidConfig, num_units: usize) -> Self {
        let mut tables = 0..;
        let mut table = |is_there: bool| if is_there { tables.next() } else { None };
        Self {
            shift: table(config.shift.is_some()),
            positive: table(config.has_positive_weights),
            negative: table(config.negative_weights.is_some()),
            gamma: table(config.has_gamma),
            shifts_foreground: config.shift == Some(RowSet::Foreground),
            weighs_foreground: config.negative_weights == Some(RowSet::Foreground),
            is_multi_label: config.is_multi_label,
            has_row_weights: config.has_row_weights,
            num_units,
        }
    }
}

/// Cube `row`: 1 if one of its targets is 1, else 0.
#[cube(launch)]
pub(super) fn foreground_kernel(
    targets: &[f32],
    flags: &mut [f32],
    num_rows: usize,
    num_columns: usize,
    #[comptime] num_units: usize,
) {
    let row = CUBE_POS;
    if row >= num_rows {
        terminate!();
    }
    let mut flag = 0.0f32;
    let mut column = UNIT_POS as usize;
    while column < num_columns {
        flag = max(flag, targets[row * num_columns + column]);
        column += num_units;
    }
    let flag = cube_max(flag, num_units);
    if UNIT_POS == 0 {
        flags[row] = flag;
    }
}

/// Whether the row has a positive entry. It is not asked of a multi-label loss without flags.
#[cube]
fn is_foreground(label: f32, num_columns: usize, #[comptime] form: Form) -> bool {
    if comptime!(form.is_multi_label) { label > 0.5f32 } else { label < num_columns as f32 }
}

#[cube]
fn is_positive(
    label: f32,
    entries: &[f32],
    row: usize,
    column: usize,
    num_columns: usize,
    #[comptime] form: Form,
) -> bool {
    if comptime!(form.is_multi_label) {
        entries[row * num_columns + column] > 0.5f32
    } else {
        label == column as f32
    }
}

/// Loss of an entry and its absolute gradient, without row weight and factor.
#[cube]
fn entry(
    logit: f32,
    is_positive: bool,
    is_foreground: bool,
    tables: &[f32],
    column: usize,
    num_columns: usize,
    #[comptime] form: Form,
) -> (f32, f32) {
    let mut logit = logit;
    if comptime!(form.shift.is_some()) {
        let table = comptime!(form.shift.unwrap_or_default());
        let shift = tables[table * num_columns + column];
        if comptime!(form.shifts_foreground) {
            logit += select(is_foreground, shift, 0.0f32);
        } else {
            logit += shift;
        }
    }
    // p = sigmoid(signed) is the probability of what is right.
    let signed = select(is_positive, logit, -logit);
    let small = (-signed.abs()).exp();
    let rest = log_one_plus(small);
    let negative_log = max(-signed, 0.0f32) + rest; // -ln p
    let inverse = 1.0f32 / (small + 1.0f32);
    let right = select(signed >= 0.0f32, inverse, small * inverse); // p
    let wrong = select(signed >= 0.0f32, small * inverse, inverse); // 1 - p
    let mut loss = negative_log;
    let mut gradient = wrong;
    if comptime!(form.gamma.is_some()) {
        let table = comptime!(form.gamma.unwrap_or_default());
        let gamma = tables[table * num_columns + column];
        let focal = (-gamma * (max(signed, 0.0f32) + rest)).exp(); // (1 - p)^gamma
        loss *= focal;
        gradient = focal * (wrong + gamma * right * negative_log);
    }
    let mut weight = 1.0f32;
    if comptime!(form.positive.is_some()) {
        let table = comptime!(form.positive.unwrap_or_default());
        weight = select(is_positive, tables[table * num_columns + column], weight);
    }
    if comptime!(form.negative.is_some()) {
        let table = comptime!(form.negative.unwrap_or_default());
        let of_column = tables[table * num_columns + column];
        if comptime!(form.weighs_foreground) {
            weight = select(!is_positive && is_foreground, of_column, weight);
        } else {
            weight = select(is_positive, weight, of_column);
        }
    }
    (weight * loss, weight * gradient)
}

/// Cube `row`: the sum of the losses of its entries.
#[cube(launch)]
pub(super) fn losses_kernel(
    logits: &[f32],
    labels: &[f32],
    tables: &[f32],
    entries: &[f32],
    row_weights: &[f32],
    losses: &mut [f32],
    num_rows: usize,
    num_columns: usize,
    factor: f32,
    #[comptime] form: Form,
) {
    let row = CUBE_POS;
    if row >= num_rows {
        terminate!();
    }
    let mut weight = factor;
    let mut end = num_columns;
    if comptime!(form.has_row_weights) {
        // A row of weight 0 is not read: its logits may be anything.
        let of_row = row_weights[row];
        weight *= of_row;
        end = select(of_row == 0.0f32, 0, num_columns);
    }
    let mut label = 0.0f32;
    if comptime!(!form.is_multi_label || form.shifts_foreground || form.weighs_foreground) {
        label = labels[row];
    }
    let is_foreground = is_foreground(label, num_columns, form);
    let mut sum = 0.0f32;
    let mut column = UNIT_POS as usize;
    while column < end {
        let is_positive = is_positive(label, entries, row, column, num_columns, form);
        let logit = logits[row * num_columns + column];
        let (loss, _gradient) =
            entry(logit, is_positive, is_foreground, tables, column, num_columns, form);
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
    gradient: &[f32],
    output: &mut [f32],
    num_rows: usize,
    num_columns: usize,
    factor: f32,
    #[comptime] form: Form,
) {
    let row = CUBE_POS;
    if row >= num_rows {
        terminate!();
    }
    let mut weight = factor * gradient[row];
    let mut is_left_out = false;
    if comptime!(form.has_row_weights) {
        let of_row = row_weights[row];
        weight *= of_row;
        is_left_out = of_row == 0.0f32;
    }
    let mut label = 0.0f32;
    if comptime!(!form.is_multi_label || form.shifts_foreground || form.weighs_foreground) {
        label = labels[row];
    }
    let is_foreground = is_foreground(label, num_columns, form);
    let mut column = UNIT_POS as usize;
    while column < num_columns {
        let is_positive = is_positive(label, entries, row, column, num_columns, form);
        let logit = logits[row * num_columns + column];
        let (_loss, absolute) =
            entry(logit, is_positive, is_foreground, tables, column, num_columns, form);
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
    sums: &mut [f32],
    num_rows: usize,
    num_columns: usize,
    chunk: usize,
    num_units: usize,
    #[comptime] form: Form,
) {
    if ABSOLUTE_POS >= num_units {
        terminate!();
    }
    let column = ABSOLUTE_POS % num_columns;
    let index = ABSOLUTE_POS / num_columns;
    let mut positive = 0.0f32;
    let mut negative = 0.0f32;
    for row in index * chunk..min(index * chunk + chunk, num_rows) {
        let mut is_counted = true;
        if comptime!(form.has_row_weights) {
            is_counted = row_weights[row] != 0.0f32;
        }
        if is_counted {
            let mut label = 0.0f32;
            if comptime!(!form.is_multi_label || form.shifts_foreground || form.weighs_foreground) {
                label = labels[row];
            }
            let is_foreground = is_foreground(label, num_columns, form);
            let is_positive = is_positive(label, entries, row, column, num_columns, form);
            let logit = logits[row * num_columns + column];
            let (_loss, absolute) =
                entry(logit, is_positive, is_foreground, tables, column, num_columns, form);
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
