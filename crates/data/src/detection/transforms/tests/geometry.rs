//! Flips, windows, resizing, padding.

use longtail_types::{BBox, Instance, Mask};

use super::*;
use crate::detection::DetectionPipelineConfig;
use crate::transforms::Fill;

#[test]
fn the_test_scene_is_consistent() {
    assert_consistent(&scene());
    assert_eq!(scene().instances.len(), 4);
}

#[test]
fn a_flip_mirrors_and_twice_is_nothing() {
    let sample = scene();
    let once = sample.clone().flipped();
    assert_consistent(&once);
    for (x, y) in (0..30).flat_map(|y| (0..40).map(move |x| (x, y))) {
        assert_eq!(once.image.get(x, y), sample.image.get(39 - x, y));
    }
    let twice = once.flipped();
    assert_eq!(twice.image, sample.image);
    let boxes = |sample: &DetectionSample| -> Vec<(usize, BBox)> {
        sample.instances.iter().map(|instance| (instance.label, instance.bbox)).collect()
    };
    assert_eq!(boxes(&twice), boxes(&sample));
    assert_consistent(&twice);

    let mut boxed = painted([4, 10], &[]);
    let bbox = BBox::new(1.25, 0.5, 3.75, 2.0);
    boxed.instances.push(Instance { label: 3, bbox, mask: None });
    let flip = DetectionTransform::HorizontalFlip(HorizontalFlip { probability: 1.0 });
    let flipped = run(std::slice::from_ref(&flip), &boxed, 0).unwrap();
    assert_eq!(flipped.instances[0].bbox, BBox::new(6.25, 0.5, 8.75, 2.0));
    assert_eq!(run(&[flip.clone(), flip], &boxed, 0).unwrap(), boxed);
}

#[test]
fn windows_in_every_position_are_consistent() {
    let sample = scene();
    let [mut dropped, mut cut] = [0, 0];
    for (left, top) in (-12..45).step_by(3).flat_map(|x| (-9..34).step_by(4).map(move |y| (x, y))) {
        let window = sample.clone().window([left, top], [17, 21], [0; 3], false);
        assert_eq!(window.size(), [17, 21]);
        assert_consistent(&window);
        dropped += 4 - window.instances.len();
        for instance in &window.instances {
            let before = &sample.instances[instance.label];
            let area = |instance: &Instance| instance.mask.as_ref().unwrap().area();
            cut += usize::from(area(instance) < area(before));
        }
    }
    assert!(dropped > 50 && cut > 50);
}

#[test]
fn boxes_without_masks_are_clipped() {
    let mut sample = painted([20, 20], &[]);
    let boxes = [[2.5, 3.0, 9.25, 12.0], [0.0, 0.0, 4.0, 4.0], [15.0, 5.0, 20.0, 6.5]];
    let instance = |bbox: [f32; 4]| Instance { label: 0, bbox: bbox.into(), mask: None };
    sample.instances.extend(boxes.map(instance));
    let window = sample.window([4, 2], [10, 12], [0; 3], false);
    let boxes: Vec<_> = window.instances.iter().map(|i| i.bbox.to_array()).collect();
    assert_eq!(boxes, [[0.0, 1.0, 5.25, 10.0], [11.0, 3.0, 12.0, 4.5]]);
}

/// By hand: an L whose foot is cut off; the box shrinks to the stem.
#[test]
fn a_cut_object_gets_the_box_of_what_is_left() {
    let rows = ["#....", "#....", "#####"];
    let pixels = rows.iter().flat_map(|row| row.bytes().map(|b| b == b'#')).collect();
    let mask = Mask::new([1, 1], [3, 5], pixels).unwrap();
    let bbox = BBox::new(1.25, 1.0, 6.0, 3.75);
    let mut sample = painted([8, 8], &[]);
    sample.instances.push(Instance { label: 0, bbox, mask: Some(mask) });
    let upper = sample.clone().window([0, 0], [3, 8], [0; 3], false);
    assert_eq!(upper.instances[0].bbox, BBox::new(1.25, 1.0, 2.0, 3.0));
    assert_eq!(upper.instances[0].mask.as_ref().unwrap().area(), 2);
    let all = sample.clone().window([1, 0], [8, 8], [0; 3], false);
    assert_eq!(all.instances[0].bbox, BBox::new(0.25, 1.0, 5.0, 3.75), "nothing was cut");
    let beside = sample.window([3, 0], [3, 5], [0; 3], false);
    assert!(beside.instances.is_empty(), "inside the box, beside the mask");
}

