//! Any of the methods.

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};

use crate::{
    AdaptiveSuppressionLoss, BalancedGroupSoftmaxLoss, BalancedSigmoidLoss, BalancedSoftmaxLoss,
    BinaryCrossEntropyLoss, ClassBalancedLoss, CrossEntropyLoss, DropLoss, EqualizationLoss,
    EqualizationV2Loss, EqualizedFocalLoss, EqualizedQualityFocalLoss, EqualizedSoftmaxLoss,
    EquilibriumLoss, FederatedLoss, FocalLoss, GradientHarmonizingLoss, LdamLoss,
    LogitAdjustmentLoss, LossError, LossMethod, Reduction, RowLabels, ScoreCalibration, SeesawLoss,
    SoftmaxEqualizationLoss,
    check::check,
    layout::{Background, Layout},
    output::{LossOutput, StatisticsUpdate},
};

/// Any of the methods: the number of logits, the loss and the scores, side by side.
///
/// Made by [`ClassificationLossConfig::init`](crate::ClassificationLossConfig::init). Build the
/// classifier from [`num_logits`](Self::num_logits) and [`prior_bias`](Self::prior_bias).
#[allow(clippy::large_enum_variant, reason = "a program has a few of them")]
#[derive(Module, Debug)]
#[non_exhaustive]
pub enum ClassificationLoss {
    /// Softmax cross-entropy.
    CrossEntropy(CrossEntropyLoss),
    /// Sigmoid cross-entropy.
    BinaryCrossEntropy(BinaryCrossEntropyLoss),
    /// Focal loss.
    Focal(FocalLoss),
    /// Class-balanced loss.
    ClassBalanced(ClassBalancedLoss),
    /// Equalization Loss.
    Equalization(EqualizationLoss),
    /// Softmax Equalization Loss.
    SoftmaxEqualization(SoftmaxEqualizationLoss),
    /// Equalization Loss v2.
    EqualizationV2(EqualizationV2Loss),
    /// Balanced Softmax.
    BalancedSoftmax(BalancedSoftmaxLoss),
    /// Balanced Sigmoid.
    BalancedSigmoid(BalancedSigmoidLoss),
    /// Logit adjustment.
    LogitAdjustment(LogitAdjustmentLoss),
    /// Label-distribution-aware margin loss.
    Ldam(LdamLoss),
    /// Seesaw loss.
    Seesaw(SeesawLoss),
    /// Softmax-EQL of the later paper.
    EqualizedSoftmax(EqualizedSoftmaxLoss),
    /// Balanced Group Softmax.
    BalancedGroupSoftmax(BalancedGroupSoftmaxLoss),
    /// Equilibrium loss of LOCE.
    Equilibrium(EquilibriumLoss),
    /// Equalized Focal Loss.
    EqualizedFocal(EqualizedFocalLoss),
    /// Equalized Quality Focal Loss.
    EqualizedQualityFocal(EqualizedQualityFocalLoss),
    /// Adaptive Class Suppression Loss.
    AdaptiveSuppression(AdaptiveSuppressionLoss),
    /// DropLoss.
    DropLoss(DropLoss),
    /// Federated loss.
    Federated(FederatedLoss),
    /// GHM-C.
    GradientHarmonizing(GradientHarmonizingLoss),
}

impl ClassificationLoss {
    fn method(&self) -> &dyn LossMethod {
        match self {
            Self::CrossEntropy(loss) => loss,
            Self::BinaryCrossEntropy(loss) => loss,
            Self::Focal(loss) => loss,
            Self::ClassBalanced(loss) => loss,
            Self::Equalization(loss) => loss,
            Self::SoftmaxEqualization(loss) => loss,
            Self::EqualizationV2(loss) => loss,
            Self::BalancedSoftmax(loss) => loss,
            Self::BalancedSigmoid(loss) => loss,
            Self::LogitAdjustment(loss) => loss,
            Self::Ldam(loss) => loss,
            Self::Seesaw(loss) => loss,
            Self::EqualizedSoftmax(loss) => loss,
            Self::BalancedGroupSoftmax(loss) => loss,
            Self::Equilibrium(loss) => loss,
            Self::EqualizedFocal(loss) => loss,
            Self::EqualizedQualityFocal(loss) => loss,
            Self::AdaptiveSuppression(loss) => loss,
            Self::DropLoss(loss) => loss,
            Self::Federated(loss) => loss,
            Self::GradientHarmonizing(loss) => loss,
        }
    }

    fn method_mut(&mut self) -> &mut dyn LossMethod {
        match self {
            Self::CrossEntropy(loss) => loss,
            Self::BinaryCrossEntropy(loss) => loss,
            Self::Focal(loss) => loss,
            Self::ClassBalanced(loss) => loss,
            Self::Equalization(loss) => loss,
            Self::SoftmaxEqualization(loss) => loss,
            Self::EqualizationV2(loss) => loss,
            Self::BalancedSoftmax(loss) => loss,
            Self::BalancedSigmoid(loss) => loss,
            Self::LogitAdjustment(loss) => loss,
            Self::Ldam(loss) => loss,
            Self::Seesaw(loss) => loss,
            Self::EqualizedSoftmax(loss) => loss,
            Self::BalancedGroupSoftmax(loss) => loss,
            Self::Equilibrium(loss) => loss,
            Self::EqualizedFocal(loss) => loss,
            Self::EqualizedQualityFocal(loss) => loss,
            Self::AdaptiveSuppression(loss) => loss,
            Self::DropLoss(loss) => loss,
            Self::Federated(loss) => loss,
            Self::GradientHarmonizing(loss) => loss,
        }
    }

