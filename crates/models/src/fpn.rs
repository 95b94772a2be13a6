//! The feature pyramid between a backbone and the heads.

use burn::module::Module;
use burn::tensor::activation::relu;
use burn::tensor::module::interpolate;
use burn::tensor::ops::{InterpolateMode, InterpolateOptions};
use burn::tensor::{Tensor, s};
use serde::{Deserialize, Serialize};

use crate::conv::{BiasInit, Conv2d, Conv2dConfig, ConvInit};
use crate::conv_norm::{conv_norm, folded};
use crate::error::ModelError;
use crate::norm::{Norm, NormConfig};
use crate::resnet::ResNetFeatures;
use crate::weight_init::WeightInit;

/// Which maps a pyramid has. `p_n` has stride `2^n`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PyramidLevels {
    /// `p2` to `p5` from `c2` to `c5`; `p6` is every second pixel of `p5`. Two-stage detectors.
    #[serde(rename = "p2-p6")]
    P2ToP6,
    /// `p3` to `p5` from `c3` to `c5`; `p6` and `p7` by convolutions from `p5`. torchvision's
    /// RetinaNet.
    #[serde(rename = "p3-p7")]
    P3ToP7,
    /// The same with `p6` from `c5`, as in the RetinaNet paper.
    #[serde(rename = "p3-p7-from-c5")]
    P3ToP7FromC5,
}

impl PyramidLevels {
    /// The finest level: 2 or 3.
    pub fn first(self) -> usize {
        match self {
            Self::P2ToP6 => 2,
            Self::P3ToP7 | Self::P3ToP7FromC5 => 3,
        }
    }

    /// Number of levels: 5 for each kind.
    pub fn count(self) -> usize {
        5
    }
}

/// Configuration of [`Fpn`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FpnConfig {
    /// Channels of every level. Default: 256.
    pub channels: usize,
    /// Which levels. Default: those of the detector, `p2-p6` with two stages, `p3-p7` in RetinaNet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub levels: Option<PyramidLevels>,
    /// What follows each convolution of `p2` to `p5`. Default: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub norm: Option<NormConfig>,
}

impl Default for FpnConfig {
    fn default() -> Self {
        Self { channels: 256, levels: None, norm: None }
    }
}

impl FpnConfig {
    /// Makes the pyramid over maps of `in_channels` (`c2` to `c5`); `levels` holds where the
    /// configuration names none. Weights uniform in `±sqrt(3 / fan_in)`, biases 0, as in torchvision.
    ///
    /// # Errors
    /// If there are no channels, or the norm does not fit them.
    pub fn init(
        &self,
        in_channels: [usize; 4],
        levels: PyramidLevels,
        init: &WeightInit,
    ) -> Result<Fpn, ModelError> {
        let channels = self.channels;
        if channels == 0 {
            let (name, value) = ("fpn.channels", "0".to_owned());
            return Err(ModelError::InvalidValue { name, value, expected: "at least 1" });
        }
        let levels = self.levels.unwrap_or(levels);
        let in_channels = &in_channels[levels.first() - 2..];
        let conv = |in_channels, kernel| {
            let conv = Conv2dConfig::new(in_channels, channels, kernel).with_padding(kernel / 2);
            conv.with_init(ConvInit::KaimingUniform).with_bias_init(BiasInit::Constant(0.0))
        };
        let block = |conv: Conv2dConfig, init: &WeightInit| -> Result<_, ModelError> {
            let norm = self.norm.as_ref();
            let conv = conv.with_bias(norm.is_none()).init(&init.child("0"));
            let norm = norm.map(|norm| norm.init(channels, &init.child("1"))).transpose()?;
            Ok((conv, norm))
        };
        let (mut inner_blocks, mut layer_blocks) = (Vec::new(), Vec::new());
        for (i, &in_channels) in in_channels.iter().enumerate() {
            let init = |name: &str| init.child(name).child(&i.to_string());
            inner_blocks.push(block(conv(in_channels, 1), &init("inner_blocks"))?);
            layer_blocks.push(block(conv(channels, 3), &init("layer_blocks"))?);
        }
        let c5_channels = in_channels.last().copied().unwrap_or(channels);
        let extra = |in_channels| {
            let init = init.child("extra_blocks");
            let conv = |in_channels| conv(in_channels, 3).with_stride(2).with_bias(true);
            let p6 = conv(in_channels).init(&init.child("p6"));
            Some(ExtraLevels { p6, p7: conv(channels).init(&init.child("p7")) })
        };
        let extra_blocks = match levels {
            PyramidLevels::P2ToP6 => None,
            PyramidLevels::P3ToP7 => extra(channels),
            PyramidLevels::P3ToP7FromC5 => extra(c5_channels),
        };
        Ok(Fpn { inner_blocks, layer_blocks, extra_blocks, levels, channels })
    }
}

