//! A row of logits and its softmax, as the kernels of the softmax losses see it.

use burn_cubecl::cubecl::{self, prelude::*};

use super::reduce::{cube_max, cube_sum};
use crate::loss_backend::{ShiftConfig, SoftmaxConfig};

/// Below any logit.
const LOWEST: f32 = -3.0e38;

/// Far below any logit: `e` to this power is 0 in f32.
const LEFT_OUT: f32 = -1.0e7;

/// What is added to the logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum ShiftForm {
    None,
    PerColumn,
    PerEntry,
    Seesaw,
    RandomMask,
}

/// What a kernel is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Form {
    shift: ShiftForm,
    /// Table of the margin.
    margin: Option<usize>,
    pub(super) has_objectness: bool,
    has_row_weights: bool,
    pub(super) num_units: usize,
}

impl Form {
    pub(super) fn new(config: &SoftmaxConfig, num_units: usize) -> Self {
        let (shift, num_tables) = match config.shift {
            ShiftConfig::None => (ShiftForm::None, 0),
            ShiftConfig::PerEntry => (ShiftForm::PerEntry, 0),
            ShiftConfig::PerColumn => (ShiftForm::PerColumn, 1),
            ShiftConfig::Seesaw { .. } => (ShiftForm::Seesaw, 1),
            ShiftConfig::RandomMask { .. } => (ShiftForm::RandomMask, 1),
        };
        Self {
            shift,
            margin: config.has_margin.then_some(num_tables),
            has_objectness: config.has_objectness,
            has_row_weights: config.has_row_weights,
            num_units,
        }
    }
}

/// The numbers of a loss.
#[derive(CubeLaunch, CubeType, Clone, Copy)]
pub(super) struct Numbers {
    pub(super) num_rows: usize,
    pub(super) num_logits: usize,
    /// Columns of the softmax over classes.
    pub(super) num_columns: usize,
    pub(super) scale: f32,
    factor: f32,
    p: f32,
    q: f32,
    log_epsilon: f32,
    row_key: u32,
    column_key: u32,
    bound: u32,
    /// Not a number: the loss of a row whose label is no column. Shaders cannot name it.
    nan: f32,
}

/// A row and its softmax.
#[derive(CubeType, Clone, Copy)]
pub(super) struct RowState {
    row: usize,
    pub(super) label: usize,
    /// Factor and row weight.
    pub(super) weight: f32,
    /// Whether the row counts at all.
    pub(super) is_counted: bool,
    /// Whether the softmax over classes counts.
    pub(super) is_class: bool,
    /// For Seesaw loss: logarithm of the label's count; largest logit; logarithm of the sum of the
    /// exponentials of the differences from it; logarithm of the label's score.
    log_count: f32,
    largest_logit: f32,
    log_sum: f32,
    log_score: f32,
    /// Largest shifted logit, and sum of the exponentials of the differences from it.
    pub(super) largest: f32,
    pub(super) sum: f32,
}

/// A bijection of words, as in `random_mask.rs`.
#[cube]
fn mix(word: u32) -> u32 {
    let word = (word ^ (word >> 16u32)) * 0x7feb_352du32;
    let word = (word ^ (word >> 15u32)) * 0x846c_a68bu32;
    word ^ (word >> 16u32)
}

/// Whether the draw leaves an entry out, as in `random_mask.rs`.
#[cube]
fn is_drawn(row: usize, column: usize, numbers: &Numbers) -> bool {
    draw(row, column, numbers.row_key, numbers.column_key) < numbers.bound
}

/// A draw of 24 bits, as in `random_mask.rs`.
#[cube]
pub(super) fn draw(row: usize, column: usize, row_key: u32, column_key: u32) -> u32 {
    let of_row = mix(row as u32 + row_key);
    let of_column = mix((column as u32 ^ 0x9e37_79b9u32) + column_key);
    mix(of_row ^ of_column) >> 8u32
}

