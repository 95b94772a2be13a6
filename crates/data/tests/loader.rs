//! The loader: same batches whatever the number of threads, errors at their place, no hang.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use image::{ImageFormat, Rgb, RgbImage};
use longtail_data::{
    Batch, DataError, ImageDataset, Loader, LoaderConfig, PipelineConfig, Preset, SamplerConfig,
};

/// Class folders with `counts[c]` PNG images of 32 x 32 in class `c`.
fn write_images(root: &Path, counts: &[usize]) {
    for (class, &count) in counts.iter().enumerate() {
        let folder = root.join(format!("class{class}"));
        std::fs::create_dir(&folder).unwrap();
        for i in 0..count {
            let pixel = |x: u32, y: u32| {
                Rgb([(7 * x + 31 * i as u32) as u8, (5 * y) as u8, (40 * class) as u8])
            };
            let image = RgbImage::from_fn(32, 32, pixel);
            image.save_with_format(folder.join(format!("{i:02}.png")), ImageFormat::Png).unwrap();
        }
    }
}

fn dataset(counts: &[usize]) -> (tempfile::TempDir, Arc<ImageDataset>) {
    let root = tempfile::tempdir().unwrap();
    write_images(root.path(), counts);
    let dataset = Arc::new(ImageDataset::from_folders(root.path()).unwrap());
    (root, dataset)
}

fn loader(dataset: &Arc<ImageDataset>, config: LoaderConfig) -> Loader {
    let pipeline = PipelineConfig::default().train_pipeline().unwrap();
    let sampler = SamplerConfig::InstanceBalanced;
    Loader::new(dataset.clone(), pipeline, sampler, config).unwrap()
}

fn batches(loader: &Loader, epoch: u64, start: usize) -> Vec<Batch> {
    loader.epoch(epoch, start).map(Result::unwrap).collect()
}

#[test]
fn batches_do_not_depend_on_workers_cache_or_start() {
    let (_root, dataset) = dataset(&[20, 9, 4]);
    let config = LoaderConfig { batch_size: 5, workers: 0, seed: 3, ..Default::default() };
    let expected = batches(&loader(&dataset, config), 1, 0);
    assert_eq!(expected.len(), 7);
    assert_eq!(expected.iter().map(Batch::len).collect::<Vec<_>>(), [5, 5, 5, 5, 5, 5, 3]);
    let mut seen: Vec<_> = expected.iter().flat_map(|batch| batch.indices.clone()).collect();
    seen.sort_unstable();
    assert_eq!(seen, (0..33).collect::<Vec<_>>());

    for (workers, cache_bytes) in [(0, 0), (1, 0), (2, 20_000), (4, 1 << 20)] {
        let loader = loader(&dataset, LoaderConfig { workers, cache_bytes, ..config });
        for repeat in 0..2 {
            assert_eq!(batches(&loader, 1, 0), expected, "{workers} workers, repeat {repeat}");
        }
        for start in [1, 6, 7, 100] {
            assert_eq!(batches(&loader, 1, start), expected[start.min(7)..]);
        }
        assert_ne!(batches(&loader, 2, 0), expected);
    }
    let other = loader(&dataset, LoaderConfig { seed: 4, ..config });
    assert_ne!(batches(&other, 1, 0), expected);
}

/// The same images in the same order; with random transforms, other pixels.
#[test]
fn a_second_view_has_the_same_images() {
    let (_root, dataset) = dataset(&[20, 9, 4]);
    let config = LoaderConfig { batch_size: 5, seed: 3, ..Default::default() };
    let first = loader(&dataset, config);
    let random = || PipelineConfig::default().train_pipeline().unwrap();
    let second = batches(&first.second_view(random()), 1, 2);
    let expected = batches(&first, 1, 2);
    assert_eq!(second.len(), expected.len());
    for (one, other) in expected.iter().zip(&second) {
        assert_eq!((&one.indices, &one.labels), (&other.indices, &other.labels));
        assert_ne!(one.images, other.images);
    }
    assert_eq!(batches(&first.second_view(random()), 1, 2), second);
}

#[test]
fn drop_last_leaves_out_the_rest() {
    let (_root, dataset) = dataset(&[7, 4]);
    let config = LoaderConfig { batch_size: 4, drop_last: true, ..Default::default() };
    let loader = loader(&dataset, config);
    assert_eq!(loader.num_batches(), 2);
    assert_eq!(loader.epoch(0, 0).len(), 2);
    assert_eq!(batches(&loader, 0, 0).len(), 2);
}

#[test]
fn a_batch_moves_to_the_device() {
    let (_root, dataset) = dataset(&[2, 1]);
    let pipeline = PipelineConfig::default().test_pipeline().unwrap();
    let loader =
        Loader::new(dataset, pipeline, SamplerConfig::Sequential, LoaderConfig::default()).unwrap();
    let batch = loader.epoch(0, 0).next().unwrap().unwrap();
    let images = batch.images.clone();
    let batch = batch.to_device(&longtail_testing::device());
    assert_eq!(batch.images.dims(), [3, 3, 32, 32]);
    assert_eq!(longtail_testing::values(batch.images.clone()), images);
    assert_eq!(longtail_testing::values(batch.labels.float()), [0.0, 0.0, 1.0]);
    // Second image, blue, row 1, column 2: 0.
    let blue = longtail_testing::values(batch.images.slice([1..2, 2..3, 1..2, 2..3]));
    assert!((blue[0] - (0.0 - 0.4465) / 0.2010).abs() < 1e-6);
}

