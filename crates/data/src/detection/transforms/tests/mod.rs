//! Transforms against slow loops: every object has a colour of its own, so that the pixels say
//! which mask they must be in.

mod geometry;
mod random;
mod settings;

use longtail_types::{Instance, KeyedRng, Mask, Preprocess, Stream};

use super::*;
use crate::detection::DetectionPipeline;

const BACK: [u8; 3] = [9, 9, 9];

fn rng(index: u64) -> KeyedRng {
    KeyedRng::new(11, Stream::Augment, 0, index)
}

fn color(label: usize) -> [u8; 3] {
    [40 + 20 * label as u8, 200, 100]
}

/// Objects as upper left triangles of the given boxes, later ones in front.
fn painted(size: [usize; 2], boxes: &[[usize; 4]]) -> DetectionSample {
    let [height, width] = size;
    let mut owner = vec![None; height * width];
    for (label, &[x1, y1, x2, y2]) in boxes.iter().enumerate() {
        for (x, y) in (y1..y2).flat_map(|y| (x1..x2).map(move |x| (x, y))) {
            if (x - x1) * (y2 - y1) + (y - y1) * (x2 - x1) < (x2 - x1) * (y2 - y1) {
                owner[y * width + x] = Some(label);
            }
        }
    }
    let pixels = owner.iter().flat_map(|owner| owner.map_or(BACK, color)).collect();
    let instance = |label: usize| {
        let seen = owner.iter().map(|&owner| owner == Some(label)).collect();
        let mask = Mask::new([0, 0], size, seen).unwrap();
        let bbox = mask.bounding_box()?;
        Some(Instance { label, bbox, mask: Some(mask) })
    };
    let instances = (0..boxes.len()).filter_map(instance).collect();
    DetectionSample { image: RgbImage::new(width, height, pixels).unwrap(), instances }
}

/// Every pixel of an object's colour is in its mask and no other is; boxes fit the masks.
fn assert_consistent(sample: &DetectionSample) {
    let [height, width] = sample.size();
    for (x, y) in (0..height).flat_map(|y| (0..width).map(move |x| (x, y))) {
        let owners: Vec<usize> = sample
            .instances
            .iter()
            .filter(|instance| instance.mask.as_ref().unwrap().get(x, y))
            .map(|instance| instance.label)
            .collect();
        match sample.image.get(x, y) {
            pixel if pixel[1] == 200 => {
                assert_eq!(owners.iter().map(|&l| color(l)).collect::<Vec<_>>(), [pixel])
            }
            _ => assert!(owners.is_empty(), "{x} {y}"),
        }
    }
    for instance in &sample.instances {
        assert_eq!(instance.mask.as_ref().unwrap().bounding_box(), Some(instance.bbox));
    }
}

fn no_partner(_: &mut KeyedRng) -> Result<DetectionSample, DataError> {
    Err(DataError::EmptyDataset)
}

fn run(
    transforms: &[DetectionTransform],
    sample: &DetectionSample,
    key: u64,
) -> Result<DetectionSample, DataError> {
    let pipeline = DetectionPipeline::new(transforms.to_vec(), Preprocess::default(), 0.0)?;
    pipeline.apply(sample.clone(), &mut rng(key), &mut no_partner)
}

fn scene() -> DetectionSample {
    painted([30, 40], &[[2, 3, 20, 15], [10, 8, 30, 28], [33, 1, 40, 9], [0, 22, 6, 30]])
}
