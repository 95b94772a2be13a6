//! A list of transforms, ending in normalised floats.

use longtail_types::{ChannelOrder, KeyedRng, Preprocess, ResizeRule};
use serde::{Deserialize, Serialize};

use super::DetectionSample;
use super::transforms::{DetectionTransform, Partner, ResizeShortestEdge, apply_all};
use crate::transforms::{Context, HorizontalFlip, Normalize};
use crate::{DataError, RgbImage};

/// What a recipe says about the images of a detector.
///
/// `{ train = [{ op = "resize-shortest-edge", sizes = [640, 800], max = 1333 },
/// { op = "horizontal-flip" }] }`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DetectionPipelineConfig {
    /// Channel order, normalisation, and the size of test images. Default: torchvision's weights.
    pub preprocess: Preprocess,
    /// Transforms of training images. Default: the resizing of `preprocess`, then a flip with
    /// probability 0.5.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train: Option<Vec<DetectionTransform>>,
    /// Training objects with a side below this many pixels after the transforms are dropped.
    /// Default 1.
    pub min_side: f32,
}

impl Default for DetectionPipelineConfig {
    fn default() -> Self {
        Self { preprocess: Preprocess::default(), train: None, min_side: 1.0 }
    }
}

impl DetectionPipelineConfig {
    /// Transforms of training images.
    pub fn train_transforms(&self) -> Vec<DetectionTransform> {
        self.train.clone().unwrap_or_else(|| {
            let flip = DetectionTransform::HorizontalFlip(HorizontalFlip::default());
            self.test_transforms().into_iter().chain([flip]).collect()
        })
    }

    /// Transforms of test images: the resizing that belongs to the weights.
    pub fn test_transforms(&self) -> Vec<DetectionTransform> {
        match self.preprocess.resize {
            ResizeRule::None => Vec::new(),
            ResizeRule::ShortestEdge { min, max } => {
                let op = ResizeShortestEdge { sizes: vec![min], max };
                vec![DetectionTransform::ResizeShortestEdge(op)]
            }
        }
    }

    /// The pipeline of training images.
    ///
    /// # Errors
    /// If a setting is outside its range.
    pub fn train_pipeline(&self) -> Result<DetectionPipeline, DataError> {
        DetectionPipeline::new(self.train_transforms(), self.preprocess, self.min_side)
    }

    /// The pipeline of test images, which keeps every object.
    ///
    /// # Errors
    /// If a setting is outside its range.
    pub fn test_pipeline(&self) -> Result<DetectionPipeline, DataError> {
        DetectionPipeline::new(self.test_transforms(), self.preprocess, 0.0)
    }
}

/// Transforms in order, then normalisation.
#[derive(Debug, Clone)]
pub struct DetectionPipeline {
    transforms: Vec<DetectionTransform>,
    preprocess: Preprocess,
    min_side: f32,
    mean_color: [u8; 3],
    /// Value of every pixel value, per output channel.
    tables: Box<[[f32; 256]; 3]>,
}

impl DetectionPipeline {
    /// Checks the settings and builds the tables. Of `preprocess` only channel order, mean and
    /// standard deviation count, which are in that order of the channels.
    ///
    /// # Errors
    /// If a setting is outside its range.
    pub fn new(
        transforms: Vec<DetectionTransform>,
        preprocess: Preprocess,
        min_side: f32,
    ) -> Result<Self, DataError> {
        transforms.iter().try_for_each(DetectionTransform::validate)?;
        if !(min_side >= 0.0 && min_side.is_finite()) {
            return Err(DataError::setting("min_side", "a number of at least 0", min_side));
        }
        let normalize = Normalize { mean: preprocess.mean, std: preprocess.std };
        normalize.validate()?;
        let mut mean_color = normalize.mean_color();
        if preprocess.channel_order == ChannelOrder::Bgr {
            mean_color.reverse();
        }
        let tables = Box::new(normalize.tables());
        Ok(Self { transforms, preprocess, min_side, mean_color, tables })
    }

    /// The transforms.
    pub fn transforms(&self) -> &[DetectionTransform] {
        &self.transforms
    }

    /// Channel order and normalisation.
    pub fn preprocess(&self) -> Preprocess {
        self.preprocess
    }

    /// Transforms a sample; `partner` gives the second sample of a copy-paste, untransformed, and
    /// is not called without one.
    ///
    /// # Errors
    /// If `partner` fails, or the image is too large to be padded.
    pub fn apply(
        &self,
        sample: DetectionSample,
        rng: &mut KeyedRng,
        partner: &mut Partner<'_>,
    ) -> Result<DetectionSample, DataError> {
        let mut context = Context { rng, mean_color: self.mean_color };
        let mut sample = apply_all(&self.transforms, sample, &mut context, partner)?;
        if self.min_side > 0.0 {
            sample.drop_small(self.min_side);
        }
        Ok(sample)
    }

    /// Writes the normalised image to the upper left of `planes`, `[3, height, width]`, and leaves
    /// the rest. The image must fit.
    pub(super) fn normalize(
        &self,
        image: &RgbImage,
        planes: &mut [f32],
        [height, width]: [usize; 2],
    ) {
        let row_len = image.width().max(1);
        for (channel, plane) in planes.chunks_exact_mut((height * width).max(1)).enumerate() {
            let table = &self.tables[channel];
            let source = match self.preprocess.channel_order {
                ChannelOrder::Rgb => channel,
                ChannelOrder::Bgr => 2 - channel,
            };
            let rows = image.pixels().as_chunks::<3>().0.chunks_exact(row_len);
            for (y, (row, out)) in rows.zip(plane.chunks_exact_mut(width.max(1))).enumerate() {
                for (value, pixel) in out.iter_mut().zip(row) {
                    *value = table[usize::from(pixel[source])];
                }
                if let Some(blank) = image.blank() {
                    let blank = &blank[y * row_len..(y + 1) * row_len];
                    let blanks = out.iter_mut().zip(blank).filter(|(_, is_blank)| **is_blank);
                    blanks.for_each(|(value, _)| *value = 0.0);
                }
            }
        }
    }
}
