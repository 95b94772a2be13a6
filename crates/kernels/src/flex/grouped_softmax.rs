//! A softmax for each group of columns, row by row: loss and gradient while the row is in cache.
#![allow(unsafe_code, reason = "vector arithmetic; tasks write disjoint rows")]

use std::ops::Range;

use super::gradient_rows::GradientRows;
use super::lanes::{LANES, Lanes};
use super::loss::{NONE, block};
use super::parallel::Target;
use super::pool::Buffer;
use super::row::{Plain, Row};
use super::row_blocks::{self, RowBlocks};

/// Columns of a run from which on a group is read run by run, on average.
const LONG_RUN: usize = 8;

/// The columns of a group, and where its targets are among them.
pub(super) struct Group {
    columns: Vec<u32>,
    /// The columns as runs, first and number, if they are long.
    runs: Option<Vec<[usize; 2]>>,
    /// Of each label; [`NONE`] where the target is none of the columns.
    places: Vec<u32>,
}

impl Group {
    /// `members` is not 0 at the columns of the group; `targets` are the columns of the labels.
    pub(super) fn new(members: &[f32], targets: &[f32]) -> Self {
        let mut columns = Vec::new();
        let mut place_of = vec![NONE; members.len()];
        for (column, _) in members.iter().enumerate().filter(|&(_, &member)| member != 0.0) {
            place_of[column] = columns.len() as u32;
            columns.push(column as u32);
        }
        let place = |&target: &f32| {
            if target >= 0.0 {
                place_of.get(target as usize).copied().unwrap_or(NONE)
            } else {
                NONE
            }
        };
        let mut runs: Vec<[usize; 2]> = Vec::new();
        for &column in &columns {
            match runs.last_mut() {
                Some([start, len]) if *start + *len == column as usize => *len += 1,
                _ => runs.push([column as usize, 1]),
            }
        }
        let runs = (columns.len() >= LONG_RUN * runs.len()).then_some(runs);
        Self { places: targets.iter().map(place).collect(), columns, runs }
    }

    /// The logits of the group, one after the other.
    #[inline(always)]
    unsafe fn gather<S: Lanes>(&self, row: *const f32, mut to: *mut f32) {
        // SAFETY: columns of the row, and room for them, by the caller.
        unsafe {
            let Some(runs) = &self.runs else {
                for (index, &column) in self.columns.iter().enumerate() {
                    *to.add(index) = *row.add(column as usize);
                }
                return;
            };
            for &[start, len] in runs {
                let from = row.add(start);
                let full = len - len % LANES;
                for place in (0..full).step_by(LANES) {
                    S::load(from.add(place)).store(to.add(place));
                }
                S::load_part(from.add(full), len - full, 0.0).store_part(to.add(full), len - full);
                to = to.add(len);
            }
        }
    }

    /// Adds `factor * slopes` at the columns of a row.
    #[inline(always)]
    unsafe fn scatter<S: Lanes>(&self, mut slopes: *const f32, factor: f32, row: *mut f32) {
        // SAFETY: columns of the row, and as many slopes, by the caller.
        unsafe {
            let Some(runs) = &self.runs else {
                for (index, &column) in self.columns.iter().enumerate() {
                    *row.add(column as usize) += *slopes.add(index) * factor;
                }
                return;
            };
            let factor = S::splat(factor);
            for &[start, len] in runs {
                let to = row.add(start);
                let full = len - len % LANES;
                for place in (0..full).step_by(LANES) {
                    let sum = S::load(slopes.add(place)).mul_add(factor, S::load(to.add(place)));
                    sum.store(to.add(place));
                }
                let (to, rest) = (to.add(full), len - full);
                let sum = S::load_part(slopes.add(full), rest, 0.0)
                    .mul_add(factor, S::load_part(to, rest, 0.0));
                sum.store_part(to, rest);
                slopes = slopes.add(len);
            }
        }
    }
}

