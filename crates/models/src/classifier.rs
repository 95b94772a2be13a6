//! Images to logits.

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor, assert_shape};
use serde::{Deserialize, Serialize};

use crate::backbone::{Backbone, BackboneConfig};
use crate::cam_calibration::{CamCalibration, CamCalibrationConfig};
use crate::error::ModelError;
use crate::head::{ClassifierHead, HeadConfig};
use crate::projection::{Projection, ProjectionConfig};
use crate::weight_init::WeightInit;

/// Configuration of a [`Classifier`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassifierConfig {
    /// Images to features.
    pub backbone: BackboneConfig,
    /// Features to logits. Default: linear with bias.
    #[serde(default)]
    pub head: HeadConfig,
    /// Pools by the regions that images of one class share, instead of evenly. Default: evenly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cam_calibration: Option<CamCalibrationConfig>,
    /// A linear layer and a ReLU between backbone and head. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub projection: Option<ProjectionConfig>,
}

impl ClassifierConfig {
    /// This backbone under a linear head.
    pub fn new(backbone: BackboneConfig) -> Self {
        Self { backbone, head: HeadConfig::default(), cam_calibration: None, projection: None }
    }

    /// Sets the head.
    #[must_use]
    pub fn with_head(mut self, head: HeadConfig) -> Self {
        self.head = head;
        self
    }

    /// Makes the classifier with the first weights of `seed`. `num_logits` and `prior_bias` are the
    /// loss's answers. On an autodiff device it is ready to train.
    ///
    /// # Errors
    /// If the head or the pooling refuses its configuration; see [`HeadConfig::init`].
    pub fn init(
        &self,
        num_logits: usize,
        prior_bias: Option<f32>,
        seed: u64,
        device: &Device,
    ) -> Result<Classifier, ModelError> {
        let init = WeightInit::new(seed, device);
        let num_features = self.num_features();
        let head = self.head.init(num_features, num_logits, prior_bias, &init.child("head"))?;
        let cam_calibration = self.cam_calibration.as_ref();
        let cam_calibration = cam_calibration.map(CamCalibrationConfig::init).transpose()?;
        if let (Some(_), Some(ProjectionConfig { width })) = (&cam_calibration, self.projection) {
            let (name, value) = ("projection.width", width.to_string());
            let expected = "absent beside `cam_calibration`, which pools by the head's weights";
            return Err(ModelError::InvalidValue { name, value, expected });
        }
        let layer = |config: &ProjectionConfig| {
            config.init(self.backbone.num_features(), &init.child("projection"))
        };
        let projection = self.projection.as_ref().map(layer).transpose()?;
        Ok(Classifier { backbone: self.backbone.init(&init)?, head, cam_calibration, projection })
    }

    /// Width of what the head sees.
    pub fn num_features(&self) -> usize {
        self.projection.map_or_else(|| self.backbone.num_features(), |projection| projection.width)
    }
}

/// An image classifier.
#[derive(Module, Debug)]
pub struct Classifier {
    /// Images to features.
    pub backbone: Backbone,
    /// Features to logits.
    pub head: ClassifierHead,
    /// Pooling by regions of the class.
    pub cam_calibration: Option<CamCalibration>,
    /// Between backbone and head.
    pub projection: Option<Projection>,
}

/// Logits of images whose labels were at hand.
#[derive(Debug, Clone)]
pub struct LabeledLogits {
    /// `[batch, num_logits]`
    pub logits: Tensor<2>,
    /// A loss of the model's own to add to that of the logits, `[1]`; see
    /// [`CamCalibrationConfig::agreement`].
    pub auxiliary: Option<Tensor<1>>,
}

impl Classifier {
    /// # Shapes
    /// - images: `[batch, 3, height, width]`
    /// - output: logits `[batch, num_logits]`
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        self.head.forward(self.features(images))
    }

    /// [`forward`](Self::forward) in training, where labels are at hand: the pooling may look at
    /// other images of the same class, and add a loss. Without
    /// [`CamCalibration`] the logits are the same.
    ///
    /// # Shapes
    /// - images: `[batch, 3, height, width]`
    /// - labels: one class for each image
    ///
    /// # Panics
    /// If there is another number of labels than images.
    pub fn forward_labeled(&self, images: Tensor<4>, labels: &[usize]) -> LabeledLogits {
        let is_empty = images.dims()[0] == 0;
        let Some(calibration) = self.cam_calibration.as_ref().filter(|_| !is_empty) else {
            return LabeledLogits { logits: self.forward(images), auxiliary: None };
        };
        assert_shape!(images, [_, 3, _, _]);
        let maps = self.backbone.maps(images);
        let pooled = calibration.pool_labeled(maps, self.head.class_vectors().val(), labels);
        let logits = self.head.forward(pooled.features);
        LabeledLogits { logits, auxiliary: pooled.agreement }
    }

    /// A copy for inference alone: outside autodiff, batch norms folded into the convolutions. Same
    /// logits up to rounding. Its tensors are not those of a weight file any more; save the model it
    /// was made from.
    #[must_use]
    pub fn for_inference(&self) -> Self {
        let model = self.valid();
        Self { backbone: model.backbone.for_inference(), ..model }
    }

    /// What the head sees.
    ///
    /// # Shapes
    /// - images: `[batch, 3, height, width]`; the batch may be empty
    /// - output: `[batch, num_features]`
    pub fn features(&self, images: Tensor<4>) -> Tensor<2> {
        assert_shape!(images, [_, 3, _, _]);
        if images.dims()[0] == 0 {
            return Tensor::zeros([0, self.num_features()], &images.device());
        }
        let Some(calibration) = &self.cam_calibration else {
            let pooled = self.backbone.forward(images);
            return match &self.projection {
                Some(projection) => projection.forward(pooled),
                None => pooled,
            };
        };
        let maps = self.backbone.maps(images);
        let class_vectors = self.head.class_vectors().val();
        calibration.pool_unlabeled(maps, class_vectors, |even| {
            // Outside autodiff, so that running statistics stay.
            self.head.valid().forward(even.without_autodiff())
        })
    }

    /// Width of the features.
    pub fn num_features(&self) -> usize {
        let own = self.projection.as_ref().map(Projection::width);
        own.unwrap_or_else(|| self.backbone.num_features())
    }

    /// Columns of the output.
    pub fn num_logits(&self) -> usize {
        self.head.num_logits()
    }

    /// Number of trained values; running statistics do not count.
    pub fn num_parameters(&self) -> usize {
        let mut counter = ParameterCounter::default();
        self.visit(&mut counter);
        counter.total
    }

    /// A copy that later training of this model can't change: parameters, running statistics and
    /// their ids. For an exponential moving average or a teacher.
    ///
    /// `clone` does the same, as tensors are values and [`Buffer`](crate::Buffer) does not share its
    /// cell; this name says that it is meant.
    #[must_use]
    pub fn deep_copy(&self) -> Self {
        self.clone()
    }

    /// The same features under the tau-normalised weights of this head.
    ///
    /// # Errors
    /// If the head is a cosine head, or `tau` is negative or not finite.
    pub fn tau_normalized(&self, tau: f64) -> Result<Self, ModelError> {
        Ok(Self { head: self.head.tau_normalized(tau)?, ..self.clone() })
    }
}

/// Counts float parameters whose last name is not a running statistic's.
#[derive(Default)]
struct ParameterCounter {
    names: Vec<String>,
    total: usize,
}

impl ModuleVisitor for ParameterCounter {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.names.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.names.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if !self.names.last().is_some_and(|name| name.starts_with("running_")) {
            self.total += param.shape().num_elements();
        }
    }
}
