//! A classifier with a second head on its features.

use burn::module::Module;
use longtail_models::{Classifier, ClassifierHead, WeightInit};

use super::start::SchemeStart;
use crate::error::TrainingError;

/// Two heads on one backbone.
#[derive(Module, Debug)]
pub(crate) struct TwoHeads {
    /// The model that is evaluated.
    pub(super) classifier: Classifier,
    /// The head that learns from the labels of the batches as they come, by the loss of the recipe.
    pub(super) second: ClassifierHead,
}

impl SchemeStart {
    /// Adds the second head, of the kind of the first, and its loss.
    pub(super) fn two_heads(&mut self) -> Result<TwoHeads, TrainingError> {
        let (recipe, device) = (&self.recipe, &self.device);
        let loss = recipe.loss.clone().with_default_seed(recipe.seed).init(&self.counts, device)?;
        let init = WeightInit::new(recipe.seed, device).child("second_head");
        let num_features = self.model.num_features();
        let (num_logits, bias) = (loss.num_logits(), loss.prior_bias());
        let second = recipe.model.head.init(num_features, num_logits, bias, &init)?;
        self.losses.second = Some(loss);
        Ok(TwoHeads { classifier: self.model.clone(), second })
    }
}
