//! A classification loss inside a model.

use burn::module::{
    Content, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper, ModuleVisitor,
};
use burn::tensor::{Device, Tensor};
use longtail_losses::{ClassificationLoss, LossError, ScoreCalibration};

/// Carries a classification loss along with a detector, and the calibration of its scores.
///
/// It moves between devices with the model. Visitors and mappers do not see it: its tables and
/// statistics are no parameters, so that optimizers, averages and weight files leave them alone.
/// Save them with [`Detector::loss_state`](crate::Detector::loss_state).
#[derive(Debug, Clone)]
pub(crate) struct HeldLoss {
    loss: ClassificationLoss,
    calibration: Option<ScoreCalibration>,
}

impl HeldLoss {
    /// Takes the loss in.
    pub(crate) fn new(loss: ClassificationLoss) -> Self {
        Self { loss, calibration: None }
    }

    /// Scores at test time, `[rows, num_classes]`, calibrated if they are to be.
    pub(crate) fn scores(&self, logits: Tensor<2>) -> Result<Tensor<2>, LossError> {
        self.loss.calibrated_scores(logits, self.calibration.as_ref())
    }

    /// Corrects the scores from now on.
    pub(crate) fn set_calibration(&mut self, calibration: Option<ScoreCalibration>) {
        self.calibration = calibration;
    }

    /// The loss.
    pub(crate) fn get(&self) -> &ClassificationLoss {
        &self.loss
    }

    /// The loss, to apply statistics to.
    pub(crate) fn get_mut(&mut self) -> &mut ClassificationLoss {
        &mut self.loss
    }
}

impl Module for HeldLoss {
    fn visit<V: ModuleVisitor>(&self, _visitor: &mut V) {}

    fn map<M: ModuleMapper>(self, _mapper: &mut M) -> Self {
        self
    }

    fn to_device(self, device: &Device) -> Self {
        Self {
            loss: self.loss.to_device(&device.clone().without_autodiff()),
            calibration: self.calibration.map(|calibration| calibration.to_device(device)),
        }
    }

    fn fork(self, device: &Device) -> Self {
        self.to_device(device)
    }

    fn collect_devices(&self, devices: Vec<Device>) -> Vec<Device> {
        self.loss.collect_devices(devices)
    }

    fn materialize(self) -> Self {
        self
    }

    fn valid(&self) -> Self {
        self.clone()
    }

    fn train(self) -> Self {
        self
    }
}

impl ModuleDisplayDefault for HeldLoss {
    fn content(&self, content: Content) -> Option<Content> {
        content.add_formatted(&self.loss.layout().method()).optional()
    }
}

impl ModuleDisplay for HeldLoss {}
