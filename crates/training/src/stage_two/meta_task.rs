//! Meta Sampler as a task of the training loop.

use burn::tensor::{Device, Tensor};
use longtail_data::DataError;
use longtail_eval::ClassificationReport;
use longtail_losses::{
    ClassificationLoss, ClassificationLossConfig, CrossEntropyConfig, Reduction, RowLabels,
};
use longtail_models::Linear;

use super::class_draw::{ClassDraw, Drawn};
use super::core::{Core, all_used};
use super::features::{CachedFeatures, LiveImages, Rows};
use super::meta_config::MetaSamplerConfig;
use super::meta_set::MetaSet;
use super::start::Base;
use super::training::FeatureSource;
use crate::checkpoint::RunState;
use crate::classification::ClassificationTask;
use crate::error::TrainingError;
use crate::files::write_whole;
use crate::meta::{ClassRates, LayerGradient, PlainLayer, SgdStep, linear_layer, logit_gradient};
use crate::metrics::Losses;
use crate::optimizer_config::OptimizerConfig;
use crate::recipe_file::refuse;
use crate::run::Plan;
use crate::run_folder::RunFolder;
use crate::task::{Summary, Task};
use crate::tensors::NamedTensors;

/// A linear classifier in training, and the rates at which the images of each class are drawn.
///
/// A step draws a batch by the rates, moves the classifier by the loss of the batch, and then moves
/// the rates so that the classifier would have done better on a meta batch in which classes are
/// equally often: by the gradient of plain cross-entropy there through the step. That gradient is in
/// closed form, with momentum and weight decay; the draws are described in [`ClassDraw`]'s module.
/// Nothing is read back where features are cached.
pub(super) struct MetaSamplerTask {
    core: Core,
    rows: Rows,
    draw: ClassDraw,
    meta: MetaSet,
    meta_loss: ClassificationLoss,
    rates: ClassRates,
    optimizer: OptimizerConfig,
    batch_size: usize,
    steps_per_epoch: u64,
    pending: Option<Pending>,
}

/// A batch between its backward and the step.
struct Pending {
    step: u64,
    drawn: Drawn,
    rows: Tensor<2>,      // [slots, num_features]
    by_logits: Tensor<2>, // of the losses of the rows, [slots, num_logits]
    gradient: LayerGradient,
}

/// Which batch is to be drawn.
pub(super) struct DrawKey {
    step: u64,
    num_slots: usize,
    size: [usize; 2],
}

impl MetaSamplerTask {
    /// A stage at its start.
    pub(super) fn new(
        base: &Base,
        config: &MetaSamplerConfig,
    ) -> Result<(Self, Plan), TrainingError> {
        let (recipe, training) = (&base.recipe, &config.training);
        let core = Core::new(base, training)?;
        layer_of(&core)?;
        let rows = match training.features {
            FeatureSource::Cached { passes } => {
                let model = base.trained.model();
                let (set, device) = (&base.train, &base.device);
                Rows::Cached(CachedFeatures::new(model, set, passes, recipe, device)?)
            }
            FeatureSource::Live {} => {
                let (set, pipeline) = (base.train.clone(), recipe.transforms.train_pipeline()?);
                Rows::Live(LiveImages { set, pipeline, seed: recipe.seed })
            }
        };
        let batch_size = training.batch_size.min(base.train.len());
        let steps_per_epoch = (base.train.len() / batch_size.max(1)).max(1) as u64;
        let plan = Core::plan(recipe, training, steps_per_epoch)?;
        let first = first_rates(base.counts.instance_counts(), config.init_power);
        let meta_loss = ClassificationLossConfig::CrossEntropy(CrossEntropyConfig::default());
        let task = Self {
            meta: MetaSet::new(base, config, &rows)?,
            rows,
            draw: ClassDraw::new(base.train.indices_by_class(), recipe.seed),
            meta_loss: meta_loss.init(&base.counts, &base.device)?,
            rates: ClassRates::new(&first, config.rate_lr, &base.device),
            optimizer: training.optimizer.clone(),
            batch_size,
            steps_per_epoch,
            pending: None,
            core,
        };
        Ok((task, plan))
    }

    fn plain_device(&self) -> Device {
        self.core.learner.device().clone().without_autodiff()
    }

