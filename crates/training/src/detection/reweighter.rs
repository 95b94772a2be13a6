//! The weights of Meta Reweighter and their gradient.

use burn::tensor::{Device, FloatDType, Tensor, TensorData};
use longtail_losses::{
    Background, BinaryCrossEntropyConfig, ClassificationLoss, ClassificationLossConfig, RowLabels,
};
use longtail_models::{ClassifierRows, DetectorConfig};
use longtail_types::ClassCounts;

use super::recipe::DetectionRecipe;
use super::settings::{MetaLoss, MetaReweighterConfig};
use crate::error::TrainingError;
use crate::optimizer_config::OptimizerConfig;
use crate::recipe_file::{check_counts, refuse};
use crate::stage_two::check_rate_lr;

impl MetaReweighterConfig {
    /// Whether it fits the second stage, as a recipe by itself.
    pub(super) fn check(self, second: &DetectionRecipe) -> Result<(), TrainingError> {
        const KEY: &str = "stage_two.meta_reweighter";
        check_rate_lr("stage_two.meta_reweighter.rate_lr", self.rate_lr)?;
        check_counts(&[(
            "stage_two.meta_reweighter.meta_batch_size",
            self.meta_batch_size.map(|size| size as u64),
        )])?;
        let has_one_head =
            matches!(second.model, DetectorConfig::FasterRcnn(_) | DetectorConfig::MaskRcnn(_));
        let layout = second.loss.layout(2);
        let is_plain = layout.background() == Background::NoColumn && layout.num_logits() == 2;
        let problem = match second.optimizer {
            _ if !has_one_head => "needs a faster-rcnn or a mask-rcnn",
            _ if !is_plain => "needs a sigmoid loss with one column per class",
            OptimizerConfig::Adamw { .. } => "needs the optimizer sgd: it looks through its step",
            _ if second.gradient.accumulate != 1 => "needs `gradient.accumulate = 1`",
            OptimizerConfig::Sgd { .. } => return Ok(()),
        };
        Err(refuse(KEY, problem))
    }

    /// The loss of the meta batch, if it is another than that of the stage.
    pub(super) fn meta_loss(
        self,
        counts: &ClassCounts,
        device: &Device,
    ) -> Result<Option<ClassificationLoss>, TrainingError> {
        match self.meta_loss {
            MetaLoss::Shifted => Ok(None),
            MetaLoss::Unshifted => {
                let config = BinaryCrossEntropyConfig::default();
                let config = ClassificationLossConfig::BinaryCrossEntropy(config);
                Ok(Some(config.init(counts, device)?))
            }
        }
    }
}

/// Regions of a batch with their classes, without autodiff.
#[derive(Clone, Debug)]
pub(super) struct RegionRows {
    pub(super) vectors: Tensor<2>, // [rows, width]
    is_class: Tensor<2>,           // [rows, classes]; 0 for background and rows that fill up
    is_background: Tensor<1>,      // [rows]
    num_regions: usize,
    num_foreground: usize,
    labels: Vec<usize>, // [rows]
}

impl RegionRows {
    pub(super) fn new(rows: ClassifierRows, num_classes: usize) -> Self {
        let ClassifierRows { vectors, mut labels } = rows;
        let vectors = vectors.without_autodiff().cast(FloatDType::F32);
        let device = vectors.device();
        let num_regions = labels.len();
        let num_foreground = labels.iter().filter(|&&label| label < num_classes).count();
        let [num_rows, _] = vectors.dims();
        let background: Vec<f32> = (0..num_rows)
            .map(|row| f32::from(labels.get(row).is_some_and(|&label| label >= num_classes)))
            .collect();
        labels.resize(num_rows, num_classes);
        let ids: Vec<i32> = labels.iter().map(|&label| label as i32).collect();
        let ids =
            Tensor::<2, burn::tensor::Int>::from_data(TensorData::new(ids, [num_rows, 1]), &device);
        let classes = Tensor::arange(0..num_classes as i64, &device).unsqueeze();
        Self {
            vectors,
            is_class: ids.equal(classes).float(),
            is_background: Tensor::from_floats(background.as_slice(), &device),
            num_regions,
            num_foreground,
            labels,
        }
    }

