//! Whole networks.

use burn::tensor::{Device, Tensor};
use longtail::models::{
    BackboneConfig, Classifier, ClassifierConfig, DetectorBackboneConfig, FpnConfig, PyramidLevels,
    ResNetFpn, WeightInit,
};

use super::{Failure, Operation, tensor};
use crate::work::{Network, Pass};

/// Classes of ImageNet.
const NUM_CLASSES: usize = 1000;

enum Model {
    Classifier(Box<Classifier>),
    Pyramid(Box<ResNetFpn>),
}

pub(super) struct Backbone {
    model: Model,
    images: Tensor<4>,
    pass: Pass,
    device: Device,
}

impl Backbone {
    pub(super) fn new(
        network: Network,
        [batch, size]: [usize; 2],
        pass: Pass,
        device: &Device,
    ) -> Result<Self, Failure> {
        let is_inference = pass == Pass::Forward;
        let model = match network {
            Network::Resnet50 => {
                let config = ClassifierConfig::new(BackboneConfig::ResNet50);
                let model = config.init(NUM_CLASSES, None, 0, device)?;
                Model::Classifier(Box::new(if is_inference {
                    model.for_inference()
                } else {
                    model
                }))
            }
            Network::Resnet50Fpn => {
                let (config, fpn) = (DetectorBackboneConfig::default(), FpnConfig::default());
                let init = WeightInit::new(0, device);
                let model = config.init(&fpn, PyramidLevels::P2ToP6, &init)?;
                Model::Pyramid(Box::new(if is_inference { model.for_inference() } else { model }))
            }
        };
        let images = device.clone().without_autodiff();
        let mut images = tensor([batch, 3, size, size], 41, [-2.0, 2.0], &images);
        if device.is_autodiff() {
            images = Tensor::from_inner(images);
        }
        Ok(Self { model, images, pass, device: device.clone() })
    }

    /// Sum of the outputs; reads nothing back.
    fn forward(&self) -> Tensor<1> {
        match &self.model {
            Model::Classifier(model) => model.forward(self.images.clone()).sum(),
            Model::Pyramid(model) => {
                let levels = model.forward(self.images.clone()).into_iter();
                levels.map(Tensor::sum).fold(Tensor::zeros([1], &self.device), |a, b| a + b)
            }
        }
    }
}

impl Operation for Backbone {
    fn run(&mut self) -> Result<(), Failure> {
        let sum = self.forward();
        if self.pass == Pass::ForwardBackward {
            drop(sum.backward());
        }
        Ok(self.device.sync()?)
    }

    /// The first weights are drawn differently on both sides.
    fn check(&mut self) -> Result<Option<f64>, Failure> {
        Ok(None)
    }
}
