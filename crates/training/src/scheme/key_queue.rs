//! Keys of earlier images, first in first out.

use burn::tensor::{Device, Int, Tensor, TensorData};
use longtail_kernels::read_back;
use longtail_losses::{Negatives, unit_rows};
use longtail_models::{Fill, WeightInit};

use crate::error::TrainingError;
use crate::tensors::NamedTensors;

const KEYS: &str = "queue.keys";
const LABELS: &str = "queue.labels";
const POSITION: &str = "queue.position";

/// The last keys and their labels, in `length * (width + 1) * 4` bytes outside autodiff.
#[derive(Debug)]
pub(super) struct KeyQueue {
    negatives: Negatives,
    /// Where the next batch goes.
    position: usize,
}

impl KeyQueue {
    /// Filled with random directions of no class (label `num_classes`), which are negatives of every
    /// image. `length` is a multiple of the batches that come.
    pub(super) fn new(
        [length, width]: [usize; 2],
        num_classes: usize,
        seed: u64,
        device: &Device,
    ) -> Self {
        let device = device.clone().without_autodiff();
        let init = WeightInit::new(seed, &device);
        let values = init.values("queue", length * width, Fill::Normal { std: 1.0 });
        let keys = Tensor::from_data(TensorData::new(values, [length, width]), &device);
        let labels = Tensor::full([length], num_classes as i64, &device);
        Self { negatives: Negatives { keys: unit_rows(keys), labels }, position: 0 }
    }

    pub(super) fn negatives(&self) -> &Negatives {
        &self.negatives
    }

    /// Puts the keys of a batch in the place of the oldest ones.
    pub(super) fn push(&mut self, keys: Tensor<2>, labels: Tensor<1, Int>) {
        let [length, width] = self.negatives.keys.dims();
        let rows = self.position..self.position + keys.dims()[0];
        self.position = rows.end % length;
        let Negatives { keys: old_keys, labels: old_labels } = self.negatives.clone();
        let labels = labels.without_autodiff().cast(old_labels.dtype());
        self.negatives = Negatives {
            keys: old_keys.slice_assign([rows.clone(), 0..width], keys.without_autodiff()),
            labels: old_labels.slice_assign([rows], labels),
        };
    }

    pub(super) fn collect(&self, tensors: &mut NamedTensors) -> Result<(), TrainingError> {
        tensors.insert(KEYS.into(), read_back(self.negatives.keys.clone())?);
        tensors.insert(LABELS.into(), read_back(self.negatives.labels.clone())?);
        tensors.insert(POSITION.into(), TensorData::from([self.position as i64]));
        Ok(())
    }

    pub(super) fn restore(self, tensors: &mut NamedTensors) -> Result<Self, String> {
        let Negatives { keys, labels } = self.negatives;
        let mut take = |name: &str| tensors.remove(name).ok_or(format!("`{name}` is missing"));
        let position = take(POSITION)?.iter::<i64>().next().unwrap_or(0).max(0) as usize;
        let (key_data, label_data) = (take(KEYS)?, take(LABELS)?);
        for (name, data, shape) in
            [(KEYS, &key_data, keys.dims().to_vec()), (LABELS, &label_data, labels.dims().to_vec())]
        {
            if data.shape().as_slice() != shape {
                return Err(format!("`{name}` has shape {:?}, not {shape:?}", data.shape()));
            }
        }
        let keys = Tensor::from_data(key_data, (&keys.device(), keys.dtype()));
        let labels = Tensor::from_data(label_data, (&labels.device(), labels.dtype()));
        Ok(Self { negatives: Negatives { keys, labels }, position })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use longtail_testing::{device, values};

    #[test]
    fn the_oldest_keys_go_first_and_a_checkpoint_keeps_the_place() {
        let device = device();
        let batch = |value: f32| {
            (Tensor::<2>::full([2, 3], value, &device), Tensor::<1, Int>::full([2], value, &device))
        };
        let new = || KeyQueue::new([4, 3], 7, 0, &device);
        let mut queue = new();
        let labels = |queue: &KeyQueue| -> Vec<i64> {
            read_back(queue.negatives().labels.clone()).unwrap().iter::<i64>().collect()
        };
        assert_eq!(labels(&queue), [7; 4]);
        for row in values(queue.negatives().keys.clone()).chunks(3) {
            assert!((row.iter().map(|v| v * v).sum::<f32>() - 1.0).abs() < 1e-5);
        }
        for value in [1.0, 2.0, 3.0] {
            let (keys, batch_labels) = batch(value);
            queue.push(keys, batch_labels);
        }
        assert_eq!(labels(&queue), [3, 3, 2, 2]);
        let mut tensors = NamedTensors::new();
        queue.collect(&mut tensors).unwrap();
        let mut queue = new().restore(&mut tensors).unwrap();
        assert!(tensors.is_empty());
        let (keys, batch_labels) = batch(4.0);
        queue.push(keys, batch_labels);
        assert_eq!(labels(&queue), [3, 3, 4, 4]);
        assert_eq!(values(queue.negatives().keys.clone())[5..7], [3.0, 4.0]);
    }
}
