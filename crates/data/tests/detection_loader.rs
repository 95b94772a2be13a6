//! The detection loader: same batches whatever the number of threads, padding, shapes, errors.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use longtail_data::{
    BatchPadding, DetectionBatch, DetectionDataset, DetectionDatasetBuilder, DetectionLoader,
    DetectionLoaderConfig, DetectionPipelineConfig, DetectionSamplerConfig, NewAnnotation,
    RgbImage, Split, SyntheticDetectionConfig,
};
use longtail_types::{BBox, ClassMap, ResizeRule};

fn synthetic() -> Arc<DetectionDataset> {
    let config = SyntheticDetectionConfig {
        width: 48,
        height: 40,
        num_classes: 12,
        train_images: 23,
        head_count: 12,
        exponent: 2,
        object_size: [8, 20],
        ..Default::default()
    };
    Arc::new(config.generate(Split::Train).unwrap())
}

fn pipeline(json: &str) -> DetectionPipelineConfig {
    serde_json::from_str(json).unwrap()
}

const AUGMENT: &str = r#"{ "train": [
    { "op": "large-scale-jitter", "height": 64, "width": 64, "min_scale": 0.5 },
    { "op": "horizontal-flip" }, { "op": "color-jitter", "brightness": 0.3 },
    { "op": "copy-paste" } ] }"#;

fn loader(dataset: &Arc<DetectionDataset>, config: DetectionLoaderConfig) -> DetectionLoader {
    let pipeline = pipeline(AUGMENT).train_pipeline().unwrap();
    let sampler = DetectionSamplerConfig::default();
    DetectionLoader::new(dataset.clone(), pipeline, sampler, config).unwrap()
}

fn batches(loader: &DetectionLoader, epoch: u64, start: usize) -> Vec<DetectionBatch> {
    loader.epoch(epoch, start).map(Result::unwrap).collect()
}

#[test]
fn batches_do_not_depend_on_workers_or_start() {
    let dataset = synthetic();
    let config = DetectionLoaderConfig { batch_size: 3, workers: 0, seed: 5, ..Default::default() };
    let expected = batches(&loader(&dataset, config.clone()), 1, 0);
    assert_eq!(expected.len(), 8);
    assert_eq!(expected.iter().map(DetectionBatch::len).sum::<usize>(), 23);
    let mut seen: Vec<_> = expected.iter().flat_map(|batch| batch.indices.clone()).collect();
    seen.sort_unstable();
    assert_eq!(seen, (0..23).collect::<Vec<_>>());
    for workers in [0, 1, 3] {
        let loader = loader(&dataset, DetectionLoaderConfig { workers, ..config.clone() });
        assert_eq!(loader.num_batches(1), 8);
        for start in [0, 1, 7, 8, 100] {
            assert_eq!(loader.epoch(1, start).len(), 8 - start.min(8));
            assert_eq!(batches(&loader, 1, start), expected[start.min(8)..]);
        }
        assert_ne!(batches(&loader, 2, 0), expected);
    }
    let other = loader(&dataset, DetectionLoaderConfig { seed: 6, ..config });
    assert_ne!(batches(&other, 1, 0), expected);
}

/// Images of 40 x 30 and 30 x 40 by turns, every third without objects.
fn mixed(count: u64) -> Arc<DetectionDataset> {
    let mut builder = DetectionDatasetBuilder::new(ClassMap::from_names(["a"]).unwrap());
    for id in 0..count {
        let [width, height] = if id % 2 == 0 { [40, 30] } else { [30, 40] };
        let image = RgbImage::filled(width, height, [id as u8, 100, 200]);
        let index = builder.add_pixels(id, image).unwrap();
        let bbox = BBox::new(2.0, 4.0, 12.0, 20.0);
        if id % 3 != 0 {
            builder.annotate(index, NewAnnotation { bbox, ..Default::default() }).unwrap();
        }
    }
    Arc::new(builder.build().unwrap())
}

fn resizing(config: DetectionLoaderConfig) -> DetectionLoader {
    let mut pipeline = DetectionPipelineConfig::default();
    pipeline.preprocess.resize = ResizeRule::ShortestEdge { min: 45, max: 100 };
    let pipeline = pipeline.test_pipeline().unwrap();
    let sampler = DetectionSamplerConfig::default();
    DetectionLoader::new(mixed(13), pipeline, sampler, config).unwrap()
}

