//! Weights of negative entries that differ from row to row.
#![allow(unsafe_code, reason = "vector arithmetic")]

use super::lanes::{LANES, Lanes};
use super::pool::Buffer;
use crate::loss_backend::{DrawConfig, SigmoidConfig};
use crate::random_mask::{column_key, row_key};

/// Which negative entries count.
pub(super) struct NegativeRule {
    num_columns: usize,
    /// Least shifted logit in foreground rows.
    threshold: Option<f32>,
    /// Random choice in background rows.
    draw: Option<Draw>,
}

struct Draw {
    config: DrawConfig,
    /// An entry counts if its draw is below this; full vectors.
    bounds: Vec<f32>,
    /// Of the columns; full vectors.
    keys: Vec<u32>,
}

impl NegativeRule {
    /// `probabilities` is a full vector.
    pub(super) fn new(config: &SigmoidConfig, probabilities: Vec<f32>, num_columns: usize) -> Self {
        let draw = config.draw.map(|config| {
            let column = |column| if config.is_by_row { 0 } else { column };
            let len = probabilities.len() as u32;
            Draw {
                config,
                bounds: probabilities.iter().map(|p| p * (1 << 24) as f32).collect(),
                keys: (0..len).map(|j| column_key(config.key, column(j))).collect(),
            }
        });
        Self { num_columns, threshold: config.threshold, draw }
    }
}

/// Weights of the negatives of one row after the other.
pub(super) struct NegativeWeights<'a> {
    rule: &'a NegativeRule,
    weights: Buffer,
}

impl<'a> NegativeWeights<'a> {
    pub(super) fn new(rule: &'a NegativeRule) -> Self {
        let is_needed = rule.threshold.is_some() || rule.draw.is_some();
        let len = if is_needed { rule.num_columns.next_multiple_of(LANES) } else { 0 };
        Self { rule, weights: Buffer::zeros(len) }
    }

    /// The weights of a row: those of `table` where the entry counts, else 0.
    ///
    /// # Safety
    /// The instruction set of `S` is there, `logits` points at a row, and the tables are full
    /// vectors.
    #[inline(always)]
    pub(super) unsafe fn of_row<'b, S: Lanes>(
        &'b mut self,
        (row, is_foreground): (usize, bool),
        logits: *const f32,
        shift: &'b [f32],
        table: &'b [f32],
    ) -> &'b [f32] {
        let num_columns = self.rule.num_columns;
        let weights = self.weights.as_mut_slice();
        // SAFETY: by the caller.
        unsafe {
            let (zero, one) = (S::splat(0.0), S::splat(1.0));
            match (is_foreground, self.rule.threshold, &self.rule.draw) {
                (true, Some(threshold), _) => {
                    let threshold = S::splat(threshold);
                    for column in (0..num_columns).step_by(LANES) {
                        let logits = if num_columns - column >= LANES {
                            S::load(logits.add(column))
                        } else {
                            S::load_part(logits.add(column), num_columns - column, 0.0)
                        };
                        let shifted = logits.add(S::load(shift.as_ptr().add(column)));
                        let counts = shifted.sub(threshold).if_negative(zero, one);
                        let of_table = S::load(table.as_ptr().add(column));
                        of_table.mul(counts).store(weights.as_mut_ptr().add(column));
                    }
                    weights
                }
                (false, _, Some(draw)) => {
                    let row = row_key(draw.config.key, row as u32);
                    for column in (0..num_columns).step_by(LANES) {
                        let draws = S::draws(draw.keys.as_ptr().add(column), row);
                        let bounds = S::load(draw.bounds.as_ptr().add(column));
                        let counts = draws.sub(bounds).if_negative(one, zero);
                        let of_table = S::load(table.as_ptr().add(column));
                        of_table.mul(counts).store(weights.as_mut_ptr().add(column));
                    }
                    weights
                }
                _ => table,
            }
        }
    }
}
