//! Three training steps of a classifier.

use burn::optim::GradientsParams;
use burn::tensor::Device;
use longtail_kernels::read_floats;
use longtail_losses::{ClassificationLossConfig, RowLabels};
use longtail_models::{BackboneConfig, ClassifierConfig};
use longtail_training::OptimizerConfig;
use longtail_types::ClassCounts;

use super::parameters::{record_gradients, record_weights};
use crate::case::{Case, Quantity, Record};
use crate::error::ConformanceError;
use crate::input::tensor;

/// Steps of the cases that train.
pub(crate) const NUM_STEPS: usize = 3;
const LABELS: [usize; 5] = [0, 0, 1, 2, 0];
const LR: f64 = 0.02;

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::network("classifier, three steps", train)]
}

fn train(device: &Device, record: &mut Record, draw: usize) -> Result<(), ConformanceError> {
    let device = &device.clone().autodiff();
    let counts = ClassCounts::from_labels([0, 0, 0, 0, 0, 0, 1, 1, 2], 3)?;
    let mut loss = ClassificationLossConfig::Seesaw(Default::default()).init(&counts, device)?;
    let config = ClassifierConfig::new(BackboneConfig::CifarResNet20);
    let mut model = config.init(loss.num_logits(), loss.prior_bias(), draw as u64, device)?;
    let mut optimizer = OptimizerConfig::sgd(LR).init();
    for step in 0..NUM_STEPS {
        let name = format!("images {step} of draw {draw}");
        let images = tensor(&name, [LABELS.len(), 3, 12, 12], device);
        let labels = RowLabels::from_host(&LABELS, loss.num_labels(), device)?;
        let logits = model.forward(images);
        let output = loss.forward(logits.clone(), labels)?;
        let gradients = GradientsParams::from_grads(output.loss.backward(), &model);
        if step == 0 {
            record.tensor(Quantity::Forward, logits)?;
            record_gradients(&model, &gradients, record)?;
        }
        record.values(Quantity::Losses, read_floats(output.loss)?);
        model = optimizer.step(LR, model, gradients);
        loss.apply(output.update)?;
    }
    Ok(record_weights(&model, record)?)
}
