//! Two-stage training: features from a finished run, then classifiers on top of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData};
use longtail_data::{ImageDataset, Loader, LoaderConfig, Sampler, SamplerConfig};
use longtail_eval::{ClassificationEvaluator, ClassificationReport, EvaluationProtocol};
use longtail_kernels::{read_back, read_floats};
use longtail_losses::{
    ClassificationLoss, ClassificationLossConfig, RowLabels, effective_number_weights,
};
use longtail_models::{Classifier, ClassifierHead, HeadConfig, WeightInit};
use serde::{Deserialize, Serialize};

use crate::checkpoint::{self, RunState};
use crate::error::TrainingError;
use crate::files::write_whole;
use crate::optimizer_config::OptimizerConfig;
use crate::recipe::Recipe;
use crate::schedule::ScheduleConfig;
use crate::settings::ReweightingConfig;
use crate::tensors::{NamedTensors, collect};
use crate::trained::TrainedModel;

/// The second stage of decoupled training: a new classifier on frozen features.
///
/// With cross-entropy and `sampler.kind = "class-balanced"` this is cRT (Kang et al., ICLR 2020,
/// <https://arxiv.org/abs/1910.09217>); with Balanced Softmax it is the decoupled form of Ren et al.
/// Unlike the released codes, batch norm stays in inference mode while features are taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassifierRecipe {
    /// What reports call the run. Default: the method of the loss.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The finished run: its folder or a checkpoint.
    pub base: PathBuf,
    /// Key of first weights and order. Default: 0.
    #[serde(default)]
    pub seed: u64,
    /// Rows per batch. Default: 128.
    #[serde(default = "default_batch_size")]
    pub batch_size: usize,
    /// Optimizer steps.
    pub iterations: u64,
    /// How often each training image is augmented for its features; 0 takes it as a test image,
    /// once. Default: 1.
    #[serde(default = "default_passes")]
    pub passes: u64,
    /// The classifier. Default: linear.
    #[serde(default)]
    pub head: HeadConfig,
    /// Its loss. Default: cross-entropy.
    #[serde(default)]
    pub loss: ClassificationLossConfig,
    /// Which row comes when. Default: instance-balanced.
    #[serde(default)]
    pub sampler: SamplerConfig,
    /// SGD or AdamW, and the base learning rate.
    pub optimizer: OptimizerConfig,
    /// The learning rate over time. Default: cosine without warm-up.
    #[serde(default)]
    pub schedule: ScheduleConfig,
    /// Deferred re-weighting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reweighting: Option<ReweightingConfig>,
}

fn default_batch_size() -> usize {
    128
}

fn default_passes() -> u64 {
    1
}

/// Features of a training and a test set, on the host.
#[derive(Clone, Debug)]
pub struct Features {
    num_features: usize,
    passes: usize,
    train: Vec<f32>, // [passes, train images, num_features]
    train_set: Arc<ImageDataset>,
    test: Vec<f32>, // [test images, num_features]
    test_labels: Vec<usize>,
}

impl Features {
    /// Runs all images of the model's recipe through its backbone, training images `passes` times
    /// with fresh augmentation, or once as test images if `passes` is 0.
    /// # Errors
    /// If the data set is refused or an image cannot be loaded.
    pub fn extract(trained: &TrainedModel, passes: u64) -> Result<Self, TrainingError> {
        let recipe = trained.recipe();
        let data = recipe.dataset.load()?;
        let test_pipeline = recipe.transforms.test_pipeline()?;
        let train_pipeline = match passes {
            0 => test_pipeline.clone(),
            _ => recipe.transforms.train_pipeline()?,
        };
        let passes = passes.max(1);
        let config = LoaderConfig {
            batch_size: recipe.evaluation.batch_size,
            workers: recipe.run.workers,
            seed: recipe.seed,
            ..Default::default()
        };
        let order = SamplerConfig::Sequential;
        let (train_set, test_set) = (Arc::new(data.train), Arc::new(data.test));
        let train = Loader::new(train_set.clone(), train_pipeline, order, config)?;
        let test = Loader::new(test_set.clone(), test_pipeline, order, config)?;
        Ok(Self {
            num_features: trained.model().num_features(),
            passes: passes as usize,
            train: features(trained.model(), &train, passes)?,
            train_set,
            test: features(trained.model(), &test, 1)?,
            test_labels: test_set.labels().to_vec(),
        })
    }

    /// Rows `indices` of pass `pass`, with their labels.
    fn batch(&self, pass: usize, indices: &[usize], device: &Device) -> (Tensor<2>, Vec<usize>) {
        let width = self.num_features;
        let first = (pass % self.passes) * self.train_set.len();
        let row = |index: &usize| {
            let start = (first + index) * width;
            self.train[start..start + width].iter().copied()
        };
        let rows: Vec<f32> = indices.iter().flat_map(row).collect();
        let labels = indices.iter().map(|&index| self.train_set.labels()[index]).collect();
        (Tensor::from_data(TensorData::new(rows, [indices.len(), width]), device), labels)
    }
}

fn features(model: &Classifier, loader: &Loader, passes: u64) -> Result<Vec<f32>, TrainingError> {
    let device = model.devices().into_iter().next().unwrap_or_default();
    let mut values = Vec::new();
    for pass in 0..passes {
        for batch in loader.epoch(pass, 0) {
            let features = model.features(batch?.to_device(&device).images);
            values.extend(read_floats(features)?);
        }
    }
    Ok(values)
}

