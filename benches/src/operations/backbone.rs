//! Whole networks.

use burn::tensor::{Device, Tensor};
use longtail::models::{
    BackboneConfig, DetectorBackboneConfig, FpnConfig, PyramidLevels, ResNetFpn, WeightInit,
};

use super::{Failure, Operation, tensor};
use crate::work::{Network, Pass};

enum Model {
    Backbone(longtail::models::Backbone),
    Pyramid(ResNetFpn),
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
        let init = WeightInit::new(0, device);
        let model = match network {
            Network::Resnet50 => Model::Backbone(BackboneConfig::ResNet50.init(&init)?),
            Network::Resnet50Fpn => {
                let (config, fpn) = (DetectorBackboneConfig::default(), FpnConfig::default());
                Model::Pyramid(config.init(&fpn, PyramidLevels::P2ToP6, &init)?)
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
            Model::Backbone(model) => model.forward(self.images.clone()).sum(),
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
