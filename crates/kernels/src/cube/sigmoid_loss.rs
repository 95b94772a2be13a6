//! The sigmoid losses: a cube per row. The backward pass starts from the logits again.

use burn::tensor::Shape;
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use super::rows::{Rows, contiguous_inputs};
use super::sigmoid_entry::{Form, numbers};
use super::sigmoid_kernels::{
    foreground_kernel, gradient_kernel, losses_kernel, partial_counts_kernel, partial_sums_kernel,
    total_kernel,
};
use super::tensor::{elementwise, empty};
use crate::loss_backend::{LossInputs, SigmoidConfig};

/// Most chunks of rows whose gradients are summed side by side.
const MAX_CHUNKS: usize = 64;

/// What all kernels read.
struct Inputs {
    logits: CubeTensor,
    /// Labels of a multi-label loss: 1 for rows with a positive, where that matters.
    inputs: LossInputs<CubeBackend>,
    rows: Rows,
    form: Form,
}

impl Inputs {
    fn new(logits: CubeTensor, inputs: LossInputs<CubeBackend>, config: &SigmoidConfig) -> Self {
        let (logits, mut inputs) = (into_contiguous(logits), contiguous_inputs(inputs));
        let rows = Rows::new(&logits);
        let form = Form::new(config, rows.num_units);
        if form.is_multi_label && form.asks_for_foreground() {
            inputs.labels = rows.empty_losses(&logits);
            let (cube_count, cube_dim) = rows.launch(&logits);
            foreground_kernel::launch(
                &logits.client,
                cube_count,
                cube_dim,
                inputs.entries.clone().into_buffer_arg(),
                inputs.labels.clone().into_buffer_arg(),
                rows.num_rows,
                rows.num_columns,
                rows.num_columns - usize::from(form.has_background_column),
                form.num_units,
            );
        }
        Self { logits, inputs, rows, form }
    }
}

/// Losses of the rows.
pub(super) fn forward(
    logits: CubeTensor,
    inputs: LossInputs<CubeBackend>,
    config: &SigmoidConfig,
) -> CubeTensor {
    let Inputs { logits, inputs, rows, form } = Inputs::new(logits, inputs, config);
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
        inputs.bins.into_buffer_arg(),
        losses.clone().into_buffer_arg(),
        numbers(rows.num_rows, rows.num_columns, config),
        form,
    );
    losses
}

/// Gradient of the logits, from that of the losses.
pub(super) fn backward(
    logits: CubeTensor,
    inputs: LossInputs<CubeBackend>,
    gradient: CubeTensor,
    config: &SigmoidConfig,
) -> CubeTensor {
    let Inputs { logits, inputs, rows, form } = Inputs::new(logits, inputs, config);
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
        inputs.bins.into_buffer_arg(),
        into_contiguous(gradient).into_buffer_arg(),
        output.clone().into_buffer_arg(),
        numbers(rows.num_rows, rows.num_columns, config),
        form,
    );
    output
}

/// Sums of the absolute gradients of positive and of negative entries, `[2, columns]`.
pub(super) fn sums(
    logits: CubeTensor,
    inputs: LossInputs<CubeBackend>,
    config: &SigmoidConfig,
) -> CubeTensor {
    let Inputs { logits, inputs, rows, form } = Inputs::new(logits, inputs, config);
    let chunk = rows.num_rows.div_ceil(MAX_CHUNKS).max(1);
    let num_chunks = rows.num_rows.div_ceil(chunk);
    let client = &logits.client.clone();
    let partial = empty(&logits, Shape::new([num_chunks, 2, rows.num_columns]));
    let sums = empty(&logits, Shape::new([2, rows.num_columns]));

    let num_units = num_chunks * rows.num_columns;
    let (cube_count, cube_dim) = elementwise(&logits, num_units);
    partial_sums_kernel::launch(
        client,
        cube_count,
        cube_dim,
        logits.into_buffer_arg(),
        inputs.labels.into_buffer_arg(),
        inputs.tables.into_buffer_arg(),
        inputs.entries.into_buffer_arg(),
        inputs.row_weights.into_buffer_arg(),
        inputs.bins.into_buffer_arg(),
        partial.clone().into_buffer_arg(),
        numbers(rows.num_rows, rows.num_columns, config),
        chunk,
        num_units,
        Form { num_units: 1, ..form },
    );
    let num_units = 2 * rows.num_columns;
    let (cube_count, cube_dim) = elementwise(&sums, num_units);
    total_kernel::launch(
        client,
        cube_count,
        cube_dim,
        partial.into_buffer_arg(),
        sums.clone().into_buffer_arg(),
        num_chunks,
        num_units,
    );
    sums
}

/// Entries in each bin of errors.
pub(super) fn error_counts(
    logits: CubeTensor,
    inputs: LossInputs<CubeBackend>,
    config: &SigmoidConfig,
) -> CubeTensor {
    let Inputs { logits, inputs, rows, form } = Inputs::new(logits, inputs, config);
    let client = &logits.client.clone();
    // Many short chunks: each of their units reads all entries of its rows.
    let chunk = rows.num_rows.div_ceil(MAX_CHUNKS * MAX_CHUNKS).max(1);
    let num_chunks = rows.num_rows.div_ceil(chunk);
    let partial = empty(&logits, Shape::new([num_chunks, config.num_bins]));
    let counts = empty(&logits, Shape::new([config.num_bins]));

    let num_units = num_chunks * config.num_bins;
    let (cube_count, cube_dim) = elementwise(&logits, num_units);
    partial_counts_kernel::launch(
        client,
        cube_count,
        cube_dim,
        logits.into_buffer_arg(),
        inputs.labels.into_buffer_arg(),
        inputs.entries.into_buffer_arg(),
        inputs.row_weights.into_buffer_arg(),
        partial.clone().into_buffer_arg(),
        rows.num_rows,
        rows.num_columns,
        chunk,
        config.num_bins,
        num_units,
        Form { num_units: 1, ..form },
    );
    let (cube_count, cube_dim) = elementwise(&counts, config.num_bins);
    total_kernel::launch(
        client,
        cube_count,
        cube_dim,
        partial.into_buffer_arg(),
        counts.clone().into_buffer_arg(),
        num_chunks,
        config.num_bins,
    );
    counts
}
