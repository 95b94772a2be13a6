//! Advice on real images: two long tails come to two recipes, and a recipe of each reads back.
#![allow(clippy::unwrap_used, reason = "tests")]

use longtail_data::LongTail;
use longtail_testing::development_data;
use longtail_training::{
    AnyRecipe, DatasetConfig, DatasetSource, DetectionDatasetConfig, DetectionSource,
    DetectorStart, TailShape, advise_classification, advise_detection,
};

#[test]
fn cifar10_with_and_without_a_tail() {
    let Some(root) = development_data("data/cifar10") else { return };
    let source = DatasetSource::ClassFolders { root, train: "train".into(), test: "test".into() };
    let mut dataset = DatasetConfig { source, long_tail: None, subset_seed: 0, validation: None };
    let equal = LongTail { max_count: Some(50), ..LongTail::exponential(1.0) };
    for (cut, shape, method) in [
        (LongTail::exponential(100.0), TailShape::Long, "balanced-softmax"),
        (equal, TailShape::Balanced, "cross-entropy"),
    ] {
        dataset.long_tail = Some(cut);
        let advice = advise_classification(&dataset).unwrap();
        assert_eq!(advice.tail.shape, shape, "{advice}");
        let AnyRecipe::Classification(recipe) = advice.recipe().unwrap() else {
            panic!("{advice}")
        };
        assert_eq!(recipe.loss.method(), method);
        assert_eq!((recipe.epochs, recipe.dataset.clone()), (Some(200), dataset.clone()));
    }
}

#[test]
fn a_hundred_images_of_coco() {
    let Some(root) = development_data("data/coco100") else { return };
    let source = DetectionSource::Coco {
        train: root.join("annotations/lvis_train.json"),
        train_images: root.join("images/train"),
        val: root.join("annotations/lvis_val.json"),
        val_images: root.join("images/val"),
    };
    let dataset = DetectionDatasetConfig { source, lenient: false };
    let advice = advise_detection(&dataset, DetectorStart::Scratch).unwrap();
    assert_eq!(advice.tail.shape, TailShape::Long);
    assert!(advice.warnings.iter().any(|warning| warning.contains("ImageNet weights")), "{advice}");
    let AnyRecipe::Detection(recipe) = advice.recipe().unwrap() else { panic!("{advice}") };
    assert_eq!(recipe.loss.method(), "balanced-sigmoid");
    assert_eq!((recipe.iterations, recipe.dataset.clone()), (2000, dataset.clone()));
    // The published threshold of Equalization Loss finds no tail in so few images; this one does.
    let bound = advice.tail.boundary().unwrap();
    let images = advice.tail.counts.image_counts();
    let tail: u64 = images.iter().filter(|&&count| count <= bound).sum();
    // For a first look: small images, a small network, anchors for their size.
    let small = advise_detection(&dataset, DetectorStart::Small).unwrap();
    assert!(small.to_toml().contains("[[21.3], [42.7], [64.0], [85.3], [128.0]]"), "{small}");
    let AnyRecipe::Detection(small) = small.recipe().unwrap() else { panic!("{small}") };
    assert_eq!((small.loss.method(), small.iterations), ("balanced-sigmoid", 600));
    assert!(tail > 0 && (tail as f64) <= 0.091 * images.iter().sum::<u64>() as f64, "{advice}");
}
