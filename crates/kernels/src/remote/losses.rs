//! The fused losses on their way to the server, and there.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Remote, TensorMetadata};
use burn::server::RemoteServer;
use burn::tensor::Shape;
use burn_ir::BackendIr;

use super::wire::{Reader, Scalars, call, finish, inputs};
use crate::RowSet;
use crate::loss_backend::{
    DrawConfig, LossBackend, LossInputs, ShiftConfig, SigmoidConfig, SoftmaxConfig,
};

const SIGMOID: &str = "longtail.sigmoid_loss";
const SIGMOID_BACKWARD: &str = "longtail.sigmoid_loss_backward";
const ERROR_COUNTS: &str = "longtail.sigmoid_error_counts";
const SOFTMAX: &str = "longtail.softmax_loss";
const SOFTMAX_BACKWARD: &str = "longtail.softmax_loss_backward";

impl LossBackend for Remote {
    fn fused_sigmoid_loss(
        logits: FloatTensor<Self>,
        inputs: LossInputs<Self>,
        config: SigmoidConfig,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let shape = logits.shape();
        let [num_rows, num_columns] = shape.dims();
        let sums = if config.has_sums { Shape::new([2, num_columns]) } else { nothing() };
        let saved = if config.is_tracked { shape } else { nothing() };
        let LossInputs { labels, tables, entries, row_weights, bins } = inputs;
        let inputs = [logits, labels, tables, entries, row_weights, bins];
        let outputs = [Shape::new([num_rows]), sums, saved];
        let [losses, sums, saved] = call(SIGMOID, inputs, outputs, write_sigmoid(config));
        (losses, sums, saved)
    }

    fn fused_sigmoid_loss_backward(
        saved: FloatTensor<Self>,
        inputs: LossInputs<Self>,
        gradient: FloatTensor<Self>,
        config: SigmoidConfig,
    ) -> FloatTensor<Self> {
        let shape = saved.shape();
        let LossInputs { labels, tables, entries, row_weights, bins } = inputs;
        let inputs = [saved, labels, tables, entries, row_weights, bins, gradient];
        let [gradient] = call(SIGMOID_BACKWARD, inputs, [shape], write_sigmoid(config));
        gradient
    }

    fn sigmoid_error_counts(
        logits: FloatTensor<Self>,
        inputs: LossInputs<Self>,
        config: SigmoidConfig,
    ) -> FloatTensor<Self> {
        let LossInputs { labels, tables, entries, row_weights, bins } = inputs;
        let inputs = [logits, labels, tables, entries, row_weights, bins];
        let outputs = [Shape::new([config.num_bins])];
        let [counts] = call(ERROR_COUNTS, inputs, outputs, write_sigmoid(config));
        counts
    }

    fn fused_softmax_loss(
        logits: FloatTensor<Self>,
        inputs: LossInputs<Self>,
        config: SoftmaxConfig,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let shape = logits.shape();
        let [num_rows, _] = shape.dims::<2>();
        let saved = if config.is_tracked { shape } else { nothing() };
        let LossInputs { labels, tables, entries, row_weights, bins } = inputs;
        let inputs = [logits, labels, tables, entries, row_weights, bins];
        let outputs = [Shape::new([num_rows]), saved];
        let [losses, saved] = call(SOFTMAX, inputs, outputs, write_softmax(config));
        (losses, saved)
    }

    fn fused_softmax_loss_backward(
        saved: FloatTensor<Self>,
        inputs: LossInputs<Self>,
        gradient: FloatTensor<Self>,
        config: SoftmaxConfig,
    ) -> FloatTensor<Self> {
        let shape = saved.shape();
        let LossInputs { labels, tables, entries, row_weights, bins } = inputs;
        let inputs = [saved, labels, tables, entries, row_weights, bins, gradient];
        let [gradient] = call(SOFTMAX_BACKWARD, inputs, [shape], write_softmax(config));
        gradient
    }
}

fn nothing() -> Shape {
    Shape::new([1])
}

