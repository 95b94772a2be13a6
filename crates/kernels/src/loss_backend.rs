//! The fused losses as a Burn backend extension, and their backward passes.
//!
//! Every tensor is `f32`, labels too: whole numbers up to 2^24 are exact.

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{
    Autodiff, AutodiffBackend, Backend, Dispatch, ExtensionType, backend_extension,
};
use burn::tensor::{Device, Int, Tensor};
#[cfg(feature = "fusion")]
use burn::{backend::fusion::custom::TensorSpec, tensor::Shape};

use crate::RowSet;

/// What a fused loss reads beside the logits. A tensor that a configuration does not name holds one
/// meaningless value.
#[derive(Clone, Debug, ExtensionType)]
#[extension_type(fusion: cfg(feature = "fusion"))]
pub(crate) struct LossInputs<B: Backend> {
    /// `[rows]`: the column of the positive entry.
    pub(crate) labels: FloatTensor<B>,
    /// `[tables, columns]`: the tables that the configuration names, in the order of its fields.
    pub(crate) tables: FloatTensor<B>,
    /// `[rows, columns]`: 0/1 targets of a sigmoid loss, shift of a softmax loss.
    pub(crate) entries: FloatTensor<B>,
    /// `[rows]`
    pub(crate) row_weights: FloatTensor<B>,
    /// `[bins]`: weights of the entries by the size of their error.
    pub(crate) bins: FloatTensor<B>,
}

/// What a sigmoid loss is made of; see [`SigmoidTerms`](crate::SigmoidTerms).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct SigmoidConfig {
    /// Whether the first table is a shift, and of which rows.
    pub(crate) shift: Option<RowSet>,
    /// Whether there is a table of positive weights.
    pub(crate) has_positive_weights: bool,
    /// Whether there is a table of negative weights, and of which rows.
    pub(crate) negative_weights: Option<RowSet>,
    /// Whether there is a table of focal exponents.
    pub(crate) has_gamma: bool,
    /// Whether there is a table of probabilities of the negatives of background rows.
    pub(crate) draw: Option<DrawConfig>,
    /// Least logit of the negatives of foreground rows.
    pub(crate) threshold: Option<f32>,
    /// Length of `bins`; 0 if there are none.
    pub(crate) num_bins: usize,
    /// Whether the last column says background.
    pub(crate) has_background_column: bool,
    /// Whether `entries` holds targets; else `labels` counts.
    pub(crate) is_multi_label: bool,
    pub(crate) has_row_weights: bool,
    /// Multiplies every loss.
    pub(crate) factor: f32,
    /// Whether the sums of absolute gradients are wanted.
    pub(crate) has_sums: bool,
    /// Whether a backward pass may follow.
    pub(crate) is_tracked: bool,
}

/// Random numbers of entries; see [`BackgroundDraw`](crate::BackgroundDraw).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct DrawConfig {
    pub(crate) key: [u32; 2],
    /// Whether a row has one number, that of its first column.
    pub(crate) is_by_row: bool,
}

/// What a softmax loss is made of; see [`SoftmaxTerms`](crate::SoftmaxTerms).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct SoftmaxConfig {
    pub(crate) shift: ShiftConfig,
    /// Whether the last table is a margin.
    pub(crate) has_margin: bool,
    pub(crate) scale: f32,
    /// Whether the last two columns are a softmax of their own. Tables and `entries` lack them.
    pub(crate) has_objectness: bool,
    pub(crate) has_row_weights: bool,
    /// Multiplies every loss.
    pub(crate) factor: f32,
    /// Whether a backward pass may follow.
    pub(crate) is_tracked: bool,
}

/// What is added to the logits inside the softmax; see [`Shift`](crate::Shift).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum ShiftConfig {
    None,
    /// The first table.
    PerColumn,
    /// `entries`
    PerEntry,
    /// The first table holds log counts.
    Seesaw {
        p: f32,
        q: f32,
        log_epsilon: f32,
    },
    /// The first table is 1 for columns that may be left out: those whose draw of 24 bits (see
    /// [`crate::RandomMask`]) is below `bound`.
    RandomMask {
        key: [u32; 2],
        bound: u32,
    },
}

