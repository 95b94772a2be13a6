//! Transforms against slow loops: every object has a colour of its own, so that the pixels say
//! which mask they must be in.

use longtail_types::{BBox, ChannelOrder, Instance, KeyedRng, Mask, Preprocess, Stream};

use super::*;
use crate::detection::{DetectionPipeline, DetectionPipelineConfig};
use crate::transforms::Fill;

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
    let flipped = run(&[flip.clone()], &boxed, 0).unwrap();
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
fn the_shorter_side_takes_every_size() {
    let op = ResizeShortestEdge { sizes: vec![15, 20, 30, 60], max: 70 };
    let transform = DetectionTransform::ResizeShortestEdge(op);
    let mut seen = std::collections::BTreeMap::new();
    for key in 0..200 {
        let sample = run(&[transform.clone()], &scene(), key).unwrap();
        *seen.entry(sample.size()).or_insert(0) += 1;
    }
    let sizes: Vec<_> = seen.keys().copied().collect();
    assert_eq!(sizes, [[15, 20], [20, 27], [30, 40], [53, 70]]);
    assert!(seen.values().all(|&count| count > 25));
}

#[test]
fn large_scale_jitter_cuts_and_pads() {
    let op = |min_scale, max_scale| {
        let fill = Fill::Color([0; 3]);
        let op = LargeScaleJitter { height: 30, width: 40, min_scale, max_scale, fill };
        [DetectionTransform::LargeScaleJitter(op)]
    };
    assert_eq!(run(&op(1.0, 1.0), &scene(), 0).unwrap(), scene());
    // Exactly half: 15 x 20 pixels at the upper left, the rest is padding.
    let half = run(&op(0.5, 0.5), &scene(), 0).unwrap();
    let expected = scene().resized([15, 20]).unwrap();
    assert_eq!(half.size(), [30, 40]);
    for (x, y) in (0..30).flat_map(|y| (0..40).map(move |x| (x, y))) {
        let inside = x < 20 && y < 15;
        let pixel = if inside { expected.image.get(x, y) } else { [0; 3] };
        assert_eq!(half.image.get(x, y), pixel);
    }
    for (a, b) in half.instances.iter().zip(&expected.instances) {
        assert_eq!((a.label, a.bbox), (b.label, b.bbox));
        assert_eq!(a.mask.as_ref().unwrap().area(), b.mask.as_ref().unwrap().area());
    }
    // Twice: windows at different places; every mask pixel shows about its object's colour.
    let mut corners = std::collections::BTreeSet::new();
    for key in 0..60 {
        let sample = run(&op(1.9, 2.0), &scene(), key).unwrap();
        assert_eq!(sample.size(), [30, 40]);
        corners.insert(sample.image.pixels().to_vec());
        for instance in &sample.instances {
            let mask = instance.mask.as_ref().unwrap();
            let pixels = (0..30).flat_map(|y| (0..40).map(move |x| (x, y)));
            let greens =
                pixels.filter(|&(x, y)| mask.get(x, y)).map(|(x, y)| sample.image.get(x, y)[1]);
            let (greens, area) = (greens.map(u64::from).sum::<u64>(), mask.area() as u64);
            assert!(area < 40 || greens > 150 * area, "{greens} / {area}");
            assert_eq!(instance.bbox, instance.bbox.clip([30, 40]));
        }
    }
    assert!(corners.len() > 50);
}

