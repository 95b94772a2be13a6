//! The groups of Balanced Group Softmax: which columns belong together.

use burn::{
    module::Module,
    tensor::{Device, Int, Tensor},
};
use longtail_kernels::{Shift, SoftmaxTerms, softmax_loss};

use crate::rows::{indices, table};

/// Far below any logit: `e` to this power is 0 in f32.
const LEFT_OUT: f64 = -1e7;

/// A softmax over some of the columns.
#[derive(Module, Debug)]
pub(crate) struct Part {
    /// 0 for its columns, far below any logit for the others, `[num_logits]`: the kernel takes all
    /// columns faster than a choice of them can be copied out and back.
    shift: Tensor<1>,
    /// The column of each label, `[num_classes + 1]`.
    targets: Tensor<1, Int>,
}

impl Part {
    pub(crate) fn new(
        columns: &[usize],
        num_logits: usize,
        targets: &[usize],
        device: &Device,
    ) -> Self {
        let mut shift = vec![LEFT_OUT; num_logits];
        columns.iter().for_each(|&column| shift[column] = 0.0);
        Self { shift: table(shift, device), targets: indices(targets, device) }
    }

    /// Losses of the rows, times their weights.
    pub(crate) fn losses(
        &self,
        logits: Tensor<2>,
        labels: Tensor<1, Int>,
        weights: Tensor<1>,
    ) -> Tensor<1> {
        let shift = Some(Shift::PerColumn(self.shift.clone()));
        let terms = SoftmaxTerms { shift, row_weights: Some(weights), ..Default::default() };
        softmax_loss(logits, self.targets.clone().select(0, labels), terms)
    }
}

/// A group that has classes.
#[derive(Module, Debug)]
pub(crate) struct Members {
    /// Columns of its classes, then its "others".
    pub(crate) columns: Tensor<1, Int>,
    pub(crate) part: Part,
    /// Which group it is.
    pub(crate) index: usize,
    pub(crate) num_classes: usize,
}

impl Members {
    pub(crate) fn new(index: usize, groups: &[usize], num_logits: usize, device: &Device) -> Self {
        let is_own = |class: usize| groups.get(class) == Some(&index);
        let mut columns: Vec<usize> = (0..groups.len()).filter(|&class| is_own(class)).collect();
        let num_classes = columns.len();
        let others = groups.len() + index;
        let column = |class| if is_own(class) { class } else { others };
        let targets: Vec<usize> = (0..=groups.len()).map(column).collect();
        columns.push(others);
        let part = Part::new(&columns, num_logits, &targets, device);
        Self { columns: indices(&columns, device), part, index, num_classes }
    }
}
