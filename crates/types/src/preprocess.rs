//! What a set of weights expects of its input.

use serde::{Deserialize, Serialize};

/// Order of the colour channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChannelOrder {
    /// Red, green, blue: torchvision.
    #[default]
    Rgb,
    /// Blue, green, red: weights that came from Caffe, as in Detectron2.
    Bgr,
}

/// How an image is resized before it is normalised. The aspect ratio is kept, so one size is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "rule", deny_unknown_fields)]
pub enum ResizeRule {
    /// As it is.
    None,
    /// The shorter side becomes `min`, unless the longer side would then exceed `max`.
    ShortestEdge {
        /// Shorter side in pixels.
        min: usize,
        /// Limit of the longer side in pixels.
        max: usize,
    },
}

/// Resizing and normalisation that belong to a set of weights:
/// `(value / 255 - mean) / std` per channel, with zeros as padding.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Preprocess {
    /// Order of the channels. Default: RGB.
    pub channel_order: ChannelOrder,
    /// Mean per channel of values in `[0, 1]`. Default: ImageNet's.
    pub mean: [f32; 3],
    /// Standard deviation per channel of values in `[0, 1]`. Default: ImageNet's.
    pub std: [f32; 3],
    /// Size. Default: shortest edge 800, longest at most 1333, as in torchvision and Detectron2.
    pub resize: ResizeRule,
}

impl Default for Preprocess {
    fn default() -> Self {
        Self {
            channel_order: ChannelOrder::Rgb,
            mean: [0.485, 0.456, 0.406],
            std: [0.229, 0.224, 0.225],
            resize: ResizeRule::ShortestEdge { min: 800, max: 1333 },
        }
    }
}

impl ResizeRule {
    /// `[height, width]` of an image after resizing, rounded to the nearest pixel, at least 1.
    pub fn size(self, [height, width]: [usize; 2]) -> [usize; 2] {
        match self {
            Self::None => [height, width],
            Self::ShortestEdge { min, max } => {
                let (shorter, longer) = (height.min(width).max(1), height.max(width).max(1));
                let scale = (min as f64 / shorter as f64).min(max as f64 / longer as f64);
                [height, width].map(|side| ((side as f64 * scale).round() as usize).max(1))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_side_is_limited() {
        let rule = ResizeRule::ShortestEdge { min: 800, max: 1333 };
        assert_eq!(rule.size([480, 640]), [800, 1067]);
        assert_eq!(rule.size([640, 480]), [1067, 800]);
        assert_eq!(rule.size([300, 900]), [444, 1333]);
        assert_eq!(ResizeRule::None.size([3, 5]), [3, 5]);
        assert_eq!(rule.size([1, 5000]), [1, 1333]);
    }
}
