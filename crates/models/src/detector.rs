//! Images to boxes and masks.

use burn::module::Module;
use burn::tensor::Tensor;
use longtail_losses::{CalibrationConfig, ClassificationLoss, LossError, StatisticsUpdate};
use longtail_ops::ImageBatch;
use longtail_types::{ClassCounts, Detection, Instance};

use crate::detector_losses::{DetectorLosses, StepKey};
use crate::error::ModelError;
use crate::held_loss::HeldLoss;
use crate::host::{HostRead, blocking};
use crate::raw_detection::RawDetection;
use crate::rcnn::{FeatureMemory, RCnn};
use crate::retinanet::RetinaNet;

/// What of a detector stops training.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FreezeScope {
    /// The first stages of the backbone: 0 none, 1 the stem, 2 also the first stage, up to 5. As
    /// torchvision's `trainable_backbone_layers`, counted from the other end.
    BackboneStages(usize),
    /// Everything but the layer that gives the class logits: the second phase of decoupled training.
    AllButClassifier,
}

/// An object detector, made by [`DetectorConfig::init`](crate::DetectorConfig::init).
///
/// Its parameters have torchvision's names and shapes, with background last; see
/// [`load_weights`](Self::load_weights).
#[allow(clippy::large_enum_variant, reason = "a program has one or two detectors")]
#[derive(Module, Debug)]
pub enum Detector {
    /// Faster, Mask or Cascade R-CNN.
    RCnn(RCnn),
    /// One stage.
    RetinaNet(RetinaNet),
}

impl Detector {
    /// The losses of a batch by name. Changes nothing but the running statistics of batch norms that
    /// train, and a memory of features: hand the updates of the losses to [`apply`](Self::apply)
    /// after the step.
    ///
    /// `targets` lists the objects of each image in the pixels of the batch. `key` decides which
    /// anchors and regions are chosen.
    ///
    /// # Errors
    /// If the lists of the batch disagree, an object can't be learned (label out of range, box
    /// without area, no mask), or numbers can't be read back from the device.
    pub fn losses(
        &self,
        batch: &ImageBatch,
        targets: &[Vec<Instance>],
        key: StepKey,
    ) -> Result<DetectorLosses, ModelError> {
        match self {
            Self::RCnn(detector) => detector.losses(batch, targets, key),
            Self::RetinaNet(detector) => detector.losses(batch, targets),
        }
    }

    /// Detections of each image by falling score, in the pixels of the batch. Call it on
    /// [`valid`](Module::valid), or batch norms that train would use the batch's statistics.
    ///
    /// # Errors
    /// If the lists of the batch disagree, or the results can't be read back.
    pub fn detect(&self, batch: &ImageBatch) -> Result<Vec<Vec<Detection>>, ModelError> {
        let found = self.predict(batch)?.into_iter().zip(&batch.sizes);
        let drawn = found.map(|(found, &size)| {
            found.into_iter().map(|detection| detection.resized(size, size)).collect()
        });
        Ok(drawn.collect())
    }

    /// As [`detect`](Self::detect), but masks are not drawn yet:
    /// [`RawDetection::resized`] does that at the image's original size, where they are sharper.
    ///
    /// # Errors
    /// As [`detect`](Self::detect).
    pub fn predict(&self, batch: &ImageBatch) -> Result<Vec<Vec<RawDetection>>, ModelError> {
        blocking(self.predict_by(HostRead::Blocking, batch))
    }

    /// As [`predict`](Self::predict), without blocking the thread while the device computes: a
    /// browser has no other way to read from a GPU. The same numbers.
    ///
    /// # Errors
    /// As [`predict`](Self::predict).
    pub async fn predict_async(
        &self,
        batch: &ImageBatch,
    ) -> Result<Vec<Vec<RawDetection>>, ModelError> {
        self.predict_by(HostRead::Yielding, batch).await
    }

    async fn predict_by(
        &self,
        how: HostRead,
        batch: &ImageBatch,
    ) -> Result<Vec<Vec<RawDetection>>, ModelError> {
        match self {
            Self::RCnn(detector) => detector.predict_by(how, batch).await,
            Self::RetinaNet(detector) => detector.predict_by(how, batch).await,
        }
    }

    /// A copy for inference alone: outside autodiff, with batch norms folded into the convolutions.
    /// Same detections up to rounding. Its tensors are not those of a weight file any more; save the
    /// detector it was made from.
    #[must_use]
    pub fn for_inference(&self) -> Self {
        match self.valid() {
            Self::RCnn(detector) => Self::RCnn(detector.for_inference()),
            Self::RetinaNet(detector) => Self::RetinaNet(detector.for_inference()),
        }
    }

    /// Corrects the scores of detections for the counts of the training set from now on, in every
    /// stage; `None` takes it back. Losses do not see it. Cascades average the corrected scores.
    ///
    /// # Errors
    /// If the calibration does not fit the loss; see [`CalibrationConfig::init`].
    pub fn calibrate(
        &mut self,
        calibration: Option<&CalibrationConfig>,
        counts: &ClassCounts,
    ) -> Result<(), ModelError> {
        let device = self.devices().into_iter().next().unwrap_or_default();
        for held in self.held_losses_mut() {
            let fitted = calibration.map(|config| config.init(counts, held.get(), &device));
            held.set_calibration(fitted.transpose()?);
        }
        Ok(())
    }

    /// Number of classes, without background.
    pub fn num_classes(&self) -> usize {
        self.classification_losses().first().map_or(0, |loss| loss.num_classes())
    }

