//! Data parallelism: one model on every device, each with its part of every batch.
//!
//! The batch of a recipe is that of all devices together. It is cut into runs of images whose
//! lengths differ by one at most, so every replica sees the same number of batches; one without an
//! image in a small last batch waits. A replica's loss is weighted by its share of what the loss is
//! a mean over (images, anchors, regions), and gradients are summed, so a step is that of one
//! device with the whole batch. Batch norms that train use the statistics of their own images, as
//! anywhere without synchronised batch norm; the running ones are averaged after every step.
//!
//! Every replica has an optimizer of its own and makes the same step, so weights are never copied.

use std::sync::mpsc::channel;

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};
use longtail_kernels::read_floats;
use longtail_losses::StatisticsUpdate;

use crate::error::TrainingError;
use crate::exchange::{average_buffers, flat_floats, sum_gradients, sum_updates};
use crate::learner::Learner;
use crate::replica_group::ReplicaGroup;
use crate::tensors::NamedTensors;
use crate::window::{Window, WindowSums};
use crate::workers::Worker;

/// How far weights of replicas may lie apart, as part of the largest value of their tensor.
const TOLERANCE: f32 = 1e-4;

/// A model in training on one device.
pub(crate) trait Replica: Send + 'static {
    type Model: Module;

    fn learner(&self) -> &Learner<Self::Model>;

    fn learner_mut(&mut self) -> &mut Learner<Self::Model>;

    /// Takes what the batches since the last step add to statistics: one update per loss, or none
    /// without an image.
    fn take_updates(&mut self) -> Vec<StatisticsUpdate>;

    /// Adds to the statistics.
    fn apply(&mut self, updates: Vec<StatisticsUpdate>) -> Result<(), TrainingError>;
}

/// The replicas of a run.
#[derive(Debug)]
pub(crate) struct Replicas<R> {
    pub(crate) main: R,
    others: Vec<R>,
    workers: Vec<Worker>,
    group: ReplicaGroup,
}

