//! Pooling by the regions that images of one class share.

use burn::module::Module;
use burn::tensor::activation::{log_softmax, relu, softmax};
use burn::tensor::{Bool, Int, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::cosine::unit_parts;
use crate::error::ModelError;

/// Added to the length of features and weights.
const EPSILON: f64 = 1e-12;
/// Below any cosine.
const ABSENT: f32 = -2.0;

/// Configuration of [`CamCalibration`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CamCalibrationConfig {
    /// What evidence, a cosine, is divided by before the softmax over the regions: small looks at
    /// few regions. Default: 0.1.
    pub temperature: f64,
    /// Share of the weighted mean in the pooled feature; the rest is the plain mean, and 0 is
    /// average pooling. Default: 0.5.
    pub strength: f64,
    /// Images of the same class in the batch that an image is compared with, at most. Default: 4.
    pub partners: usize,
    /// Weight of a loss that teaches the class's own map to agree with what the pairs show.
    /// Default: 0, none.
    pub agreement: f64,
}

impl Default for CamCalibrationConfig {
    fn default() -> Self {
        Self { temperature: 0.1, strength: 0.5, partners: 4, agreement: 0.0 }
    }
}

impl CamCalibrationConfig {
    /// Makes the module; it has no parameters.
    ///
    /// # Errors
    /// If a value is out of range.
    pub fn init(&self) -> Result<CamCalibration, ModelError> {
        let check = |name, value: f64, fits: bool, expected| {
            let value = value.to_string();
            if fits { Ok(()) } else { Err(ModelError::InvalidValue { name, value, expected }) }
        };
        let fits = self.temperature.is_finite() && self.temperature > 0.0;
        let name = "cam_calibration.temperature";
        check(name, self.temperature, fits, "finite and above 0")?;
        let fits = (0.0..=1.0).contains(&self.strength);
        check("cam_calibration.strength", self.strength, fits, "in [0, 1]")?;
        let partners = self.partners as f64;
        check("cam_calibration.partners", partners, self.partners > 0, "at least 1")?;
        let fits = self.agreement.is_finite() && self.agreement >= 0.0;
        check("cam_calibration.agreement", self.agreement, fits, "finite and at least 0")?;
        Ok(CamCalibration {
            temperature: self.temperature,
            strength: self.strength,
            partners: self.partners,
            agreement: self.agreement,
        })
    }
}

/// Pools features by regions that belong to the class, instead of evenly.
///
/// A design of our own after an idea that Zhang et al. (<https://arxiv.org/abs/2108.12757>) state in
/// their abstract: find the regions that images of a class share, and let them count more before
/// pooling. It is no reproduction of their module, whose equations are not known to us.
///
/// The pooled feature is `(1 - strength) mean_u f_u + strength sum_u a_u f_u`, over the regions `u`
/// of the last feature map, with weights `a = softmax_u(e_u / temperature)` of evidence `e`:
///
/// - In training, from pairs: `e_u = max cos(f_u, f'_v)` over all regions `v` of up to `partners`
///   other images of the batch with the same label. An image without such a partner takes its class
///   activation map instead.
/// - The class activation map of class `c` is `e_u = max(0, cos(w_c, f_u))` with the row `w_c` of
///   the classifier. At test time there are no labels and no pairs: `c` is the class that the evenly
///   pooled feature is given.
///
/// So training and test weigh regions by different evidence. `agreement` adds
/// `KL(softmax(e / temperature) | softmax(map_y / temperature))`, the mean over the images with
/// partners, which pulls the map of the label towards what the pairs show. The weights `a` and the
/// evidence of the pairs are constants to all gradients; features learn through pooling, and
/// features and classifier through the map in the agreement.
///
/// Memory: `batch * partners * regions^2` cosines in training, for example 2 M values for 128 images
/// of 8 x 8 regions.
#[derive(Module, Debug)]
pub struct CamCalibration {
    temperature: f64,
    strength: f64,
    partners: usize,
    agreement: f64,
}