    /// Whether detections have masks, and objects need them.
    pub fn has_masks(&self) -> bool {
        match self {
            Self::RCnn(detector) => detector.has_masks(),
            Self::RetinaNet(_) => false,
        }
    }

    /// The classification losses: one, or one per stage of a cascade.
    pub fn classification_losses(&self) -> Vec<&ClassificationLoss> {
        match self {
            Self::RCnn(detector) => {
                detector.roi_heads.stages.iter().map(|stage| stage.loss.get()).collect()
            }
            Self::RetinaNet(detector) => vec![detector.classification_loss()],
        }
    }

    fn classification_losses_mut(&mut self) -> Vec<&mut ClassificationLoss> {
        self.held_losses_mut().into_iter().map(HeldLoss::get_mut).collect()
    }

    fn held_losses_mut(&mut self) -> Vec<&mut HeldLoss> {
        match self {
            Self::RCnn(detector) => {
                detector.roi_heads.stages.iter_mut().map(|stage| &mut stage.loss).collect()
            }
            Self::RetinaNet(detector) => vec![&mut detector.loss],
        }
    }

    /// Adds what [`losses`](Self::losses) gave to the statistics. Call it after the step, in training
    /// only.
    ///
    /// # Errors
    /// If the updates are not this detector's.
    pub fn apply(&mut self, updates: Vec<StatisticsUpdate>) -> Result<(), ModelError> {
        let losses = self.classification_losses_mut();
        let (expected, found) = (losses.len(), updates.len());
        if found != expected {
            return Err(ModelError::LossCount { what: "updates of statistics", expected, found });
        }
        for (loss, update) in losses.into_iter().zip(updates) {
            loss.apply(update)?;
        }
        Ok(())
    }

    /// The statistics of the classification losses by name, for a checkpoint; empty for stateless
    /// losses; and the memory of features, if there is one. Those of a cascade are called `stage1.*`
    /// and so on. Neither records nor weight files have them.
    pub fn loss_state(&self) -> Vec<(String, Tensor<1>)> {
        let losses = self.classification_losses();
        let prefixes = prefixes(losses.len());
        let named = losses.into_iter().zip(prefixes).flat_map(|(loss, prefix)| {
            loss.state().into_iter().map(move |(name, value)| (format!("{prefix}{name}"), value))
        });
        let memory = self.memory().map(FeatureMemory::state).unwrap_or_default();
        named.chain(memory).collect()
    }

    fn memory(&self) -> Option<&FeatureMemory> {
        match self {
            Self::RCnn(detector) => detector.roi_heads.memory.as_ref(),
            Self::RetinaNet(_) => None,
        }
    }

    /// Puts saved statistics back.
    ///
    /// # Errors
    /// If a name or a length is not this detector's.
    pub fn load_loss_state(&mut self, state: Vec<(String, Tensor<1>)>) -> Result<(), ModelError> {
        let is_memory = |(name, _): &(String, Tensor<1>)| name.starts_with("memory.");
        let (memory, mut state): (Vec<_>, Vec<_>) = match self.memory() {
            Some(_) => state.into_iter().partition(is_memory),
            None => (Vec::new(), state),
        };
        if let Some(Err(message)) = self.memory().map(|held| held.load_state(memory)) {
            return Err(LossError::State { method: "feature_memory", message }.into());
        }
        let losses = self.classification_losses_mut();
        let expected = losses.len();
        for (loss, prefix) in losses.into_iter().zip(prefixes(expected)) {
            let is_own = |(name, _): &(String, Tensor<1>)| name.starts_with(&prefix);
            let (own, others): (Vec<_>, Vec<_>) = state.into_iter().partition(is_own);
            let strip = |(name, value): (String, _)| (name[prefix.len()..].to_owned(), value);
            loss.load_state(own.into_iter().map(strip).collect())?;
            state = others;
        }
        match (state.first(), self.classification_losses().first()) {
            (Some((name, _)), Some(loss)) => {
                let message = format!("{name} is not a statistic of this detector");
                Err(LossError::State { method: loss.layout().method(), message }.into())
            }
            _ => Ok(()),
        }
    }

    /// Stops the training of some of the parameters; batch norms among them use their running
    /// statistics from then on. [`unfreeze`](Module::unfreeze) takes it back.
    #[must_use]
    pub fn freeze_scope(self, scope: FreezeScope) -> Self {
        match (self, scope) {
            (Self::RCnn(mut detector), FreezeScope::BackboneStages(count)) => {
                detector.backbone.body = detector.backbone.body.freeze_stages(count);
                Self::RCnn(detector)
            }
            (Self::RCnn(detector), FreezeScope::AllButClassifier) => {
                let mut detector = detector.freeze();
                for stage in &mut detector.roi_heads.stages {
                    let classifier = stage.box_predictor.cls_score.clone();
                    stage.box_predictor.cls_score = classifier.unfreeze();
                }
                Self::RCnn(detector)
            }
            (Self::RetinaNet(mut detector), FreezeScope::BackboneStages(count)) => {
                detector.backbone.body = detector.backbone.body.freeze_stages(count);
                Self::RetinaNet(detector)
            }
            (Self::RetinaNet(detector), FreezeScope::AllButClassifier) => {
                let mut detector = detector.freeze();
                let tower = &mut detector.head.classification_head;
                tower.cls_logits = tower.cls_logits.clone().unfreeze();
                Self::RetinaNet(detector)
            }
        }
    }
}

/// What stands before the names of each loss's statistics.
fn prefixes(count: usize) -> Vec<String> {
    match count {
        1 => vec![String::new()],
        _ => (1..=count).map(|stage| format!("stage{stage}.")).collect(),
    }
}
