//! What a detector refuses before it computes.

use longtail_losses::{Background, Layout};
use longtail_ops::ImageBatch;
use longtail_types::{BBox, Instance};

use crate::error::ModelError;

/// Refuses a batch whose lists disagree, or an image larger than the tensor it lies in.
pub(crate) fn check_images(batch: &ImageBatch) -> Result<(), ModelError> {
    let [images, channels, height, width] = batch.images.dims();
    let found = batch.sizes.len();
    if found != images {
        return Err(ModelError::BatchLength { images, what: "sizes", found });
    }
    if images == 0 {
        let (name, value) = ("images in the batch", "0".to_owned());
        return Err(ModelError::InvalidValue { name, value, expected: "at least 1" });
    }
    if channels != 3 {
        let (name, value) = ("channels of the images", channels.to_string());
        return Err(ModelError::InvalidValue { name, value, expected: "3" });
    }
    let is_bad = |&[h, w]: &[usize; 2]| h == 0 || w == 0 || h > height || w > width;
    match batch.sizes.iter().position(is_bad) {
        None => Ok(()),
        Some(image) => {
            let [h, w] = batch.sizes[image];
            let reason = format!("its size {h}x{w} does not lie in 1x1 to {height}x{width}");
            Err(ModelError::Image { image, reason })
        }
    }
}

/// Refuses objects that can't be learned: labels out of range, boxes without area or with numbers
/// that are not finite and, for a model of masks, objects without one.
pub(crate) fn check_targets(
    batch: &ImageBatch,
    targets: &[Vec<Instance>],
    num_classes: usize,
    needs_masks: bool,
) -> Result<(), ModelError> {
    let (images, found) = (batch.sizes.len(), targets.len());
    if found != images {
        return Err(ModelError::BatchLength { images, what: "lists of objects", found });
    }
    for (image, instances) in targets.iter().enumerate() {
        for (object, instance) in instances.iter().enumerate() {
            if let Some(reason) = fault(instance, num_classes, needs_masks) {
                return Err(ModelError::Object { image, object, reason });
            }
        }
    }
    Ok(())
}

fn fault(instance: &Instance, num_classes: usize, needs_masks: bool) -> Option<String> {
    let BBox { x1, y1, x2, y2 } = instance.bbox;
    if instance.label >= num_classes {
        Some(format!("label {} is outside 0..{num_classes}", instance.label))
    } else if instance.bbox.is_empty() || !instance.bbox.to_array().iter().all(|v| v.is_finite()) {
        Some(format!("box [{x1}, {y1}, {x2}, {y2}] has no area"))
    } else if needs_masks && instance.mask.is_none() {
        Some("it has no mask, and the model learns masks".to_owned())
    } else {
        None
    }
}

/// Refuses a loss for which every example is an object.
pub(crate) fn check_background(layout: Layout) -> Result<(), ModelError> {
    if layout.background() != Background::None {
        return Ok(());
    }
    let method = layout.method();
    let hint = match method {
        "cross-entropy" => "set background = true",
        "balanced-softmax" => "set background to \"keep\", \"exclude\" or a count",
        _ => "choose a method with background, such as eql or seesaw",
    };
    Err(ModelError::NoBackground { method, hint })
}

/// The boxes of some objects.
pub(crate) fn boxes_of(instances: &[Instance]) -> Vec<BBox> {
    instances.iter().map(|instance| instance.bbox).collect()
}
