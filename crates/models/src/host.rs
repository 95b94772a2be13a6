//! Numbers between the host and the device.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::error::ModelError;

/// Values of this shape on the device.
pub(crate) fn upload<const D: usize>(
    values: Vec<f32>,
    shape: [usize; D],
    device: &Device,
) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// Row numbers on the device.
pub(crate) fn upload_indices(indices: &[usize], device: &Device) -> Tensor<1, Int> {
    let values: Vec<i32> = indices.iter().map(|&index| index as i32).collect();
    Tensor::from_data(TensorData::new(values, [indices.len()]), device)
}

/// Copies values to the host, row-major; waits for the device.
pub(crate) fn read_back<const D: usize>(
    what: &'static str,
    tensor: Tensor<D>,
) -> Result<Vec<f32>, ModelError> {
    longtail_kernels::read_floats(tensor.without_autodiff())
        .map_err(|error| ModelError::ReadBack { what, reason: error.to_string() })
}

/// How numbers are waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum HostRead {
    /// The thread stops until they are there.
    Blocking,
    /// The future is pending until they are there.
    Yielding,
}

impl HostRead {
    /// Copies values to the host, row-major.
    pub(crate) async fn read<const D: usize>(
        self,
        what: &'static str,
        tensor: Tensor<D>,
    ) -> Result<Vec<f32>, ModelError> {
        let Self::Yielding = self else { return read_back(what, tensor) };
        longtail_kernels::read_floats_async(tensor.without_autodiff())
            .await
            .map_err(|error| ModelError::ReadBack { what, reason: error.to_string() })
    }
}

/// The result of a future that reads by [`HostRead::Blocking`] alone, and so is never pending.
pub(crate) fn blocking<T>(
    future: impl Future<Output = Result<T, ModelError>>,
) -> Result<T, ModelError> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => {
            let reason = "it was not read at once".to_owned();
            Err(ModelError::ReadBack { what: "detections", reason })
        }
    }
}

/// `1` for `num_real` rows, then `0` up to `num_rows`.
pub(crate) fn real_rows(num_real: usize, num_rows: usize) -> Vec<f32> {
    (0..num_rows).map(|row| f32::from(u8::from(row < num_real))).collect()
}
