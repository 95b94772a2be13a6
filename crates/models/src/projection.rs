//! A layer between backbone and classifier.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use longtail_kernels::linear_relu;
use serde::{Deserialize, Serialize};

use crate::error::ModelError;
use crate::weight_init::{Fill, WeightInit};

/// Configuration of [`Projection`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProjectionConfig {
    /// Features of the classifier.
    pub width: usize,
}

impl ProjectionConfig {
    /// Makes the layer: weight uniform in `±sqrt(6 / (num_features + width))`, bias 0.
    ///
    /// # Errors
    /// If `width` is 0.
    pub fn init(&self, num_features: usize, init: &WeightInit) -> Result<Projection, ModelError> {
        if self.width == 0 {
            let (name, value) = ("projection.width", "0".to_owned());
            return Err(ModelError::InvalidValue { name, value, expected: "at least 1" });
        }
        let limit = (6.0 / (num_features + self.width) as f64).sqrt();
        Ok(Projection {
            weight: init.param("weight", [self.width, num_features], Fill::Uniform { limit }),
            bias: init.param("bias", [self.width], Fill::Constant(0.0)),
        })
    }
}

/// `relu(features weight^T + bias)`: brings features to the width of others they are compared with.
///
/// The student of Class-Balanced Distillation has it between pooling and classifier. Source: Iscen
/// et al., BMVC 2021, <https://arxiv.org/abs/2104.05279>, released code.
#[derive(Module, Debug)]
pub struct Projection {
    /// `[width, num_features]`, as in PyTorch.
    pub weight: Param<Tensor<2>>,
    /// `[width]`
    pub bias: Param<Tensor<1>>,
}

impl Projection {
    /// # Shapes
    /// - features: `[rows, num_features]`
    /// - output: `[rows, width]`
    pub fn forward(&self, features: Tensor<2>) -> Tensor<2> {
        linear_relu(features, self.weight.val(), Some(self.bias.val()))
    }

    /// Columns of the output.
    pub fn width(&self) -> usize {
        self.weight.dims()[0]
    }
}

#[cfg(test)]
mod tests {
    use crate::{BackboneConfig, ClassifierConfig, LoadScope, ProjectionConfig};
    use burn::tensor::Tensor;
    use longtail_testing::{assert_close, device, values};

    #[test]
    fn a_classifier_with_a_projection_is_saved_and_loaded() {
        let device = device();
        let projection = Some(ProjectionConfig { width: 5 });
        let config =
            ClassifierConfig { projection, ..ClassifierConfig::new(BackboneConfig::CifarResNet20) };
        let model = config.init(3, None, 0, &device).unwrap();
        let images = Tensor::<1, burn::tensor::Int>::arange(0..2 * 3 * 64, &device).float();
        let images = (images * 0.7).sin().reshape([2, 3, 8, 8]);
        let features = model.features(images.clone());
        assert_eq!((features.dims(), model.num_features()), ([2, 5], 5));

        // The slow form.
        let [pooled, weight] = [
            values(model.backbone.forward(images.clone())),
            values(model.projection.as_ref().unwrap().weight.val()),
        ];
        let expected: Vec<f64> = (0..10)
            .map(|i| {
                let products = (0..64).map(|k| pooled[i / 5 * 64 + k] * weight[i % 5 * 64 + k]);
                f64::from(products.sum::<f32>().max(0.0))
            })
            .collect();
        assert_close("features", &values(features), &expected, 1e-5);

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        model.save_weights(&path).unwrap();
        let mut other = config.init(3, None, 1, &device).unwrap();
        other.load_weights(&path, LoadScope::All).unwrap();
        let logits = values(model.forward(images.clone()));
        assert_eq!(values(other.forward(images.clone())), logits);
        let folded = values(model.for_inference().forward(images));
        let logits: Vec<f64> = logits.into_iter().map(f64::from).collect();
        assert_close("folded", &folded, &logits, 1e-4);
        let mut plain =
            ClassifierConfig::new(BackboneConfig::CifarResNet20).init(3, None, 1, &device).unwrap();
        assert!(plain.load_weights(&path, LoadScope::All).is_err());
        plain.load_weights(&path, LoadScope::Backbone).unwrap();
        let none = ClassifierConfig { projection: Some(ProjectionConfig { width: 0 }), ..config };
        let message = none.init(3, None, 0, &device).unwrap_err().to_string();
        assert!(message.contains("projection.width"), "{message}");
    }
}
