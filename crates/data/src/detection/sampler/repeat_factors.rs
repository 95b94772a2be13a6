//! How often images with rare classes come.

use super::RepeatFrequency;
use crate::detection::DetectionDataset;

/// The factor of every image: the largest `max(1, (threshold / f)^exponent)` of its classes.
pub(super) fn repeat_factors(
    dataset: &DetectionDataset,
    threshold: f64,
    exponent: f64,
    frequency: RepeatFrequency,
) -> Vec<f64> {
    let num_images = dataset.num_images();
    let labels = |image: usize| dataset.targets(image).map(|target| target.label as usize);
    let (mut images, mut instances) = (vec![0_u64; dataset.num_classes()], Vec::new());
    instances.resize(dataset.num_classes(), 0_u64);
    let mut last_image = vec![usize::MAX; dataset.num_classes()];
    for (image, label) in (0..num_images).flat_map(|i| labels(i).map(move |label| (i, label))) {
        instances[label] += 1;
        images[label] += u64::from(last_image[label] != image);
        last_image[label] = image;
    }
    let num_instances: u64 = instances.iter().sum();
    let factors: Vec<f64> = images
        .into_iter()
        .zip(instances)
        .map(|(images, instances)| {
            let by_image = images as f64 / num_images.max(1) as f64;
            let by_instance = instances as f64 / num_instances.max(1) as f64;
            let frequency = match frequency {
                RepeatFrequency::Image => by_image,
                RepeatFrequency::Instance => by_instance,
                RepeatFrequency::ImageAndInstance => (by_image * by_instance).sqrt(),
            };
            (threshold / frequency).powf(exponent).max(1.0) // not read for absent classes
        })
        .collect();
    (0..num_images)
        .map(|image| labels(image).map(|label| factors[label]).fold(1.0, f64::max))
        .collect()
}
