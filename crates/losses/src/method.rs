//! What every method answers.

use burn::tensor::{Device, Tensor};

use crate::{
    LossError, Reduction, RowLabels,
    layout::Layout,
    output::{LossOutput, StatisticsUpdate},
};

/// A loss with the classifier it needs and the scores it means. Each method implements it;
/// [`ClassificationLoss`](crate::ClassificationLoss) holds any of them.
pub trait LossMethod {
    /// The classifier's columns and the legal labels.
    fn layout(&self) -> &Layout;

    /// Loss under a reduction. Changes nothing, and reads nothing back to the host.
    ///
    /// # Shapes
    /// - logits: `[rows, layout.num_logits()]`
    /// - labels: `[rows]` in `0..layout.num_labels()`, or `[rows, num_classes]` of 0 and 1
    /// - loss: `[1]`, `[rows]` without reduction; 0 with zero gradient if there are no rows
    ///
    /// # Errors
    /// If a shape is wrong, or the method does not take multi-label targets.
    fn forward_with(
        &self,
        logits: Tensor<2>,
        labels: RowLabels,
        reduction: Reduction,
    ) -> Result<LossOutput, LossError>;

    /// Mean loss; see [`forward_with`](Self::forward_with).
    ///
    /// # Errors
    /// As [`forward_with`](Self::forward_with).
    fn forward(&self, logits: Tensor<2>, labels: RowLabels) -> Result<LossOutput, LossError> {
        self.forward_with(logits, labels, Reduction::Mean)
    }

    /// Scores at test time, `[rows, num_classes]` in `[0, 1]`: no column for background.
    ///
    /// # Errors
    /// If the width of the logits is wrong.
    fn scores(&self, logits: Tensor<2>) -> Result<Tensor<2>, LossError>;

    /// The reduction for the head of a one-stage detector with this many positive rows: the sum
    /// divided by their number, unless the method brings a divisor of its own.
    fn dense_reduction(&self, num_positives: usize) -> Reduction {
        Reduction::Count(num_positives.max(1) as f64)
    }

    /// Whether the method looks at [`RowLabels::qualities`].
    fn wants_qualities(&self) -> bool {
        false
    }

    /// What the method multiplies the logits by before its softmax.
    fn logit_scale(&self) -> f64 {
        1.0
    }

    /// Initial bias of the classifier's last layer, if the method asks for one.
    fn prior_bias(&self) -> Option<f32> {
        None
    }

    /// Adds a batch to the statistics.
    ///
    /// # Errors
    /// If the update comes from another method.
    fn apply(&mut self, update: StatisticsUpdate) -> Result<(), LossError> {
        foreign_unless(update.is_none(), self.layout())
    }

    /// The statistics by name, for a checkpoint; empty for a stateless method. A module record
    /// does not carry all of them.
    fn state(&self) -> Vec<(String, Tensor<1>)> {
        Vec::new()
    }

    /// Puts saved statistics back.
    ///
    /// # Errors
    /// If a name or a length is not this method's.
    fn load_state(&mut self, state: Vec<(String, Tensor<1>)>) -> Result<(), LossError> {
        let method = self.layout().method();
        let [] = named_state(method, [], state)?;
        Ok(())
    }

    /// Weights each row by its class from now on.
    ///
    /// # Errors
    /// If the method has no place for weights, or there is not one positive weight per class.
    fn set_class_weights(&mut self, _weights: &[f64], _device: &Device) -> Result<(), LossError> {
        Err(LossError::NotReweightable { method: self.layout().method() })
    }
}

pub(crate) fn foreign_unless(is_own: bool, layout: &Layout) -> Result<(), LossError> {
    if is_own { Ok(()) } else { Err(LossError::ForeignUpdate { method: layout.method() }) }
}

/// Picks the tensors of the given names and lengths out of a saved state.
pub(crate) fn named_state<const N: usize>(
    method: &'static str,
    names: [(&str, usize); N],
    state: Vec<(String, Tensor<1>)>,
) -> Result<[Tensor<1>; N], LossError> {
    let error = |message: String| LossError::State { method, message };
    if state.len() != N {
        return Err(error(format!("expected {N} tensors, got {}", state.len())));
    }
    let mut found = Vec::with_capacity(N);
    for (name, length) in names {
        let Some((_, tensor)) = state.iter().find(|(key, _)| key == name) else {
            return Err(error(format!("{name} is missing")));
        };
        let [actual] = tensor.dims();
        if actual != length {
            return Err(error(format!("{name} has {actual} values, expected {length}")));
        }
        found.push(tensor.clone().without_autodiff());
    }
    found.try_into().map_err(|_| error("duplicate names".into()))
}