    /// Moves the rates by the meta batch of the step that was just taken.
    fn move_rates(&mut self, batch: Pending, lr: f64) -> Result<(), TrainingError> {
        let Pending { step, drawn, rows, by_logits, .. } = batch;
        let Some(sgd) = SgdStep::new(&self.optimizer, lr) else { return Ok(()) };
        let (indices, labels) = self.meta.batch(step);
        let epoch = step / self.steps_per_epoch;
        let meta_rows = self.core.chosen(&self.meta.rows, &indices, epoch, step)?;
        let num_labels = self.meta_loss.num_labels();
        let labels = RowLabels::from_host(&labels, num_labels, &self.plain_device())?;
        let layer = layer_of(&self.core)?;
        let logits = PlainLayer::of(layer).forward(meta_rows.clone());
        let meta = logit_gradient(&self.meta_loss, logits, labels, Reduction::Mean)?;
        let meta = LayerGradient::new(meta.by_logits, meta_rows, layer);
        let alignment = meta.alignment(by_logits, rows);
        let rates = self.rates.rates();
        self.rates.update(rate_gradient(rates, &drawn, alignment, sgd.reach()));
        Ok(())
    }
}

/// The linear layer that is trained.
fn layer_of(core: &Core) -> Result<&Linear, TrainingError> {
    let head = &core.learner.model.head;
    linear_layer(head).ok_or_else(|| {
        let problem = format!("{}, but Meta Sampler needs a linear head", head.name());
        refuse("stage_two.head.kind", problem)
    })
}

/// Rates proportional to `frequency^-power`, the smallest and the largest symmetric about one half.
fn first_rates(counts: &[u64], power: f64) -> Vec<f64> {
    let total: u64 = counts.iter().sum();
    let inverse = |&count: &u64| (count.max(1) as f64 / total.max(1) as f64).powf(-power);
    let inverse: Vec<f64> = counts.iter().map(inverse).collect();
    let smallest = inverse.iter().copied().fold(f64::INFINITY, f64::min);
    let largest = inverse.iter().copied().fold(0.0, f64::max);
    inverse.into_iter().map(|value| value / (smallest + largest)).collect()
}

/// The gradient of the meta loss by `psi`, where `rate = sigmoid(psi)`, `[classes]`:
/// `-reach / B (1 - rate_c) sum_b a_b y_b (1[class of b is c] - m_bc)`.
fn rate_gradient(rates: Tensor<1>, drawn: &Drawn, alignment: Tensor<1>, reach: f64) -> Tensor<1> {
    let [num_slots, num_classes] = drawn.mass.dims();
    let classes = Tensor::arange(0..num_classes as i64, &drawn.labels.device());
    let is_class = drawn.labels.clone().unsqueeze_dim::<2>(1).equal(classes.unsqueeze()).float();
    let pull = (alignment * drawn.relaxed.clone()).unsqueeze_dim::<2>(1);
    let sums = ((is_class - drawn.mass.clone()) * pull).sum_dim(0).squeeze_dim::<1>(0);
    (1.0 - rates) * sums * (-reach / num_slots.max(1) as f64)
}

impl Task for MetaSamplerTask {
    type Batch = DrawKey;
    type Batches = std::vec::IntoIter<Result<DrawKey, DataError>>;
    type Report = ClassificationReport;

    fn begin_epoch(&mut self, _epoch: u64) -> Result<(), TrainingError> {
        Ok(())
    }

    fn batches(&self, epoch: u64, start: usize) -> Self::Batches {
        let (num_slots, size) = (self.batch_size, self.core.image_size());
        let key = |batch: u64| {
            Ok(DrawKey { step: epoch * self.steps_per_epoch + batch, num_slots, size })
        };
        (start as u64..self.steps_per_epoch).map(key).collect::<Vec<_>>().into_iter()
    }

    fn shape(batch: &DrawKey) -> (usize, [usize; 2]) {
        (batch.num_slots, batch.size)
    }

    fn accumulate(&mut self, batch: DrawKey, _key: u64) -> Result<(), TrainingError> {
        let DrawKey { step, num_slots, .. } = batch;
        let noise = self.draw.noise(step, num_slots, self.core.learner.device());
        let drawn = noise.draw(self.rates.rates());
        let epoch = step / self.steps_per_epoch;
        let rows = self.core.drawn(&self.rows, drawn.images.clone(), epoch, step)?;
        let layer = layer_of(&self.core)?;
        let logits = PlainLayer::of(layer).forward(rows.clone());
        let labels = RowLabels::classes(drawn.labels.clone());
        let loss = logit_gradient(&self.core.loss, logits.clone(), labels, Reduction::Mean)?;
        let gradient = LayerGradient::new(loss.by_logits.clone(), rows.clone(), layer);
        let by_logits = loss.by_logits * num_slots as f64; // of each row by itself
        self.core.update = loss.update;
        self.core.watch(loss.loss, logits, drawn.labels.clone())?;
        self.pending = Some(Pending { step, drawn, rows, by_logits, gradient });
        Ok(())
    }

