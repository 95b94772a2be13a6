//! What the last layer of the box classifier sees of a batch.

use burn::tensor::Tensor;
use longtail_ops::ImageBatch;
use longtail_types::Instance;

use crate::detector_input::{check_images, check_targets};
use crate::detector_losses::StepKey;
use crate::error::ModelError;
use crate::rcnn::two_stage::RCnn;

/// Regions of a batch as the classifier's last layer sees them, with what it should say.
#[derive(Debug, Clone)]
pub struct ClassifierRows {
    /// `[num_rows, width]`; there may be more rows than regions, which fill up.
    pub vectors: Tensor<2>,
    /// Label of each region, background is the number of classes.
    pub labels: Vec<usize>,
}

impl RCnn {
    /// The rows of the first box head for a batch: for methods that train its last layer alone. The
    /// device is waited for once, for the proposals.
    ///
    /// # Errors
    /// As [`losses`](Self::losses), and if there is no box head.
    pub fn classifier_rows(
        &self,
        batch: &ImageBatch,
        targets: &[Vec<Instance>],
        key: StepKey,
    ) -> Result<ClassifierRows, ModelError> {
        check_images(batch)?;
        check_targets(batch, targets, self.num_classes(), self.has_masks())?;
        let Some(stage) = self.roi_heads.stages.first() else {
            let (what, expected, found) = ("box heads", 1, 0);
            return Err(ModelError::LossCount { what, expected, found });
        };
        let features = self.backbone.forward(batch.images.clone());
        let [_, _, height, width] = batch.images.dims();
        let output = self.rpn.forward(&features, [height, width]);
        let proposals = self.rpn.proposals(&output, &batch.sizes, self.rpn.config().train)?;
        let regions = self.roi_heads.sample(proposals, targets, key);
        let objects = regions.iter().zip(targets).flat_map(|(regions, instances)| {
            let label = |object: &Option<usize>| object.map(|object| instances[object].label);
            regions.objects.iter().map(label)
        });
        let background = self.num_classes();
        let labels = objects.map(|label| label.unwrap_or(background)).collect();
        let boxes = regions.iter().map(|regions| regions.boxes.clone()).collect();
        let pooled = stage.pool(&features[..self.num_pooled_levels()], boxes);
        Ok(ClassifierRows { vectors: stage.box_head.forward(pooled), labels })
    }
}