impl<R: Replica> Replicas<R> {
    /// `others` are in the order of the devices of `group`.
    pub(crate) fn new(main: R, others: Vec<R>, group: ReplicaGroup) -> Self {
        let workers = others.iter().map(|_| Worker::spawn()).collect();
        Self { main, others, workers, group }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        1 + self.others.len()
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &R> {
        [&self.main].into_iter().chain(&self.others)
    }

    pub(crate) fn all_mut(&mut self) -> impl Iterator<Item = &mut R> {
        [&mut self.main].into_iter().chain(&mut self.others)
    }

    /// Does the same on all replicas at once, with an input for each.
    /// # Panics
    /// If a replica does, or there is not one input for each.
    pub(crate) fn each<I: Send + 'static, O: Send + 'static>(
        &mut self,
        inputs: Vec<I>,
        work: impl Fn(&mut R, I) -> O + Clone + Send + 'static,
    ) -> Vec<O> {
        assert_eq!(inputs.len(), self.len(), "inputs of replicas");
        let mut inputs = inputs.into_iter();
        let first = inputs.next();
        let others = self.others.drain(..).zip(&self.workers).zip(inputs);
        let waiting: Vec<_> = others
            .map(|((mut replica, worker), input)| {
                let (done, output) = channel();
                let work = work.clone();
                worker.start(move || {
                    let output = work(&mut replica, input);
                    drop(done.send((replica, output)));
                });
                output
            })
            .collect();
        let mut outputs: Vec<O> =
            first.into_iter().map(|first| work(&mut self.main, first)).collect();
        for (output, worker) in waiting.into_iter().zip(&mut self.workers) {
            let Ok((replica, output)) = output.recv() else { worker.fail() };
            self.others.push(replica);
            outputs.push(output);
        }
        outputs
    }

    /// Moves the parameters of all replicas by their gradients together, and adds the statistics of
    /// all to those of each.
    pub(crate) fn step(&mut self, lr: f64) -> Result<(), TrainingError> {
        let mut gradients: Vec<GradientsParams> =
            self.all_mut().map(|replica| replica.learner_mut().take_gradients()).collect();
        let mut updates: Vec<_> = self.all_mut().map(Replica::take_updates).collect();
        if !self.others.is_empty() {
            let models: Vec<&R::Model> = self.all().map(|r| &r.learner().model).collect();
            gradients = sum_gradients(&self.group, &models, gradients);
            let devices: Vec<Device> = self.all().map(|r| r.learner().device().clone()).collect();
            updates = sum_updates(&self.group, &updates, &devices);
        }
        let inputs = gradients.into_iter().zip(updates).collect();
        let results = self.each(inputs, move |replica, (gradients, updates)| {
            replica.learner_mut().update(lr, gradients);
            replica.apply(updates)
        });
        if !self.others.is_empty() {
            let group = self.group.clone();
            let mut models: Vec<_> = self.all_mut().map(|r| &mut r.learner_mut().model).collect();
            average_buffers(&group, &mut models);
        }
        results.into_iter().collect()
    }

    /// Reads the losses of all replicas back, and starts anew.
    pub(crate) fn take_window(&mut self) -> Result<WindowSums, TrainingError> {
        let mut window = self.main.learner_mut().window.take()?;
        for other in &mut self.others {
            window.add(&other.learner_mut().window.take()?);
        }
        Ok(window)
    }

    /// The tensors of the run, on the host: those of the first replica, with the losses of all.
    pub(crate) fn collect(&self) -> Result<NamedTensors, TrainingError> {
        let mut tensors = self.main.learner().collect()?;
        let windows = self.all().map(|replica| &replica.learner().window);
        if let Some(sums) = Window::collect(windows)? {
            tensors.insert("window".into(), sums);
        }
        Ok(tensors)
    }

    /// Puts the tensors of a checkpoint into every replica. What is left over belongs to nothing.
    pub(crate) fn restore(
        mut self,
        tensors: &mut NamedTensors,
        restore: impl Fn(R, &mut NamedTensors) -> Result<R, String>,
    ) -> Result<Self, String> {
        for mut other in std::mem::take(&mut self.others) {
            other = restore(other, &mut tensors.clone())?;
            other.learner_mut().window = Window::default();
            self.others.push(other);
        }
        self.main = restore(self.main, tensors)?;
        Ok(self)
    }

    /// Compares the weights of all replicas with those of the first.
    /// # Errors
    /// Names the tensor that differs most.
    pub(crate) fn check(&self, step: u64) -> Result<(), TrainingError> {
        if self.others.is_empty() {
            return Ok(());
        }
        let floats: Vec<_> = self.all().map(|r| flat_floats(&r.learner().model)).collect();
        let (floats, names): (Vec<_>, Vec<_>) = floats.into_iter().unzip();
        let first = self.group.broadcast(&floats);
        let Some(names) = names.first() else { return Ok(()) };
        for (replica, (own, first)) in floats.into_iter().zip(first).enumerate().skip(1) {
            let mut largest = Vec::new();
            let mut start = 0;
            for (_, length) in names.iter().filter(|(_, length)| *length > 0) {
                let part =
                    |values: &Tensor<1>| values.clone().narrow(0, start, *length).abs().max();
                largest.push(part(&(own.clone() - first.clone())));
                largest.push(part(&first));
                start += length;
            }
            let largest = read_floats(Tensor::cat(largest, 0))?;
            let names = names.iter().filter(|(_, length)| *length > 0);
            for (pair, (name, _)) in largest.chunks_exact(2).zip(names) {
                let (difference, size) = (pair[0], pair[1]);
                if difference > TOLERANCE * size {
                    let name = name.clone();
                    return Err(TrainingError::Diverged { step, replica, name, difference, size });
                }
            }
        }
        Ok(())
    }
}

/// The share of each replica in a mean over all: its count over that of all. A single one has all.
pub(crate) fn shares(counts: &[f64]) -> Vec<f64> {
    if counts.len() == 1 {
        return vec![1.0];
    }
    let total: f64 = counts.iter().sum();
    counts.iter().map(|count| if total > 0.0 { count / total } else { 0.0 }).collect()
}

/// A loss times the share of its replica; 1 leaves it as it is.
pub(crate) fn weighted(loss: Tensor<1>, share: f64) -> Tensor<1> {
    if share == 1.0 { loss } else { loss.mul_scalar(share) }
}

#[cfg(test)]
mod tests;
