//! Non-maximum suppression within groups, from boxes on the host to indices on the host.

use longtail::ops::batched_nms;
use longtail::types::BBox;

use super::{Failure, Operation};
use crate::noise::noise;

/// Boxes around each object.
const CROWD: usize = 10;
const THRESHOLD: f32 = 0.5;

pub(super) struct Nms {
    boxes: Vec<BBox>,
    scores: Vec<f32>,
    groups: Vec<u32>,
}

impl Nms {
    pub(super) fn new(num_boxes: usize, num_groups: usize) -> Self {
        let group = |i: usize| ((i / CROWD) % num_groups) as u32;
        Self {
            boxes: (0..num_boxes).map(bbox).collect(),
            scores: (0..num_boxes).map(|i| noise(i as u32, 20)).collect(),
            groups: (0..num_boxes).map(group).collect(),
        }
    }
}

impl Operation for Nms {
    fn run(&mut self) -> Result<(), Failure> {
        drop(batched_nms(&self.boxes, &self.scores, &self.groups, THRESHOLD));
        Ok(())
    }

    fn check(&mut self) -> Result<Option<f64>, Failure> {
        let kept = batched_nms(&self.boxes, &self.scores, &self.groups, THRESHOLD);
        Ok(Some(kept.len() as f64))
    }
}

/// Ten in a row lie around one object in an image of 800 pixels.
fn bbox(index: usize) -> BBox {
    let object = (index / CROWD) as u32;
    let jitter = |seed| 16.0 * (noise(index as u32, seed) - 0.5);
    let [x, y] = [21, 22].map(|seed| 600.0 * noise(object, seed));
    let [width, height] = [23, 24].map(|seed| 16.0 + 160.0 * noise(object, seed));
    let (x, y) = (x + 20.0 + jitter(25), y + 20.0 + jitter(26));
    let (width, height) = (width + jitter(27), height + jitter(28));
    BBox::new(x, y, x + width, y + height)
}
