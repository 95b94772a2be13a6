//! Images of different sizes in one tensor.

use burn::tensor::{FloatDType, Tensor};

/// Normalised images, padded with zeros at the right and below to a common size.
#[derive(Debug, Clone)]
pub struct ImageBatch {
    /// `[batch, 3, height, width]`
    pub images: Tensor<4>,
    /// `[height, width]` of each image without its padding.
    pub sizes: Vec<[usize; 2]>,
}

impl ImageBatch {
    /// The same images in another float type. In half precision a detector's layers compute in
    /// half precision, whatever type its weights have; its losses, boxes and scores do not.
    #[must_use]
    pub fn cast(self, dtype: FloatDType) -> Self {
        Self { images: self.images.cast(dtype), ..self }
    }
}