#[test]
fn crops_keep_an_object() {
    let overlaps = vec![0.3, 0.7];
    let op = RandomIouCrop { overlaps, attempts: 500, ..Default::default() };
    let transform = [DetectionTransform::RandomIouCrop(op)];
    let mut sizes = std::collections::BTreeSet::new();
    let sample = painted([30, 40], &[[2, 3, 32, 27], [30, 20, 39, 29]]);
    for key in 0..200 {
        let crop = run(&transform, &sample, key).unwrap();
        assert_consistent(&crop);
        let [height, width] = crop.size();
        sizes.insert([height, width]);
        assert!((9..=30).contains(&height) && (12..=40).contains(&width));
        let aspect = width as f64 / height as f64;
        assert!((0.5..=2.0).contains(&aspect), "{aspect}");
        // What is left of some box fills enough of the window.
        let mut boxed = sample.clone();
        boxed.instances.iter_mut().for_each(|instance| instance.mask = None);
        let boxed = run(&transform, &boxed, key).unwrap();
        assert_eq!(boxed.image, crop.image);
        let window = BBox::new(0.0, 0.0, width as f32, height as f32);
        assert!(boxed.instances.iter().any(|instance| instance.bbox.iou(window) > 0.299));
    }
    assert!(sizes.len() > 40);
    let whole = RandomIouCrop { overlaps: vec![1.0], ..Default::default() };
    assert_eq!(run(&[DetectionTransform::RandomIouCrop(whole)], &sample, 0).unwrap(), sample);
    let empty = painted([30, 40], &[]);
    assert_eq!(run(&transform, &empty, 0).unwrap(), empty);
    let impossible = RandomIouCrop { max_scale: 0.31, overlaps: vec![0.9], ..Default::default() };
    let tiny = painted([30, 40], &[[1, 1, 4, 4]]);
    assert_eq!(run(&[DetectionTransform::RandomIouCrop(impossible)], &tiny, 0).unwrap(), tiny);
}

#[test]
fn pasted_objects_hide_those_below() {
    let base = painted([30, 40], &[[2, 3, 20, 15], [25, 20, 29, 24], [10, 8, 30, 28]]);
    let mut other = painted([36, 34], &[[22, 14, 34, 30], [0, 0, 9, 9]]);
    for instance in &mut other.instances {
        instance.label += 5;
    }
    for y in 0..36 {
        for x in 0..34 {
            let at = 3 * (y * 34 + x);
            if other.image.get(x, y)[1] == 200 {
                other.image.pixels_mut()[at] += 100;
            }
        }
    }
    let all = CopyPaste { probability: 1.0, object_probability: 1.0 };
    let pasted = all.paste(base.clone(), other.clone(), &mut rng(0));
    assert_eq!(pasted.size(), [30, 40]);
    assert_consistent(&pasted);
    let labels: Vec<usize> = pasted.instances.iter().map(|instance| instance.label).collect();
    assert_eq!(labels, [0, 2, 5, 6], "object 1 was covered");
    let none = CopyPaste { probability: 1.0, object_probability: 0.0 };
    assert_eq!(none.paste(base.clone(), other.clone(), &mut rng(0)), base);
    let some = CopyPaste::default();
    let counts: Vec<usize> = (0..100)
        .map(|key| {
            let sample = some.paste(base.clone(), other.clone(), &mut rng(key));
            assert_consistent(&sample);
            sample.instances.iter().filter(|instance| instance.label >= 5).count()
        })
        .collect();
    assert!((0..3).all(|n| counts.iter().filter(|&&count| count == n).count() > 12));
    // Hidden or not, objects without a mask stay.
    let mut boxed = base.clone();
    boxed.instances[1].mask = None;
    let sample = all.paste(boxed, other, &mut rng(0));
    assert!(sample.instances.iter().any(|i| i.label == 1 && i.mask.is_none()));
}

