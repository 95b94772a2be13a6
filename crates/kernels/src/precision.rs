//! Half precision: the float type of the images decides in which type layers compute.

use burn::tensor::{DType, Tensor};

/// The tensor in another float type, or itself if it has it. Its gradient comes back in its own.
pub(crate) fn cast<const D: usize>(tensor: Tensor<D>, dtype: DType) -> Tensor<D> {
    if tensor.dtype() == dtype { tensor } else { tensor.cast(dtype) }
}

/// The tensor in single precision: what losses, statistics and boxes are computed in, whatever the
/// layers before them computed in.
pub fn to_single<const D: usize>(tensor: Tensor<D>) -> Tensor<D> {
    cast(tensor, DType::F32)
}
