//! Memory-augmented feature sampling of LOCE: regions of earlier images join the batch.

use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::module::{
    Content, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper, ModuleVisitor,
};
use burn::tensor::{Bool, Device, IndexingUpdateOp, Int, Tensor};
use longtail_losses::{Labels, RowLabels};
use longtail_ops::BoxCoder;
use longtail_types::{BBox, Instance, KeyedRng, Stream};
use serde::{Deserialize, Serialize};

use crate::detector_losses::StepKey;
use crate::error::ModelError;
use crate::host::{upload, upload_indices};
use crate::rcnn::check::check_positive;

/// Added to a mean score before it is inverted; the authors'.
const LEAST_SCORE: f32 = 1e-7;
/// Ways to move each of the four borders of a box down or up.
const NUM_MOVES: usize = 16;

/// Configuration of the memory of features. Defaults: the authors'.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FeatureMemoryConfig {
    /// Regions kept of each class. Memory: `num_classes * queue * channels * size^2` floats, 4 MB
    /// for each class at 80 regions of 256 x 7 x 7, so 4.8 GB for the 1203 classes of LVIS; checkpoints
    /// hold it too. Default: 80.
    pub queue: usize,
    /// Classes drawn in each step, with repetition. Default: 8.
    pub classes: usize,
    /// Regions drawn of each of these classes, with repetition. Default: 4.
    pub regions_per_class: usize,
    /// A border moves by up to this part of the width or height. Default: 1/6.
    pub jitter: f32,
}

impl Default for FeatureMemoryConfig {
    fn default() -> Self {
        Self { queue: 80, classes: 8, regions_per_class: 4, jitter: 1.0 / 6.0 }
    }
}

impl FeatureMemoryConfig {
    pub(crate) fn init(self, num_classes: usize) -> Result<FeatureMemory, ModelError> {
        check_positive("feature_memory.queue", self.queue)?;
        check_positive("feature_memory.classes", self.classes)?;
        check_positive("feature_memory.regions_per_class", self.regions_per_class)?;
        if !(0.0..0.5).contains(&self.jitter) {
            let (name, value) = ("feature_memory.jitter", self.jitter.to_string());
            return Err(ModelError::InvalidValue { name, value, expected: "in [0, 0.5)" });
        }
        Ok(FeatureMemory { config: self, num_classes, content: Mutex::new(None) })
    }
}

/// The last regions of each class, and how many there were, until the queue is full: then the queue
/// and the next place.
#[derive(Debug, Clone)]
struct MemoryContent {
    features: Tensor<2>, // [num_classes * queue, channels * size * size]
    offsets: Tensor<2>,  // [num_classes * queue, 4]
    counts: Tensor<1>,   // [num_classes]
}

/// Features of regions of earlier images, drawn in inverse proportion to the mean scores of their
/// classes, so that the classifier meets classes more often that it scores low.
///
/// For each object 16 boxes are made by moving its four borders down or up by a random part of the
/// width or height. Their pooled features, cut off from the backbone, and offsets to the object go
/// into a queue of their class. In each step some classes are drawn with probability proportional to
/// `1 / (s_j + 1e-7)`, and some regions of each; a class without any gives none. They join the
/// regions of the batch in the classification loss, and their offsets in the box loss.
///
/// Everything stays on the device. The memory changes in a forward pass that trains, as running
/// statistics do; optimizers, averages and weight files do not see it, and
/// [`Detector::loss_state`](crate::Detector::loss_state) has it as `memory.*`. Replicas have a
/// memory each, of which a checkpoint holds the first.
///
/// Source: Feng et al., LOCE, ICCV 2021, <https://arxiv.org/abs/2108.07507>.
#[derive(Debug)]
pub struct FeatureMemory {
    config: FeatureMemoryConfig,
    num_classes: usize,
    content: Mutex<Option<MemoryContent>>,
}

/// Boxes around the objects of a batch.
pub(crate) struct ObjectBoxes {
    /// Of each image.
    pub(crate) boxes: Vec<Vec<BBox>>,
    labels: Vec<usize>,
    /// Four for each box.
    offsets: Vec<f32>,
}

