//! What is drawn at random.

use longtail_types::BBox;

use super::*;
use crate::transforms::Fill;

#[test]
fn the_shorter_side_takes_every_size() {
    let op = ResizeShortestEdge { sizes: vec![15, 20, 30, 60], max: 70 };
    let transform = DetectionTransform::ResizeShortestEdge(op);
    let mut seen = std::collections::BTreeMap::new();
    for key in 0..200 {
        let sample = run(std::slice::from_ref(&transform), &scene(), key).unwrap();
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