#[test]
fn masks_are_resized_to_the_nearest_pixel() {
    let sample = scene();
    for size in [[60, 80], [15, 20], [47, 33], [7, 90], [30, 41], [1, 1]] {
        let resized = sample.clone().resized(size).unwrap();
        assert_eq!(resized.size(), size);
        let mut kept = resized.instances.iter().peekable();
        for before in &sample.instances {
            let mask = before.mask.as_ref().unwrap();
            let source = |pixel: usize, axis: usize| {
                let middle = (pixel as f64 + 0.5) * sample.size()[axis] as f64 / size[axis] as f64;
                middle as usize
            };
            let expected: Vec<(usize, usize)> = (0..size[0])
                .flat_map(|y| (0..size[1]).map(move |x| (x, y)))
                .filter(|&(x, y)| mask.get(source(x, 1), source(y, 0)))
                .collect();
            if expected.is_empty() {
                assert!(kept.peek().is_none_or(|next| next.label != before.label));
                continue;
            }
            let after = kept.next().unwrap();
            assert_eq!(after.label, before.label);
            let mask = after.mask.as_ref().unwrap();
            assert_eq!(mask.area(), expected.len());
            assert!(expected.iter().all(|&(x, y)| mask.get(x, y)));
            let scale = [size[1] as f32 / 40.0, size[0] as f32 / 30.0];
            let (found, from) = (after.bbox.to_array(), before.bbox.to_array());
            for (i, value) in found.into_iter().enumerate() {
                assert!((value - from[i] * scale[i % 2]).abs() < 1e-4);
            }
        }
        assert!(kept.next().is_none());
    }
    // A full rectangle keeps the box around its mask to half a pixel.
    let mut full = painted([30, 40], &[]);
    let mask = Mask::new([3, 4], [12, 17], vec![true; 12 * 17]);
    full.instances.push(Instance { label: 0, bbox: BBox::new(3.0, 4.0, 20.0, 16.0), mask });
    for size in [[60, 80], [15, 20], [47, 33], [17, 90], [30, 41]] {
        let resized = full.clone().resized(size).unwrap();
        let Instance { bbox, mask, .. } = &resized.instances[0];
        let around = mask.as_ref().unwrap().bounding_box().unwrap().to_array();
        let pairs = around.into_iter().zip(bbox.to_array());
        pairs.for_each(|(a, b)| assert!((a - b).abs() < 0.5001, "{around:?} {bbox:?}"));
    }
    let double = sample.clone().resized([60, 80]).unwrap();
    for (before, after) in sample.instances.iter().zip(&double.instances) {
        assert_eq!(after.mask.as_ref().unwrap().bounding_box(), Some(after.bbox));
        assert_eq!(after.bbox.to_array(), before.bbox.to_array().map(|value| 2.0 * value));
    }
    assert_eq!(sample.clone().resized([30, 40]).unwrap(), sample);
}

#[test]
fn padding_keeps_the_image_at_the_upper_left() {
    let pad = PadToSize { height: 32, width: 64, fill: Fill::Mean };
    let transform = [DetectionTransform::PadToSize(pad)];
    let padded = run(&transform, &scene(), 0).unwrap();
    assert_eq!(padded.size(), [32, 64]);
    assert_consistent(&padded);
    assert_eq!(padded.instances.len(), 4);
    let blank = padded.image.blank().unwrap();
    assert_eq!(blank.iter().filter(|&&is_blank| is_blank).count(), 32 * 64 - 30 * 40);
    let error = run(&transform, &painted([33, 10], &[]), 0).unwrap_err().to_string();
    assert!(error.starts_with("pad-to-size must be at least as large"), "{error}");
}

#[test]
fn small_objects_are_dropped_in_training_alone() {
    let mut config = DetectionPipelineConfig { min_side: 3.0, ..Default::default() };
    config.preprocess.resize = longtail_types::ResizeRule::ShortestEdge { min: 15, max: 20 };
    let sample = painted([30, 40], &[[2, 3, 20, 15], [30, 20, 35, 29]]);
    let count = |pipeline: DetectionPipeline| {
        let sample = pipeline.apply(sample.clone(), &mut rng(0), &mut no_partner).unwrap();
        assert_eq!(sample.size(), [15, 20]);
        sample.instances.len()
    };
    assert_eq!(count(config.train_pipeline().unwrap()), 1);
    assert_eq!(count(config.test_pipeline().unwrap()), 2);
}
