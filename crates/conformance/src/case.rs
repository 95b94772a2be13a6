//! A computation that every device repeats, and what it leaves behind.

use burn::tensor::{Device, Gradients, Tensor};
use longtail_kernels::read_floats;
use serde::Serialize;

use crate::error::ConformanceError;
use crate::tolerance::Arithmetic;

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Quantity {
    /// Outputs, and losses of a first step.
    Forward,
    /// Gradients of a first step, each tensor by itself.
    Gradient,
    /// Losses of later training steps.
    Losses,
    /// Parameters and statistics after the last training step.
    Weights,
    /// Boxes, scores and masks after non-maximum suppression, as a set.
    Detections,
    /// Reads from the device in one training step, that of the losses included.
    HostReads,
    /// Outputs computed in float16, beside float32.
    Float16,
    /// Outputs computed in bfloat16, beside float32.
    Bfloat16,
}

impl Quantity {
    /// As the table says it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Gradient => "gradient",
            Self::Losses => "losses of steps",
            Self::Weights => "weights after steps",
            Self::Detections => "detections",
            Self::HostReads => "host reads a step",
            Self::Float16 => "float16 forward",
            Self::Bfloat16 => "bfloat16 forward",
        }
    }
}

/// A detection to find again on another device.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Found {
    pub(crate) image: usize,
    pub(crate) label: usize,
    pub(crate) score: f32,
    pub(crate) bbox: [f32; 4],
    pub(crate) mask: Vec<f32>,
}

/// One output of a case.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Output {
    /// Numbers in order.
    Values(Vec<f64>),
    /// A set.
    Detections(Vec<Found>),
    /// Something that costs time, by itself.
    Count(u64),
}

/// Everything a case put out, in its order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Record {
    pub(crate) outputs: Vec<(Quantity, Output)>,
}

impl Record {
    pub(crate) fn push(&mut self, quantity: Quantity, output: Output) {
        self.outputs.push((quantity, output));
    }

    pub(crate) fn values(&mut self, quantity: Quantity, values: impl IntoIterator<Item = f32>) {
        self.doubles(quantity, values.into_iter().map(f64::from).collect());
    }

    pub(crate) fn doubles(&mut self, quantity: Quantity, values: Vec<f64>) {
        self.push(quantity, Output::Values(values));
    }

    pub(crate) fn tensor<const D: usize>(
        &mut self,
        quantity: Quantity,
        tensor: Tensor<D>,
    ) -> Result<(), ConformanceError> {
        self.values(quantity, read_floats(tensor)?);
        Ok(())
    }

    /// The gradient of a tensor.
    pub(crate) fn gradient<const D: usize>(
        &mut self,
        name: &'static str,
        tensor: &Tensor<D>,
        gradients: &Gradients,
    ) -> Result<(), ConformanceError> {
        let gradient = tensor.grad(gradients).ok_or(ConformanceError::NoGradient { name })?;
        self.tensor(Quantity::Gradient, gradient)
    }
}

/// A computation on a device, which has no autodiff yet.
pub(crate) type Compute = Box<dyn Fn(&Device, &mut Record) -> Result<(), ConformanceError>>;

/// Draws of a network; odd, for the median.
const NUM_DRAWS: usize = 5;

/// A case of the suite.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) arithmetic: Arithmetic,
    /// One for each draw of inputs; the median of their errors counts.
    pub(crate) draws: Vec<Compute>,
    /// The same outputs by a float64 loop.
    pub(crate) host: Option<Record>,
}

impl Case {
    /// A case that is compared with the first device.
    pub(crate) fn new(
        name: impl Into<String>,
        arithmetic: Arithmetic,
        compute: impl Fn(&Device, &mut Record) -> Result<(), ConformanceError> + 'static,
    ) -> Self {
        Self { name: name.into(), arithmetic, draws: vec![Box::new(compute)], host: None }
    }

    /// A network, with several draws of inputs and weights: rounding moves some value of some draw
    /// over the kink of a ReLU, which changes gradients by far more than rounding. A fault is in all.
    pub(crate) fn network<F>(name: impl Into<String>, compute: F) -> Self
    where
        F: Fn(&Device, &mut Record, usize) -> Result<(), ConformanceError> + Copy + 'static,
    {
        let draw = |draw: usize| -> Compute {
            Box::new(move |device, record| compute(device, record, draw))
        };
        let draws = (0..NUM_DRAWS).map(draw).collect();
        Self { name: name.into(), arithmetic: Arithmetic::Network, draws, host: None }
    }

    /// The case with what a loop on the host says of it.
    pub(crate) fn with_host(mut self, host: Record) -> Self {
        self.host = Some(host);
        self
    }
}
