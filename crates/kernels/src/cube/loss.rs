//! The fused losses on CubeCL devices. Both backward passes start from the logits: to read them
//! again is cheaper than to write a gradient and to read it back.

use burn::backend::TensorMetadata;
use burn::backend::ops::FloatTensorOps;
use burn::tensor::{DType, Shape};
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use super::tensor::empty;
use super::{sigmoid_loss, softmax_loss};
use crate::loss_backend::{LossBackend, LossInputs, SigmoidConfig, SoftmaxConfig};

impl LossBackend for CubeBackend {
    fn fused_sigmoid_loss(
        logits: CubeTensor,
        inputs: LossInputs<Self>,
        config: SigmoidConfig,
    ) -> (CubeTensor, CubeTensor, CubeTensor) {
        let logits = into_contiguous(logits);
        let sums = if !config.has_sums {
            nothing(&logits)
        } else if is_empty(&logits) {
            let [_, num_columns] = logits.shape().dims();
            zeros(&logits, Shape::new([2, num_columns]))
        } else {
            sigmoid_loss::sums(logits.clone(), inputs.clone(), &config)
        };
        let losses = if is_empty(&logits) {
            zero_losses(&logits)
        } else {
            sigmoid_loss::forward(logits.clone(), inputs, &config)
        };
        (losses, sums, saved(logits, config.is_tracked))
    }

    fn fused_sigmoid_loss_backward(
        saved: CubeTensor,
        inputs: LossInputs<Self>,
        gradient: CubeTensor,
        config: SigmoidConfig,
    ) -> CubeTensor {
        if is_empty(&saved) {
            return saved;
        }
        sigmoid_loss::backward(saved, inputs, gradient, &config)
    }

    fn sigmoid_error_counts(
        logits: CubeTensor,
        inputs: LossInputs<Self>,
        config: SigmoidConfig,
    ) -> CubeTensor {
        let logits = into_contiguous(logits);
        if is_empty(&logits) {
            return zeros(&logits, Shape::new([config.num_bins]));
        }
        sigmoid_loss::error_counts(logits, inputs, &config)
    }

    fn fused_softmax_loss(
        logits: CubeTensor,
        inputs: LossInputs<Self>,
        config: SoftmaxConfig,
    ) -> (CubeTensor, CubeTensor) {
        let logits = into_contiguous(logits);
        let losses = if is_empty(&logits) {
            zero_losses(&logits)
        } else {
            softmax_loss::forward(logits.clone(), inputs, &config)
        };
        (losses, saved(logits, config.is_tracked))
    }

    fn fused_softmax_loss_backward(
        saved: CubeTensor,
        inputs: LossInputs<Self>,
        gradient: CubeTensor,
        config: SoftmaxConfig,
    ) -> CubeTensor {
        if is_empty(&saved) {
            return saved;
        }
        softmax_loss::backward(saved, inputs, gradient, &config)
    }
}

/// Kernels are not launched over nothing.
fn is_empty(logits: &CubeTensor) -> bool {
    logits.shape().num_elements() == 0
}

fn zeros(like: &CubeTensor, shape: Shape) -> CubeTensor {
    CubeBackend::float_zeros(shape, &like.device, DType::F32.into())
}

fn zero_losses(logits: &CubeTensor) -> CubeTensor {
    let [num_rows, _] = logits.shape().dims();
    zeros(logits, Shape::new([num_rows]))
}

fn nothing(like: &CubeTensor) -> CubeTensor {
    empty(like, Shape::new([1]))
}

fn saved(logits: CubeTensor, is_tracked: bool) -> CubeTensor {
    if is_tracked { logits } else { nothing(&logits) }
}