/// Maps of one width at every stride: each level sees the coarser ones above it.
///
/// `m5 = inner(c5)`, `m_n = inner(c_n) + upsampled(m_(n+1))`, `p_n = layer(m_n)`; the upsampling
/// repeats pixels up to the size of `c_n`, odd sizes too. Parameter names are those of torchvision's
/// `FeaturePyramidNetwork`.
/// Source: Lin et al., CVPR 2017, <https://arxiv.org/abs/1612.03144>.
#[derive(Module, Debug)]
pub struct Fpn {
    inner_blocks: Vec<(Conv2d, Option<Norm>)>,
    layer_blocks: Vec<(Conv2d, Option<Norm>)>,
    extra_blocks: Option<ExtraLevels>,
    #[module(skip)]
    levels: PyramidLevels,
    channels: usize,
}

/// The two strided convolutions of RetinaNet.
#[derive(Module, Debug)]
pub struct ExtraLevels {
    p6: Conv2d,
    p7: Conv2d,
}

impl Fpn {
    /// Which maps it makes.
    pub fn levels(&self) -> PyramidLevels {
        self.levels
    }

    /// Channels of every map.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// With fixed norms folded into the convolutions.
    #[must_use]
    pub(crate) fn for_inference(mut self) -> Self {
        self.inner_blocks = self.inner_blocks.iter().map(folded).collect();
        self.layer_blocks = self.layer_blocks.iter().map(folded).collect();
        self
    }

    /// # Shapes
    /// - features: the maps of a ResNet
    /// - output: `[batch, channels, height / 2^n, width / 2^n]` of each level, the finest first
    pub fn forward(&self, features: ResNetFeatures) -> Vec<Tensor<4>> {
        let ResNetFeatures { c2, c3, c4, c5 } = features;
        let maps = [c2, c3, c4, c5.clone()];
        let skipped = maps.len() - self.inner_blocks.len();
        let blocks = self.inner_blocks.iter().zip(&self.layer_blocks);
        let mut levels = Vec::with_capacity(self.levels.count());
        let mut above: Option<Tensor<4>> = None;
        for (map, (inner, layer)) in maps.into_iter().skip(skipped).zip(blocks).rev() {
            let mut merged = forward(inner, map);
            if let Some(above) = above {
                let [_, _, height, width] = merged.dims();
                merged = merged + upsample(above, [height, width]);
            }
            levels.push(forward(layer, merged.clone()));
            above = Some(merged);
        }
        levels.reverse();
        match (&self.extra_blocks, levels.last().cloned()) {
            (Some(extra), Some(p5)) => {
                let from_c5 = self.levels == PyramidLevels::P3ToP7FromC5;
                let p6 = extra.p6.forward(if from_c5 { c5 } else { p5 });
                levels.extend([p6.clone(), extra.p7.forward(relu(p6))]);
            }
            (None, Some(p5)) => levels.push(p5.slice(s![.., .., ..;2, ..;2])),
            (_, None) => {}
        }
        levels
    }
}

fn forward((conv, norm): &(Conv2d, Option<Norm>), x: Tensor<4>) -> Tensor<4> {
    conv_norm(conv, norm, x)
}

