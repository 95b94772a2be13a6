//! Images of different sizes in one tensor.

use burn::tensor::Tensor;

/// Normalised images, padded with zeros at the right and below to a common size.
#[derive(Debug, Clone)]
pub struct ImageBatch {
    /// `[batch, 3, height, width]`
    pub images: Tensor<4>,
    /// `[height, width]` of each image without its padding.
    pub sizes: Vec<[usize; 2]>,
}
