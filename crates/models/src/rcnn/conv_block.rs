//! A 3x3 convolution, a normalisation if any, and a rectifier: the layer of every head.

use burn::tensor::Tensor;

use crate::conv::{BiasInit, Conv2d, Conv2dConfig, ConvInit};
use crate::conv_norm::{conv_norm_relu, fold};
use crate::error::ModelError;
use crate::norm::{Norm, NormConfig};
use crate::weight_init::WeightInit;

/// torchvision's `Conv2dNormActivation`: its parameters are called `0.*` and `1.*`.
pub(crate) type ConvBlock = (Conv2d, Option<Norm>);

/// `num_blocks` layers to `channels` each; a bias, 0 at first, only where no norm follows.
pub(crate) fn conv_blocks(
    num_blocks: usize,
    [in_channels, channels]: [usize; 2],
    norm: Option<&NormConfig>,
    conv_init: ConvInit,
    init: &WeightInit,
) -> Result<Vec<ConvBlock>, ModelError> {
    let block = |i: usize| {
        let init = init.child(&i.to_string());
        let in_channels = if i == 0 { in_channels } else { channels };
        let conv = Conv2dConfig::new(in_channels, channels, 3).with_padding(1);
        let conv = conv.with_init(conv_init).with_bias(norm.is_none());
        let conv = conv.with_bias_init(BiasInit::Constant(0.0)).init(&init.child("0"));
        let norm = norm.map(|norm| norm.init(channels, &init.child("1"))).transpose()?;
        Ok((conv, norm))
    };
    (0..num_blocks).map(block).collect()
}

/// Runs the layers one after the other.
pub(crate) fn forward_blocks(blocks: &[ConvBlock], x: Tensor<4>) -> Tensor<4> {
    blocks.iter().fold(x, |x, (conv, norm)| conv_norm_relu(conv, norm, x))
}

/// With fixed norms folded into the convolutions.
pub(crate) fn fold_blocks(blocks: &mut [ConvBlock]) {
    blocks.iter_mut().for_each(|(conv, norm)| fold(conv, norm));
}