/// Regions drawn from the memory.
#[derive(Debug, Clone)]
pub(crate) struct DrawnRegions {
    /// `[rows, channels, size, size]`
    pub(crate) features: Tensor<4>,
    /// `[rows]`
    pub(crate) labels: Tensor<1, Int>,
    /// `[rows, 4]`
    pub(crate) offsets: Tensor<2>,
    /// 1 where there is a region, `[rows]`.
    pub(crate) is_there: Tensor<1>,
    shares: Tensor<1>,
}

impl FeatureMemory {
    /// Sixteen boxes around each object, inside its image.
    pub(crate) fn boxes(
        &self,
        targets: &[Vec<Instance>],
        sizes: &[[usize; 2]],
        coder: &BoxCoder,
        key: StepKey,
    ) -> ObjectBoxes {
        let (mut labels, mut offsets) = (Vec::new(), Vec::new());
        let images = targets.iter().zip(sizes).enumerate();
        let boxes = images.map(|(image, (instances, &size))| {
            let index = 1 + key.first_image + image as u64;
            let mut rng = KeyedRng::new(key.seed, Stream::FeatureMemory, key.step, index);
            let mut boxes = Vec::new();
            for &Instance { label, bbox, .. } in instances {
                for which in 0..NUM_MOVES {
                    let mut moved = bbox.to_array();
                    for (border, value) in moved.iter_mut().enumerate() {
                        let length = if border % 2 == 0 { bbox.width() } else { bbox.height() };
                        let sign = if which >> border & 1 == 0 { -1.0 } else { 1.0 };
                        *value += sign * self.config.jitter * rng.unit() as f32 * length;
                    }
                    let moved = BBox::from(moved).clip(size);
                    let moved = if moved.is_empty() { bbox } else { moved };
                    boxes.push(moved);
                    labels.push(label);
                    offsets.extend(coder.encode(moved, bbox));
                }
            }
            boxes
        });
        let boxes = boxes.collect();
        ObjectBoxes { boxes, labels, offsets }
    }

    /// Puts the features of these boxes into the queues. `features` may have more rows at the end.
    ///
    /// # Shapes
    /// - features: `[rows, channels, size, size]`
    pub(crate) fn push(&self, boxes: ObjectBoxes, features: Tensor<4>) {
        let num_rows = boxes.labels.len();
        let [_, channels, height, width] = features.dims();
        let (length, queue) = (channels * height * width, self.config.queue);
        let device = features.device().without_autodiff();
        let mut content = self.lock();
        let old = content.take().unwrap_or_else(|| MemoryContent {
            features: Tensor::zeros([self.num_classes * queue, length], &device),
            offsets: Tensor::zeros([self.num_classes * queue, 4], &device),
            counts: Tensor::zeros([self.num_classes], &device),
        });
        // No more than a queue of a class: later rows would overwrite earlier ones.
        let mut added = vec![0_usize; self.num_classes];
        let (mut kept, mut labels, mut places) = (Vec::new(), Vec::new(), Vec::new());
        for (row, &label) in boxes.labels.iter().enumerate() {
            if added[label] < queue {
                kept.push(row);
                labels.push(label);
                places.push(added[label] as f32);
                added[label] += 1;
            }
        }
        if kept.is_empty() {
            *content = Some(old);
            return;
        }
        let labels = upload_indices(&labels, &device);
        let places = upload(places, [kept.len()], &device);
        let slots = (old.counts.clone().select(0, labels.clone()) + places)
            .remainder_scalar(queue as f32)
            .int();
        let rows = labels * queue as i64 + slots;
        let kept = upload_indices(&kept, &device);
        let features = features.without_autodiff().narrow(0, 0, num_rows);
        let features = features.reshape([num_rows, length]).select(0, kept.clone());
        let offsets = upload(boxes.offsets, [num_rows, 4], &device).select(0, kept);
        let added = added.into_iter().map(|count| count as f32).collect();
        *content = Some(MemoryContent {
            features: overwrite(old.features, rows.clone(), features),
            offsets: overwrite(old.offsets, rows, offsets),
            counts: self.wrapped(old.counts + upload(added, [self.num_classes], &device)),
        });
    }

