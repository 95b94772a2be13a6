//! Softmax losses, row by row: loss and gradient while the row is in cache.
#![allow(unsafe_code, reason = "vector arithmetic; tasks write disjoint rows")]

use std::ops::Range;

use super::exp::{Logistic, logistic};
use super::gradient_rows::GradientRows;
use super::lanes::{LANES, Lanes};
use super::ln::ln;
use super::loss::Rows;
use super::loss_tables::SoftmaxTables;
use super::parallel::Target;
use super::pool::Buffer;
use super::row::{Exponentials, LogSum, Plain, Row};
use super::row_blocks::{self, RowBlocks};
use super::softmax_arguments::{Masked, Scaled, Seesaw, ShiftedColumns, ShiftedEntries};
use crate::loss_backend::{ShiftConfig, SoftmaxConfig};
use crate::random_mask::row_key;

pub(super) struct SoftmaxLoss<'a> {
    pub(super) rows: Rows<'a>,
    /// Columns without those of objectness.
    pub(super) num_classes: usize,
    pub(super) labels: &'a [u32],
    pub(super) tables: &'a SoftmaxTables,
    /// The shift per entry, if there is one.
    pub(super) entries: &'a [f32],
    pub(super) config: SoftmaxConfig,
    pub(super) losses: Target,
    pub(super) gradient: Option<GradientRows>,
}

impl SoftmaxLoss<'_> {
    /// Fills the losses of the rows, and the gradient of the logits where it is wanted.
    pub(super) fn run(&self) {
        row_blocks::run(self, self.rows.num_rows, self.rows.block());
    }
}

impl RowBlocks for SoftmaxLoss<'_> {
    #[inline(always)]
    unsafe fn rows<S: Lanes>(&self, _block: usize, rows: Range<usize>) {
        let mut powers = Buffer::new(self.num_classes.next_multiple_of(LANES));
        let powers = powers.as_mut_slice().as_mut_ptr();
        for first in rows.clone().step_by(LANES) {
            let rows = first..rows.end.min(first + LANES);
            // SAFETY: rows of this task; scratch of full vectors.
            unsafe {
                let mut of_objectness = [0.0; LANES];
                if self.config.has_objectness {
                    of_objectness = self.objectness::<S>(rows.clone());
                }
                let mut of_classes = [LogSum::ZERO; LANES];
                for (row, of_classes) in rows.clone().zip(&mut of_classes) {
                    *of_classes = self.row::<S>(row, powers);
                }
                let values = of_classes.map(LogSum::value);
                for ((row, value), of_objectness) in rows.zip(values).zip(of_objectness) {
                    let factor = f64::from(self.rows.factor(row).unwrap_or(0.0));
                    let loss = (value + f64::from(of_objectness)) * factor;
                    self.losses.part(row, 1)[0] = loss as f32;
                }
            }
        }
    }
}

