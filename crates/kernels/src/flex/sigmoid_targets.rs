//! What the entries of a sigmoid loss should be.
#![allow(unsafe_code, reason = "vector arithmetic")]

use super::lanes::{LANES, Lanes};
use super::loss::NONE;

/// What the entries should be.
#[derive(Clone, Copy)]
pub(super) enum Targets<'a> {
    /// The positive column of each row, or [`NONE`], and the number of columns before background's.
    Classes { labels: &'a [u32], num_classes: usize },
    /// `[rows, columns]`, and the number of columns before background's.
    MultiLabel { targets: &'a [f32], num_classes: usize },
}

impl Targets<'_> {
    /// Those of a row, and whether one is positive before background's column.
    #[inline(always)]
    pub(super) fn row(&self, index: usize, num_columns: usize) -> (RowTargets, bool) {
        match *self {
            Self::Classes { labels, num_classes } => {
                let label = labels[index] as usize;
                (RowTargets { targets: std::ptr::null(), label }, label < num_classes)
            }
            Self::MultiLabel { targets, num_classes } => {
                let targets = &targets[index * num_columns..(index + 1) * num_columns];
                let is_foreground = targets[..num_classes].iter().any(|&target| target > 0.0);
                (RowTargets { targets: targets.as_ptr(), label: NONE as usize }, is_foreground)
            }
        }
    }
}

/// The targets of a row.
#[derive(Clone, Copy)]
pub(super) struct RowTargets {
    /// Or null, then `label` counts.
    targets: *const f32,
    label: usize,
}

impl RowTargets {
    /// Whether it is known without a look that those of a full vector are 0.
    #[inline(always)]
    pub(super) fn are_negative(&self, column: usize) -> bool {
        self.targets.is_null() && self.label & !(LANES - 1) != column
    }

    /// The targets of a vector of which `count` entries are in the row.
    #[inline(always)]
    pub(super) unsafe fn at<S: Lanes>(&self, column: usize, count: usize) -> S {
        // SAFETY: `count` targets are left in the row.
        unsafe {
            if self.targets.is_null() {
                S::unit(self.label.wrapping_sub(column))
            } else if count == LANES {
                S::load(self.targets.add(column))
            } else {
                S::load_part(self.targets.add(column), count, 0.0)
            }
        }
    }
}
