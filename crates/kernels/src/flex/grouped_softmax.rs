//! A softmax for each group of columns, row by row: loss and gradient while the row is in cache.
#![allow(unsafe_code, reason = "vector arithmetic; tasks write disjoint rows")]

#[cfg(target_arch = "x86_64")]
use super::lanes::{Avx2Lanes, Avx512Lanes};
use super::lanes::{LANES, Lanes, PortableLanes};
use super::loss::{NONE, block};
use super::parallel::{Target, for_each_row_block};
use super::pool::Buffer;
use super::row::{exp_sum, largest, map};
use super::simd::{Isa, isa};

/// The columns of a group, and where its targets are among them.
pub(super) struct Group {
    columns: Vec<u32>,
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
        Self { places: targets.iter().map(place).collect(), columns }
    }
}

pub(super) struct GroupedSoftmax<'a> {
    /// `[num_rows, num_columns]`; read only, and each row before its gradient is written, which may
    /// go to the same place.
    pub(super) logits: Target,
    pub(super) num_rows: usize,
    pub(super) num_columns: usize,
    pub(super) groups: &'a [Group],
    /// Of the rows; past the labels of the groups where a label is none.
    pub(super) labels: &'a [u32],
    /// `[groups, num_rows]`
    pub(super) weights: &'a [f32],
}

impl GroupedSoftmax<'_> {
    /// Fills the losses of the rows, and the gradient of the logits where it is wanted.
    pub(super) fn run(&self, losses: &mut [f32], gradient: Option<Target>) {
        let num_rows = self.num_rows;
        let losses = Target::new(losses);
        let block = block([num_rows, self.num_columns]);
        for_each_row_block(num_rows.div_ceil(block), |index| {
            let rows = index * block..num_rows.min((index + 1) * block);
            // SAFETY: the instruction set was detected; rows belong to one task.
            unsafe {
                match isa() {
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx512 => self.block_avx512(rows, losses, gradient),
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx2 => self.block_avx2(rows, losses, gradient),
                    Isa::Portable => self.block::<PortableLanes>(rows, losses, gradient),
                }
            }
        });
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn block_avx2(
        &self,
        rows: std::ops::Range<usize>,
        losses: Target,
        gradient: Option<Target>,
    ) {
        unsafe { self.block::<Avx2Lanes>(rows, losses, gradient) }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f")]
    unsafe fn block_avx512(
        &self,
        rows: std::ops::Range<usize>,
        losses: Target,
        gradient: Option<Target>,
    ) {
        unsafe { self.block::<Avx512Lanes>(rows, losses, gradient) }
    }

    #[inline(always)]
    unsafe fn block<S: Lanes>(
        &self,
        rows: std::ops::Range<usize>,
        losses: Target,
        gradient: Option<Target>,
    ) {
        let num_columns = self.num_columns;
        let total = self.groups.iter().map(|group| group.columns.len()).sum();
        let mut scratch = Buffer::new(total);
        let scratch = scratch.as_mut_slice();
        for index in rows {
            // SAFETY: within the logits, the losses and the gradient; the row is this task's.
            unsafe {
                let logits = self.logits.pointer().add(index * num_columns).cast_const();
                self.gather(logits, index, scratch);
                // From here on nobody reads the logits of the row.
                let out = match gradient {
                    None => None,
                    Some(gradient) => {
                        let out = gradient.part(index * num_columns, num_columns);
                        out.fill(0.0);
                        Some(out.as_mut_ptr())
                    }
                };
                losses.part(index, 1)[0] = self.row::<S>(index, scratch, out) as f32;
            }
        }
    }

    /// The groups that count in a row, each with its number and where it starts in the scratch.
    #[inline(always)]
    fn counted(&self, row: usize) -> impl Iterator<Item = (usize, &Group, f32)> {
        let groups = self.groups.iter().enumerate().scan(0, move |end, (number, group)| {
            let start = *end;
            *end += group.columns.len();
            Some((start, group, self.weights[number * self.num_rows + row]))
        });
        groups.filter(|&(_, _, weight)| weight != 0.0)
    }

    /// The logits of one group after the other.
    #[inline(always)]
    unsafe fn gather(&self, logits: *const f32, row: usize, scratch: &mut [f32]) {
        for (start, group, _) in self.counted(row) {
            for (to, &column) in scratch[start..].iter_mut().zip(&group.columns) {
                // SAFETY: a column of the row.
                *to = unsafe { *logits.add(column as usize) };
            }
        }
    }

    /// The loss of a row; adds the gradient to `out` where it is wanted.
    #[inline(always)]
    unsafe fn row<S: Lanes>(&self, row: usize, scratch: &mut [f32], out: Option<*mut f32>) -> f64 {
        let label = self.labels[row] as usize;
        let mut loss = 0.0;
        for (start, group, weight) in self.counted(row) {
            let (len, weight) = (group.columns.len(), f64::from(weight));
            let values = &mut scratch[start..start + len];
            let place = group.places.get(label).map_or(len, |&place| place as usize);
            let Some(&of_label) = values.get(place) else {
                loss = f64::NAN;
                values.fill(f32::NAN);
                // SAFETY: by the caller.
                unsafe { add(out, group, values) };
                continue;
            };
            let powers = values.as_mut_ptr();
            // SAFETY: pointers of `len` values; columns of the row.
            unsafe {
                let largest = largest::<S>(powers, len);
                let sum = exp_sum::<S, true>(powers, powers, len, largest);
                loss += weight * (sum.ln() + (f64::from(largest) - f64::from(of_label)));
                if out.is_some() {
                    let label_slope = (f64::from(*powers.add(place)) / sum - 1.0) * weight;
                    let slopes = S::splat((weight / sum) as f32);
                    map!(S, powers, powers, len, |_, power| power.mul(slopes));
                    *powers.add(place) = label_slope as f32;
                }
                add(out, group, values);
            }
        }
        loss
    }
}

/// Adds the slopes of a group to the gradient of a row.
#[inline(always)]
unsafe fn add(out: Option<*mut f32>, group: &Group, slopes: &[f32]) {
    if let Some(out) = out {
        for (&column, slope) in group.columns.iter().zip(slopes) {
            // SAFETY: a column of the row, by the caller.
            unsafe { *out.add(column as usize) += slope };
        }
    }
}