pub(super) struct GroupedSoftmax<'a> {
    /// `[num_rows, num_columns]`; read only, and each row before its gradient is written, which may
    /// go to the same place.
    pub(super) logits: Target,
    /// Rows and columns.
    pub(super) sizes: [usize; 2],
    pub(super) groups: &'a [Group],
    /// Of the rows; past the labels of the groups where a label is none.
    pub(super) labels: &'a [u32],
    /// `[groups, num_rows]`
    pub(super) weights: &'a [f32],
    pub(super) losses: Target,
    pub(super) gradient: Option<GradientRows>,
}

impl GroupedSoftmax<'_> {
    /// Fills the losses of the rows, and the gradient of the logits where it is wanted.
    pub(super) fn run(&self) {
        row_blocks::run(self, self.sizes[0], block(self.sizes));
    }
}

/// Memory of a task.
struct Scratch {
    /// The logits of a group, full vectors.
    logits: Buffer,
    /// Powers, then the gradient of the group; full vectors.
    powers: Buffer,
    /// Gradient of a row.
    gradient: Buffer,
}

impl RowBlocks for GroupedSoftmax<'_> {
    #[inline(always)]
    unsafe fn rows<S: Lanes>(&self, _block: usize, rows: Range<usize>) {
        let [num_rows, num_columns] = self.sizes;
        let len = self.groups.iter().map(|group| group.columns.len()).max().unwrap_or(0);
        let len = len.next_multiple_of(LANES);
        let (logits, powers) = (Buffer::new(len), Buffer::new(len));
        let mut scratch = Scratch { logits, powers, gradient: Buffer::new(num_columns) };
        for row in rows {
            if self.gradient.is_some() {
                scratch.gradient.as_mut_slice().fill(0.0);
            }
            let mut loss = 0.0;
            for (number, group) in self.groups.iter().enumerate() {
                let weight = self.weights[number * num_rows + row];
                if weight != 0.0 {
                    // SAFETY: a row of this task.
                    loss += unsafe { self.group::<S>(row, group, weight, &mut scratch) };
                }
            }
            // SAFETY: as above.
            unsafe {
                self.losses.part(row, 1)[0] = loss as f32;
                if let Some(gradient) = self.gradient {
                    let slopes = scratch.gradient.as_slice().as_ptr();
                    gradient.write::<S>((row, 0), slopes, num_columns, 1.0);
                }
            }
        }
    }
}

impl GroupedSoftmax<'_> {
    /// The loss of a group in a row; adds to the gradient where it is wanted.
    #[inline(always)]
    unsafe fn group<S: Lanes>(
        &self,
        row: usize,
        group: &Group,
        weight: f32,
        scratch: &mut Scratch,
    ) -> f64 {
        let [_, num_columns] = self.sizes;
        let (len, weight) = (group.columns.len(), f64::from(weight));
        let logits = scratch.logits.as_mut_slice();
        let slopes = scratch.gradient.as_mut_slice().as_mut_ptr();
        let powers = scratch.powers.as_mut_slice().as_mut_ptr();
        let place = group.places.get(self.labels[row] as usize).map_or(NONE, |&place| place);
        let place = place as usize;
        // SAFETY: columns of the row; `len` values at each pointer of a group.
        unsafe {
            if place >= len {
                group.columns.iter().for_each(|&column| *slopes.add(column as usize) = f32::NAN);
                return f64::NAN;
            }
            let from = self.logits.pointer().add(row * num_columns);
            group.gather::<S>(from, logits.as_mut_ptr());
            let of_label = logits[place];
            let logits = logits.as_ptr();
            let row = Row { logits, len, argument: Plain, exception: None, next: logits };
            let exponentials = row.exponentials::<S>(powers);
            let power = *powers.add(place);
            if self.gradient.is_some() {
                *powers.add(place) = (f64::from(power) - exponentials.sum) as f32;
                group.scatter::<S>(powers, (weight / exponentials.sum) as f32, slopes);
            }
            weight * exponentials.log_sum_beyond(of_label, power).value()
        }
    }
}
