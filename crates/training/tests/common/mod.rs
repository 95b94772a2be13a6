//! A tiny long-tailed set of 8x8 images and a recipe that trains on it in a second.

use std::fs;
use std::path::Path;

use longtail_training::Recipe;

/// Training images per class.
pub(crate) const TRAIN: [usize; 3] = [24, 12, 5];

/// Writes `root/{train,test}/CLASS/*.png`: classes differ in colour, images in noise.
pub(crate) fn write_images(root: &Path) {
    let mut noise = 1_u32;
    for (split, counts) in [("train", TRAIN), ("test", [6; 3])] {
        for (class, count) in counts.into_iter().enumerate() {
            let folder = root.join(split).join(["blue", "green", "red"][class]);
            fs::create_dir_all(&folder).unwrap();
            for index in 0..count {
                let mut image = image::RgbImage::new(8, 8);
                for pixel in image.pixels_mut() {
                    for (channel, value) in pixel.0.iter_mut().enumerate() {
                        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        let bright = if channel == 2 - class { 80 } else { 0 };
                        *value = (noise >> 25) as u8 + bright;
                    }
                }
                image.save(folder.join(format!("{index:02}.png"))).unwrap();
            }
        }
    }
}

/// A recipe for these images: 3 epochs of 5 batches.
pub(crate) fn recipe(root: &Path, overrides: &[&str]) -> Recipe {
    let text = r#"
        batch_size = 8
        epochs = 3
        dataset.source = { kind = "class-folders", root = "set by an override" }
        model.backbone = "cifar-resnet20"
        optimizer = { kind = "sgd", lr = 0.05, nesterov = true, weight_decay = 1e-4 }
        schedule.warmup = { iterations = 4 }
        evaluation.batch_size = 7
        run = { workers = 1, log_every = 2, checkpoint_every = 0 }

        [transforms]
        preset = "cifar"
        train = [
            { op = "random-crop", size = 8, padding = 1 },
            { op = "horizontal-flip" },
        ]
    "#;
    let root = format!("dataset.source.root={}", root.display());
    let overrides: Vec<&str> = [root.as_str()].into_iter().chain(overrides.to_vec()).collect();
    Recipe::parse("tiny", text, &overrides).unwrap()
}