/// The losses with a fused form.
#[backend_extension(
    Autodiff,
    Flex: cfg(feature = "flex"),
    Cube: cfg(feature = "cube"),
    Remote: cfg(feature = "remote"),
    Fusion: cfg(feature = "fusion")
)]
pub(crate) trait LossBackend: Backend {
    /// Losses of the rows, `[rows]`; sums over the rows of the absolute gradients of positive and
    /// of negative entries without row weights and factor, `[2, columns]`; and whatever tensor the
    /// backward pass of this backend starts from, such as the logits or their gradient. The last
    /// two hold one meaningless value where the configuration does not ask for them.
    #[fusion(meta = sigmoid_specs)]
    fn fused_sigmoid_loss(
        logits: FloatTensor<Self>,
        #[extension_type] inputs: LossInputs<Self>,
        config: SigmoidConfig,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    /// Gradient of the logits; `gradient` is that of the losses, `[rows]`.
    #[fusion(dtype = saved, shape = saved)]
    fn fused_sigmoid_loss_backward(
        saved: FloatTensor<Self>,
        #[extension_type] inputs: LossInputs<Self>,
        gradient: FloatTensor<Self>,
        config: SigmoidConfig,
    ) -> FloatTensor<Self>;

    /// Entries in each of `num_bins` bins of errors, `[bins]`.
    #[fusion(meta = count_specs)]
    fn sigmoid_error_counts(
        logits: FloatTensor<Self>,
        #[extension_type] inputs: LossInputs<Self>,
        config: SigmoidConfig,
    ) -> FloatTensor<Self>;

    /// Losses of the rows, `[rows]`, and what the backward pass starts from.
    #[fusion(meta = softmax_specs)]
    fn fused_softmax_loss(
        logits: FloatTensor<Self>,
        #[extension_type] inputs: LossInputs<Self>,
        config: SoftmaxConfig,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// Gradient of the logits; `gradient` is that of the losses, `[rows]`.
    #[fusion(dtype = saved, shape = saved)]
    fn fused_softmax_loss_backward(
        saved: FloatTensor<Self>,
        #[extension_type] inputs: LossInputs<Self>,
        gradient: FloatTensor<Self>,
        config: SoftmaxConfig,
    ) -> FloatTensor<Self>;
}

/// Shapes of what [`LossBackend::fused_sigmoid_loss`] returns on CubeCL devices.
#[cfg(feature = "fusion")]
fn sigmoid_specs(
    logits: &TensorSpec,
    _inputs: &LossInputsMetadata,
    config: &SigmoidConfig,
) -> (TensorSpec, TensorSpec, TensorSpec) {
    let [num_rows, num_columns] = logits.shape.dims();
    let spec = |shape: &[usize]| TensorSpec::new(Shape::from(shape.to_vec()), logits.dtype);
    let nothing = spec(&[1]);
    (
        spec(&[num_rows]),
        if config.has_sums { spec(&[2, num_columns]) } else { nothing.clone() },
        if config.is_tracked { logits.clone() } else { nothing },
    )
}

/// Shape of what [`LossBackend::sigmoid_error_counts`] returns on CubeCL devices.
#[cfg(feature = "fusion")]
fn count_specs(
    logits: &TensorSpec,
    _inputs: &LossInputsMetadata,
    config: &SigmoidConfig,
) -> TensorSpec {
    TensorSpec::new(Shape::new([config.num_bins]), logits.dtype)
}

/// Shapes of what [`LossBackend::fused_softmax_loss`] returns on CubeCL devices.
#[cfg(feature = "fusion")]
fn softmax_specs(
    logits: &TensorSpec,
    _inputs: &LossInputsMetadata,
    config: &SoftmaxConfig,
) -> (TensorSpec, TensorSpec) {
    let [num_rows, _] = logits.shape.dims::<2>();
    let spec = |size: usize| TensorSpec::new(Shape::new([size]), logits.dtype);
    (spec(num_rows), if config.is_tracked { logits.clone() } else { spec(1) })
}

#[derive(Debug)]
struct SigmoidBackward(SigmoidConfig);

impl<B: LossBackend> Backward<B, 1> for SigmoidBackward {
    type State = (FloatTensor<B>, LossInputs<B>);

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let (saved, inputs) = ops.state;
        let gradient = grads.consume::<B>(&ops.node);
        let [Some(node)] = ops.parents else { return };
        let gradient = B::fused_sigmoid_loss_backward(saved, inputs, gradient, self.0);
        grads.register::<B>(node.id, gradient);
    }
}

#[derive(Debug)]
struct SoftmaxBackward(SoftmaxConfig);

impl<B: LossBackend> Backward<B, 1> for SoftmaxBackward {
    type State = (FloatTensor<B>, LossInputs<B>);

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let (saved, inputs) = ops.state;
        let gradient = grads.consume::<B>(&ops.node);
        let [Some(node)] = ops.parents else { return };
        let gradient = B::fused_softmax_loss_backward(saved, inputs, gradient, self.0);
        grads.register::<B>(node.id, gradient);
    }
}

