//! Making and launching over CubeCL tensors.

use burn::backend::ops::{FloatTensorOps, IntTensorOps};
use burn::tensor::{DType, Shape, TensorData};
use burn_cubecl::cubecl::{CubeCount, CubeDim, calculate_cube_count_elemwise};
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{CubeBackend, CubeDevice};

/// A new tensor that holds anything, on the device of `like`.
pub(super) fn empty(like: &CubeTensor, shape: Shape) -> CubeTensor {
    let (client, device) = (like.client.clone(), like.device.clone());
    empty_device_contiguous_dtype(client, device, shape, DType::F32)
}

pub(super) fn upload_u32(values: Vec<u32>, device: &CubeDevice) -> CubeTensor {
    let length = values.len();
    CubeBackend::int_from_data(TensorData::new(values, [length]), device)
}

pub(super) fn upload_f32(values: Vec<f32>, device: &CubeDevice) -> CubeTensor {
    let length = values.len();
    CubeBackend::float_from_data(TensorData::new(values, [length]), device)
}

/// Cubes and units for one unit per element.
pub(super) fn elementwise(tensor: &CubeTensor, num_elements: usize) -> (CubeCount, CubeDim) {
    let cube_dim = CubeDim::new(&tensor.client, num_elements);
    (calculate_cube_count_elemwise(&tensor.client, num_elements, cube_dim), cube_dim)
}