impl SoftmaxLoss<'_> {
    /// The loss of a row's classes before the factors; fills its gradient, but for objectness.
    #[inline(always)]
    unsafe fn row<S: Lanes>(&self, row: usize, powers: *mut f32) -> LogSum {
        let (num_classes, label) = (self.num_classes, self.labels[row] as usize);
        let Some(factor) = self.rows.factor(row) else {
            if let Some(gradient) = self.gradient {
                // SAFETY: a row of this task.
                unsafe { gradient.clear(row, self.rows.num_columns) };
            }
            return LogSum::ZERO;
        };
        let is_background = self.config.has_objectness && label == num_classes;
        // SAFETY: a row of this task; powers of as many vectors as the classes take.
        unsafe {
            if label < num_classes {
                let in_place = self.gradient.and_then(|gradient| gradient.for_powers(row));
                let powers = in_place.unwrap_or(powers);
                let (exponentials, argument) = self.exponentials::<S>(row, powers);
                let power = *powers.add(label);
                if let Some(gradient) = self.gradient {
                    let slope = f64::from(factor) * f64::from(self.config.scale);
                    *powers.add(label) = (f64::from(power) - exponentials.sum) as f32;
                    let slopes = (slope / exponentials.sum) as f32;
                    gradient.write::<S>((row, 0), powers, num_classes, slopes);
                }
                return exponentials.log_sum_beyond(argument, power);
            }
            match self.gradient {
                Some(gradient) if is_background => gradient.clear(row, num_classes),
                Some(gradient) => {
                    (0..num_classes).for_each(|column| *gradient.at(row, column) = f32::NAN);
                }
                None => {}
            }
        }
        LogSum { offset: if is_background { 0.0 } else { f64::NAN }, ..LogSum::ZERO }
    }

    /// Fills `powers`; also gives the label's argument.
    #[inline(always)]
    unsafe fn exponentials<S: Lanes>(&self, row: usize, powers: *mut f32) -> (Exponentials, f32) {
        let (len, label) = (self.num_classes, self.labels[row] as usize);
        let SoftmaxConfig { shift, scale, .. } = self.config;
        let table = self.tables.shift.as_ptr();
        // SAFETY: by the caller; tables are full vectors; entries are rows of `len` values.
        unsafe {
            let logits = self.rows.logits.pointer().add(row * self.rows.num_columns).cast_const();
            let next = logits.wrapping_add(self.rows.num_columns);
            let of_label = *logits.add(label);
            let margin = self.tables.margin.as_ref().map_or(0.0, |margin| margin[label]);
            let argument = scale * (of_label - margin);
            let exception = (margin != 0.0).then_some((label, argument));
            match shift {
                ShiftConfig::None if scale == 1.0 => {
                    let row = Row { logits, len, argument: Plain, exception, next };
                    (row.exponentials::<S>(powers), argument)
                }
                ShiftConfig::None => {
                    let row = Row { logits, len, argument: Scaled(scale), exception, next };
                    (row.exponentials::<S>(powers), argument)
                }
                ShiftConfig::PerColumn => {
                    let shifted = ShiftedColumns { scale, shift: table };
                    let argument = argument + *table.add(label);
                    let exception = exception.map(|_| (label, argument));
                    let row = Row { logits, len, argument: shifted, exception, next };
                    (row.exponentials::<S>(powers), argument)
                }
                ShiftConfig::PerEntry => {
                    let shift = self.entries[row * len..(row + 1) * len].as_ptr();
                    let argument = argument + *shift.add(label);
                    let exception = exception.map(|_| (label, argument));
                    let shifted = ShiftedEntries { scale, shift };
                    let row = Row { logits, len, argument: shifted, exception, next };
                    (row.exponentials::<S>(powers), argument)
                }
                ShiftConfig::RandomMask { key, bound } => {
                    let (row_key, keys) = (row_key(key, row as u32), self.tables.keys.as_ptr());
                    let masked = Masked { scale, columns: table, keys, row_key, bound };
                    let exception = Some((label, argument));
                    let row = Row { logits, len, argument: masked, exception, next };
                    (row.exponentials::<S>(powers), argument)
                }
                ShiftConfig::Seesaw { p, q, log_epsilon } => {
                    let row = Row { logits, len, argument: Plain, exception: None, next };
                    let Exponentials { base, sum } = row.exponentials::<S>(powers);
                    let log_sum = ln(sum) as f32;
                    let log_score = ((of_label - base) - log_sum).max(log_epsilon);
                    let (log_counts, log_count) = (table, *table.add(label));
                    let seesaw =
                        Seesaw { scale, p, q, log_counts, log_count, log_sum, base, log_score };
                    let row = Row { logits, len, argument: seesaw, exception, next };
                    (row.exponentials::<S>(powers), argument)
                }
            }
        }
    }

    /// Losses of foreground against background, before the factors, of up to 16 rows; fills their
    /// gradients.
    #[inline(always)]
    unsafe fn objectness<S: Lanes>(&self, rows: Range<usize>) -> [f32; LANES] {
        let num_columns = self.rows.num_columns;
        let is_background = |row: usize| self.labels[row] as usize == self.num_classes;
        let mut wrong = [0.0; LANES];
        // SAFETY: two columns of each row, by the caller.
        unsafe {
            for (row, wrong) in rows.clone().zip(&mut wrong) {
                let logits = self.rows.logits.pointer().add(row * num_columns + self.num_classes);
                let margin = *logits - *logits.add(1);
                *wrong = if is_background(row) { margin } else { -margin };
            }
            let wrong = S::load(wrong.as_ptr());
            let Logistic { large, small, log } = logistic(wrong);
            let (mut losses, mut faults) = ([0.0; LANES], [0.0; LANES]);
            S::splat(0.0).max(wrong).add(log).store(losses.as_mut_ptr());
            wrong.if_negative(small, large).store(faults.as_mut_ptr());
            for ((row, fault), loss) in rows.zip(faults).zip(&mut losses) {
                let Some(factor) = self.rows.factor(row) else {
                    *loss = 0.0;
                    continue;
                };
                if let Some(gradient) = self.gradient {
                    let to = gradient.at(row, self.num_classes);
                    let slope = if is_background(row) { fault * factor } else { -fault * factor };
                    *to = slope;
                    *to.add(1) = -slope;
                }
            }
            losses
        }
    }
}