/// What a server does when such an operation arrives.
pub(super) fn register<B: Backend + BackendIr + LossBackend>(server: RemoteServer) -> RemoteServer {
    let server = server.with_custom_op::<B, _>(SIGMOID, |handles, operation, _| {
        let [logits, labels, tables, entries, row_weights, bins] =
            inputs::<B, 6>(handles, operation);
        let inputs = LossInputs { labels, tables, entries, row_weights, bins };
        let config = read_sigmoid(&mut Reader::new(operation));
        let (losses, sums, saved) = B::fused_sigmoid_loss(logits, inputs, config);
        finish::<B, 3>(handles, operation, [losses, sums, saved]);
    });
    let server = server.with_custom_op::<B, _>(SIGMOID_BACKWARD, |handles, operation, _| {
        let [saved, labels, tables, entries, row_weights, bins, gradient] =
            inputs::<B, 7>(handles, operation);
        let inputs = LossInputs { labels, tables, entries, row_weights, bins };
        let config = read_sigmoid(&mut Reader::new(operation));
        let gradient = B::fused_sigmoid_loss_backward(saved, inputs, gradient, config);
        finish::<B, 1>(handles, operation, [gradient]);
    });
    let server = server.with_custom_op::<B, _>(ERROR_COUNTS, |handles, operation, _| {
        let [logits, labels, tables, entries, row_weights, bins] =
            inputs::<B, 6>(handles, operation);
        let inputs = LossInputs { labels, tables, entries, row_weights, bins };
        let config = read_sigmoid(&mut Reader::new(operation));
        let counts = B::sigmoid_error_counts(logits, inputs, config);
        finish::<B, 1>(handles, operation, [counts]);
    });
    let server = server.with_custom_op::<B, _>(SOFTMAX, |handles, operation, _| {
        let [logits, labels, tables, entries, row_weights, bins] =
            inputs::<B, 6>(handles, operation);
        let inputs = LossInputs { labels, tables, entries, row_weights, bins };
        let config = read_softmax(&mut Reader::new(operation));
        let (losses, saved) = B::fused_softmax_loss(logits, inputs, config);
        finish::<B, 2>(handles, operation, [losses, saved]);
    });
    server.with_custom_op::<B, _>(SOFTMAX_BACKWARD, |handles, operation, _| {
        let [saved, labels, tables, entries, row_weights, bins, gradient] =
            inputs::<B, 7>(handles, operation);
        let inputs = LossInputs { labels, tables, entries, row_weights, bins };
        let config = read_softmax(&mut Reader::new(operation));
        let gradient = B::fused_softmax_loss_backward(saved, inputs, gradient, config);
        finish::<B, 1>(handles, operation, [gradient]);
    })
}

fn write_sigmoid(config: SigmoidConfig) -> Scalars {
    let draw = config.draw.unwrap_or(DrawConfig { key: [0; 2], is_by_row: false });
    Scalars::default()
        .bool(config.draw.is_some())
        .int(draw.key[0] as usize)
        .int(draw.key[1] as usize)
        .bool(draw.is_by_row)
        .bool(config.threshold.is_some())
        .float(config.threshold.unwrap_or_default())
        .int(config.num_bins)
        .bool(config.has_background_column)
        .int(number_of(config.shift))
        .bool(config.has_positive_weights)
        .int(number_of(config.negative_weights))
        .bool(config.has_gamma)
        .bool(config.is_multi_label)
        .bool(config.has_row_weights)
        .float(config.factor)
        .bool(config.has_sums)
        .bool(config.is_tracked)
}

fn read_sigmoid(reader: &mut Reader) -> SigmoidConfig {
    let has_draw = reader.bool();
    let key = [reader.int() as u32, reader.int() as u32];
    let draw = DrawConfig { key, is_by_row: reader.bool() };
    let (has_threshold, threshold) = (reader.bool(), reader.float());
    SigmoidConfig {
        draw: has_draw.then_some(draw),
        threshold: has_threshold.then_some(threshold),
        num_bins: reader.int(),
        has_background_column: reader.bool(),
        shift: row_set_of(reader.int()),
        has_positive_weights: reader.bool(),
        negative_weights: row_set_of(reader.int()),
        has_gamma: reader.bool(),
        is_multi_label: reader.bool(),
        has_row_weights: reader.bool(),
        factor: reader.float(),
        has_sums: reader.bool(),
        is_tracked: reader.bool(),
    }
}

fn number_of(rows: Option<RowSet>) -> usize {
    match rows {
        None => 0,
        Some(RowSet::All) => 1,
        Some(RowSet::Foreground) => 2,
    }
}

fn row_set_of(number: usize) -> Option<RowSet> {
    match number {
        1 => Some(RowSet::All),
        2 => Some(RowSet::Foreground),
        _ => None,
    }
}

fn write_softmax(config: SoftmaxConfig) -> Scalars {
    let scalars = Scalars::default()
        .bool(config.has_margin)
        .float(config.scale)
        .bool(config.has_objectness)
        .bool(config.has_row_weights)
        .float(config.factor)
        .bool(config.is_tracked);
    match config.shift {
        ShiftConfig::None => scalars.int(0),
        ShiftConfig::PerColumn => scalars.int(1),
        ShiftConfig::PerEntry => scalars.int(2),
        ShiftConfig::Seesaw { p, q, log_epsilon } => {
            scalars.int(3).float(p).float(q).float(log_epsilon)
        }
        ShiftConfig::RandomMask { key: [a, b], bound } => {
            scalars.int(4).int(a as usize).int(b as usize).int(bound as usize)
        }
    }
}

fn read_softmax(reader: &mut Reader) -> SoftmaxConfig {
    SoftmaxConfig {
        has_margin: reader.bool(),
        scale: reader.float(),
        has_objectness: reader.bool(),
        has_row_weights: reader.bool(),
        factor: reader.float(),
        is_tracked: reader.bool(),
        shift: match reader.int() {
            1 => ShiftConfig::PerColumn,
            2 => ShiftConfig::PerEntry,
            3 => ShiftConfig::Seesaw {
                p: reader.float(),
                q: reader.float(),
                log_epsilon: reader.float(),
            },
            4 => ShiftConfig::RandomMask {
                key: [reader.int() as u32, reader.int() as u32],
                bound: reader.int() as u32,
            },
            _ => ShiftConfig::None,
        },
    }
}