    /// The classifier's columns and the legal labels.
    pub fn layout(&self) -> Layout {
        *self.method().layout()
    }

    /// Number of classes, without background.
    pub fn num_classes(&self) -> usize {
        self.layout().num_classes()
    }

    /// Columns of the logits.
    pub fn num_logits(&self) -> usize {
        self.layout().num_logits()
    }

    /// Labels are `0..num_labels`: the classes, and background where the method has it.
    pub fn num_labels(&self) -> usize {
        self.layout().num_labels()
    }

    /// How background is seen.
    pub fn background(&self) -> Background {
        self.layout().background()
    }

    /// What the method multiplies the logits by before its softmax.
    pub fn logit_scale(&self) -> f64 {
        self.method().logit_scale()
    }

    /// Initial bias of the classifier's last layer, if the method asks for one.
    pub fn prior_bias(&self) -> Option<f32> {
        self.method().prior_bias()
    }

    /// Mean loss over the rows that are not ignored, and the batch's part in the statistics.
    /// Changes nothing, and reads nothing back to the host.
    ///
    /// # Shapes
    /// - logits: `[rows, num_logits]`
    /// - labels: `[rows]` in `0..num_labels`, or `[rows, num_classes]` of 0 and 1
    /// - loss: `[1]`; 0 with zero gradient if there are no rows
    ///
    /// # Errors
    /// If a shape is wrong, or the method does not take multi-label targets.
    pub fn forward(&self, logits: Tensor<2>, labels: RowLabels) -> Result<LossOutput, LossError> {
        self.method().forward(logits, labels)
    }

    /// As [`forward`](Self::forward), with another reduction.
    ///
    /// # Errors
    /// As [`forward`](Self::forward), and if a count is not positive.
    pub fn forward_with(
        &self,
        logits: Tensor<2>,
        labels: RowLabels,
        reduction: Reduction,
    ) -> Result<LossOutput, LossError> {
        self.method().forward_with(logits, labels, reduction)
    }

    /// The reduction for the head of a one-stage detector with this many positive rows: the sum
    /// divided by their number, unless the method brings a divisor of its own.
    pub fn dense_reduction(&self, num_positives: usize) -> Reduction {
        self.method().dense_reduction(num_positives)
    }

    /// Whether the method looks at [`RowLabels::qualities`].
    pub fn wants_qualities(&self) -> bool {
        self.method().wants_qualities()
    }

    /// Scores at test time, `[rows, num_classes]` in `[0, 1]`: no column for background.
    ///
    /// # Errors
    /// If the width of the logits is wrong.
    pub fn scores(&self, logits: Tensor<2>) -> Result<Tensor<2>, LossError> {
        self.method().scores(logits)
    }

    /// [`scores`](Self::scores), calibrated if there is a calibration; it is one made for this loss.
    ///
    /// # Errors
    /// If the width of the logits is wrong.
    pub fn calibrated_scores(
        &self,
        logits: Tensor<2>,
        calibration: Option<&ScoreCalibration>,
    ) -> Result<Tensor<2>, LossError> {
        match calibration {
            Some(calibration) => calibration.scores(self, logits),
            None => self.scores(logits),
        }
    }

    /// Adds a batch to the statistics. Call it after the step, in training only.
    ///
    /// # Errors
    /// If the update comes from another method.
    pub fn apply(&mut self, update: StatisticsUpdate) -> Result<(), LossError> {
        self.method_mut().apply(update)
    }

    /// The statistics by name, for a checkpoint; empty for a stateless method.
    ///
    /// Save these rather than the module's record: Burn's records carry the tensors of EQL v2 and
    /// Seesaw, but not the number of draws of SEQL and BAGS.
    pub fn state(&self) -> Vec<(String, Tensor<1>)> {
        self.method().state()
    }

    /// Puts saved statistics back.
    ///
    /// # Errors
    /// If a name or a length is not this method's.
    pub fn load_state(&mut self, state: Vec<(String, Tensor<1>)>) -> Result<(), LossError> {
        self.method_mut().load_state(state)
    }

    /// This loss with each row weighted by its class: deferred re-weighting, with
    /// [`effective_number_weights`](crate::effective_number_weights).
    ///
    /// The mean becomes the weighted mean, `sum w_y loss / sum w_y`. Background weighs 1.
    ///
    /// # Errors
    /// If the method has no place for weights, or there is not one positive weight per class.
    pub fn reweighted(mut self, weights: &[f64], device: &Device) -> Result<Self, LossError> {
        self.method_mut().set_class_weights(weights, device)?;
        Ok(self)
    }

    /// Reads logits and labels back to the host and names the first bad one; see
    /// [`check`](crate::check).
    ///
    /// # Errors
    /// If a logit is not finite, a label is out of range, or a target is neither 0 nor 1.
    pub fn check(&self, logits: &Tensor<2>, labels: &RowLabels) -> Result<(), LossError> {
        check(logits, labels, self.num_labels())
    }
}
