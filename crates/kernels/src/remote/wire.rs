//! An operation on its way to the server.

use burn::backend::Remote;
use burn::backend::TensorMetadata;
use burn::backend::tensor::FloatTensor;
use burn::remote::CustomOpClient;
use burn::tensor::Shape;
use burn_ir::{BackendIr, CustomOpIr, HandleContainer, OperationOutput, ScalarIr, TensorIr};

/// Sends an operation; the outputs have the type of the first input.
pub(super) fn call<const IN: usize, const OUT: usize>(
    name: &'static str,
    inputs: [FloatTensor<Remote>; IN],
    outputs: [Shape; OUT],
    scalars: Scalars,
) -> [FloatTensor<Remote>; OUT] {
    let (device, dtype) = (inputs[0].device(), inputs[0].dtype());
    let client = CustomOpClient::new(&device);
    let output = |shape| TensorIr::uninit(client.create_empty_handle(), shape, dtype);
    let outputs = outputs.map(output);
    let inputs = inputs.map(|input| input.into_ir());
    client.register(CustomOpIr::with_scalars(name, &inputs, &outputs, scalars.0)).outputs()
}

/// The inputs of an operation that has arrived.
pub(super) fn inputs<B: BackendIr, const IN: usize>(
    handles: &mut HandleContainer<B::Handle>,
    operation: &CustomOpIr,
) -> [B::FloatTensorPrimitive; IN] {
    std::array::from_fn(|index| handles.get_float_tensor::<B>(&operation.inputs[index]))
}

/// Hands the outputs of an operation over.
pub(super) fn finish<B: BackendIr, const OUT: usize>(
    handles: &mut HandleContainer<B::Handle>,
    operation: &CustomOpIr,
    outputs: [B::FloatTensorPrimitive; OUT],
) {
    for (output, place) in outputs.into_iter().zip(&operation.outputs) {
        handles.register_float_tensor::<B>(&place.id, output);
    }
}

/// The arguments of an operation that are no tensors, one after the other.
#[derive(Debug, Default)]
pub(super) struct Scalars(Vec<ScalarIr>);

impl Scalars {
    pub(super) fn int(mut self, value: usize) -> Self {
        self.0.push(ScalarIr::UInt(value as u64));
        self
    }

    pub(super) fn float(mut self, value: f32) -> Self {
        self.0.push(ScalarIr::Float(value.into()));
        self
    }

    pub(super) fn bool(mut self, value: bool) -> Self {
        self.0.push(ScalarIr::Bool(value));
        self
    }
}

/// Reads arguments in the order they were written. What is missing is 0.
pub(super) struct Reader<'a>(std::slice::Iter<'a, ScalarIr>);

impl<'a> Reader<'a> {
    pub(super) fn new(operation: &'a CustomOpIr) -> Self {
        Self(operation.scalars.iter())
    }

    pub(super) fn int(&mut self) -> usize {
        self.0.next().map_or(0, |value| value.elem::<u64>() as usize)
    }

    pub(super) fn float(&mut self) -> f32 {
        self.0.next().map_or(0.0, |value| value.elem::<f32>())
    }

    pub(super) fn bool(&mut self) -> bool {
        self.0.next().is_some_and(|value| value.elem::<bool>())
    }
}
