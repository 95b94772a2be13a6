//! Random transforms against slow loops, and their frequencies.

use std::borrow::Cow;

use super::{
    AutoAugment, AutoAugmentPolicy, ColorJitter, Cutout, Fill, HorizontalFlip, Normalize, Pipeline,
    PipelineConfig, Preset, RandAugment, RandomCrop, Transform,
};
use crate::RgbImage;
use longtail_types::{KeyedRng, Stream};

fn rng(index: u64) -> KeyedRng {
    KeyedRng::new(5, Stream::Augment, 0, index)
}

/// Every pixel tells where it comes from.
fn numbered(width: usize, height: usize) -> RgbImage {
    let pixels = (0..width * height).flat_map(|i| [(i % width) as u8, (i / width) as u8, 77]);
    RgbImage::new(width, height, pixels.collect()).unwrap()
}

fn pipeline(transforms: Vec<Transform>) -> Pipeline {
    Pipeline::new(transforms, Normalize::CIFAR).unwrap()
}

#[test]
fn padded_crops_equal_a_slow_loop_and_reach_every_place() {
    let image = numbered(8, 8);
    let crop = |fill| Transform::RandomCrop(RandomCrop { size: 8, padding: 2, fill });
    let (mean, black) =
        (pipeline(vec![crop(Fill::Mean)]), pipeline(vec![crop(Fill::Color([0; 3]))]));
    let tables = Normalize::CIFAR.tables();
    let mut seen = [[0_u32; 5]; 5];
    for i in 0..5000 {
        let (mut values, mut black_values) = (Vec::new(), Vec::new());
        mean.apply(Cow::Borrowed(&image), &mut rng(i), &mut values).unwrap();
        black.apply(Cow::Borrowed(&image), &mut rng(i), &mut black_values).unwrap();
        let cropped = black.augment(Cow::Borrowed(&image), &mut rng(i)).unwrap();
        // The offset, from a pixel that every crop holds.
        let at = (0..64).find(|&j| cropped.pixels()[3 * j..3 * j + 3] == [4, 4, 77]).unwrap();
        let (left, top) = (4 - (at % 8) as isize, 4 - (at / 8) as isize);
        seen[(top + 2) as usize][(left + 2) as usize] += 1;
        for (y, x) in (0..8).flat_map(|y| (0..8).map(move |x| (y, x))) {
            let (sx, sy) = (x as isize + left, y as isize + top);
            let is_inside = (0..8).contains(&sx) && (0..8).contains(&sy);
            for c in 0..3 {
                let value = [sx as usize, sy as usize, 77][c];
                let at = c * 64 + y * 8 + x;
                let expected = if is_inside { tables[c][value] } else { 0.0 };
                assert_eq!(values[at], expected);
                let expected = if is_inside { tables[c][value] } else { tables[c][0] };
                assert_eq!(black_values[at], expected);
            }
        }
    }
    assert!(seen.iter().flatten().all(|&n| n.abs_diff(200) < 75), "{seen:?}");
}

#[test]
fn flips_happen_as_often_as_said() {
    let image = numbered(4, 2);
    for (probability, expected) in [(0.0, 0), (1.0, 1000), (0.5, 500), (0.2, 200)] {
        let flip = pipeline(vec![Transform::HorizontalFlip(HorizontalFlip { probability })]);
        let is_flipped = |&i: &u64| {
            let out = flip.augment(Cow::Borrowed(&image), &mut rng(i)).unwrap();
            assert_eq!(out.get(0, 1)[1..], [1, 77]);
            out.get(0, 0)[0] == 3
        };
        let flips = (0..1000).filter(is_flipped).count();
        assert!(flips.abs_diff(expected) <= 50, "{probability}: {flips}");
        assert!((expected % 1000 != 0) || flips == expected);
    }
}

#[test]
fn cutout_is_a_clipped_square_anywhere() {
    let image = RgbImage::filled(6, 5, [200; 3]);
    let tables = Normalize::CIFAR.tables();
    let cutout = Cutout { size: 4, holes: 1, fill: Fill::Mean };
    let cutout = pipeline(vec![Transform::Cutout(cutout)]);
    let mut centres = std::collections::BTreeSet::new();
    for i in 0..500 {
        let mut values = Vec::new();
        cutout.apply(Cow::Borrowed(&image), &mut rng(i), &mut values).unwrap();
        let hole: Vec<bool> = values[..30].iter().map(|&v| v == 0.0).collect();
        for c in 0..3 {
            for (value, &is_hole) in values[c * 30..].iter().zip(&hole) {
                assert_eq!(*value, if is_hole { 0.0 } else { tables[c][200] });
            }
        }
        let fits = |&(cy, cx): &(i32, i32)| {
            (0..30).all(|j| {
                let (y, x) = (j / 6, j % 6);
                let is_hole = (cy - 2..cy + 2).contains(&y) && (cx - 2..cx + 2).contains(&x);
                is_hole == hole[j as usize]
            })
        };
        let places = (0..5).flat_map(|y| (0..6).map(move |x| (y, x)));
        centres.insert(places.clone().find(fits).expect("no clipped 4x4 square"));
    }
    assert_eq!(centres.len(), 30, "every centre occurs");
}