    fn step(&mut self, lr: f64) -> Result<(), TrainingError> {
        let Some(batch) = self.pending.take() else { return Ok(()) };
        let gradients = batch.gradient.named(layer_of(&self.core)?);
        self.core.learner.update(lr, gradients);
        self.core.loss.apply(std::mem::take(&mut self.core.update))?;
        self.move_rates(batch, lr)
    }

    fn check_replicas(&self, _step: u64) -> Result<(), TrainingError> {
        Ok(())
    }

    fn read_losses(&mut self) -> Result<Losses, TrainingError> {
        self.core.read_losses()
    }

    fn evaluate(&self, _is_final: bool) -> Result<ClassificationReport, TrainingError> {
        self.core.evaluate()
    }

    fn summary(report: &ClassificationReport) -> Summary {
        ClassificationTask::summary(report)
    }

    fn collect(&self, state: &mut RunState) -> Result<NamedTensors, TrainingError> {
        let mut tensors = self.core.collect(state)?;
        self.rates.collect(&mut tensors)?;
        Ok(tensors)
    }

    fn restore(mut self, mut tensors: NamedTensors, state: &RunState) -> Result<Self, String> {
        self.core = self.core.restore(&mut tensors, state)?;
        self.rates = self.rates.restore(&mut tensors, state.step)?;
        all_used(&tensors).map(|()| self)
    }

