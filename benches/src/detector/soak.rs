//! Whether memory stays flat over many training iterations.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use longtail::burn::optim::GradientsParams;
use longtail::burn::tensor::Device;
use longtail::data::{DetectionLoader, DetectionLoaderConfig};
use longtail::models::StepKey;
use longtail::training::DetectionRecipe;

use super::process::resident_bytes;

/// Two images of 64 x 64 pixels an iteration, drawn objects, masks.
const RECIPE: &str = r#"
task = "detection"
seed = 5
batch_size = 2
iterations = 1000

[dataset.source]
kind = "synthetic"
width = 64
height = 64
num_classes = 5
train_images = 60
head_count = 30
test_instances = 2
object_size = [16, 24]

[transforms.preprocess.resize]
rule = "none"

[model]
kind = "mask-rcnn"
fpn.channels = 16
rpn.anchor_sizes = [[8.0], [16.0], [32.0], [64.0], [128.0]]
rpn.train = { before_nms = 200, after_nms = 100 }
rois.per_image = 32
box_head.layers = { kind = "two-fc", width = 64 }
mask_head.channels = 16

[model.backbone]
architecture = "resnet18"
norm = { kind = "batch" }
base_width = 16
frozen_stages = 0

[loss]
method = "eql-v2"

[optimizer]
kind = "sgd"
lr = 0.01
weight_decay = 1e-4
"#;

/// Trains a small detector and tells the resident memory, in bytes, at each quarter of the
/// iterations; empty where the system does not tell it.
///
/// # Errors
/// If the data or a step fails, or a loss is not finite.
pub fn soak(iterations: u64) -> Result<Vec<(u64, u64)>> {
    let recipe = DetectionRecipe::parse("soak", RECIPE, &[""; 0])?;
    let data = recipe.dataset.load()?;
    let counts = data.train.class_counts()?;
    let device = Device::flex().autodiff();
    let loss = recipe.loss.init(&counts, &device)?;
    let mut detector = recipe.model.init(loss, recipe.seed, &device)?;
    let mut optimizer = recipe.optimizer.init();
    let config = DetectionLoaderConfig {
        batch_size: recipe.batch_size,
        workers: 1,
        seed: recipe.seed,
        drop_last: true,
        ..Default::default()
    };
    let pipeline = recipe.transforms.train_pipeline()?;
    let loader = DetectionLoader::new(Arc::new(data.train), pipeline, recipe.sampler, config)?;
    let mut points = Vec::new();
    let mut step = 0;
    for epoch in 0.. {
        for batch in loader.epoch(epoch, 0) {
            let batch = batch?;
            let key = StepKey { seed: recipe.seed, step, first_image: 0 };
            let losses = detector.losses(&batch.to_device(&device), &batch.targets, key)?;
            let total = losses.total();
            let gradients = GradientsParams::from_grads(total.backward(), &detector);
            optimizer.update(0.01, &mut detector, gradients);
            detector.apply(losses.updates)?;
            step += 1;
            if step % (iterations / 4).max(1) == 0 {
                if !total.into_scalar::<f32>().is_finite() {
                    bail!("the loss of iteration {step} is not finite");
                }
                points.extend(resident_bytes().map(|bytes| (step, bytes)));
            }
            if step >= iterations {
                return Ok(points);
            }
        }
        (step > 0).then_some(()).context("the training set has no batch")?;
    }
    Ok(points)
}
