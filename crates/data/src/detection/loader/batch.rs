//! A batch of images with their objects.

use burn::tensor::{Device, Tensor, TensorData};
use longtail_ops::ImageBatch;
use longtail_types::{BBox, Instance};

use super::BatchPadding;
use crate::DataError;
use crate::batch::{even_lengths, front};
use crate::detection::{DetectionPipeline, DetectionSample};

/// Normalised images on the host, padded to one size, with their objects.
#[derive(Debug, Clone, PartialEq)]
pub struct DetectionBatch {
    /// `[len, 3, height, width]`, 0 in the padding
    pub images: Vec<f32>,
    /// `[height, width]`, padding included
    pub size: [usize; 2],
    /// `[height, width]` of each image without its padding.
    pub sizes: Vec<[usize; 2]>,
    /// Objects of each image, in its pixels after the transforms.
    pub targets: Vec<Vec<Instance>>,
    /// Index of each image in the data set.
    pub indices: Vec<usize>,
    /// Height and width of each image after the transforms over those in the data set. Where the
    /// transforms do no more than resize, boxes divided by it are those of the data set.
    pub scales: Vec<[f32; 2]>,
}

impl DetectionBatch {
    /// Puts samples together that `pipeline` has transformed; `indices` and original `[height,
    /// width]` come with each.
    ///
    /// # Errors
    /// If no allowed size holds the images.
    pub fn collate(
        pipeline: &DetectionPipeline,
        padding: &BatchPadding,
        samples: Vec<(usize, [usize; 2], DetectionSample)>,
    ) -> Result<Self, DataError> {
        let sizes: Vec<[usize; 2]> = samples.iter().map(|(.., sample)| sample.size()).collect();
        let size = padding.size(&sizes)?;
        let image_len = 3 * size[0] * size[1];
        let mut images = vec![0.0; samples.len() * image_len];
        let (mut targets, mut indices, mut scales) = (Vec::new(), Vec::new(), Vec::new());
        let planes = images.chunks_exact_mut(image_len.max(1));
        for ((index, original, sample), planes) in samples.into_iter().zip(planes) {
            pipeline.normalize(&sample.image, planes, size);
            let now = sample.size();
            let scale = |axis: usize| (now[axis] as f64 / original[axis].max(1) as f64) as f32;
            scales.push([scale(0), scale(1)]);
            indices.push(index);
            targets.push(sample.instances);
        }
        Ok(Self { images, size, sizes, targets, indices, scales })
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.sizes.len()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.sizes.is_empty()
    }

    /// Cuts the batch into `num_parts` runs of images, as [`Batch::split`](crate::Batch::split). The
    /// padding stays.
    ///
    /// # Panics
    /// If `num_parts` is 0.
    pub fn split(mut self, num_parts: usize) -> Vec<Self> {
        if num_parts == 1 {
            return vec![self];
        }
        let (num_images, num_values) = (self.len(), 3 * self.size[0] * self.size[1]);
        let part = |length: usize| Self {
            images: front(&mut self.images, length * num_values),
            size: self.size,
            sizes: front(&mut self.sizes, length),
            targets: front(&mut self.targets, length),
            indices: front(&mut self.indices, length),
            scales: front(&mut self.scales, length),
        };
        even_lengths(num_images, num_parts).map(part).collect()
    }

    /// A box of image `place` of the batch in the pixels of the data set, if the transforms did no
    /// more than resize.
    ///
    /// # Panics
    /// If there is no such image.
    pub fn to_original(&self, place: usize, bbox: BBox) -> BBox {
        let [down, across] = self.scales[place];
        let BBox { x1, y1, x2, y2 } = bbox;
        BBox::new(x1 / across, y1 / down, x2 / across, y2 / down)
    }

    /// Copies the images to a device. The targets stay here: anchors and regions are matched on the
    /// host.
    pub fn to_device(&self, device: &Device) -> ImageBatch {
        let [height, width] = self.size;
        let images = TensorData::new(self.images.clone(), [self.len(), 3, height, width]);
        ImageBatch { images: Tensor::from_data(images, device), sizes: self.sizes.clone() }
    }
}