#[test]
fn the_partner_goes_through_the_transforms_before() {
    let size = Resize { width: 20, height: 10 };
    let paste = CopyPaste { object_probability: 1.0, ..Default::default() };
    let transforms = vec![
        DetectionTransform::Resize(size),
        DetectionTransform::CopyPaste(paste),
        DetectionTransform::HorizontalFlip(HorizontalFlip { probability: 1.0 }),
    ];
    let pipeline = DetectionPipeline::new(transforms, Preprocess::default(), 0.0).unwrap();
    let mut calls = 0;
    let mut partner = |_: &mut KeyedRng| {
        calls += 1;
        Ok(painted([20, 40], &[[0, 0, 20, 20]]))
    };
    let base = painted([20, 40], &[]);
    let result = pipeline.apply(base.clone(), &mut rng(0), &mut partner).unwrap();
    assert_eq!((calls, result.size(), result.instances.len()), (1, [10, 20], 1));
    assert_eq!(result.instances[0].bbox, BBox::new(10.0, 0.0, 20.0, 10.0));
    let error = pipeline.apply(base, &mut rng(0), &mut no_partner).unwrap_err();
    assert_eq!(error.to_string(), "the data set has no images");
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

#[test]
fn pixels_are_normalised_in_the_order_of_the_weights() {
    let image = RgbImage::new(2, 1, vec![10, 20, 30, 40, 50, 60]).unwrap();
    let preprocess = Preprocess {
        channel_order: ChannelOrder::Bgr,
        mean: [0.1, 0.2, 0.3],
        std: [1.0, 0.5, 0.25],
        ..Default::default()
    };
    let pipeline = DetectionPipeline::new(Vec::new(), preprocess, 0.0).unwrap();
    let mut planes = vec![0.0; 3 * 2 * 4];
    pipeline.normalize(&image, &mut planes, [2, 4]);
    let value = |byte: u8, mean: f32, std: f32| (f32::from(byte) / 255.0 - mean) / std;
    let mut expected = vec![0.0; 24];
    (expected[0], expected[1]) = (value(30, 0.1, 1.0), value(60, 0.1, 1.0));
    (expected[8], expected[9]) = (value(20, 0.2, 0.5), value(50, 0.2, 0.5));
    (expected[16], expected[17]) = (value(10, 0.3, 0.25), value(40, 0.3, 0.25));
    assert_eq!(planes, expected);
}

#[test]
fn recipes_are_read_and_unknown_keys_refused() {
    let json = r#"{ "preprocess": { "channel_order": "bgr" }, "min_side": 2.0, "train": [
        { "op": "resize-shortest-edge", "sizes": [640, 800], "max": 1333 },
        { "op": "large-scale-jitter", "height": 64, "width": 64 },
        { "op": "horizontal-flip" }, { "op": "random-iou-crop" },
        { "op": "color-jitter", "brightness": 0.2 }, { "op": "copy-paste" },
        { "op": "resize", "width": 8, "height": 8 },
        { "op": "pad-to-size", "width": 8, "height": 8, "fill": { "color": [1, 2, 3] } } ] }"#;
    let config: DetectionPipelineConfig = serde_json::from_str(json).unwrap();
    assert_eq!(config.train_pipeline().unwrap().transforms().len(), 8);
    let text = serde_json::to_string(&config).unwrap();
    assert_eq!(serde_json::from_str::<DetectionPipelineConfig>(&text).unwrap(), config);
    let default = DetectionPipelineConfig::default();
    assert_eq!(default.train_pipeline().unwrap().transforms().len(), 2);

    let error =
        |json| serde_json::from_str::<DetectionPipelineConfig>(json).unwrap_err().to_string();
    assert!(
        error(r#"{ "train": [{ "op": "copy-paste", "p": 1 }] }"#).contains("unknown field `p`")
    );
    assert!(error(r#"{ "test": [] }"#).contains("unknown field `test`"));
    for (json, expected) in [
        (r#"{ "op": "resize-shortest-edge", "sizes": [], "max": 9 }"#, "one or more sizes"),
        (r#"{ "op": "resize-shortest-edge", "sizes": [4], "max": 0 }"#, "at least 1, got 0"),
        (r#"{ "op": "large-scale-jitter", "height": 0, "width": 1 }"#, "at least 1, got 0"),
        (
            r#"{ "op": "large-scale-jitter", "height": 9, "width": 9, "min_scale": 3.0 }"#,
            "got 3 and 2",
        ),
        (r#"{ "op": "random-iou-crop", "overlaps": [1.5] }"#, "got [1.5]"),
        (r#"{ "op": "random-iou-crop", "min_aspect": 1.5 }"#, "got 1.5 and 2"),
        (r#"{ "op": "random-iou-crop", "min_scale": 0.0 }"#, "got 0 and 1"),
        (r#"{ "op": "copy-paste", "probability": 2.0 }"#, "copy-paste.probability must be"),
        (r#"{ "op": "pad-to-size", "height": 1, "width": 0 }"#, "pad-to-size.width must be"),
    ] {
        let transform: DetectionTransform = serde_json::from_str(json).unwrap();
        let error = run(&[transform], &scene(), 0).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
