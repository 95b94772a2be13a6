//! An entry of a sigmoid loss, as the kernels see it.

use burn_cubecl::cubecl::{self, prelude::*};

use super::reduce::log_one_plus;
use super::softmax_row::draw;
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
    /// Table of the probabilities of negatives of background rows.
    pub(super) draw: Option<usize>,
    pub(super) is_drawn_by_row: bool,
    pub(super) has_threshold: bool,
    pub(super) has_bins: bool,
    pub(super) has_background_column: bool,
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
            draw: table(config.draw.is_some()),
            is_drawn_by_row: config.draw.is_some_and(|draw| draw.is_by_row),
            has_threshold: config.threshold.is_some(),
            has_bins: config.num_bins > 0,
            has_background_column: config.has_background_column,
            shifts_foreground: config.shift == Some(RowSet::Foreground),
            weighs_foreground: config.negative_weights == Some(RowSet::Foreground),
            is_multi_label: config.is_multi_label,
            has_row_weights: config.has_row_weights,
            num_units,
        }
    }

    /// Whether an entry depends on its row's having a positive.
    pub(super) fn asks_for_foreground(&self) -> bool {
        self.shifts_foreground
            || self.weighs_foreground
            || self.draw.is_some()
            || self.has_threshold
    }
}

/// The numbers of a loss.
#[derive(CubeLaunch, CubeType, Clone, Copy)]
pub(super) struct Numbers {
    pub(super) num_rows: usize,
    pub(super) num_columns: usize,
    pub(super) factor: f32,
    row_key: u32,
    column_key: u32,
    threshold: f32,
    num_bins: f32,
}

/// The numbers of a configuration.
pub(super) fn numbers(
    num_rows: usize,
    num_columns: usize,
    config: &SigmoidConfig,
) -> NumbersLaunch {
    let key = config.draw.map_or([0, 0], |draw| draw.key);
    NumbersLaunch::new(
        num_rows,
        num_columns,
        config.factor,
        key[0],
        key[1],
        config.threshold.unwrap_or_default(),
        config.num_bins as f32,
    )
}

/// Whether the row has a positive entry. It is not asked of a multi-label loss without flags.
#[cube]
pub(super) fn is_foreground(label: f32, num_columns: usize, #[comptime] form: Form) -> bool {
    let mut num_classes = num_columns;
    if comptime!(form.has_background_column) {
        num_classes -= 1;
    }
    if comptime!(form.is_multi_label) { label > 0.5f32 } else { label < num_classes as f32 }
}

#[cube]
pub(super) fn is_positive(
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

/// The probability of what is wrong at an entry, `1 - p` with `p = sigmoid(signed)`; that of what is
/// right; and `ln(1 + e^-|signed|)`.
#[cube]
fn logistic(signed: f32) -> (f32, f32, f32) {
    let small = (-signed.abs()).exp();
    let inverse = 1.0f32 / (small + 1.0f32);
    let right = select(signed >= 0.0f32, inverse, small * inverse);
    let wrong = select(signed >= 0.0f32, small * inverse, inverse);
    (wrong, right, log_one_plus(small))
}

/// The bin of an error.
#[cube]
fn bin(wrong: f32, num_bins: f32) -> f32 {
    min(max(wrong * num_bins, 0.0f32), num_bins - 0.5f32).floor()
}

/// The bin of the error of an entry.
#[cube]
pub(super) fn error_bin(logit: f32, is_positive: bool, num_bins: f32) -> f32 {
    let (wrong, _right, _rest) = logistic(select(is_positive, logit, -logit));
    bin(wrong, num_bins)
}

/// Loss of an entry and its absolute gradient, without row weight and factor.
#[cube]
pub(super) fn entry(
    logit: f32,
    is_positive: bool,
    is_foreground: bool,
    tables: &[f32],
    bins: &[f32],
    row: usize,
    column: usize,
    numbers: &Numbers,
    #[comptime] form: Form,
) -> (f32, f32) {
    let num_columns = numbers.num_columns;
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
    let signed = select(is_positive, logit, -logit);
    let (wrong, right, rest) = logistic(signed);
    let negative_log = max(-signed, 0.0f32) + rest; // -ln p
    let mut loss = negative_log;
    let mut gradient = wrong;
    if comptime!(form.gamma.is_some() && !form.has_bins) {
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
    if comptime!(form.draw.is_some()) {
        let table = comptime!(form.draw.unwrap_or_default());
        let bound = tables[table * num_columns + column] * 16_777_216.0f32; // 2^24
        let number = if comptime!(form.is_drawn_by_row) {
            draw(row, 0, numbers.row_key, numbers.column_key)
        } else {
            draw(row, column, numbers.row_key, numbers.column_key)
        };
        let is_left_out = !is_positive && !is_foreground && number as f32 >= bound;
        weight = select(is_left_out, 0.0f32, weight);
    }
    if comptime!(form.has_threshold) {
        let is_left_out = !is_positive && is_foreground && logit < numbers.threshold;
        weight = select(is_left_out, 0.0f32, weight);
    }
    if comptime!(form.has_bins) {
        weight *= bins[bin(wrong, numbers.num_bins) as usize];
    }
    (weight * loss, weight * gradient)
}
