//! From the features of a region to a vector.

use burn::module::Module;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::conv::ConvInit;
use crate::error::ModelError;
use crate::linear::{Linear, LinearConfig};
use crate::norm::NormConfig;
use crate::rcnn::check::check_positive;
use crate::rcnn::conv_block::{ConvBlock, conv_blocks, fold_blocks, forward_blocks};
use crate::weight_init::WeightInit;

/// Layers of a box head: `kind = "two-fc" | "conv-fc"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum BoxLayersConfig {
    /// [`TwoFc`]
    TwoFc {
        /// Width of both layers. Default: 1024.
        #[serde(default = "default_width")]
        width: usize,
    },
    /// [`ConvFc`]
    ConvFc {
        /// 3x3 convolutions. Default: 4.
        #[serde(default = "default_convs")]
        num_convs: usize,
        /// Their channels. Default: 256.
        #[serde(default = "default_channels")]
        channels: usize,
        /// Width of the last, fully connected layer. Default: 1024.
        #[serde(default = "default_width")]
        width: usize,
        /// What follows each convolution. Default: nothing. Regions that only fill a batch up take
        /// part in a batch norm's statistics; prefer group norm.
        #[serde(default)]
        norm: Option<NormConfig>,
    },
}

fn default_width() -> usize {
    1024
}

fn default_convs() -> usize {
    4
}

fn default_channels() -> usize {
    256
}

impl Default for BoxLayersConfig {
    fn default() -> Self {
        Self::TwoFc { width: default_width() }
    }
}

impl BoxLayersConfig {
    /// Length of the vectors.
    pub fn width(&self) -> usize {
        let (Self::TwoFc { width } | Self::ConvFc { width, .. }) = self;
        *width
    }

    /// Makes the layers for regions of `[channels, size, size]`.
    ///
    /// # Errors
    /// If a width is 0 or the norm refuses its channels.
    pub fn init(
        &self,
        in_channels: usize,
        size: usize,
        init: &WeightInit,
    ) -> Result<BoxHead, ModelError> {
        check_positive("box_head.layers.width", self.width())?;
        let linear = |name: &str, num_features: usize| {
            LinearConfig::default().init(num_features, self.width(), None, &init.child(name))
        };
        let area = size * size;
        Ok(match self {
            Self::TwoFc { width } => BoxHead::TwoFc(TwoFc {
                fc6: linear("fc6", in_channels * area)?,
                fc7: linear("fc7", *width)?,
            }),
            Self::ConvFc { num_convs, channels, norm, .. } => {
                check_positive("box_head.layers.channels", *channels)?;
                check_positive("box_head.layers.num_convs", *num_convs)?;
                let (norm, conv_init) = (norm.as_ref(), ConvInit::KaimingNormalFanOut);
                let channels = [in_channels, *channels];
                let convs =
                    conv_blocks(*num_convs, channels, norm, conv_init, &init.child("convs"))?;
                BoxHead::ConvFc(ConvFc { convs, fc: linear("fc", channels[1] * area)? })
            }
        })
    }
}

/// Layers of either kind.
#[derive(Module, Debug)]
pub enum BoxHead {
    /// Two fully connected layers.
    TwoFc(TwoFc),
    /// Convolutions and a fully connected layer.
    ConvFc(ConvFc),
}

impl BoxHead {
    /// With fixed norms folded into the convolutions.
    pub(crate) fn fold(&mut self) {
        if let Self::ConvFc(head) = self {
            fold_blocks(&mut head.convs);
        }
    }

    /// # Shapes
    /// - regions: `[num_rois, channels, size, size]`
    /// - output: `[num_rois, width]`
    pub fn forward(&self, regions: Tensor<4>) -> Tensor<2> {
        match self {
            Self::TwoFc(head) => head.forward(regions),
            Self::ConvFc(head) => head.forward(regions),
        }
    }
}

/// `relu(fc7(relu(fc6(x))))`: torchvision's `TwoMLPHead`, with its parameter names.
#[derive(Module, Debug)]
pub struct TwoFc {
    fc6: Linear,
    fc7: Linear,
}

impl TwoFc {
    fn forward(&self, regions: Tensor<4>) -> Tensor<2> {
        self.fc7.forward_relu(self.fc6.forward_relu(regions.flatten(1, 3)))
    }
}

/// 3x3 convolutions, then one fully connected layer: torchvision's `FastRCNNConvFCHead`.
///
/// Source: Wu and He, <https://arxiv.org/abs/1803.08494>, section 4.2.
#[derive(Module, Debug)]
pub struct ConvFc {
    convs: Vec<ConvBlock>,
    fc: Linear,
}

impl ConvFc {
    fn forward(&self, regions: Tensor<4>) -> Tensor<2> {
        let x = forward_blocks(&self.convs, regions);
        self.fc.forward_relu(x.flatten(1, 3))
    }
}