/// A pooled batch in training.
#[derive(Debug, Clone)]
pub struct CalibratedFeatures {
    /// `[batch, channels]`
    pub features: Tensor<2>,
    /// The weighted agreement loss, `[1]`, if it has a weight and any image has a partner.
    pub agreement: Option<Tensor<1>>,
}

impl CamCalibration {
    /// Pools with labels at hand.
    ///
    /// # Shapes
    /// - maps: `[batch, channels, height, width]`
    /// - class_weights: `[num_logits, channels]`, the classifier's
    /// - labels: one for each image, a row of `class_weights`
    ///
    /// # Panics
    /// If the shapes disagree.
    pub fn pool_labeled(
        &self,
        maps: Tensor<4>,
        class_weights: Tensor<2>,
        labels: &[usize],
    ) -> CalibratedFeatures {
        let regions = regions_of(maps);
        let [batch_size, num_regions, _] = regions.dims();
        assert_eq!(labels.len(), batch_size, "one label per image");
        let device = regions.device();
        let partners = Partners::new(labels, self.partners);
        let rows: Vec<i32> = labels.iter().map(|&label| label as i32).collect();
        let rows = Tensor::<1, Int>::from_data(TensorData::new(rows, [batch_size]), &device);
        let map = class_map(regions.clone(), class_weights, rows);
        if partners.width == 0 {
            let features = self.pool(regions, map);
            return CalibratedFeatures { features, agreement: None };
        }
        let has_partner = TensorData::new(partners.has_any(), [batch_size, 1]);
        let has_partner = Tensor::<2, Bool>::from_data(has_partner, &device);
        let shape = [batch_size, num_regions];
        let shared = shared_evidence(regions.clone().without_autodiff(), &partners);
        let fallback = map.clone().without_autodiff();
        let evidence = fallback.mask_where(has_partner.clone().expand(shape), shared.clone());
        let agreement = (self.agreement > 0.0).then(|| {
            let target = shared / self.temperature;
            let (target, log_target) = (softmax(target.clone(), 1), log_softmax(target, 1));
            let log_map = log_softmax(map / self.temperature, 1);
            let of_images = (target * (log_target - log_map)).sum_dim(1);
            let count = partners.has_any().iter().filter(|&&has| has).count();
            (of_images * has_partner.float()).sum() * (self.agreement / count as f64)
        });
        CalibratedFeatures { features: self.pool(regions, evidence), agreement }
    }

    /// Pools by the map of the class that `classify` gives to the evenly pooled feature.
    ///
    /// # Shapes
    /// - maps: `[batch, channels, height, width]`
    /// - class_weights: `[num_logits, channels]`, the classifier's
    /// - classify: `[batch, channels]` to logits `[batch, num_logits]`
    /// - output: `[batch, channels]`
    pub fn pool_unlabeled(
        &self,
        maps: Tensor<4>,
        class_weights: Tensor<2>,
        classify: impl FnOnce(Tensor<2>) -> Tensor<2>,
    ) -> Tensor<2> {
        let regions = regions_of(maps);
        let even = regions.clone().mean_dim(1).squeeze_dim::<2>(1);
        let classes = classify(even).argmax(1).squeeze_dim::<1>(1);
        let map = class_map(regions.clone(), class_weights, classes);
        self.pool(regions, map)
    }

    /// `[batch, regions, channels]` by evidence `[batch, regions]` to `[batch, channels]`.
    fn pool(&self, regions: Tensor<3>, evidence: Tensor<2>) -> Tensor<2> {
        let [_, num_regions, _] = regions.dims();
        let weights = softmax(evidence.without_autodiff() / self.temperature, 1);
        let even = (1.0 - self.strength) / num_regions.max(1) as f64;
        let weights = weights * self.strength + even;
        (regions * weights.unsqueeze_dim::<3>(2)).sum_dim(1).squeeze_dim::<2>(1)
    }
}

/// `[batch, channels, height, width]` to `[batch, height * width, channels]`.
fn regions_of(maps: Tensor<4>) -> Tensor<3> {
    let [batch_size, channels, height, width] = maps.dims();
    maps.reshape([batch_size, channels, height * width]).swap_dims(1, 2)
}