    /// Writes the rates too, as `class_rates.json`: a number per class, in the order of labels.
    fn finish(
        &self,
        report: &ClassificationReport,
        folder: &RunFolder,
    ) -> Result<(), TrainingError> {
        self.core.finish(report, folder)?;
        let text = serde_json::to_string(&self.rates.read()?).unwrap_or_default();
        write_whole(&folder.path().join("class_rates.json"), |file| file.write_all(text.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meta::Velocity;
    use crate::stage_two::class_draw::DrawNoise;
    use burn::module::Param;
    use burn::tensor::TensorData;
    use longtail_losses::BalancedSoftmaxConfig;
    use longtail_testing::{assert_close, device, values};
    use longtail_types::ClassCounts;
    use serde_json::Value;

    fn numbers(value: &Value) -> Vec<f64> {
        value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
    }

    /// Draws, and the gradient through the whole step, against the graph of PyTorch, which the
    /// script holds against finite differences at 1e-6 (xtask/reference/meta_sampler.py). There a
    /// Gumbel softmax runs over all images; here it is class by class.
    #[test]
    fn the_gradient_is_that_of_the_whole_step() {
        let reference: Value =
            serde_json::from_str(include_str!("../../tests/data/meta_sampler.json")).unwrap();
        let device = device();
        let matrix = |values: &[f64], columns: usize| -> Tensor<2> {
            let values: Vec<f32> = values.iter().map(|&v| v as f32).collect();
            let rows = values.len() / columns;
            Tensor::from_data(TensorData::new(values, [rows, columns]), &device)
        };
        let named = |name: &str, columns: usize| matrix(&numbers(&reference[name]), columns);
        let vector = |name: &str| named(name, 1).squeeze_dim::<1>(1);
        let nested = |name: &str| -> Vec<Vec<f64>> {
            reference[name].as_array().unwrap().iter().map(numbers).collect()
        };
        let counts: Vec<usize> =
            numbers(&reference["counts"]).iter().map(|&n| n as usize).collect();
        let labels: Vec<usize> =
            counts.iter().enumerate().flat_map(|(c, &n)| std::iter::repeat_n(c, n)).collect();

        let exponentials = nested("exponentials");
        let noise = DrawNoise::of_exponentials(&exponentials, &labels, &device);
        let psi = numbers(&reference["psi"]);
        let rates: Vec<f64> = psi.iter().map(|psi| 1.0 / (1.0 + (-psi).exp())).collect();
        let mut learned = ClassRates::new(&rates, 0.01, &device);
        let rates = learned.rates();
        let drawn = noise.draw(rates.clone());
        let found: Vec<f64> =
            drawn.images.clone().into_data().iter::<i64>().map(|i| i as f64).collect();
        assert_eq!(found, numbers(&reference["drawn"]));
        let relaxed = values(drawn.relaxed.clone());
        assert_close("relaxed", &relaxed, &numbers(&reference["relaxed"]), 1e-5);
        let mass: Vec<f64> = nested("mass").concat();
        assert_close("mass", &values(drawn.mass.clone()), &mass, 1e-5);

        let image_counts: Vec<u64> = counts.iter().map(|&n| n as u64).collect();
        let class_counts =
            ClassCounts::new(image_counts.clone(), image_counts, labels.len() as u64).unwrap();
        let loss = BalancedSoftmaxConfig::default().init(&class_counts, &device).unwrap();
        let loss = ClassificationLoss::BalancedSoftmax(loss);
        let plain = ClassificationLossConfig::CrossEntropy(CrossEntropyConfig::default());
        let plain = plain.init(&class_counts, &device).unwrap();
        let layer = Linear {
            weight: Param::from_tensor(named("weight", 3)),
            bias: Some(Param::from_tensor(vector("bias"))),
        };
        let features = matrix(&nested("features").concat(), 3);
        let rows = features.select(0, drawn.images.clone());
        let num_slots = exponentials.len() as f64;
        for case in reference["cases"].as_array().unwrap() {
            let config = OptimizerConfig::Sgd {
                lr: reference["lr"].as_f64().unwrap(),
                momentum: case["momentum"].as_f64().unwrap(),
                nesterov: case["nesterov"].as_bool().unwrap(),
                weight_decay: case["weight_decay"].as_f64().unwrap(),
                decayed: Default::default(),
            };
            let sgd = SgdStep::new(&config, config.lr()).unwrap();
            let velocity = Velocity {
                weight: Some(named("velocity_weight", 3)),
                bias: Some(vector("velocity_bias")),
            };
            let logits = PlainLayer::of(&layer).forward(rows.clone());
            let row_labels = RowLabels::classes(drawn.labels.clone());
            let of_rows = logit_gradient(&loss, logits, row_labels, Reduction::Mean).unwrap();
            let inner = LayerGradient::new(of_rows.by_logits.clone(), rows.clone(), &layer);
            let moved = inner.step(&layer, sgd, velocity);
            let meta_rows = named("meta_features", 3);
            let meta_labels: Vec<usize> =
                numbers(&reference["meta_labels"]).iter().map(|&l| l as usize).collect();
            let meta_labels = RowLabels::from_host(&meta_labels, counts.len(), &device).unwrap();
            let logits = moved.forward(meta_rows.clone());
            let meta = logit_gradient(&plain, logits, meta_labels, Reduction::Mean).unwrap();
            let expected = case["meta_loss"].as_f64().unwrap();
            assert_close("meta loss", &values(meta.loss), &[expected], 1e-5);
            let meta = LayerGradient::new(meta.by_logits, meta_rows, &layer);
            let alignment = meta.alignment(of_rows.by_logits * num_slots, rows.clone());
            let gradient = rate_gradient(rates.clone(), &drawn, alignment, sgd.reach());
            let expected = numbers(&case["gradient"]);
            let largest = expected.iter().fold(0.0_f64, |max, v| max.max(v.abs()));
            for (found, expected) in values(gradient.clone()).into_iter().zip(&expected) {
                let error = (f64::from(found) - expected).abs() / largest;
                assert!(error < 1e-3, "{found} {expected}");
            }

            learned = ClassRates::new(
                &psi.iter().map(|psi| 1.0 / (1.0 + (-psi).exp())).collect::<Vec<_>>(),
                0.01,
                &device,
            );
            (0..3).for_each(|_| learned.update(gradient.clone()));
            let expected: Vec<f64> = numbers(&case["psi_after_three_steps_of_adam"])
                .iter()
                .map(|psi| 1.0 / (1.0 + (-psi).exp()))
                .collect();
            assert_close("rates", &values(learned.rates()), &expected, 1e-4);
        }
    }

    #[test]
    fn first_rates_are_the_authors() {
        assert_eq!(first_rates(&[90, 9, 1], 0.0), [0.5; 3]);
        // v = (0.9^-0.3, 0.09^-0.3, 0.01^-0.3) / (v_min + v_max), in NumPy.
        let expected = [0.205_879_71, 0.410_784_02, 0.794_120_29];
        for (rate, expected) in first_rates(&[90, 9, 1], 0.3).into_iter().zip(expected) {
            assert!((rate - expected).abs() < 1e-6, "{rate} {expected}");
        }
    }
}
