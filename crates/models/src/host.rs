//! Numbers between the host and the device.

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
    let data = tensor.without_autodiff().try_into_data_as::<f32>();
    let values = data.map(|data| data.try_to_vec::<f32>());
    match values {
        Ok(Ok(values)) => Ok(values),
        Ok(Err(error)) => Err(ModelError::ReadBack { what, reason: format!("{error:?}") }),
        Err(error) => Err(ModelError::ReadBack { what, reason: format!("{error:?}") }),
    }
}

/// `1` for `num_real` rows, then `0` up to `num_rows`.
pub(crate) fn real_rows(num_real: usize, num_rows: usize) -> Vec<f32> {
    (0..num_rows).map(|row| f32::from(u8::from(row < num_real))).collect()
}