/// The logit of a class inside the softmax.
#[cube]
pub(super) fn shifted(
    logits: &[f32],
    tables: &[f32],
    entries: &[f32],
    column: usize,
    state: &RowState,
    numbers: &Numbers,
    #[comptime] form: Form,
) -> f32 {
    let logit = logits[state.row * numbers.num_logits + column];
    let mut result = logit;
    if comptime!(form.margin.is_some()) {
        let table = comptime!(form.margin.unwrap_or_default());
        let margin = tables[table * numbers.num_columns + column];
        result -= select(column == state.label, margin, 0.0f32);
    }
    result *= numbers.scale;
    if comptime!(form.shift == ShiftForm::PerColumn) {
        result += tables[column];
    }
    if comptime!(form.shift == ShiftForm::PerEntry) {
        result += entries[state.row * numbers.num_columns + column];
    }
    if comptime!(form.shift == ShiftForm::Seesaw) {
        let mitigation = numbers.p * min(tables[column] - state.log_count, 0.0f32);
        let log_score = logit - state.largest_logit - state.log_sum;
        result += mitigation + numbers.q * max(log_score - state.log_score, 0.0f32);
    }
    if comptime!(form.shift == ShiftForm::RandomMask) {
        let is_left_out = tables[column] > 0.5f32
            && column != state.label
            && is_drawn(state.row, column, numbers);
        result += select(is_left_out, LEFT_OUT, 0.0f32);
    }
    result
}

/// Reads a row, as often as its softmax needs.
#[cube]
pub(super) fn row_state(
    logits: &[f32],
    labels: &[f32],
    tables: &[f32],
    entries: &[f32],
    row_weights: &[f32],
    row: usize,
    numbers: &Numbers,
    #[comptime] form: Form,
) -> RowState {
    let mut state = RowState {
        row,
        label: labels[row] as usize,
        weight: numbers.factor,
        is_counted: true.runtime(),
        is_class: true.runtime(),
        log_count: 0.0f32.runtime(),
        largest_logit: 0.0f32.runtime(),
        log_sum: 0.0f32.runtime(),
        log_score: 0.0f32.runtime(),
        largest: LOWEST.runtime(),
        sum: 0.0f32.runtime(),
    };
    if comptime!(form.has_row_weights) {
        // A row of weight 0 is not read: its logits may be anything.
        state.weight *= row_weights[row];
        state.is_counted = row_weights[row] != 0.0f32;
    }
    let past_columns = comptime!(if form.has_objectness { 2.0f32 } else { 1.0f32 });
    if labels[row] < 0.0f32 || labels[row] > numbers.num_logits as f32 - past_columns {
        state.label = 0usize.runtime();
        state.weight = numbers.nan;
    }
    if comptime!(form.has_objectness) {
        state.is_class = state.label < numbers.num_columns;
    }
    let end = select(state.is_counted && state.is_class, numbers.num_columns, 0);
    let first = UNIT_POS as usize;

    if comptime!(form.shift == ShiftForm::Seesaw) {
        let start = row * numbers.num_logits;
        let mut largest = LOWEST.runtime();
        let mut column = first;
        while column < end {
            largest = max(largest, logits[start + column]);
            column += comptime!(form.num_units);
        }
        let largest = cube_max(largest, comptime!(form.num_units));
        let mut sum = 0.0f32;
        let mut column = first;
        while column < end {
            sum += (logits[start + column] - largest).exp();
            column += comptime!(form.num_units);
        }
        let sum = cube_sum(sum, comptime!(form.num_units));
        if end > 0 {
            state.largest_logit = largest;
            state.log_sum = sum.ln();
            let of_label = logits[start + state.label] - largest - state.log_sum;
            state.log_score = max(of_label, numbers.log_epsilon);
            state.log_count = tables[state.label];
        }
    }

    let mut largest = LOWEST.runtime();
    let mut column = first;
    while column < end {
        largest = max(largest, shifted(logits, tables, entries, column, &state, numbers, form));
        column += comptime!(form.num_units);
    }
    state.largest = cube_max(largest, comptime!(form.num_units));
    let mut sum = 0.0f32;
    let mut column = first;
    while column < end {
        let logit = shifted(logits, tables, entries, column, &state, numbers, form);
        sum += (logit - state.largest).exp();
        column += comptime!(form.num_units);
    }
    state.sum = cube_sum(sum, comptime!(form.num_units));
    state
}

/// The logit of foreground minus that of background, or the reverse on background rows.
#[cube]
pub(super) fn objectness(logits: &[f32], state: &RowState, numbers: &Numbers) -> f32 {
    let at = state.row * numbers.num_logits + numbers.num_columns;
    let difference = logits[at] - logits[at + 1];
    select(state.is_class, difference, -difference)
}
