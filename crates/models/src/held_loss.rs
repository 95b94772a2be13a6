//! A classification loss inside a model.

use burn::module::{
    Content, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper, ModuleVisitor,
};
use burn::tensor::Device;
use longtail_losses::ClassificationLoss;

/// Carries a classification loss along with a detector.
///
/// It moves between devices with the model. Visitors and mappers do not see it: its tables and
/// statistics are no parameters, so that optimizers, averages and weight files leave them alone.
/// Save them with [`Detector::loss_state`](crate::Detector::loss_state).
#[derive(Debug, Clone)]
pub(crate) struct HeldLoss(ClassificationLoss);

impl HeldLoss {
    /// Takes the loss in.
    pub(crate) fn new(loss: ClassificationLoss) -> Self {
        Self(loss)
    }

    /// The loss.
    pub(crate) fn get(&self) -> &ClassificationLoss {
        &self.0
    }

    /// The loss, to apply statistics to.
    pub(crate) fn get_mut(&mut self) -> &mut ClassificationLoss {
        &mut self.0
    }
}

impl Module for HeldLoss {
    fn visit<V: ModuleVisitor>(&self, _visitor: &mut V) {}

    fn map<M: ModuleMapper>(self, _mapper: &mut M) -> Self {
        self
    }

    fn to_device(self, device: &Device) -> Self {
        Self(self.0.to_device(&device.clone().without_autodiff()))
    }

    fn fork(self, device: &Device) -> Self {
        self.to_device(device)
    }

    fn collect_devices(&self, devices: Vec<Device>) -> Vec<Device> {
        self.0.collect_devices(devices)
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
        content.add_formatted(&self.0.layout().method()).optional()
    }
}

impl ModuleDisplay for HeldLoss {}
