//! From the vector of a region to class logits and box offsets.

use burn::module::Module;
use burn::tensor::Tensor;
use longtail_kernels::to_single;
use longtail_losses::{Background, ClassificationLoss};

use crate::error::ModelError;
use crate::head::{ClassifierHead, HeadConfig};
use crate::linear::{Linear, LinearConfig};
use crate::weight_init::{Fill, WeightInit};

/// Class logits as the loss wants them, and four offsets for each class or for all together.
///
/// Parameter names are torchvision's `FastRCNNPredictor`. Background comes last: in the logits, and
/// in class-specific offsets where background is a column of the logits.
#[derive(Module, Debug)]
pub struct BoxPredictor {
    /// `[width] -> [num_logits]`
    pub cls_score: ClassifierHead,
    /// `[width] -> [num_groups * 4]`
    pub bbox_pred: Linear,
}

impl BoxPredictor {
    /// First weights as PyTorch's, and the loss's prior bias in the columns of the classes.
    ///
    /// # Errors
    /// If the classifier refuses its configuration or has no bias for the prior.
    pub fn new(
        classifier: &HeadConfig,
        width: usize,
        num_groups: usize,
        loss: &ClassificationLoss,
        init: &WeightInit,
    ) -> Result<Self, ModelError> {
        let cls_init = init.child("cls_score");
        let mut cls_score =
            classifier.init(width, loss.num_logits(), loss.prior_bias(), &cls_init)?;
        if let (Some(prior), true) = (loss.prior_bias(), loss.background().num_columns() > 0) {
            let limit = 1.0 / (width as f64).sqrt();
            let mut bias = cls_init.values("bias", loss.num_logits(), Fill::Uniform { limit });
            bias[..loss.num_classes()].fill(prior);
            let param = cls_init.param_from([loss.num_logits()], bias);
            match &mut cls_score {
                ClassifierHead::Linear(head) => head.bias = Some(param),
                ClassifierHead::Cosine(head) => head.bias = Some(param),
                ClassifierHead::ScaledLinear(head) => head.bias = Some(param),
                ClassifierHead::CausalNorm(_)
                | ClassifierHead::TauNormalized(_)
                | ClassifierHead::NearestMean(_) => {}
            }
        }
        let bbox_init = init.child("bbox_pred");
        let bbox_pred = LinearConfig::default().init(width, num_groups * 4, None, &bbox_init)?;
        Ok(Self { cls_score, bbox_pred })
    }

    /// # Shapes
    /// - vectors: `[num_rois, width]`
    /// - output: logits `[num_rois, num_logits]`, offsets `[num_rois, num_groups * 4]`
    pub fn forward(&self, vectors: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
        let vectors = to_single(vectors);
        (self.cls_score.forward(vectors.clone()), self.bbox_pred.forward(vectors))
    }
}

/// Groups of a class-specific output: one per class, and one for background where it is a column of
/// the logits, so that torchvision's weights fit whole.
pub(crate) fn num_class_groups(loss: &ClassificationLoss) -> usize {
    loss.num_classes() + usize::from(loss.background() == Background::Column)
}