/// Trains a classifier on the features of a finished run and evaluates it.
///
/// Takes seconds where the features are given; so many losses and seeds can share one backbone.
/// # Errors
/// If a value of the recipe is refused.
pub fn train_classifier(
    trained: &TrainedModel,
    features: &Features,
    recipe: &ClassifierRecipe,
) -> Result<(Classifier, ClassificationLoss, ClassificationReport), TrainingError> {
    recipe.optimizer.check()?;
    let device = trained.model().devices().into_iter().next().unwrap_or_default().autodiff();
    let mut loss = recipe.loss.init(trained.counts(), &device)?;
    let init = WeightInit::new(recipe.seed, &device).child("head");
    let mut head =
        recipe.head.init(features.num_features, loss.num_logits(), loss.prior_bias(), &init)?;

    let sampler = Sampler::new(recipe.sampler, &features.train_set, recipe.seed)?;
    let steps_per_epoch = (sampler.len() / recipe.batch_size.max(1)).max(1) as u64;
    let lr = recipe.optimizer.lr();
    let schedule = recipe.schedule.init(lr, recipe.iterations, steps_per_epoch)?;
    let mut optimizer = recipe.optimizer.init();
    let mut order = Vec::new();
    for step in 0..recipe.iterations {
        let (epoch, batch) = (step / steps_per_epoch, (step % steps_per_epoch) as usize);
        if batch == 0 {
            order = sampler.order(epoch);
            if let Some(reweighting) = recipe.reweighting.filter(|r| r.from_epoch == epoch) {
                let counts = trained.counts().instance_counts();
                let weights = effective_number_weights(counts, reweighting.beta)?;
                loss = loss.reweighted(&weights, &device)?;
            }
        }
        let rows = order.chunks(recipe.batch_size.max(1)).nth(batch).unwrap_or_default();
        let (inputs, labels) = features.batch(epoch as usize, rows, &device);
        let labels = RowLabels::from_host(&labels, loss.num_labels(), &device)?;
        let output = loss.forward(head.forward(inputs), labels)?;
        let gradients = GradientsParams::from_grads(output.loss.backward(), &head);
        head = optimizer.step(schedule.lr(step), head, gradients);
        loss.apply(output.update)?;
    }
    let report = report(trained, features, recipe, &head.valid(), &loss)?;
    let classifier = Classifier { backbone: trained.model().backbone.clone(), head: head.valid() };
    Ok((classifier, loss, report))
}

fn report(
    trained: &TrainedModel,
    features: &Features,
    recipe: &ClassifierRecipe,
    head: &ClassifierHead,
    loss: &ClassificationLoss,
) -> Result<ClassificationReport, TrainingError> {
    let device = head.devices().into_iter().next().unwrap_or_default();
    let mut evaluator = ClassificationEvaluator::new(loss.num_classes())?;
    let rows = trained.recipe().evaluation.batch_size;
    let batches = features.test.chunks(rows * features.num_features);
    for (batch, labels) in batches.zip(features.test_labels.chunks(rows)) {
        let data = TensorData::new(batch.to_vec(), [labels.len(), features.num_features]);
        let scores = loss.scores(head.forward(Tensor::from_data(data, &device)))?;
        evaluator.add(&read_floats(scores)?, labels)?;
    }
    let dataset = &trained.recipe().dataset;
    let protocol = EvaluationProtocol {
        test_set: dataset.describe_test(),
        train_counts: dataset.describe_train(),
        thresholds: trained.recipe().evaluation.shots,
    };
    let name = recipe.name.as_deref().unwrap_or_else(|| recipe.loss.method());
    Ok(evaluator.report(name, trained.classes(), trained.counts(), protocol)?)
}

/// Runs a two-stage recipe: features, classifier, report. The folder then holds `recipe.toml`, a
/// checkpoint and weights for [`evaluate`](crate::evaluate) and [`predict`](crate::predict), and
/// the report. Nothing is written before everything is computed.
/// # Errors
/// If the finished run or the recipe is refused, or the folder is there already or cannot be
/// written.
pub fn train_decoupled(
    recipe: &ClassifierRecipe,
    device: &Device,
    out: &Path,
) -> Result<ClassificationReport, TrainingError> {
    if out.exists() {
        return Err(TrainingError::RunExists { path: out.to_path_buf() });
    }
    let trained = TrainedModel::load(&recipe.base, &[""; 0], device)?;
    let features = Features::extract(&trained, recipe.passes)?;
    let (classifier, loss, report) = train_classifier(&trained, &features, recipe)?;

    // The recipe of the whole: that of the base with the new head and loss.
    let mut whole: Recipe = trained.recipe().clone();
    (whole.name, whole.ema) = (recipe.name.clone(), None);
    (whole.model.head, whole.loss) = (recipe.head.clone(), recipe.loss.clone());
    let (counts, classes) = (trained.counts().clone(), trained.classes().clone());
    let mut state = RunState::new(whole.to_toml(), counts, classes);
    (state.step, state.image_size) = (recipe.iterations, trained.image_size());
    let mut tensors = NamedTensors::new();
    collect("model", &classifier, &mut tensors)?;
    for (name, tensor) in loss.state() {
        tensors.insert(format!("loss.{name}"), read_back(tensor)?);
    }

    let text = toml::to_string(recipe).unwrap_or_default();
    std::fs::create_dir_all(out)
        .map_err(|source| TrainingError::Write { path: out.to_path_buf(), source })?;
    write_whole(&out.join("recipe.toml"), |file| file.write_all(text.as_bytes()))?;
    checkpoint::save(&out.join("last.safetensors"), &state, &tensors)?;
    classifier.save_weights(out.join("model.safetensors"))?;
    report.write(out)?;
    Ok(report)
}
