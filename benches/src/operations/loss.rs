//! A loss and its gradient, with the statistics of the batch applied, as in a training step.

use burn::tensor::{Device, Tensor};
use longtail::losses::{ClassificationLoss, ClassificationLossConfig, RowLabels};
use longtail::types::ClassCounts;

use super::{Failure, Operation, tensor};
use crate::noise::noise;
use crate::work::LossShape;

/// Images of the pretended training set.
const NUM_IMAGES: u64 = 100_000;
/// Share of the rows that are background, where a method has it.
const BACKGROUND: f32 = 0.75;

pub(super) struct Loss {
    loss: ClassificationLoss,
    logits: Tensor<2>,
    labels: RowLabels,
    device: Device,
}

impl Loss {
    pub(super) fn new(shape: &LossShape, device: &Device) -> Result<Self, Failure> {
        let config = ClassificationLossConfig::named(&shape.method)?;
        let loss = config.init(&counts(shape.classes)?, device)?;
        let labels = RowLabels::from_host(&labels(shape), shape.labels, device)?;
        let logits = tensor([shape.rows, shape.columns], 1, [-4.0, 2.0], device);
        Ok(Self { loss, logits, labels, device: device.clone() })
    }
}

impl Operation for Loss {
    fn run(&mut self) -> Result<(), Failure> {
        let output = self.loss.forward(self.logits.clone(), self.labels.clone())?;
        drop(output.loss.backward());
        self.loss.apply(output.update)?;
        Ok(self.device.sync()?)
    }

    fn check(&mut self) -> Result<Option<f64>, Failure> {
        let output = self.loss.forward(self.logits.clone(), self.labels.clone())?;
        Ok(Some(output.loss.into_scalar::<f32>().into()))
    }
}

/// From 10,000 images of the first class down to 10 of the last.
fn counts(num_classes: usize) -> Result<ClassCounts, Failure> {
    let steps = num_classes.saturating_sub(1).max(1) as f64;
    let count = |class: usize| (1e4 * 1e-3_f64.powf(class as f64 / steps)).round() as u64;
    let counts: Vec<u64> = (0..num_classes).map(count).collect();
    Ok(ClassCounts::new(counts.clone(), counts, NUM_IMAGES)?)
}

/// Any class is as likely as another; background, where it is a label, takes most rows.
fn labels(shape: &LossShape) -> Vec<usize> {
    let label = |row: usize| {
        let (which, class) = (noise(row as u32, 2), noise(row as u32, 3));
        if shape.labels > shape.classes && which < BACKGROUND {
            shape.classes
        } else {
            ((f64::from(class) * shape.classes as f64) as usize).min(shape.classes - 1)
        }
    };
    (0..shape.rows).map(label).collect()
}