fn unit(regions: Tensor<3>) -> Tensor<3> {
    let [batch_size, num_regions, channels] = regions.dims();
    let rows = regions.reshape([batch_size * num_regions, channels]);
    unit_parts(rows, 1, EPSILON).reshape([batch_size, num_regions, channels])
}

/// Class activation map of a class for each image, `[batch, regions]`.
fn class_map(regions: Tensor<3>, class_weights: Tensor<2>, classes: Tensor<1, Int>) -> Tensor<2> {
    let weights = unit_parts(class_weights.select(0, classes), 1, EPSILON);
    let cosines = unit(regions).matmul(weights.unsqueeze_dim::<3>(2));
    relu(cosines.squeeze_dim::<2>(2))
}

/// The most similar region of a partner, for each region: `[batch, regions]`. An image without a
/// partner has no evidence worth having.
fn shared_evidence(regions: Tensor<3>, partners: &Partners) -> Tensor<2> {
    let [batch_size, num_regions, channels] = regions.dims();
    let device = regions.device();
    let unit = unit(regions);
    let [width, entries] = [partners.width, batch_size * partners.width];
    let indices = TensorData::new(partners.indices.clone(), [entries]);
    let others = unit.clone().select(0, Tensor::from_data(indices, &device));
    let others = others.reshape([batch_size, width * num_regions, channels]);
    let cosines = unit.matmul(others.swap_dims(1, 2)); // [batch, regions, partners * regions]
    let cosines = cosines.reshape([batch_size, num_regions, width, num_regions]);
    let best = cosines.max_dim(3).reshape([batch_size, num_regions, width]);
    let is_absent = TensorData::new(partners.is_absent.clone(), [batch_size, 1, width]);
    let is_absent = Tensor::<3, Bool>::from_data(is_absent, &device);
    let best = best.mask_fill(is_absent.expand([batch_size, num_regions, width]), ABSENT);
    best.max_dim(2).squeeze_dim::<2>(2)
}

/// Other images of the same class, for each image of a batch.
struct Partners {
    /// Most partners of an image.
    width: usize,
    /// `[batch * width]`; the image itself where there is none.
    indices: Vec<i32>,
    /// `[batch * width]`
    is_absent: Vec<bool>,
}

impl Partners {
    /// The next images of the same label in the order of the batch, which goes around.
    fn new(labels: &[usize], most: usize) -> Self {
        let batch_size = labels.len();
        let of_image = |image: usize| -> Vec<usize> {
            let others = (1..batch_size).map(|step| (image + step) % batch_size);
            others.filter(|&other| labels[other] == labels[image]).take(most).collect()
        };
        let found: Vec<Vec<usize>> = (0..batch_size).map(of_image).collect();
        let width = found.iter().map(Vec::len).max().unwrap_or(0);
        let (mut indices, mut is_absent) = (Vec::new(), Vec::new());
        for (image, partners) in found.iter().enumerate() {
            for place in 0..width {
                let partner = partners.get(place);
                indices.push(*partner.unwrap_or(&image) as i32);
                is_absent.push(partner.is_none());
            }
        }
        Self { width, indices, is_absent }
    }

    fn has_any(&self) -> Vec<bool> {
        // The first place is taken first.
        self.is_absent.chunks(self.width.max(1)).map(|places| !places[0]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partners_have_the_same_label() {
        let partners = Partners::new(&[3, 1, 3, 3, 2, 1], 1);
        assert_eq!(partners.indices, [2, 5, 3, 0, 4, 1]);
        assert_eq!(partners.has_any(), [true, true, true, true, false, true]);
        let partners = Partners::new(&[3, 1, 3, 3, 2, 1], 4);
        assert_eq!(partners.width, 2);
        assert_eq!(partners.indices[..4], [2, 3, 5, 1]);
        assert_eq!(partners.is_absent[..4], [false, false, false, true]);
        assert_eq!(Partners::new(&[1, 2], 3).width, 0);
        assert_eq!(Partners::new(&[], 3).has_any(), Vec::<bool>::new());
    }
}
