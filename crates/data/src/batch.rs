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

    /// Cuts the batch into `num_parts` runs of images whose lengths differ by one at most, the
    /// longer ones first. There are empty ones if there are fewer images than parts.
    ///
    /// # Panics
    /// If `num_parts` is 0.
    pub fn split(mut self, num_parts: usize) -> Vec<Self> {
        if num_parts == 1 {
            return vec![self];
        }
        let (num_images, num_values) = (self.len(), 3 * self.size[0] * self.size[1]);
        let part = |length: usize| {
            let images = front(&mut self.images, length * num_values);
            let labels = front(&mut self.labels, length);
            Self { images, size: self.size, labels, indices: front(&mut self.indices, length) }
        };
        even_lengths(num_images, num_parts).map(part).collect()
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

/// Lengths of `num_parts` parts that differ by one at most, the longer ones first.
pub(crate) fn even_lengths(length: usize, num_parts: usize) -> impl Iterator<Item = usize> {
    (0..num_parts).map(move |part| length / num_parts + usize::from(part < length % num_parts))
}

/// Takes the first values off.
pub(crate) fn front<T>(values: &mut Vec<T>, length: usize) -> Vec<T> {
    let rest = values.split_off(length.min(values.len()));
    std::mem::replace(values, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_even_and_in_order() {
        let values = |range: std::ops::Range<usize>| range.collect::<Vec<usize>>();
        let images = (0..5 * 6).map(|value| value as f32).collect();
        let batch = Batch { images, size: [1, 2], labels: values(0..5), indices: values(10..15) };
        let parts = batch.clone().split(3);
        let indices: Vec<_> = parts.iter().map(|part| part.indices.clone()).collect();
        assert_eq!(indices, [vec![10, 11], vec![12, 13], vec![14]]);
        assert_eq!(parts[1].labels, [2, 3]);
        assert_eq!(parts[1].images, (12..24).map(|value| value as f32).collect::<Vec<_>>());
        let lengths: Vec<usize> = batch.clone().split(7).iter().map(Batch::len).collect();
        assert_eq!(lengths, [1, 1, 1, 1, 1, 0, 0]);
        assert_eq!(batch.clone().split(1), [batch]);
    }
}
