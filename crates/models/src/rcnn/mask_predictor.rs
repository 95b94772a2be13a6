//! From the features of a region to the mask of one class.

use burn::module::{Module, Param};
use burn::tensor::{Int, Tensor};
use longtail_kernels::{ConvOptions, conv2d, relu, to_single};

use crate::conv::{Conv2d, Conv2dConfig};
use crate::weight_init::{Fill, WeightInit};

/// Doubles the resolution and predicts the mask of a given class: torchvision's
/// `MaskRCNNPredictor`, with its parameter names and layouts.
///
/// Only the asked class of each region is computed, so the cost does not grow with the number of
/// classes; gradients are those of torchvision, where the other classes get zero.
#[derive(Module, Debug)]
pub struct MaskPredictor {
    conv5_mask: TransposedConv,
    mask_fcn_logits: Conv2d,
}

/// A 2x2 transposed convolution of stride 2.
#[derive(Module, Debug)]
struct TransposedConv {
    /// `[in_channels, out_channels, 2, 2]`, as in PyTorch.
    weight: Param<Tensor<4>>,
    /// `[out_channels]`
    bias: Param<Tensor<1>>,
}

impl MaskPredictor {
    /// `in_channels` to `channels` to `num_groups` masks. Weights normal with variance
    /// `2 / fan_out`, biases PyTorch's.
    pub fn new(in_channels: usize, channels: usize, num_groups: usize, init: &WeightInit) -> Self {
        let upsampler = init.child("conv5_mask");
        let std = (2.0 / (in_channels * 4) as f64).sqrt(); // PyTorch's fan_out of this layout
        let limit = 1.0 / ((channels * 4) as f64).sqrt();
        let conv5_mask = TransposedConv {
            weight: upsampler.param("weight", [in_channels, channels, 2, 2], Fill::Normal { std }),
            bias: upsampler.param("bias", [channels], Fill::Uniform { limit }),
        };
        let logits = Conv2dConfig::new(channels, num_groups, 1).with_bias(true);
        Self { conv5_mask, mask_fcn_logits: logits.init(&init.child("mask_fcn_logits")) }
    }

    /// # Shapes
    /// - regions: `[num_rois, in_channels, size, size]`
    /// - groups: `[num_rois]`, the mask wanted of each region
    /// - output: logits `[num_rois, 2 size, 2 size]`
    pub fn forward(&self, regions: Tensor<4>, groups: Tensor<1, Int>) -> Tensor<3> {
        let [num_rois, in_channels, height, width] = regions.dims();
        let weight = self.conv5_mask.weight.val();
        let [_, channels, _, _] = weight.dims();
        // Each input pixel makes a square of four, so this is a 1x1 convolution to four times the
        // channels. Everything after it is done pixel by pixel: the squares are laid out at the end.
        let weight = weight.reshape([in_channels, channels * 4]).transpose();
        let bias = self.conv5_mask.bias.val().unsqueeze_dim::<2>(1).expand([channels, 4]);
        let weight = weight.reshape([channels * 4, in_channels, 1, 1]);
        let bias = bias.reshape([channels * 4]);
        let x = relu(conv2d(regions, weight, Some(bias), &ConvOptions::default()));
        let x = to_single(x).reshape([num_rois, channels, 4 * height * width]);

        let [num_groups, ..] = self.mask_fcn_logits.weight.dims();
        let weight = self.mask_fcn_logits.weight.val().reshape([num_groups, channels]);
        let weight = weight.select(0, groups.clone()).unsqueeze_dim::<3>(1);
        let mut logits = weight.matmul(x); // [num_rois, 1, 4 height width]
        if let Some(bias) = &self.mask_fcn_logits.bias {
            logits = logits + bias.val().select(0, groups).reshape([num_rois, 1, 1]);
        }
        let squares = logits.reshape([num_rois, 2, 2, height, width]).permute([0, 3, 1, 4, 2]);
        squares.reshape([num_rois, 2 * height, 2 * width])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::TensorData;
    use longtail_testing::{assert_close, values};

    /// By the definition of the transposed convolution, pixel by pixel.
    #[test]
    fn masks_match_the_definition() {
        let device = longtail_testing::device();
        let init = WeightInit::new(3, &device);
        let predictor = MaskPredictor::new(3, 5, 4, &init);
        let [rois, inputs, channels, height, width] = [2, 3, 5, 3, 4];
        let x = init.values("x", rois * inputs * height * width, Fill::Normal { std: 1.0 });
        let groups = [2_usize, 1];
        let [weight, bias] =
            [values(predictor.conv5_mask.weight.val()), values(predictor.conv5_mask.bias.val())];
        let logit_weight = values(predictor.mask_fcn_logits.weight.val());
        let logit_bias = values(predictor.mask_fcn_logits.bias.as_ref().unwrap().val());
        let mut expected = Vec::new();
        for (roi, group) in groups.into_iter().enumerate() {
            for (row, column) in
                (0..2 * height * 2 * width).map(|i| (i / (2 * width), i % (2 * width)))
            {
                let tap = (row % 2) * 2 + column % 2;
                let mut logit = f64::from(logit_bias[group]);
                for out in 0..channels {
                    let mut sum = f64::from(bias[out]);
                    for input in 0..inputs {
                        let pixel =
                            ((roi * inputs + input) * height + row / 2) * width + column / 2;
                        let weight = weight[(input * channels + out) * 4 + tap];
                        sum += f64::from(x[pixel]) * f64::from(weight);
                    }
                    logit += sum.max(0.0) * f64::from(logit_weight[group * channels + out]);
                }
                expected.push(logit);
            }
        }
        let x = Tensor::from_data(TensorData::new(x, [rois, inputs, height, width]), &device);
        let found = predictor.forward(x, Tensor::from_ints([2, 1], &device));
        assert_eq!(found.dims(), [rois, 2 * height, 2 * width]);
        assert_close("masks", &values(found), &expected, 1e-5);
    }
}