#[test]
fn jitter_stays_in_its_range_and_depends_on_the_key() {
    let image = RgbImage::filled(2, 2, [100; 3]);
    let jitter = ColorJitter { brightness: 0.4, ..Default::default() };
    let jitter = pipeline(vec![Transform::ColorJitter(jitter)]);
    let value = |i| jitter.augment(Cow::Borrowed(&image), &mut rng(i)).unwrap().get(0, 0)[0];
    let values: Vec<u8> = (0..2000).map(value).collect();
    assert_eq!(values, (0..2000).map(value).collect::<Vec<_>>());
    let (min, max) = (*values.iter().min().unwrap(), *values.iter().max().unwrap());
    assert!((60..63).contains(&min) && (137..=140).contains(&max), "{min} {max}");
    let none = pipeline(vec![Transform::ColorJitter(ColorJitter::default())]);
    assert_eq!(*none.augment(Cow::Borrowed(&image), &mut rng(0)).unwrap(), image);
}

/// Chance that an image stays as it is: from the policy tables, for an image on which every
/// operation of non-zero strength shows.
#[test]
fn policies_vary_with_the_key_alone() {
    let image = numbered(32, 32);
    let auto = |policy| Transform::AutoAugment(AutoAugment { policy, fill: Fill::Mean });
    for transform in [
        auto(AutoAugmentPolicy::Cifar10),
        auto(AutoAugmentPolicy::Imagenet),
        Transform::RandAugment(RandAugment::default()),
    ] {
        let pipeline = pipeline(vec![transform]);
        let run = |i| pipeline.augment(Cow::Borrowed(&image), &mut rng(i)).unwrap().into_owned();
        let results: Vec<RgbImage> = (0..400).map(run).collect();
        assert_eq!(results, (0..400).map(run).collect::<Vec<_>>());
        let changed = results.iter().filter(|&result| *result != image).count();
        assert!((240..400).contains(&changed), "{changed}");
        let mut distinct: Vec<&[u8]> = results.iter().map(RgbImage::pixels).collect();
        distinct.sort_unstable();
        distinct.dedup();
        assert!(distinct.len() > 20, "{}", distinct.len());
    }
}

#[test]
fn recipes_are_read_and_unknown_keys_refused() {
    let json = r#"{ "preset": "imagenet", "train": [
        { "op": "random-crop", "size": 32, "padding": 4 },
        { "op": "random-crop", "size": 32, "fill": { "color": [1, 2, 3] } },
        { "op": "horizontal-flip" }, { "op": "cutout", "size": 16 },
        { "op": "random-resized-crop", "size": 8 }, { "op": "resize-shorter", "size": 9 },
        { "op": "resize", "width": 8, "height": 8 }, { "op": "center-crop", "size": 8 },
        { "op": "auto-augment", "policy": "cifar10" }, { "op": "rand-augment", "magnitude": 5 },
        { "op": "color-jitter", "hue": 0.1 } ] }"#;
    let config: PipelineConfig = serde_json::from_str(json).unwrap();
    let pipeline = config.train_pipeline().unwrap();
    assert_eq!(pipeline.transforms().len(), 11);
    assert_eq!(pipeline.normalize(), Normalize::IMAGENET);
    let text = serde_json::to_string(&config).unwrap();
    assert_eq!(serde_json::from_str::<PipelineConfig>(&text).unwrap(), config);

    let error = |json| serde_json::from_str::<PipelineConfig>(json).unwrap_err().to_string();
    let message = error(r#"{ "train": [{ "op": "horizontal-flip", "p": 0.5 }] }"#);
    assert!(message.contains("unknown field `p`, expected `probability`"), "{message}");
    let message = error(r#"{ "train": [{ "op": "vertical-flip" }] }"#);
    assert!(message.contains("unknown variant `vertical-flip`"), "{message}");
    assert!(error(r#"{ "presets": "cifar" }"#).contains("unknown field `presets`"));
}

#[test]
fn settings_outside_their_range_are_refused() {
    for (json, expected) in [
        (r#"{ "op": "horizontal-flip", "probability": 1.5 }"#, "a probability in [0, 1], got 1.5"),
        (r#"{ "op": "random-crop", "size": 0 }"#, "random-crop.size must be at least 1, got 0"),
        (r#"{ "op": "random-crop", "size": 4, "padding": 5 }"#, "at most the size, got 5"),
        (
            r#"{ "op": "color-jitter", "hue": 0.6 }"#,
            "color-jitter.hue must be a number in [0, 0.5]",
        ),
        (r#"{ "op": "color-jitter", "contrast": -1.0 }"#, "at least 0, got -1"),
        (r#"{ "op": "rand-augment", "magnitude": 31 }"#, "below num_magnitudes, got 31"),
        (r#"{ "op": "cutout", "size": 0 }"#, "cutout.size must be at least 1, got 0"),
        (r#"{ "op": "resize", "width": 0, "height": 1 }"#, "resize.width must be at least 1"),
    ] {
        let transform: Transform = serde_json::from_str(json).unwrap();
        let error = Pipeline::new(vec![transform], Normalize::CIFAR).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let normalize = Normalize { std: [1.0, 0.0, 1.0], ..Normalize::CIFAR };
    let error = Pipeline::new(Vec::new(), normalize).unwrap_err().to_string();
    assert_eq!(error, "normalize.std must be three positive numbers, got [1.0, 0.0, 1.0]");
}

#[test]
fn every_preset_builds() {
    for preset in
        [Preset::Cifar, Preset::CifarAutoAugment, Preset::Imagenet, Preset::ImagenetColorJitter]
    {
        let config = PipelineConfig { preset, ..Default::default() };
        let image = numbered(32, 32);
        for pipeline in [config.train_pipeline().unwrap(), config.test_pipeline().unwrap()] {
            let mut values = Vec::new();
            let [height, width] =
                pipeline.apply(Cow::Borrowed(&image), &mut rng(0), &mut values).unwrap();
            assert_eq!(values.len(), 3 * height * width);
            assert!(values.iter().all(|v| v.is_finite() && v.abs() < 3.0));
        }
    }
}