/// Repeats pixels: pixel `i` of the output is pixel `floor(i * from / to)` of the input.
fn upsample(x: Tensor<4>, size: [usize; 2]) -> Tensor<4> {
    let options = InterpolateOptions::new(InterpolateMode::Nearest).with_output_size(size);
    interpolate(x, options)
}

#[cfg(test)]
mod tests {
    use super::*;
    use longtail_testing::{assert_close, values};

    fn maps(size: usize) -> ResNetFeatures {
        let device = longtail_testing::device().autodiff();
        let map = |channels: usize, size: usize| {
            let range =
                Tensor::<1, burn::tensor::Int>::arange(0..(channels * size * size) as i64, &device);
            range.float().sin().reshape([1, channels, size, size])
        };
        let half = |size: usize| size.div_ceil(2);
        let [s3, s4, s5] = [half(size), half(half(size)), half(half(half(size)))];
        ResNetFeatures { c2: map(2, size), c3: map(3, s3), c4: map(4, s4), c5: map(5, s5) }
    }

    fn sizes(config: &FpnConfig, levels: PyramidLevels) -> Vec<usize> {
        let device = longtail_testing::device();
        let fpn = config.init([2, 3, 4, 5], levels, &WeightInit::new(0, &device)).unwrap();
        fpn.forward(maps(25)).into_iter().map(|level| level.dims()[2]).collect()
    }

    #[test]
    fn levels_have_their_sizes() {
        let config = FpnConfig { channels: 8, ..Default::default() };
        assert_eq!(sizes(&config, PyramidLevels::P2ToP6), [25, 13, 7, 4, 2]);
        assert_eq!(sizes(&config, PyramidLevels::P3ToP7), [13, 7, 4, 2, 1]);
        let norm = Some(NormConfig::group(4));
        let config = FpnConfig { norm, levels: Some(PyramidLevels::P3ToP7FromC5), ..config };
        assert_eq!(sizes(&config, PyramidLevels::P2ToP6), [13, 7, 4, 2, 1]);
    }

    /// PyTorch's `interpolate(x, size, mode="nearest")` and its gradient, by a loop.
    #[test]
    fn odd_sizes_repeat_the_right_pixels() {
        let device = longtail_testing::device().autodiff();
        for (from, to) in [(1, 1), (1, 2), (2, 3), (3, 5), (4, 7), (7, 13), (5, 10), (13, 25)] {
            let x = Tensor::<1, burn::tensor::Int>::arange(0..from as i64, &device).float();
            let x = x.reshape([1, 1, 1, from]).require_grad();
            let y = upsample(x.clone(), [1, to]);
            let source: Vec<f64> = (0..to).map(|i| (i * from / to) as f64).collect();
            assert_close("upsampled", &values(y.clone()), &source, 0.0);
            let gradient = values(x.grad(&y.sum().backward()).unwrap());
            let count = |i: usize| source.iter().filter(|&&s| s == i as f64).count() as f64;
            assert_close("gradient", &gradient, &(0..from).map(count).collect::<Vec<_>>(), 0.0);
        }
    }

    #[test]
    fn configurations_are_strict() {
        let parse = |json: &str| serde_json::from_str::<FpnConfig>(json);
        assert_eq!(parse("{}").unwrap(), FpnConfig::default());
        let config = parse(r#"{"channels": 64, "levels": "p3-p7"}"#).unwrap();
        assert_eq!((config.channels, config.levels), (64, Some(PyramidLevels::P3ToP7)));
        assert!(parse(r#"{"level": "p3-p7"}"#).is_err() && parse(r#"{"levels": "p3"}"#).is_err());
        let device = longtail_testing::device();
        let config = FpnConfig { channels: 0, ..Default::default() };
        let error = config.init([1; 4], PyramidLevels::P2ToP6, &WeightInit::new(0, &device));
        assert_eq!(error.unwrap_err().to_string(), "fpn.channels = 0, but it must be at least 1");
    }
}
