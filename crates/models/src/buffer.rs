//! Module state that is saved and loaded but not trained.

use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::module::{
    Content, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper, ModuleVisitor, Param,
    ParamId,
};
use burn::tensor::{Device, Tensor};

/// A vector that a forward pass may update in place of the optimizer: running statistics.
///
/// Records, weight files and mappers see it like a parameter, but it never requires a gradient.
/// Unlike Burn's `RunningState`, a clone has a cell of its own, so that updating one model leaves
/// its copies alone, and what was written last is what is read and saved.
#[derive(Debug)]
pub struct Buffer {
    id: ParamId,
    value: Mutex<Tensor<1>>, // without autodiff
}

impl Buffer {
    /// Holds `value`, cut off from any gradient.
    pub fn new(value: Tensor<1>) -> Self {
        Self::with_id(ParamId::new(), value)
    }

    /// The current value, without autodiff.
    pub fn value(&self) -> Tensor<1> {
        self.lock().clone()
    }

    /// Replaces the value by a function of it.
    pub fn update(&self, change: impl FnOnce(Tensor<1>) -> Tensor<1>) {
        let mut value = self.lock();
        *value = change(value.clone()).without_autodiff();
    }

    fn with_id(id: ParamId, value: Tensor<1>) -> Self {
        Self { id, value: Mutex::new(value.without_autodiff()) }
    }

    fn lock(&self) -> MutexGuard<'_, Tensor<1>> {
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn param(&self) -> Param<Tensor<1>> {
        Param::initialized(self.id, self.value())
    }
}

impl Clone for Buffer {
    fn clone(&self) -> Self {
        Self::with_id(self.id, self.value())
    }
}

impl Module for Buffer {
    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        visitor.visit_float(&self.param());
    }

    fn map<M: ModuleMapper>(self, mapper: &mut M) -> Self {
        let (id, value, _) = mapper.map_float(self.param()).consume();
        Self::with_id(id, value)
    }

    fn to_device(self, device: &Device) -> Self {
        Self::with_id(self.id, self.value().to_device(device))
    }

    fn fork(self, device: &Device) -> Self {
        self.to_device(device)
    }

    fn collect_devices(&self, mut devices: Vec<Device>) -> Vec<Device> {
        let device = self.lock().device();
        if !devices.contains(&device) {
            devices.push(device);
        }
        devices
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

impl ModuleDisplayDefault for Buffer {
    fn content(&self, content: Content) -> Option<Content> {
        content.add_formatted(&format!("Buffer {:?}", self.lock().dims())).optional()
    }
}

impl ModuleDisplay for Buffer {}
