//! RoIAlign over the four levels of a pyramid.

use burn::tensor::{Device, Tensor};
use longtail::ops::RoiAligner;
use longtail::types::BBox;

use super::{Failure, Operation, magnitude, tensor};
use crate::noise::noise;
use crate::work::Pass;

pub(super) struct RoiAlign {
    aligner: RoiAligner,
    maps: Vec<Tensor<4>>,
    boxes: Vec<Vec<BBox>>,
    pass: Pass,
    device: Device,
}

impl RoiAlign {
    pub(super) fn new(
        [batch, rois, channels, image]: [usize; 4],
        pass: Pass,
        device: &Device,
    ) -> Self {
        let map = |level: usize| {
            let size = image.div_ceil(4 << level);
            tensor([batch, channels, size, size], level as u32, [-1.0, 1.0], device)
        };
        let per_image = rois / batch;
        let boxes = |i: usize| (i * per_image..(i + 1) * per_image).map(|j| roi(j, image));
        Self {
            aligner: RoiAligner::new(7),
            maps: (0..4).map(map).collect(),
            boxes: (0..batch).map(|i| boxes(i).collect()).collect(),
            pass,
            device: device.clone(),
        }
    }
}

impl Operation for RoiAlign {
    fn run(&mut self) -> Result<(), Failure> {
        let pooled = self.aligner.forward(&self.maps, &self.boxes);
        if self.pass == Pass::ForwardBackward {
            drop(pooled.backward());
        }
        Ok(self.device.sync()?)
    }

    fn check(&mut self) -> Result<Option<f64>, Failure> {
        let pooled = self.aligner.forward(&self.maps, &self.boxes);
        if self.pass == Pass::Forward {
            return Ok(Some(magnitude(pooled)));
        }
        let gradients = pooled.backward();
        Ok(self.maps[0].grad(&gradients).map(magnitude))
    }
}

/// Sides from 16 pixels to most of the image, every size as likely as its double.
fn roi(index: usize, image: usize) -> BBox {
    let at = |seed| f64::from(noise(index as u32, seed));
    let side = |seed| 16.0 * (0.05 * image as f64).powf(at(seed));
    let (width, height) = (side(11), side(12));
    let (x, y) = (at(13) * (image as f64 - width), at(14) * (image as f64 - height));
    BBox::new(x as f32, y as f32, (x + width) as f32, (y + height) as f32)
}
