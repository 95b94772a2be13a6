//! The loss of a recipe.

use burn::tensor::Device;
use longtail_types::ClassCounts;
use serde::{Deserialize, Serialize};

use crate::{
    AdaptiveSuppressionConfig, BalancedGroupSoftmaxConfig, BalancedSigmoidConfig,
    BalancedSoftmaxConfig, BinaryCrossEntropyConfig, ClassBalancedConfig, ClassificationLoss,
    CrossEntropyConfig, DropLossConfig, EqualizationConfig, EqualizationV2Config,
    EqualizedFocalConfig, EqualizedQualityFocalConfig, EqualizedSoftmaxConfig, EquilibriumConfig,
    FederatedConfig, FocalConfig, GradientHarmonizingConfig, LdamConfig, LogitAdjustmentConfig,
    LossError, SeesawConfig, SoftmaxEqualizationConfig, layout::Layout,
};

/// Which loss, and its settings; `method = "balanced-softmax"` in a recipe. Unknown keys are errors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "method", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ClassificationLossConfig {
    /// Softmax cross-entropy.
    CrossEntropy(CrossEntropyConfig),
    /// Sigmoid cross-entropy.
    BinaryCrossEntropy(BinaryCrossEntropyConfig),
    /// Focal loss.
    Focal(FocalConfig),
    /// Class-balanced loss.
    ClassBalanced(ClassBalancedConfig),
    /// Equalization Loss.
    #[serde(rename = "eql")]
    Equalization(EqualizationConfig),
    /// Softmax Equalization Loss.
    #[serde(rename = "seql")]
    SoftmaxEqualization(SoftmaxEqualizationConfig),
    /// Equalization Loss v2.
    #[serde(rename = "eql-v2")]
    EqualizationV2(EqualizationV2Config),
    /// Balanced Softmax.
    BalancedSoftmax(BalancedSoftmaxConfig),
    /// Balanced Sigmoid.
    BalancedSigmoid(BalancedSigmoidConfig),
    /// Logit adjustment.
    LogitAdjustment(LogitAdjustmentConfig),
    /// Label-distribution-aware margin loss.
    Ldam(LdamConfig),
    /// Seesaw loss.
    Seesaw(SeesawConfig),
    /// Softmax-EQL of the later paper.
    EqualizedSoftmax(EqualizedSoftmaxConfig),
    /// Balanced Group Softmax.
    #[serde(rename = "bags")]
    BalancedGroupSoftmax(BalancedGroupSoftmaxConfig),
    /// Equilibrium loss of LOCE.
    #[serde(rename = "loce")]
    Equilibrium(EquilibriumConfig),
    /// Equalized Focal Loss.
    #[serde(rename = "efl")]
    EqualizedFocal(EqualizedFocalConfig),
    /// Equalized Quality Focal Loss.
    #[serde(rename = "eqfl")]
    EqualizedQualityFocal(EqualizedQualityFocalConfig),
    /// Adaptive Class Suppression Loss.
    #[serde(rename = "acsl")]
    AdaptiveSuppression(AdaptiveSuppressionConfig),
    /// DropLoss.
    DropLoss(DropLossConfig),
    /// Federated loss.
    Federated(FederatedConfig),
    /// GHM-C.
    #[serde(rename = "ghm-c")]
    GradientHarmonizing(GradientHarmonizingConfig),
}

impl Default for ClassificationLossConfig {
    fn default() -> Self {
        Self::CrossEntropy(CrossEntropyConfig::default())
    }
}

impl ClassificationLossConfig {
    /// Every method with its default settings.
    pub fn all() -> Vec<Self> {
        vec![
            Self::CrossEntropy(Default::default()),
            Self::BinaryCrossEntropy(Default::default()),
            Self::Focal(Default::default()),
            Self::ClassBalanced(Default::default()),
            Self::Equalization(Default::default()),
            Self::SoftmaxEqualization(Default::default()),
            Self::EqualizationV2(Default::default()),
            Self::BalancedSoftmax(Default::default()),
            Self::BalancedSigmoid(Default::default()),
            Self::LogitAdjustment(Default::default()),
            Self::Ldam(Default::default()),
            Self::Seesaw(Default::default()),
            Self::EqualizedSoftmax(Default::default()),
            Self::BalancedGroupSoftmax(Default::default()),
            Self::Equilibrium(Default::default()),
            Self::EqualizedFocal(Default::default()),
            Self::EqualizedQualityFocal(Default::default()),
            Self::AdaptiveSuppression(Default::default()),
            Self::DropLoss(Default::default()),
            Self::Federated(Default::default()),
            Self::GradientHarmonizing(Default::default()),
        ]
    }

    /// A method by its name in a recipe, with its default settings.
    ///
    /// # Errors
    /// If no method has the name; the message lists those that there are.
    pub fn named(name: &str) -> Result<Self, LossError> {
        let known = Self::all();
        let names = known.iter().map(Self::method).collect::<Vec<_>>().join(", ");
        let config = known.into_iter().find(|config| config.method() == name);
        config.ok_or_else(|| LossError::UnknownMethod { name: name.into(), known: names })
    }

    /// With this seed of the random draws, unless the settings name one. Losses without draws stay.
    #[must_use]
    pub fn with_default_seed(mut self, default: u64) -> Self {
        let seed = match &mut self {
            Self::SoftmaxEqualization(config) => &mut config.seed,
            Self::BalancedGroupSoftmax(config) => &mut config.seed,
            Self::AdaptiveSuppression(config) => &mut config.seed,
            Self::DropLoss(config) => &mut config.seed,
            Self::Federated(config) => &mut config.seed,
            _ => return self,
        };
        seed.get_or_insert(default);
        self
    }

