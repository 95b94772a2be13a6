//! The labels of a batch.

use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
pub use longtail_kernels::Labels;

use crate::LossError;

/// What each row should be, and which rows to leave out.
///
/// Class labels are `0..num_classes`; `num_classes` is background where the method has it. Rows are
/// left out by an explicit mask, whatever their label and logits.
#[derive(Debug, Clone)]
pub struct RowLabels {
    /// The labels.
    pub labels: Labels,
    /// True where a row is left out, `[rows]`.
    pub ignore: Option<Tensor<1, Bool>>,
    /// One over the number of rows that show the same object, `[rows]`, where several rows may show
    /// one: the regions of a detector. Default: every row is an object of its own. Only
    /// [`EquilibriumLoss`](crate::EquilibriumLoss) looks at it, which counts objects.
    pub object_shares: Option<Tensor<1>>,
    /// How well each row shows its object, in `[0, 1]`, `[rows]`: the overlap of its box with the
    /// object's. Only methods that [want](crate::ClassificationLoss::wants_qualities) them look at
    /// them.
    pub qualities: Option<Tensor<1>>,
}

impl RowLabels {
    /// One class per row, `[rows]`.
    ///
    /// A label out of range makes the loss of its row NaN: where labels are still on the host,
    /// prefer [`from_host`](Self::from_host), which names it.
    pub fn classes(labels: Tensor<1, Int>) -> Self {
        Self { labels: Labels::Classes(labels), ignore: None, object_shares: None, qualities: None }
    }

    /// Targets 0 and 1, `[rows, num_classes]`; for the sigmoid methods.
    pub fn multi_label(targets: Tensor<2>) -> Self {
        Self {
            labels: Labels::MultiLabel(targets),
            ignore: None,
            object_shares: None,
            qualities: None,
        }
    }

    /// One class per row, from the host.
    ///
    /// `num_labels` is the number of classes, plus one where background is a label.
    ///
    /// # Errors
    /// If a label is not below `num_labels`.
    pub fn from_host(
        labels: &[usize],
        num_labels: usize,
        device: &Device,
    ) -> Result<Self, LossError> {
        if let Some(row) = labels.iter().position(|&label| label >= num_labels) {
            let label = i64::try_from(labels[row]).unwrap_or(i64::MAX);
            return Err(LossError::LabelOutOfRange { row, label, num_labels });
        }
        let values: Vec<i32> = labels.iter().map(|&label| label as i32).collect();
        let data = TensorData::new(values, [labels.len()]);
        Ok(Self::classes(Tensor::from_data(data, device)))
    }

    /// Leaves out the rows where `ignore` is true, `[rows]`.
    #[must_use]
    pub fn ignoring(mut self, ignore: Tensor<1, Bool>) -> Self {
        self.ignore = Some(ignore);
        self
    }

    /// States which part of its object each row is, `[rows]`; what background rows have does not
    /// matter.
    #[must_use]
    pub fn sharing_objects(mut self, shares: Tensor<1>) -> Self {
        self.object_shares = Some(shares);
        self
    }

    /// States how well each row shows its object, `[rows]`; what background rows have does not
    /// matter.
    #[must_use]
    pub fn with_qualities(mut self, qualities: Tensor<1>) -> Self {
        self.qualities = Some(qualities);
        self
    }

    /// Number of rows.
    pub fn num_rows(&self) -> usize {
        match &self.labels {
            Labels::Classes(labels) => labels.dims()[0],
            Labels::MultiLabel(targets) => targets.dims()[0],
        }
    }
}
