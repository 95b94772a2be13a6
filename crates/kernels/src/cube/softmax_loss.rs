//! The softmax losses: a cube per row. The backward pass starts from the logits again.

use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use super::rows::{Rows, contiguous_inputs};
use super::softmax_kernels::{gradient_kernel, losses_kernel};
use super::softmax_row::{Form, NumbersLaunch};
use crate::loss_backend::{LossInputs, ShiftConfig, SoftmaxConfig};

/// The numbers of a configuration.
fn numbers(rows: &Rows, config: &SoftmaxConfig) -> NumbersLaunch {
    let objectness_columns = if config.has_objectness { 2 } else { 0 };
    let (mut p, mut q, mut log_epsilon) = (0.0, 0.0, 0.0);
    let (mut key, mut bound) = ([0, 0], 0);
    match config.shift {
        ShiftConfig::Seesaw { p: of_counts, q: of_scores, log_epsilon: epsilon } => {
            (p, q, log_epsilon) = (of_counts, of_scores, epsilon);
        }
        ShiftConfig::RandomMask { key: of_mask, bound: of_draws } => {
            (key, bound) = (of_mask, of_draws);
        }
        ShiftConfig::None | ShiftConfig::PerColumn | ShiftConfig::PerEntry => {}
    }
    NumbersLaunch::new(
        rows.num_rows,
        rows.num_columns,
        rows.num_columns - objectness_columns,
        config.scale,
        config.factor,
        p,
        q,
        log_epsilon,
        key[0],
        key[1],
        bound,
        f32::NAN,
    )
}

/// Losses of the rows.
pub(super) fn forward(
    logits: CubeTensor,
    inputs: LossInputs<CubeBackend>,
    config: &SoftmaxConfig,
) -> CubeTensor {
    let (logits, inputs) = (into_contiguous(logits), contiguous_inputs(inputs));
    let rows = Rows::new(&logits);
    let losses = rows.empty_losses(&logits);
    let (cube_count, cube_dim) = rows.launch(&logits);
    losses_kernel::launch(
        &losses.client,
        cube_count,
        cube_dim,
        logits.into_buffer_arg(),
        inputs.labels.into_buffer_arg(),
        inputs.tables.into_buffer_arg(),
        inputs.entries.into_buffer_arg(),
        inputs.row_weights.into_buffer_arg(),
        losses.clone().into_buffer_arg(),
        numbers(&rows, config),
        Form::new(config, rows.num_units),
    );
    losses
}

/// Gradient of the logits, from that of the losses.
pub(super) fn backward(
    logits: CubeTensor,
    inputs: LossInputs<CubeBackend>,
    gradient: CubeTensor,
    config: &SoftmaxConfig,
) -> CubeTensor {
    let (logits, inputs) = (into_contiguous(logits), contiguous_inputs(inputs));
    let rows = Rows::new(&logits);
    let output = rows.empty_logits(&logits);
    let (cube_count, cube_dim) = rows.launch(&logits);
    gradient_kernel::launch(
        &output.client,
        cube_count,
        cube_dim,
        logits.into_buffer_arg(),
        inputs.labels.into_buffer_arg(),
        inputs.tables.into_buffer_arg(),
        inputs.entries.into_buffer_arg(),
        inputs.row_weights.into_buffer_arg(),
        into_contiguous(gradient).into_buffer_arg(),
        output.clone().into_buffer_arg(),
        numbers(&rows, config),
        Form::new(config, rows.num_units),
    );
    output
}