    /// Counts below twice the queue, which say as much of the place and of the number that is there:
    /// f32 holds them for ever.
    fn wrapped(&self, counts: Tensor<1>) -> Tensor<1> {
        let queue = self.config.queue as f32;
        let is_full = counts.clone().greater_equal_elem(queue).float();
        counts.remainder_scalar(queue) + is_full * queue
    }

    /// Draws regions by the mean scores `[num_classes]`; `None` before the first
    /// [`push`](Self::push). `shape` is that of a region, `[channels, size, size]`.
    pub(crate) fn draw(
        &self,
        mean_scores: Tensor<1>,
        [channels, height, width]: [usize; 3],
        key: StepKey,
    ) -> Option<DrawnRegions> {
        let MemoryContent { features, offsets, counts } = self.lock().clone()?;
        let (device, queue) = (counts.device(), self.config.queue);
        let mut rng = KeyedRng::new(key.seed, Stream::FeatureMemory, key.step, 0);
        let [classes, regions] = [self.config.classes, self.config.regions_per_class];
        let num_rows = classes * regions;
        let of_class: Vec<f32> = (0..classes).map(|_| rng.unit() as f32).collect();
        let of_class = of_class.iter().flat_map(|&unit| std::iter::repeat_n(unit, regions));
        let of_class = upload(of_class.collect(), [num_rows, 1], &device);
        let of_region =
            upload((0..num_rows).map(|_| rng.unit() as f32).collect(), [num_rows], &device);

        let inverse: Tensor<1> = 1.0 / (mean_scores.without_autodiff() + LEAST_SCORE);
        let bounds = inverse.clone().cumsum(0) / inverse.sum();
        let shape = [num_rows, self.num_classes];
        let is_past = bounds.unsqueeze::<2>().expand(shape).lower_equal(of_class.expand(shape));
        let labels = is_past.int().sum_dim(1).squeeze_dim::<1>(1);
        let labels = labels.clamp(0, self.num_classes as i64 - 1);

        let present = counts.clamp_max(queue as f32).select(0, labels.clone());
        let is_there = present.clone().greater_equal_elem(1.0).float();
        let slots = (of_region * present.clone()).floor();
        let slots = slots.min_pair((present - 1.0).clamp_min(0.0)).int();
        let rows = labels.clone() * queue as i64 + slots;
        let features = features.select(0, rows.clone());
        // All drawn regions of a class count as one object.
        let of_classes = Tensor::<1>::zeros([self.num_classes], &device);
        let of_classes =
            of_classes.select_assign(0, labels.clone(), is_there.clone(), IndexingUpdateOp::Add);
        let shares = 1.0 / of_classes.select(0, labels.clone()).clamp_min(1.0);
        Some(DrawnRegions {
            features: features.reshape([num_rows, channels, height, width]),
            offsets: offsets.select(0, rows),
            labels,
            is_there,
            shares,
        })
    }

    /// The memory by name; empty before training. Large: see [`FeatureMemoryConfig::queue`].
    pub(crate) fn state(&self) -> Vec<(String, Tensor<1>)> {
        let Some(MemoryContent { features, offsets, counts }) = self.lock().clone() else {
            return Vec::new();
        };
        vec![
            ("memory.features".into(), features.flatten(0, 1)),
            ("memory.offsets".into(), offsets.flatten(0, 1)),
            ("memory.counts".into(), counts),
        ]
    }

