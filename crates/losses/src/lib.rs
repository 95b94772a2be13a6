//! Losses and activations for long-tailed recognition and detection, on any Burn device.
//!
//! Each method is a file: what it needs of the classifier, its loss, its scores at test time.
//! [`ClassificationLoss`] holds any of them and is built from a [`ClassificationLossConfig`] and the
//! counts of the training set.
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use longtail_losses::{BalancedSoftmaxConfig, ClassificationLossConfig, RowLabels};
//! use longtail_types::ClassCounts;
//!
//! let device = Device::default().autodiff();
//! let counts = ClassCounts::from_labels([0, 0, 0, 0, 0, 0, 1, 1, 2], 3)?;
//! let config = ClassificationLossConfig::BalancedSoftmax(BalancedSoftmaxConfig::default());
//! let mut loss = config.init(&counts, &device)?;
//! assert_eq!(loss.num_logits(), 3); // the width of the classifier's last layer
//!
//! let logits = Tensor::<2>::zeros([2, 3], &device).require_grad();
//! let labels = RowLabels::from_host(&[0, 2], loss.num_labels(), &device)?;
//! let output = loss.forward(logits.clone(), labels)?;
//! let gradients = output.loss.backward();
//! loss.apply(output.update)?; // statistics, where the method keeps some
//! let scores = loss.scores(logits)?;
//! assert_eq!(scores.dims(), [2, 3]);
//! # Ok::<(), longtail_losses::LossError>(())
//! ```
//!
//! Conventions:
//! - labels are `0..num_classes`; background, where a method has it, is `num_classes`; rows are left
//!   out by a mask, not by a label;
//! - losses are summed over classes and averaged over the rows that are left;
//! - a class without a training example counts as having one, so that no prior is infinite;
//! - `forward` changes nothing and reads nothing back to the host.

mod activation;
mod adaptive_suppression;
mod bags;
mod bags_groups;
mod balanced_sigmoid;
mod balanced_softmax;
mod binary_cross_entropy;
mod calibration;
mod check;
mod class_balanced;
mod class_weights;
mod classification_loss;
mod config;
mod cross_entropy;
mod distillation;
mod draws;
mod drop_loss;
mod equalization;
mod equalization_v2;
mod equalized_focal;
mod equalized_quality_focal;
mod equalized_softmax;
mod equilibrium;
mod error;
mod federated;
mod focal;
mod gradient_balance;
mod gradient_harmonizing;
mod label_contrast;
mod layout;
mod ldam;
mod logit_adjustment;
mod method;
mod output;
mod prior;
mod row_labels;
mod rows;
mod seesaw;
mod softmax_equalization;

pub use activation::{balanced_sigmoid, balanced_softmax};
pub use adaptive_suppression::{AdaptiveSuppressionConfig, AdaptiveSuppressionLoss};
pub use bags::{BalancedGroupSoftmaxConfig, BalancedGroupSoftmaxLoss};
pub use balanced_sigmoid::{BalancedSigmoidConfig, BalancedSigmoidForm, BalancedSigmoidLoss};
pub use balanced_softmax::{BackgroundPrior, BalancedSoftmaxConfig, BalancedSoftmaxLoss};
pub use binary_cross_entropy::{BinaryCrossEntropyConfig, BinaryCrossEntropyLoss};
pub use calibration::{
    CalibrationConfig, LogitAdjustmentCalibration, NorCalCalibration, ScoreCalibration,
};
pub use check::check;
pub use class_balanced::{ClassBalancedConfig, ClassBalancedForm, ClassBalancedLoss};
pub use class_weights::effective_number_weights;
pub use classification_loss::ClassificationLoss;
pub use config::ClassificationLossConfig;
pub use cross_entropy::{CrossEntropyConfig, CrossEntropyLoss};
pub use distillation::{feature_distillation, soft_label_distillation, unit_rows};
pub use drop_loss::{DropLoss, DropLossConfig};
pub use equalization::{EqualizationConfig, EqualizationLoss};
pub use equalization_v2::{EqualizationV2Config, EqualizationV2Loss};
pub use equalized_focal::{EqualizedFocalConfig, EqualizedFocalLoss};
pub use equalized_quality_focal::{EqualizedQualityFocalConfig, EqualizedQualityFocalLoss};
pub use equalized_softmax::{EqualizedSoftmaxConfig, EqualizedSoftmaxForm, EqualizedSoftmaxLoss};
pub use equilibrium::{EquilibriumConfig, EquilibriumLoss};
pub use error::LossError;
pub use federated::{FederatedConfig, FederatedForm, FederatedLoss};
pub use focal::{FocalAlpha, FocalConfig, FocalLoss};
pub use gradient_harmonizing::{GradientHarmonizingConfig, GradientHarmonizingLoss};
pub use label_contrast::{Negatives, label_contrast};
pub use layout::{Background, Layout};
pub use ldam::{LdamConfig, LdamLoss};
pub use logit_adjustment::{LogitAdjustmentConfig, LogitAdjustmentForm, LogitAdjustmentLoss};
pub use method::LossMethod;
pub use output::{LossOutput, Reduction, StatisticsUpdate};
pub use row_labels::{Labels, RowLabels};
pub use seesaw::{SeesawConfig, SeesawLoss};
pub use softmax_equalization::{SoftmaxEqualizationConfig, SoftmaxEqualizationLoss};
