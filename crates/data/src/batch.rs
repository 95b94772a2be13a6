//! A batch of images and labels.

use burn::tensor::{Device, Int, Tensor, TensorData};

/// Normalised images on the host, with labels.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// `[len, 3, height, width]`
    pub images: Vec<f32>,
    /// `[height, width]`
    pub size: [usize; 2],
    /// Label per image, `0..num_classes`.
    pub labels: Vec<usize>,
    /// Index of each image in the data set.
    pub indices: Vec<usize>,
}

/// The same on a device.
#[derive(Debug, Clone)]
pub struct LabeledImages {
    /// `[len, 3, height, width]`
    pub images: Tensor<4>,
    /// `[len]`, `0..num_classes`
    pub labels: Tensor<1, Int>,
}

impl Batch {
    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Moves the batch to a device.
    pub fn to_device(self, device: &Device) -> LabeledImages {
        let len = self.labels.len();
        let [height, width] = self.size;
        let images = TensorData::new(self.images, [len, 3, height, width]);
        let labels: Vec<i32> = self.labels.iter().map(|&label| label as i32).collect();
        LabeledImages {
            images: Tensor::from_data(images, device),
            labels: Tensor::from_data(TensorData::new(labels, [len]), device),
        }
    }
}
