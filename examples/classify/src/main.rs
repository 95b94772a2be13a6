//! Long-tailed image classification on real images: the training loop, spelled out.
//!
//! `DIR/train/CLASS/*.jpg` and `DIR/test/CLASS/*.jpg`, 32 × 32 pixels (CIFAR-10 as images, say), cut
//! to a long tail; without DIR, the embedded synthetic set. One and the same code runs on every
//! device: build with its feature and name it.
//!
//! ```text
//! cargo run --release -p classify                                          # synthetic, CPU
//! cargo run --release -p classify -- --data data/cifar10 --loss eql-v2
//! cargo run --release -p classify --features wgpu -- --data data/cifar10 --device wgpu
//! cargo run --release -p classify --features cuda -- --data data/cifar10 --device cuda
//! ```
//!
//! Without arguments: about a minute on two cores; try `--loss cross-entropy` beside the default.
#![allow(clippy::print_stdout, reason = "an example prints what it finds")]

use std::path::PathBuf;
use std::sync::Arc;

use clap::Parser;
use longtail::burn::module::Module;
use longtail::burn::optim::GradientsParams;
use longtail::burn::tensor::Device;
use longtail::data::{
    ImageDataset, Loader, LoaderConfig, LongTail, PipelineConfig, SamplerConfig, Split,
    SyntheticConfig,
};
use longtail::eval::{ClassificationEvaluator, ClassificationReport, EvaluationProtocol};
use longtail::losses::{ClassificationLoss, ClassificationLossConfig, RowLabels};
use longtail::models::{BackboneConfig, Classifier, ClassifierConfig};
use longtail::training::{DecayedParameters, OptimizerConfig, ScheduleConfig, Span};

#[derive(Parser)]
struct Args {
    /// Folder with `train/CLASS/IMAGE` and `test/CLASS/IMAGE`. Default: the synthetic set.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Images of the first class over those of the last, cut from DIR.
    #[arg(long, default_value_t = 100.0)]
    imbalance: f64,
    /// cross-entropy, balanced-softmax, eql-v2, seesaw ..
    #[arg(long, default_value = "balanced-softmax")]
    loss: String,
    /// flex, ndarray, wgpu, cuda ..
    #[arg(long, default_value = "flex")]
    device: String,
    /// Passes over the training set.
    #[arg(long, default_value_t = 15)]
    epochs: u64,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let device = longtail::device(&args.device)?.autodiff();
    let (train, test) = datasets(&args)?;
    let counts = train.class_counts()?;
    println!("{counts}\n");

    // The loss knows how many logits it wants; the model is built from its answers.
    let loss = ClassificationLossConfig::named(&args.loss)?.init(&counts, &device)?;
    let config = ClassifierConfig::new(BackboneConfig::CifarResNet20);
    let model = config.init(loss.num_logits(), loss.prior_bias(), 0, &device)?;

    let transforms = PipelineConfig::default(); // CIFAR's: crop, flip, normalise
    let options = LoaderConfig { batch_size: 64, drop_last: true, ..Default::default() };
    let sampler = SamplerConfig::InstanceBalanced;
    let pipeline = transforms.train_pipeline()?;
    let loader = Loader::new(Arc::new(train), pipeline, sampler, options)?;
    let model = fit(model, loss.clone(), &loader, args.epochs, &device)?;

    let options = LoaderConfig { drop_last: false, ..options };
    let pipeline = transforms.test_pipeline()?;
    let classes = test.class_map().clone();
    let loader = Loader::new(Arc::new(test), pipeline, SamplerConfig::Sequential, options)?;
    let evaluator = evaluate(&model.valid(), &loss, &loader, &device.inner())?;
    let protocol = EvaluationProtocol {
        test_set: "the test images".into(),
        train_counts: "the training images".into(),
        thresholds: Default::default(),
    };
    let report: ClassificationReport = evaluator.report(&args.loss, &classes, &counts, protocol)?;
    println!("\n{}", report.table());
    Ok(())
}

fn datasets(args: &Args) -> anyhow::Result<(ImageDataset, ImageDataset)> {
    let Some(data) = &args.data else {
        let synthetic = SyntheticConfig::default();
        return Ok((synthetic.generate(Split::Train)?, synthetic.generate(Split::Test)?));
    };
    let train = ImageDataset::from_folders(data.join("train"))?;
    let test = ImageDataset::from_folders_with_classes(data.join("test"), train.class_map())?;
    Ok((train.long_tailed(&LongTail::exponential(args.imbalance), 0)?, test))
}

/// SGD with momentum, warm-up and a cosine.
fn fit(
    mut model: Classifier,
    mut loss: ClassificationLoss,
    loader: &Loader,
    epochs: u64,
    device: &Device,
) -> anyhow::Result<Classifier> {
    let steps_per_epoch = loader.num_batches() as u64;
    let optimizer = OptimizerConfig::Sgd {
        lr: 0.1,
        momentum: 0.9,
        nesterov: true,
        weight_decay: 5e-4,
        decayed: DecayedParameters::All,
    };
    let warmup = Some(Span::Epochs(1.0));
    let schedule = ScheduleConfig { warmup, ..Default::default() }; // a cosine follows
    let schedule = schedule.init(0.1, epochs * steps_per_epoch, steps_per_epoch)?;
    let mut optimizer = optimizer.init();
    let mut step = 0;
    for epoch in 0..epochs {
        let mut last = None;
        for batch in loader.epoch(epoch, 0) {
            let batch = batch?;
            let labels = RowLabels::from_host(&batch.labels, loss.num_labels(), device)?;
            let output = loss.forward(model.forward(batch.to_device(device).images), labels)?;
            last = Some(output.loss.clone().without_autodiff());
            let gradients = GradientsParams::from_grads(output.loss.backward(), &model);
            model = optimizer.step(schedule.lr(step), model, gradients);
            loss.apply(output.update)?; // what EQL v2 and Seesaw remember
            step += 1;
        }
        let value = last.map_or(f32::NAN, |loss| loss.into_scalar());
        println!("epoch {:>2}: last loss {value:.4}", epoch + 1);
    }
    Ok(model)
}

fn evaluate(
    model: &Classifier,
    loss: &ClassificationLoss,
    loader: &Loader,
    device: &Device,
) -> anyhow::Result<ClassificationEvaluator> {
    let mut evaluator = ClassificationEvaluator::new(loss.num_classes())?;
    for batch in loader.epoch(0, 0) {
        let batch = batch?;
        let labels = batch.labels.clone();
        let scores = loss.scores(model.forward(batch.to_device(device).images))?;
        let scores = scores.into_data().convert::<f32>();
        evaluator.add(scores.as_slice().unwrap_or_default(), &labels)?;
    }
    Ok(evaluator)
}
