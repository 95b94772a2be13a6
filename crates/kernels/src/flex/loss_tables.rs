//! The per-column tables of the losses, filled up to full vectors.

use super::focal::Focal;
use super::lanes::LANES;
use super::negatives::NegativeRule;
use crate::RowSet;
use crate::loss_backend::{ShiftConfig, SigmoidConfig, SoftmaxConfig};
use crate::random_mask::column_key;

/// Per-column tables, filled up to full vectors with weight 0, and the rows they act on.
pub(super) struct SigmoidTables {
    pub(super) shift: Vec<f32>,
    pub(super) shift_rows: RowSet,
    pub(super) positive: Vec<f32>,
    pub(super) negative: Vec<f32>,
    pub(super) negative_rows: RowSet,
    pub(super) gamma: Vec<f32>,
    pub(super) focal: Focal,
    /// Weights by the size of the error; at least one value.
    pub(super) bins: Vec<f32>,
    pub(super) negative_rule: NegativeRule,
    pub(super) zeros: Vec<f32>,
    pub(super) ones: Vec<f32>,
}

impl SigmoidTables {
    /// `tables` lie one after the other, each `num_columns` long.
    pub(super) fn new(
        config: &SigmoidConfig,
        tables: &[f32],
        bins: &[f32],
        num_columns: usize,
    ) -> Self {
        let len = num_columns.next_multiple_of(LANES);
        let constant = |value: f32| {
            let mut table = vec![value; num_columns];
            table.resize(len, 0.0);
            table
        };
        let mut tables = tables.chunks_exact(num_columns.max(1));
        let mut table = |is_present: bool, neutral: f32| {
            let Some(values) = is_present.then(|| tables.next()).flatten() else {
                return constant(neutral);
            };
            let mut table = values.to_vec();
            table.resize(len, 0.0);
            table
        };
        let shift = table(config.shift.is_some(), 0.0);
        let positive = table(config.has_positive_weights, 1.0);
        let negative = table(config.negative_weights.is_some(), 1.0);
        let gamma = table(config.has_gamma, 0.0);
        let probabilities = table(config.draw.is_some(), 1.0);
        let focal = match gamma[..num_columns] {
            _ if config.num_bins > 0 => Focal::Bins,
            _ if !config.has_gamma => Focal::No,
            ref gamma if gamma.iter().all(|&gamma| gamma == 2.0) => Focal::Square,
            _ => Focal::Table,
        };
        Self {
            shift,
            shift_rows: config.shift.unwrap_or(RowSet::All),
            positive,
            negative,
            negative_rows: config.negative_weights.unwrap_or(RowSet::All),
            gamma,
            focal,
            bins: bins.to_vec(),
            negative_rule: NegativeRule::new(config, probabilities, num_columns),
            zeros: constant(0.0),
            ones: constant(1.0),
        }
    }
}

/// Per-column tables, filled up to full vectors.
pub(super) struct SoftmaxTables {
    /// Of the shift, whatever it is.
    pub(super) shift: Vec<f32>,
    pub(super) margin: Option<Vec<f32>>,
    /// Of a random mask.
    pub(super) keys: Vec<u32>,
}

impl SoftmaxTables {
    /// `tables` lie one after the other, each `num_classes` long.
    pub(super) fn new(config: &SoftmaxConfig, tables: &[f32], num_classes: usize) -> Self {
        let len = num_classes.next_multiple_of(LANES);
        let mut tables = tables.chunks_exact(num_classes.max(1));
        let mut table = |is_present: bool| {
            let mut table = is_present.then(|| tables.next()).flatten()?.to_vec();
            table.resize(len, 0.0);
            Some(table)
        };
        let shift = table(!matches!(config.shift, ShiftConfig::None | ShiftConfig::PerEntry));
        let keys = match config.shift {
            ShiftConfig::RandomMask { key, .. } => {
                (0..len as u32).map(|column| column_key(key, column)).collect()
            }
            _ => Vec::new(),
        };
        Self { shift: shift.unwrap_or_default(), margin: table(config.has_margin), keys }
    }
}