fn inner<B: Backend, C: CheckpointStrategy>(inputs: LossInputs<Autodiff<B, C>>) -> LossInputs<B> {
    LossInputs {
        labels: inputs.labels.into_primitive(),
        tables: inputs.tables.into_primitive(),
        entries: inputs.entries.into_primitive(),
        row_weights: inputs.row_weights.into_primitive(),
        bins: inputs.bins.into_primitive(),
    }
}

impl<B: LossBackend, C: CheckpointStrategy> LossBackend for Autodiff<B, C> {
    fn fused_sigmoid_loss(
        logits: FloatTensor<Self>,
        inputs: LossInputs<Self>,
        config: SigmoidConfig,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let config = SigmoidConfig { is_tracked: logits.is_tracked(), ..config };
        let (logits, node) = logits.into_parts();
        let inputs = inner(inputs);
        let (losses, sums, saved) = B::fused_sigmoid_loss(logits, inputs.clone(), config);
        let sums = Self::from_inner(sums);
        match SigmoidBackward(config).prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prepare) => {
                let nothing = sums.clone();
                (prepare.finish((saved, inputs), losses), sums, nothing)
            }
            OpsKind::UnTracked(prepare) => (prepare.finish(losses), sums, Self::from_inner(saved)),
        }
    }

    fn fused_sigmoid_loss_backward(
        saved: FloatTensor<Self>,
        inputs: LossInputs<Self>,
        gradient: FloatTensor<Self>,
        config: SigmoidConfig,
    ) -> FloatTensor<Self> {
        let (saved, gradient) = (saved.into_primitive(), gradient.into_primitive());
        let gradient = B::fused_sigmoid_loss_backward(saved, inner(inputs), gradient, config);
        Self::from_inner(gradient)
    }

    fn sigmoid_error_counts(
        logits: FloatTensor<Self>,
        inputs: LossInputs<Self>,
        config: SigmoidConfig,
    ) -> FloatTensor<Self> {
        let counts = B::sigmoid_error_counts(logits.into_primitive(), inner(inputs), config);
        Self::from_inner(counts)
    }

    fn fused_softmax_loss(
        logits: FloatTensor<Self>,
        inputs: LossInputs<Self>,
        config: SoftmaxConfig,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let config = SoftmaxConfig { is_tracked: logits.is_tracked(), ..config };
        let (logits, node) = logits.into_parts();
        let inputs = inner(inputs);
        let nothing = Self::from_inner(inputs.row_weights.clone());
        let (losses, saved) = B::fused_softmax_loss(logits, inputs.clone(), config);
        match SoftmaxBackward(config).prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prepare) => (prepare.finish((saved, inputs), losses), nothing),
            OpsKind::UnTracked(prepare) => (prepare.finish(losses), nothing),
        }
    }

    fn fused_softmax_loss_backward(
        saved: FloatTensor<Self>,
        inputs: LossInputs<Self>,
        gradient: FloatTensor<Self>,
        config: SoftmaxConfig,
    ) -> FloatTensor<Self> {
        let (saved, gradient) = (saved.into_primitive(), gradient.into_primitive());
        let gradient = B::fused_softmax_loss_backward(saved, inner(inputs), gradient, config);
        Self::from_inner(gradient)
    }
}

/// The inputs of a loss on the device of its logits. Tables that are absent are left out.
pub(crate) fn inputs(
    labels: Option<Tensor<1, Int>>,
    tables: &[Option<Tensor<1>>],
    entries: Option<Tensor<2>>,
    row_weights: Option<Tensor<1>>,
    device: &Device,
) -> LossInputs<Dispatch> {
    let device = device.clone().without_autodiff();
    let labels = labels.map(|labels| labels.without_autodiff().float());
    let vector = |values: Option<Tensor<1>>| {
        let values = values.unwrap_or_else(|| Tensor::zeros([1], &device));
        values.without_autodiff().into_dispatch()
    };
    let tables: Vec<Tensor<1>> =
        tables.iter().flatten().map(|table| table.clone().without_autodiff()).collect();
    let tables: Tensor<2> =
        if tables.is_empty() { Tensor::zeros([1, 1], &device) } else { Tensor::stack(tables, 0) };
    let entries = entries.unwrap_or_else(|| Tensor::zeros([1, 1], &device));
    let row_weights = vector(row_weights);
    LossInputs {
        labels: vector(labels),
        tables: tables.into_dispatch(),
        entries: entries.without_autodiff().into_dispatch(),
        bins: row_weights.clone(), // none of a softmax loss
        row_weights,
    }
}
