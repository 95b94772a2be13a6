//! JPEG and PNG.

use std::borrow::Cow;

use longtail::data::{
    DetectionDataset, FileCheck, KeyedRng, PipelineConfig, Preset, ReadMode, ReadOptions, RgbImage,
    Stream, decode_image,
};

use crate::Scratch;

/// Decodes, reads the size alone, and transforms as for ImageNet.
pub(crate) fn image(bytes: &[u8], scratch: &Scratch<'_>) {
    let decoded = decode_image(bytes, "fuzzed");
    scratch.constant("image/classes.txt", b"cat\n");
    scratch.file("image/images/a.jpg", bytes);
    let options =
        ReadOptions { mode: ReadMode::Lenient, files: FileCheck::Decode, ..ReadOptions::default() };
    let head = DetectionDataset::read_yolo(&scratch.path("image"), None, &options);
    let Ok(image) = decoded else { return };
    assert_eq!(image.pixels().len(), 3 * image.width() * image.height());
    if let Ok(set) = head
        && set.num_images() == 1
    {
        assert_eq!(set.image_size(0), [image.height(), image.width()], "head and pixels");
    }
    transform(&image);
}

fn transform(image: &RgbImage) {
    let config = PipelineConfig { preset: Preset::Imagenet, ..PipelineConfig::default() };
    let mut rng = KeyedRng::new(0, Stream::Augment, 0, 0);
    let mut pixels = Vec::new();
    for pipeline in [config.train_pipeline(), config.test_pipeline()].into_iter().flatten() {
        pixels.clear();
        if let Ok([height, width]) = pipeline.apply(Cow::Borrowed(image), &mut rng, &mut pixels) {
            assert_eq!(pixels.len(), 3 * height * width);
        }
    }
}
