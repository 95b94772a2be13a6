//! Kernels of a cube per row.

use burn::backend::TensorMetadata;
use burn::tensor::Shape;
use burn_cubecl::CubeBackend;
use burn_cubecl::cubecl::{CubeCount, CubeDim, calculate_cube_count_elemwise};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use super::tensor::empty;
use crate::loss_backend::LossInputs;

/// Most units that share a row.
const MAX_UNITS: usize = 256;

/// Size of the logits, and units for each row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rows {
    pub(super) num_rows: usize,
    pub(super) num_columns: usize,
    /// A power of two.
    pub(super) num_units: usize,
}

impl Rows {
    pub(super) fn new(logits: &CubeTensor) -> Self {
        let [num_rows, num_columns] = logits.shape().dims();
        let most = logits.client.properties().hardware.max_units_per_cube as usize;
        let most = (most.min(MAX_UNITS) + 1).next_power_of_two() / 2;
        let num_units = num_columns.next_power_of_two().min(most.max(1));
        Self { num_rows, num_columns, num_units }
    }

    /// Cubes and units; there may be more cubes than rows.
    pub(super) fn launch(&self, tensor: &CubeTensor) -> (CubeCount, CubeDim) {
        let cube_dim = CubeDim::new_1d(self.num_units as u32);
        let num_units = self.num_rows * self.num_units;
        (calculate_cube_count_elemwise(&tensor.client, num_units, cube_dim), cube_dim)
    }

    pub(super) fn empty_losses(&self, like: &CubeTensor) -> CubeTensor {
        empty(like, Shape::new([self.num_rows]))
    }

    pub(super) fn empty_logits(&self, like: &CubeTensor) -> CubeTensor {
        empty(like, Shape::new([self.num_rows, self.num_columns]))
    }
}

pub(super) fn contiguous_inputs(inputs: LossInputs<CubeBackend>) -> LossInputs<CubeBackend> {
    LossInputs {
        labels: into_contiguous(inputs.labels),
        tables: into_contiguous(inputs.tables),
        entries: into_contiguous(inputs.entries),
        row_weights: into_contiguous(inputs.row_weights),
        bins: into_contiguous(inputs.bins),
    }
}