    /// Labels for a loss; rows that fill up are left out.
    pub(super) fn row_labels(&self, num_labels: usize) -> Result<RowLabels, TrainingError> {
        let device = self.vectors.device();
        let labels = RowLabels::from_host(&self.labels, num_labels, &device)?;
        if self.num_regions == self.labels.len() {
            return Ok(labels);
        }
        let fills: Vec<bool> = (0..self.labels.len()).map(|row| row >= self.num_regions).collect();
        let fills = Tensor::from_data(TensorData::new(fills, [self.labels.len()]), &device);
        Ok(labels.ignoring(fills))
    }

    /// Number of regions, at least 1.
    pub(super) fn count(&self) -> f64 {
        self.num_regions.max(1) as f64
    }

    /// The rate of each foreground row, and their sum, `[rows]` and `[1]`.
    fn rates_of_rows(&self, rates: &Tensor<1>) -> (Tensor<1>, Tensor<1>) {
        let of_rows = (self.is_class.clone() * rates.clone().unsqueeze()).sum_dim(1);
        let of_rows = of_rows.squeeze_dim::<1>(1);
        let sum = of_rows.clone().sum().clamp_min(1e-12); // no foreground: 0 / 1e-12
        (of_rows, sum)
    }

    /// The weight of each row, `[rows]`: 1 on background; on foreground the rate of the class, scaled
    /// so that the foreground weighs as much as it has rows; 0 on rows that fill up.
    pub(super) fn weights(&self, rates: &Tensor<1>) -> Tensor<1> {
        let (of_rows, sum) = self.rates_of_rows(rates);
        of_rows * (self.num_foreground as f64) / sum + self.is_background.clone()
    }