#[test]
fn batches_are_of_one_shape_and_padded() {
    let config = DetectionLoaderConfig { batch_size: 2, ..Default::default() };
    let loader = resizing(config.clone());
    let found = batches(&loader, 0, 0);
    assert_eq!(found.len(), 7);
    for batch in &found {
        assert!(batch.size == [64, 64] && batch.sizes.iter().all(|size| *size == batch.sizes[0]));
        for (place, &index) in batch.indices.iter().enumerate() {
            let is_wide = index % 2 == 0;
            assert_eq!(batch.sizes[place], if is_wide { [45, 60] } else { [60, 45] });
            assert_eq!(batch.scales[place], [1.5, 1.5]);
            for target in &batch.targets[place] {
                assert_eq!(target.bbox, BBox::new(3.0, 6.0, 18.0, 30.0));
                let original = batch.to_original(place, target.bbox);
                assert_eq!(original, BBox::new(2.0, 4.0, 12.0, 20.0));
            }
            assert_eq!(batch.targets[place].len(), usize::from(index % 3 != 0));
            // Red plane: the value inside, 0 in the padding.
            let red = &batch.images[place * 3 * 64 * 64..][..64 * 64];
            let value = (index as f32 / 255.0 - 0.485) / 0.229;
            let [height, width] = batch.sizes[place];
            for (i, &found) in red.iter().enumerate() {
                let is_inside = i / 64 < height && i % 64 < width;
                assert!((found - if is_inside { value } else { 0.0 }).abs() < 1e-5);
            }
        }
    }
    let mixed = DetectionLoaderConfig { group_by_aspect: false, ..config.clone() };
    let shapes = batches(&resizing(mixed), 0, 0).into_iter().map(|batch| batch.sizes);
    assert!(shapes.into_iter().any(|sizes| sizes.len() == 2 && sizes[0] != sizes[1]));
    let dropped = DetectionLoaderConfig { drop_last: true, ..config.clone() };
    assert_eq!(batches(&resizing(dropped), 0, 0).len(), 6);
    let padding = BatchPadding { sizes: vec![[64, 48], [48, 64]], ..Default::default() };
    for batch in batches(&resizing(DetectionLoaderConfig { padding, ..config.clone() }), 0, 0) {
        assert_eq!(batch.size, if batch.indices[0] % 2 == 0 { [48, 64] } else { [64, 48] });
    }
    let padding = BatchPadding { sizes: vec![[48, 64]], ..Default::default() };
    let narrow = resizing(DetectionLoaderConfig { padding, ..config });
    let results: Vec<_> = narrow.epoch(0, 0).collect();
    assert_eq!(results.len(), 7);
    let errors: Vec<_> = results.into_iter().filter_map(Result::err).collect();
    assert_eq!(errors.len(), 3);
    assert!(errors[0].to_string().starts_with("padding.sizes must be"), "{}", errors[0]);
}

#[test]
fn images_without_objects_can_be_left_out() {
    let config = DetectionLoaderConfig { keep_empty: false, ..Default::default() };
    let mut seen: Vec<usize> =
        batches(&resizing(config), 0, 0).into_iter().flat_map(|batch| batch.indices).collect();
    seen.sort_unstable();
    assert_eq!(seen, [1, 2, 4, 5, 7, 8, 10, 11]);
}

#[test]
fn a_batch_moves_to_the_device() {
    let loader = resizing(DetectionLoaderConfig::default());
    let batch = loader.epoch(0, 0).next().unwrap().unwrap();
    let moved = batch.to_device(&longtail_testing::device());
    assert_eq!(moved.images.dims(), [2, 3, 64, 64]);
    assert_eq!(moved.sizes, batch.sizes);
    assert_eq!(longtail_testing::values(moved.images), batch.images);
}

#[test]
fn dropping_an_epoch_early_ends_its_threads() {
    let dataset = synthetic();
    let config = DetectionLoaderConfig { workers: 3, ..Default::default() };
    let loader = loader(&dataset, config);
    for taken in 0..8 {
        let mut epoch = loader.epoch(taken as u64, 0);
        epoch.by_ref().take(taken).for_each(|batch| assert!(batch.is_ok()));
    }
    drop(loader);
    assert_eq!(Arc::strong_count(&dataset), 1);
}

#[test]
fn a_bad_image_is_an_error_at_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let classes = ClassMap::from_names(["a"]).unwrap();
    let mut builder = DetectionDatasetBuilder::new(classes).image_root(folder.path());
    for id in 0..6 {
        let name = format!("{id}.png");
        image::RgbImage::new(16, 16).save(folder.path().join(&name)).unwrap();
        builder.add_file(id, [16, 16], &name).unwrap();
    }
    let bad = folder.path().join("3.png");
    std::fs::write(&bad, b"no picture").unwrap();
    let dataset = Arc::new(builder.build().unwrap());
    let pipeline = DetectionPipelineConfig::default().test_pipeline().unwrap();
    for workers in [0, 2] {
        let config = DetectionLoaderConfig { batch_size: 1, workers, ..Default::default() };
        let sampler = DetectionSamplerConfig::Sequential;
        let loader = DetectionLoader::new(dataset.clone(), pipeline.clone(), sampler, config);
        for (place, result) in loader.unwrap().epoch(0, 0).enumerate() {
            match result {
                Ok(batch) => assert_eq!((batch.indices, batch.size), (vec![place], [800, 800])),
                Err(error) => {
                    assert_eq!(place, 3);
                    assert!(error.to_string().starts_with(&bad.display().to_string()));
                }
            }
        }
    }
}

#[test]
fn settings_are_checked() {
    let error = |dataset, config| {
        let pipeline = DetectionPipelineConfig::default().test_pipeline().unwrap();
        let sampler = DetectionSamplerConfig::default();
        let loader = DetectionLoader::new(dataset, pipeline, sampler, config);
        loader.err().unwrap().to_string()
    };
    let config = DetectionLoaderConfig { batch_size: 0, ..Default::default() };
    assert_eq!(error(mixed(2), config), "batch_size must be at least 1, got 0");
    let padding = BatchPadding { multiple: 0, ..Default::default() };
    let config = DetectionLoaderConfig { padding, ..Default::default() };
    assert_eq!(error(mixed(2), config), "padding.multiple must be at least 1, got 0");
    assert_eq!(error(mixed(0), DetectionLoaderConfig::default()), "the data set has no images");
    let config = DetectionLoaderConfig { keep_empty: false, ..Default::default() };
    assert_eq!(error(mixed(1), config), "the data set has no images");
    assert!(serde_json::from_str::<DetectionLoaderConfig>(r#"{ "batch": 1 }"#).is_err());
}