    /// Puts a saved memory back: all of it, or nothing for an untrained one.
    ///
    /// # Errors
    /// If it is of another number of classes or another length of the queues.
    pub(crate) fn load_state(&self, state: Vec<(String, Tensor<1>)>) -> Result<(), String> {
        if state.is_empty() {
            *self.lock() = None;
            return Ok(());
        }
        let find = |name: &str| {
            let found = state.iter().find(|(key, _)| key == name);
            let tensor = found.map(|(_, tensor)| tensor.clone().without_autodiff());
            tensor.ok_or_else(|| format!("{name} is missing"))
        };
        let num_rows = self.num_classes * self.config.queue;
        let rows = |name: &str| {
            let tensor = find(name)?;
            let [length] = tensor.dims();
            if length == 0 || !length.is_multiple_of(num_rows) {
                return Err(format!("{name} has {length} values, expected {num_rows} rows"));
            }
            Ok(tensor.reshape([num_rows, length / num_rows]))
        };
        let (features, offsets) = (rows("memory.features")?, rows("memory.offsets")?);
        let counts = find("memory.counts")?;
        let ([width], [_, columns]) = (counts.dims(), offsets.dims());
        if width != self.num_classes || columns != 4 {
            return Err(format!("memory.counts has {width} values, expected {}", self.num_classes));
        }
        *self.lock() = Some(MemoryContent { features, offsets, counts });
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Option<MemoryContent>> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with(&self, content: Option<MemoryContent>) -> Self {
        Self { config: self.config, num_classes: self.num_classes, content: Mutex::new(content) }
    }
}

/// `rows` of `table` replaced; each row once.
fn overwrite(table: Tensor<2>, rows: Tensor<1, Int>, values: Tensor<2>) -> Tensor<2> {
    let old = table.clone().select(0, rows.clone());
    // Adding the difference rounds, so the rows are cleared first: x - x is 0.
    let cleared = table.select_assign(0, rows.clone(), -old, IndexingUpdateOp::Add);
    cleared.select_assign(0, rows, values, IndexingUpdateOp::Add)
}

impl DrawnRegions {
    /// Labels of the regions of a batch, then of the drawn ones.
    pub(crate) fn join(&self, mut labels: RowLabels, num_rows: usize) -> RowLabels {
        let Labels::Classes(of_rows) = labels.labels else { return labels };
        let device = of_rows.device();
        let none = || Tensor::<1>::zeros([num_rows], &device).greater_elem(0.5);
        let ignore = labels.ignore.unwrap_or_else(none);
        let is_absent = self.is_there.clone().lower_elem(0.5);
        let ones = || Tensor::ones([num_rows], &device);
        let shares = vec![labels.object_shares.unwrap_or_else(ones), self.shares.clone()];
        labels.labels = Labels::Classes(Tensor::cat(vec![of_rows, self.labels.clone()], 0));
        labels.ignore = Some(Tensor::<1, Bool>::cat(vec![ignore, is_absent], 0));
        labels.object_shares = Some(Tensor::cat(shares, 0));
        labels
    }
}

impl Clone for FeatureMemory {
    fn clone(&self) -> Self {
        self.with(self.lock().clone())
    }
}

impl Module for FeatureMemory {
    fn visit<V: ModuleVisitor>(&self, _visitor: &mut V) {}

    fn map<M: ModuleMapper>(self, _mapper: &mut M) -> Self {
        self
    }

    fn to_device(self, device: &Device) -> Self {
        let device = device.clone().without_autodiff();
        let content = self.lock().clone();
        self.with(content.map(|content| MemoryContent {
            features: content.features.to_device(&device),
            offsets: content.offsets.to_device(&device),
            counts: content.counts.to_device(&device),
        }))
    }

    fn fork(self, device: &Device) -> Self {
        self.to_device(device)
    }

    fn collect_devices(&self, devices: Vec<Device>) -> Vec<Device> {
        devices
    }

    fn materialize(self) -> Self {
        self
    }

    /// Without what only training needs.
    fn valid(&self) -> Self {
        self.with(None)
    }

    fn train(self) -> Self {
        self
    }
}

impl ModuleDisplayDefault for FeatureMemory {
    fn content(&self, content: Content) -> Option<Content> {
        content.add_formatted(&format!("{:?}", self.config)).optional()
    }
}

impl ModuleDisplay for FeatureMemory {}

#[cfg(test)]
mod tests;
