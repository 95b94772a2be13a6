//! The nearest class mean: a classifier without training.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::cosine::row_length;
use crate::error::ModelError;
use crate::weight_init::{Fill, WeightInit};

/// What is near.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MeanDistance {
    /// `logit_j = -|x - m_j|^2`.
    #[default]
    L2,
    /// `logit_j = cos(x, m_j)`. The authors' code has `x . m_j / num_features` under this name,
    /// which favours long means.
    Cosine,
}

/// What is done to features before means are taken and distances measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MeanFeatures {
    /// Nothing.
    Raw,
    /// Brought to length 1.
    L2n,
    /// The mean over all training images is taken off, then brought to length 1.
    #[default]
    Cl2n,
}

/// Configuration of [`NearestMean`]. The defaults are those of the authors' code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NearestMeanConfig {
    /// Default: squared Euclidean.
    pub distance: MeanDistance,
    /// Default: centred and brought to length 1.
    pub features: MeanFeatures,
}

/// The score of a class without training images: it is never the nearest.
const ABSENT: f32 = -1e9;

impl NearestMeanConfig {
    /// Makes a head to load means into.
    pub fn init(&self, num_features: usize, num_logits: usize, init: &WeightInit) -> NearestMean {
        let zero = Fill::Constant(0.0);
        NearestMean {
            means: init.param("means", [num_logits, num_features], zero).set_require_grad(false),
            center: init.param("center", [num_features], zero).set_require_grad(false),
            offset: init.param("offset", [num_logits], zero).set_require_grad(false),
            distance: self.distance,
            features: self.features,
        }
    }

    /// Means of the rows of each class; sums are in f64.
    ///
    /// # Shapes
    /// - features: `[rows, num_features]`, row by row
    /// - labels: `[rows]` in `0..num_classes`
    ///
    /// # Errors
    /// If there are no rows, their values are not whole rows, or a label is out of range.
    pub fn fit(
        &self,
        features: &[f32],
        labels: &[usize],
        num_classes: usize,
        device: &Device,
    ) -> Result<NearestMean, ModelError> {
        let refuse =
            |name, value: String, expected| Err(ModelError::InvalidValue { name, value, expected });
        let num_rows = labels.len();
        if num_rows == 0 || features.is_empty() || !features.len().is_multiple_of(num_rows) {
            let expected = "whole rows of features, one per label";
            return refuse(
                "features",
                format!("{} for {num_rows} labels", features.len()),
                expected,
            );
        }
        if let Some(label) = labels.iter().find(|&&label| label >= num_classes) {
            return refuse("label", label.to_string(), "below the number of classes");
        }
        let width = features.len() / num_rows;
        let mut center = vec![0.0_f64; width];
        if self.features == MeanFeatures::Cl2n {
            for row in features.chunks_exact(width) {
                center.iter_mut().zip(row).for_each(|(sum, &v)| *sum += f64::from(v));
            }
            center.iter_mut().for_each(|sum| *sum /= num_rows as f64);
        }
        let mut sums = vec![0.0_f64; num_classes * width];
        let mut counts = vec![0_usize; num_classes];
        for (row, &label) in features.chunks_exact(width).zip(labels) {
            let moved: Vec<f64> = row.iter().zip(&center).map(|(&v, c)| f64::from(v) - c).collect();
            let length = match self.features {
                MeanFeatures::Raw => 1.0,
                _ => moved.iter().map(|v| v * v).sum::<f64>().sqrt().max(1e-12),
            };
            let sum = &mut sums[label * width..(label + 1) * width];
            sum.iter_mut().zip(moved).for_each(|(sum, v)| *sum += v / length);
            counts[label] += 1;
        }
        let mean = |(i, sum): (usize, &f64)| (sum / counts[i / width].max(1) as f64) as f32;
        let means = sums.iter().enumerate().map(mean).collect();
        let center = center.iter().map(|&v| v as f32).collect();
        let offset = counts.iter().map(|&count| if count > 0 { 0.0 } else { ABSENT }).collect();
        Ok(NearestMean {
            means: fixed(means, [num_classes, width], device),
            center: fixed(center, [width], device),
            offset: fixed(offset, [num_classes], device),
            distance: self.distance,
            features: self.features,
        })
    }
}

fn fixed<const D: usize>(values: Vec<f32>, shape: [usize; D], device: &Device) -> Param<Tensor<D>> {
    let tensor = Tensor::from_data(TensorData::new(values, shape), device);
    Param::from_tensor(tensor).set_require_grad(false)
}

/// Gives the class whose mean training feature is nearest. Nothing of it is trained.
///
/// Source: Kang et al., ICLR 2020, <https://arxiv.org/abs/1910.09217>; the features are those of
/// their released code.
#[derive(Module, Debug)]
pub struct NearestMean {
    /// `[num_logits, num_features]`
    pub means: Param<Tensor<2>>,
    /// `[num_features]`, taken off features; 0 unless they are centred.
    pub center: Param<Tensor<1>>,
    /// `[num_logits]`: 0, or a large negative number for a class without training images.
    pub offset: Param<Tensor<1>>,
    #[module(skip)]
    distance: MeanDistance,
    #[module(skip)]
    features: MeanFeatures,
}

impl NearestMean {
    /// How it is configured.
    pub fn config(&self) -> NearestMeanConfig {
        NearestMeanConfig { distance: self.distance, features: self.features }
    }

    /// # Shapes
    /// - features: `[rows, num_features]`
    /// - output: `[rows, num_logits]`
    pub fn forward(&self, features: Tensor<2>) -> Tensor<2> {
        let x = match self.features {
            MeanFeatures::Raw => features,
            MeanFeatures::L2n => unit(features),
            MeanFeatures::Cl2n => unit(features - self.center.val().unsqueeze()),
        };
        let means = self.means.val();
        let logits = match self.distance {
            MeanDistance::Cosine => unit(x).matmul(unit(means).transpose()),
            MeanDistance::L2 => {
                let x_square = x.clone().square().sum_dim(1);
                let mean_square = means.clone().square().sum_dim(1).transpose();
                x.matmul(means.transpose()) * 2.0 - x_square - mean_square
            }
        };
        logits + self.offset.val().unsqueeze()
    }
}

fn unit(x: Tensor<2>) -> Tensor<2> {
    let length = row_length(x.clone());
    x / length
}
