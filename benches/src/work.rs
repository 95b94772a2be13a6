//! What is measured: one operation, its sizes and the pass.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::BenchError;
use crate::detector::{DetectorCase, WHOLE};

/// A group of cases that belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Suite {
    /// The losses of a dense head: 100,000 rows of 1,203 classes, with peak memory.
    DenseHead,
    /// Every loss at several numbers of rows and classes.
    Losses,
    /// RoIAlign over the levels of a pyramid.
    RoiAlign,
    /// Non-maximum suppression in groups.
    Nms,
    /// The convolutions of ResNet-50 with a feature pyramid.
    Conv,
    /// Whole networks: ResNet-50, ResNet-50 with a feature pyramid.
    Backbone,
    /// Mask R-CNN by stage: a training step, inference, and inference with many classes.
    Detector,
    /// An epoch of image files.
    Loader,
    /// Reading annotations and detections, and their average precision.
    Evaluation,
}

impl Suite {
    /// Every suite, in the order in which they run: memory first, while the process is small.
    pub const ALL: [Self; 9] = [
        Self::DenseHead,
        Self::Losses,
        Self::RoiAlign,
        Self::Nms,
        Self::Conv,
        Self::Backbone,
        Self::Detector,
        Self::Loader,
        Self::Evaluation,
    ];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::DenseHead => "dense-head",
            Self::Losses => "losses",
            Self::RoiAlign => "roi-align",
            Self::Nms => "nms",
            Self::Conv => "conv",
            Self::Backbone => "backbone",
            Self::Detector => "detector",
            Self::Loader => "loader",
            Self::Evaluation => "evaluation",
        }
    }

    /// Whether the work is on the host whatever the device.
    pub fn is_host_only(self) -> bool {
        matches!(self, Self::Nms | Self::Loader | Self::Evaluation)
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Suite {
    type Err = BenchError;

    fn from_str(name: &str) -> Result<Self, BenchError> {
        Self::ALL.into_iter().find(|suite| suite.name() == name).ok_or_else(|| {
            let known = Self::ALL.map(Self::name).join(", ");
            BenchError::UnknownSuite { name: name.into(), known }
        })
    }
}

/// How far an operation is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pass {
    /// Without a graph, as at test time.
    Forward,
    /// With gradients, as in training.
    ForwardBackward,
}

impl fmt::Display for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Forward => "forward",
            Self::ForwardBackward => "forward+backward",
        })
    }
}

/// A convolution with a square kernel and a padding of half of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ConvShape {
    /// Images.
    pub batch: usize,
    /// Channels of the input.
    pub in_channels: usize,
    /// Channels of the output.
    pub out_channels: usize,
    /// Height and width of the input.
    pub size: usize,
    /// Height and width of the kernel.
    pub kernel: usize,
    /// Step of the kernel.
    pub stride: usize,
    /// Whether a bias is added.
    pub bias: bool,
}

/// A loss on random logits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LossShape {
    /// The method's name in a recipe.
    pub method: String,
    /// Rows of the logits.
    pub rows: usize,
    /// Classes, without background.
    pub classes: usize,
    /// Columns of the logits.
    pub columns: usize,
    /// Labels are below this number.
    pub labels: usize,
}

/// A network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// ResNet-50 with a classifier of 1,000 classes, as at test time.
    Resnet50,
    /// ResNet-50 with frozen batch norm under a feature pyramid; stem and first stage do not train.
    Resnet50Fpn,
}

/// An operation and its sizes; the peer reads the same JSON.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "operation", rename_all = "kebab-case")]
pub enum Work {
    /// One of the losses.
    Loss(LossShape),
    /// 7 x 7 bins of boxes over four levels of an image.
    RoiAlign {
        /// Images.
        batch: usize,
        /// Boxes of the whole batch.
        rois: usize,
        /// Channels of the maps.
        channels: usize,
        /// Height and width of the images.
        image: usize,
    },
    /// Non-maximum suppression.
    Nms {
        /// Boxes.
        boxes: usize,
        /// Groups of boxes that do not suppress each other.
        groups: usize,
    },
    /// A convolution.
    Conv(ConvShape),
    /// A network on random images.
    Backbone {
        /// Which.
        network: Network,
        /// Images.
        batch: usize,
        /// Height and width of the images.
        size: usize,
    },
    /// A stage of a detector's step, or the whole of it.
    Detector {
        /// Which detector, and what it does.
        step: DetectorCase,
        /// Name of the stage; `whole` is all of them.
        stage: String,
    },
    /// An epoch of JPEG files through the transforms of ImageNet.
    Loader {
        /// Files.
        images: usize,
    },
    /// Average precision of boxes in files.
    Evaluation {
        /// Annotated images.
        images: usize,
        /// Classes.
        classes: usize,
    },
}

impl Work {
    /// Bytes of the logits of a loss.
    pub fn logit_bytes(&self) -> Option<u64> {
        match self {
            Self::Loss(shape) => Some(4 * (shape.rows * shape.columns) as u64),
            _ => None,
        }
    }

    /// Whether it is a part of another case.
    pub(crate) fn is_stage(&self) -> bool {
        matches!(self, Self::Detector { stage, .. } if stage != WHOLE)
    }

    /// Memory that the slowest side may need at its peak, roughly.
    pub(crate) fn peak_bytes(&self) -> u64 {
        match self {
            Self::Loss(_) => 10 * self.logit_bytes().unwrap_or_default(),
            _ => 0,
        }
    }
}

/// One line of a result.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Case {
    /// Where it belongs.
    pub suite: Suite,
    /// What a reader sees; unique within the suite and pass.
    pub name: String,
    /// What is run.
    pub work: Work,
    /// How far.
    pub pass: Pass,
    /// How many times a network has it: its weight in a mean.
    pub count: usize,
}

/// Losses that draw entries, rows or columns at random.
const DRAWING: [&str; 5] = ["seql", "bags", "acsl", "drop-loss", "federated"];

impl Case {
    /// Relative difference of the checks of two sides that rounding, or a draw, explains.
    pub(crate) fn tolerance(&self) -> f64 {
        match &self.work {
            Work::Loss(shape) if DRAWING.contains(&shape.method.as_str()) => 0.05,
            Work::Nms { .. } => 0.01, // overlaps at the threshold
            _ => 1e-3,
        }
    }

    /// Whether two reports may be compared in this line.
    pub fn is_same_work(&self, other: &Self) -> bool {
        (self.suite, &self.work, self.pass) == (other.suite, &other.work, other.pass)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_are_found_by_name() {
        for suite in Suite::ALL {
            assert_eq!(suite.name().parse::<Suite>().unwrap(), suite);
            assert_eq!(serde_json::to_string(&suite).unwrap(), format!("\"{suite}\""));
        }
        let message = "loss".parse::<Suite>().unwrap_err().to_string();
        assert_eq!(
            message,
            "unknown suite \"loss\"; known: dense-head, losses, roi-align, nms, conv, backbone, \
             detector, loader, evaluation"
        );
    }

    #[test]
    fn work_is_one_flat_object() {
        let work = Work::Nms { boxes: 3, groups: 2 };
        let json = serde_json::to_string(&work).unwrap();
        assert_eq!(json, r#"{"operation":"nms","boxes":3,"groups":2}"#);
        assert_eq!(serde_json::from_str::<Work>(&json).unwrap(), work);
    }
}