    /// The gradient of the meta loss by `psi`, where `rate = sigmoid(psi)`, `[classes]`:
    ///
    /// `-reach / R n_fg / S rate_c (1 - rate_c) (sum over rows of c of a_r - N_c / S sum_fg rate_r a_r)`
    ///
    /// with the alignments `a`, `S` the sum of the rates of the foreground rows, `N_c` the rows of `c`.
    pub(super) fn gradient(
        &self,
        rates: &Tensor<1>,
        alignment: Tensor<1>,
        reach: f64,
    ) -> Tensor<1> {
        let (of_rows, sum) = self.rates_of_rows(rates);
        let by_class = |rows: Tensor<1>| (self.is_class.clone() * rows.unsqueeze_dim(1)).sum_dim(0);
        let aligned = by_class(alignment.clone()).squeeze_dim::<1>(0);
        let num_rows = self.is_class.clone().sum_dim(0).squeeze_dim::<1>(0);
        let shared = (of_rows * alignment).sum() / sum.clone();
        let sums = aligned - num_rows * shared;
        let slope = rates.clone() * (1.0 - rates.clone());
        slope * sums / sum * (-reach * self.num_foreground as f64 / self.count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meta::{ClassRates, LayerGradient, PlainLayer, SgdStep, Velocity, logit_gradient};
    use burn::module::Param;
    use longtail_losses::{BalancedSigmoidConfig, BalancedSigmoidForm, Reduction};
    use longtail_models::Linear;
    use longtail_testing::{assert_close, device, values};
    use serde_json::Value;

    fn numbers(value: &Value) -> Vec<f64> {
        value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
    }

    fn integers(value: &Value) -> Vec<usize> {
        value.as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as usize).collect()
    }

    /// Against the graph of PyTorch through the whole step, which the script holds against finite
    /// differences at 1e-6 (xtask/reference/meta_reweighter.py).
    #[test]
    fn the_gradient_is_that_of_the_whole_step() {
        let reference: Value =
            serde_json::from_str(include_str!("../../tests/data/meta_reweighter.json")).unwrap();
        let device = device();
        let matrix = |value: &Value, columns: usize| -> Tensor<2> {
            let values: Vec<f32> = numbers(value).iter().map(|&v| v as f32).collect();
            let rows = values.len() / columns;
            Tensor::from_data(TensorData::new(values, [rows, columns]), &device)
        };
        let vector = |value: &Value| matrix(value, 1).squeeze_dim::<1>(1);
        let layer = Linear {
            weight: Param::from_tensor(matrix(&reference["weight"], 3)),
            bias: Some(Param::from_tensor(vector(&reference["bias"]))),
        };
        let counts: Vec<u64> =
            integers(&reference["image_counts"]).iter().map(|&n| n as u64).collect();
        let num_images = reference["num_images"].as_u64().unwrap();
        let counts = ClassCounts::new(counts.clone(), counts, num_images).unwrap();
        let form = BalancedSigmoidForm::Released;
        let loss = BalancedSigmoidConfig { form, prior: None }.init(&counts, &device).unwrap();
        let loss = ClassificationLoss::BalancedSigmoid(loss);
        // Two more rows fill up and must not matter.
        let rows = |rows: &Value, labels: &Value, fills: usize| {
            let vectors = matrix(rows, 3);
            let fill = Tensor::ones([fills, 3], &device) * 7.0;
            let vectors = Tensor::cat(vec![vectors, fill], 0);
            RegionRows::new(ClassifierRows { vectors, labels: integers(labels) }, 4)
        };
        let main = rows(&reference["rows"], &reference["labels"], 2);
        let meta = rows(&reference["meta_rows"], &reference["meta_labels"], 1);
        let psi = numbers(&reference["psi"]);
        let rates: Vec<f64> = psi.iter().map(|psi| 1.0 / (1.0 + (-psi).exp())).collect();
        let rates = ClassRates::new(&rates, 0.01, &device).rates();
        let weights = main.weights(&rates);
        let expected: Vec<f64> =
            numbers(&reference["row_weights"]).into_iter().chain([0.0; 2]).collect();
        assert_close("weights", &values(weights.clone()), &expected, 1e-5);

        for case in reference["cases"].as_array().unwrap() {
            let config = OptimizerConfig::Sgd {
                lr: reference["lr"].as_f64().unwrap(),
                momentum: reference["momentum"].as_f64().unwrap(),
                nesterov: case["nesterov"].as_bool().unwrap(),
                weight_decay: reference["weight_decay"].as_f64().unwrap(),
                decayed: Default::default(),
            };
            let sgd = SgdStep::new(&config, config.lr()).unwrap();
            let velocity = Velocity {
                weight: Some(matrix(&reference["velocity_weight"], 3)),
                bias: Some(vector(&reference["velocity_bias"])),
            };
            let logits = PlainLayer::of(&layer).forward(main.vectors.clone());
            let labels = main.row_labels(5).unwrap();
            let by_rows = logit_gradient(&loss, logits, labels, Reduction::None).unwrap().by_logits;
            let weighted = by_rows.clone() * weights.clone().unsqueeze_dim(1) / main.count();
            let inner = LayerGradient::new(weighted, main.vectors.clone(), &layer);
            let moved = inner.step(&layer, sgd, velocity);

            let settings = MetaReweighterConfig {
                meta_loss: match case["is_shifted"].as_bool().unwrap() {
                    true => MetaLoss::Shifted,
                    false => MetaLoss::Unshifted,
                },
                ..Default::default()
            };
            let plain = settings.meta_loss(&counts, &device).unwrap();
            let meta_loss = plain.as_ref().unwrap_or(&loss);
            let logits = moved.forward(meta.vectors.clone());
            let labels = meta.row_labels(5).unwrap();
            let found = logit_gradient(meta_loss, logits, labels, Reduction::Mean).unwrap();
            let expected = case["meta_loss"].as_f64().unwrap();
            assert_close("meta loss", &values(found.loss), &[expected], 1e-5);
            let outer = LayerGradient::new(found.by_logits, meta.vectors.clone(), &layer);
            let alignment = outer.alignment(by_rows, main.vectors.clone());
            let gradient = main.gradient(&rates, alignment, sgd.reach());
            let expected = numbers(&case["gradient"]);
            let largest = expected.iter().fold(0.0_f64, |max, v| max.max(v.abs()));
            for (found, expected) in values(gradient).into_iter().zip(expected) {
                let error = (f64::from(found) - expected).abs() / largest;
                assert!(error < 1e-3, "{found} {expected}");
            }
        }
    }

    #[test]
    fn a_batch_without_objects_moves_nothing() {
        let device = device();
        let vectors = Tensor::ones([3, 2], &device);
        let rows = RegionRows::new(ClassifierRows { vectors, labels: vec![2, 2, 2] }, 2);
        let rates = ClassRates::new(&[0.5, 0.5], 0.01, &device).rates();
        assert_eq!(values(rows.weights(&rates)), [1.0; 3]);
        let gradient = rows.gradient(&rates, Tensor::ones([3], &device), 0.1);
        assert_eq!(values(gradient), [0.0; 2]);
    }
}