#[test]
fn a_bad_image_is_an_error_at_its_place() {
    let (root, dataset) = dataset(&[12]);
    let bad = root.path().join("class0/05.png");
    std::fs::write(&bad, b"not a picture").unwrap();
    let pipeline = PipelineConfig::default().test_pipeline().unwrap();
    for workers in [0, 1, 3] {
        let config = LoaderConfig { batch_size: 2, workers, ..Default::default() };
        let sampler = SamplerConfig::Sequential;
        let loader = Loader::new(dataset.clone(), pipeline.clone(), sampler, config).unwrap();
        let results: Vec<_> = loader.epoch(0, 0).collect();
        assert_eq!(results.len(), 6);
        for (i, result) in results.into_iter().enumerate() {
            match result {
                Ok(batch) => assert_eq!(batch.indices, [2 * i, 2 * i + 1]),
                Err(error) => {
                    assert_eq!(i, 2);
                    let expected = format!(
                        "{}: not an image: expected JPEG or PNG, \
                         the file starts with [6e, 6f, 74, 20]",
                        bad.display()
                    );
                    assert_eq!(error.to_string(), expected);
                }
            }
        }
    }
}

#[test]
fn images_of_different_sizes_are_named() {
    let (root, _) = dataset(&[3]);
    let odd = root.path().join("class0/02.png");
    RgbImage::new(40, 30).save(&odd).unwrap();
    let dataset = Arc::new(ImageDataset::from_folders(root.path()).unwrap());
    let first_error = |preset, train: bool| {
        let config = PipelineConfig { preset, ..Default::default() };
        let pipeline = if train { config.train_pipeline() } else { config.test_pipeline() };
        let sampler = SamplerConfig::Sequential;
        let config = LoaderConfig::default();
        let loader = Loader::new(dataset.clone(), pipeline.unwrap(), sampler, config).unwrap();
        let first = loader.epoch(0, 0).next().unwrap();
        first.err().map(|error| error.to_string())
    };
    let expected = format!(
        "{}: 40x30 pixels after the transforms, but the batch holds 32x32; add a resize or a crop",
        odd.display()
    );
    assert_eq!(first_error(Preset::Cifar, false), Some(expected));
    assert_eq!(first_error(Preset::Cifar, true), None);
    assert_eq!(first_error(Preset::Imagenet, false), None);
}

#[test]
fn too_small_an_image_is_named() {
    let (root, dataset) = dataset(&[1]);
    let toml = r#"{ "test": [{ "op": "center-crop", "size": 40 }] }"#;
    let config: PipelineConfig = serde_json::from_str(toml).unwrap();
    let loader = Loader::new(
        dataset,
        config.test_pipeline().unwrap(),
        SamplerConfig::Sequential,
        LoaderConfig::default(),
    );
    let error = loader.unwrap().epoch(0, 0).next().unwrap().unwrap_err();
    let expected = format!(
        "{}: 32x32 pixels are too few for a crop of 40x40",
        root.path().join("class0/00.png").display()
    );
    assert_eq!(error.to_string(), expected);
}

#[test]
fn dropping_an_epoch_early_ends_its_threads() {
    let (_root, dataset) = dataset(&[60]);
    let config = LoaderConfig { batch_size: 2, workers: 3, ..Default::default() };
    let loader = loader(&dataset, config);
    let start = Instant::now();
    for taken in 0..20 {
        let mut epoch = loader.epoch(taken as u64, 0);
        epoch.by_ref().take(taken).for_each(|batch| assert!(batch.is_ok()));
        drop(epoch);
    }
    // A thread that outlived its epoch would keep the maker, and so the data set, alive.
    drop(loader);
    assert_eq!(Arc::strong_count(&dataset), 1);
    assert!(start.elapsed() < Duration::from_secs(20));
}

#[test]
fn settings_are_checked() {
    let (_root, dataset) = dataset(&[2]);
    let error = |dataset: &Arc<ImageDataset>, sampler, config| -> DataError {
        let pipeline = PipelineConfig::default().test_pipeline().unwrap();
        Loader::new(dataset.clone(), pipeline, sampler, config).unwrap_err()
    };
    let config = LoaderConfig { batch_size: 0, ..Default::default() };
    let message = error(&dataset, SamplerConfig::Sequential, config).to_string();
    assert_eq!(message, "batch_size must be at least 1, got 0");
    let config = LoaderConfig { batch_size: 3, drop_last: true, ..Default::default() };
    let message = error(&dataset, SamplerConfig::Sequential, config).to_string();
    assert!(message.starts_with("batch_size must be at most the number of images"), "{message}");
    let sampler = SamplerConfig::EffectiveNumber { beta: 1.5 };
    let message = error(&dataset, sampler, LoaderConfig::default()).to_string();
    assert_eq!(message, "sampler.beta must be a probability in [0, 1], got 1.5");
    let empty = Arc::new(dataset.subset(&[]).unwrap());
    let message = error(&empty, SamplerConfig::Sequential, LoaderConfig::default()).to_string();
    assert_eq!(message, "the data set has no images");
}