    /// The classifier this loss needs.
    pub fn layout(&self, num_classes: usize) -> Layout {
        match self {
            Self::CrossEntropy(config) => config.layout(num_classes),
            Self::BinaryCrossEntropy(config) => config.layout(num_classes),
            Self::Focal(config) => config.layout(num_classes),
            Self::ClassBalanced(config) => config.layout(num_classes),
            Self::Equalization(config) => config.layout(num_classes),
            Self::SoftmaxEqualization(config) => config.layout(num_classes),
            Self::EqualizationV2(config) => config.layout(num_classes),
            Self::BalancedSoftmax(config) => config.layout(num_classes),
            Self::BalancedSigmoid(config) => config.layout(num_classes),
            Self::LogitAdjustment(config) => config.layout(num_classes),
            Self::Ldam(config) => config.layout(num_classes),
            Self::Seesaw(config) => config.layout(num_classes),
            Self::EqualizedSoftmax(config) => config.layout(num_classes),
            Self::BalancedGroupSoftmax(config) => config.layout(num_classes),
            Self::Equilibrium(config) => config.layout(num_classes),
            Self::EqualizedFocal(config) => config.layout(num_classes),
            Self::EqualizedQualityFocal(config) => config.layout(num_classes),
            Self::AdaptiveSuppression(config) => config.layout(num_classes),
            Self::DropLoss(config) => config.layout(num_classes),
            Self::Federated(config) => config.layout(num_classes),
            Self::GradientHarmonizing(config) => config.layout(num_classes),
        }
    }

    /// Columns of the logits.
    pub fn num_logits(&self, num_classes: usize) -> usize {
        self.layout(num_classes).num_logits()
    }

    /// The method's name in a recipe.
    pub fn method(&self) -> &'static str {
        self.layout(1).method()
    }

    /// Builds the loss with the statistics of the training set; build it once, not per step.
    ///
    /// # Errors
    /// If a setting is out of range, or does not fit the statistics.
    pub fn init(
        &self,
        counts: &ClassCounts,
        device: &Device,
    ) -> Result<ClassificationLoss, LossError> {
        use ClassificationLoss as Loss;
        let num_classes = counts.num_classes();
        Ok(match self {
            Self::CrossEntropy(config) => Loss::CrossEntropy(config.init(num_classes)),
            Self::BinaryCrossEntropy(config) => Loss::BinaryCrossEntropy(config.init(num_classes)?),
            Self::Focal(config) => Loss::Focal(config.init(num_classes, device)?),
            Self::ClassBalanced(config) => Loss::ClassBalanced(config.init(counts, device)?),
            Self::Equalization(config) => Loss::Equalization(config.init(counts, device)?),
            Self::SoftmaxEqualization(config) => {
                Loss::SoftmaxEqualization(config.init(counts, device)?)
            }
            Self::EqualizationV2(config) => Loss::EqualizationV2(config.init(num_classes, device)?),
            Self::BalancedSoftmax(config) => Loss::BalancedSoftmax(config.init(counts, device)?),
            Self::BalancedSigmoid(config) => Loss::BalancedSigmoid(config.init(counts, device)?),
            Self::LogitAdjustment(config) => Loss::LogitAdjustment(config.init(counts, device)?),
            Self::Ldam(config) => Loss::Ldam(config.init(counts, device)?),
            Self::Seesaw(config) => Loss::Seesaw(config.init(num_classes, device)?),
            Self::EqualizedSoftmax(config) => {
                Loss::EqualizedSoftmax(config.init(num_classes, device)?)
            }
            Self::BalancedGroupSoftmax(config) => {
                Loss::BalancedGroupSoftmax(config.init(counts, device)?)
            }
            Self::Equilibrium(config) => Loss::Equilibrium(config.init(num_classes, device)?),
            Self::EqualizedFocal(config) => Loss::EqualizedFocal(config.init(num_classes, device)?),
            Self::EqualizedQualityFocal(config) => {
                Loss::EqualizedQualityFocal(config.init(num_classes, device)?)
            }
            Self::AdaptiveSuppression(config) => {
                Loss::AdaptiveSuppression(config.init(counts, device)?)
            }
            Self::DropLoss(config) => Loss::DropLoss(config.init(counts, device)?),
            Self::Federated(config) => Loss::Federated(config.init(counts, device)?),
            Self::GradientHarmonizing(config) => {
                Loss::GradientHarmonizing(config.init(num_classes, device)?)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_of_the_settings_goes_before_that_of_the_recipe() {
        let counts = ClassCounts::new(vec![9, 1], vec![9, 1], 10).unwrap();
        let order = |seed| {
            let config = BalancedGroupSoftmaxConfig { seed, ..Default::default() };
            let config = ClassificationLossConfig::BalancedGroupSoftmax(config);
            let loss = config.with_default_seed(5).init(&counts, &longtail_testing::device());
            let ClassificationLoss::BalancedGroupSoftmax(loss) = loss.unwrap() else {
                panic!("another loss")
            };
            loss.next_order(0, 20)
        };
        assert_eq!(order(None), order(Some(5)));
        assert_ne!(order(None), order(Some(6)));
    }

    #[test]
    fn every_method_is_found_by_its_name() {
        for config in ClassificationLossConfig::all() {
            assert_eq!(ClassificationLossConfig::named(config.method()), Ok(config));
        }
        let message = ClassificationLossConfig::named("softmax").unwrap_err().to_string();
        assert!(
            message.starts_with("unknown method \"softmax\"; known: cross-entropy, "),
            "{message}"
        );
    }
}
