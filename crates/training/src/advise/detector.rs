//! Which detector, at which size, and for how long.

use std::path::Path;

use longtail_data::DetectionDataset;

use super::Advice;

/// Where the advised detector starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DetectorStart<'a> {
    /// ResNet-50 with a pyramid on images of the field's size, from nothing.
    Scratch,
    /// The same, from a file of ImageNet weights.
    ImageNet(&'a Path),
    /// ResNet-18 of a quarter of its width on images of at most 256 pixels, from nothing: trained in
    /// minutes on a CPU, for a first look at a data set.
    Small,
}

/// Images per step; the published recipes have 16, which the learning rate is stated for.
const BATCH: u64 = 4;
/// Images per step of the small detector, as in the demo, whose learning rate it has.
const SMALL_BATCH: u64 = 8;
/// The longest side of images of the small detector, in pixels.
const SMALL_SIDE: usize = 256;

/// Batches and steps.
pub(super) fn schedule(advice: &mut Advice, train: &DetectionDataset, start: DetectorStart<'_>) {
    let images = train.annotated_images().len().max(1) as u64;
    let (batch, iterations) = match start {
        DetectorStart::Small => (SMALL_BATCH, (6 * images / SMALL_BATCH).clamp(600, 3000)),
        _ => (BATCH, (12 * images / BATCH).clamp(2000, 90_000)),
    };
    let passes = (iterations * batch) as f64 / images as f64;
    let steps = format!("{iterations} steps of {batch} images, {passes:.0} passes.");
    let (key, reason) = match start {
        DetectorStart::Small => ("", "For a first look; train longer for results."),
        _ => (
            "reference_batch_size = 16\n",
            "LVIS v1 recipes make 12 passes; small sets need more. For a first look, `--set \
             iterations=200`, or --small.",
        ),
    };
    advice.part(
        format!(
            "task = \"detection\"\nseed = 0\nbatch_size = {batch}\n{key}iterations = {iterations}\n"
        ),
        format!("{steps} {reason}"),
    );
}

/// Sizes of images, and the network.
pub(super) fn detector(advice: &mut Advice, train: &DetectionDataset, start: DetectorStart<'_>) {
    if start == DetectorStart::Small {
        small(advice, train);
        return;
    }
    advice.part(
        "[transforms]\npreprocess = { resize = { rule = \"shortest-edge\", min = 800, max = 1333 } }\n",
        "The field's size. `min = 320, max = 533` has a sixth of the pixels, and loses small objects.",
    );
    let kind = if train.has_masks() { "mask-rcnn" } else { "faster-rcnn" };
    // A threshold of 0.05 as for COCO leaves rare classes without detections.
    let limits = "detection = { score_threshold = 1e-4, max_per_image = 300 }";
    let counted = "Scores from 1e-4 on and 300 detections an image, as LVIS counts them.";
    if let DetectorStart::ImageNet(weights) = start {
        let path = toml::Value::from(weights.display().to_string());
        advice.part(
            format!(
                "[model]\nkind = \"{kind}\"\n{limits}\n\n[init]\npath = {path}\nscope = \"backbone\"\n"
            ),
            counted,
        );
        return;
    }
    advice.warnings.push(
        "the backbone starts from nothing, which takes far more images and steps. Get ImageNet weights \
         with `longtail weights fetch resnet50-imagenet-v1 --out weights`, and give --weights to this \
         command; for a first look on a CPU give --small."
            .into(),
    );
    advice.part(
        format!(
            "[model]\nkind = \"{kind}\"\nbackbone = {{ architecture = \"resnet50\", norm = {{ kind = \
             \"group\" }}, frozen_stages = 0 }}\n{limits}\n"
        ),
        format!("From nothing: group norm, as batches are small, and nothing frozen. {counted}"),
    );
}

/// The detector of the demo, with anchors for the size of these images.
fn small(advice: &mut Advice, train: &DetectionDataset) {
    let sizes = (0..train.num_images()).map(|index| train.image_size(index));
    let longest = sizes.flatten().max().unwrap_or(SMALL_SIDE);
    let side = longest.min(SMALL_SIDE);
    let (rule, reason) = match longest > SMALL_SIDE {
        true => (
            format!("{{ rule = \"shortest-edge\", min = {SMALL_SIDE}, max = {SMALL_SIDE} }}"),
            format!("No side longer than {SMALL_SIDE} pixels; small objects are lost."),
        ),
        false => ("{ rule = \"none\" }".to_owned(), "Images as they are.".to_owned()),
    };
    advice.part(format!("[transforms]\npreprocess = {{ resize = {rule} }}\n"), reason);
    let anchors: Vec<String> = [12.0, 6.0, 4.0, 3.0, 2.0]
        .map(|part| format!("[{:.1}]", (side as f64 / part).max(4.0)))
        .to_vec();
    advice.part(
        format!(
            "[model]\nkind = \"faster-rcnn\"\nbackbone = {{ architecture = \"resnet18\", norm = {{ kind \
             = \"batch\" }}, base_width = 16, frozen_stages = 0 }}\nfpn = {{ channels = 64 }}\nrois = {{ \
             per_image = 64 }}\nbox_head = {{ layers = {{ kind = \"two-fc\", width = 256 }} }}\n\
             detection = {{ score_threshold = 1e-3, max_per_image = 100 }}\n\n[model.rpn]\n\
             anchor_sizes = [{}]\nanchors_per_image = 128\ntrain = {{ before_nms = 300, after_nms = 150 \
             }}\ntest = {{ before_nms = 300, after_nms = 100 }}\n",
            anchors.join(", ")
        ),
        "A small detector from nothing, as in the demo. Anchors from a twelfth to a half of an image.",
    );
}

/// Learning rate and its course.
pub(super) fn optimizer(advice: &mut Advice, start: DetectorStart<'_>) {
    let (lr, warmup, clip, rest) = match start {
        DetectorStart::Small => (0.04, 50, 10.0, "\n[evaluation]\nbatch_size = 8\n"),
        _ => (0.02, 500, 35.0, ""),
    };
    advice.part(
        format!(
            "[optimizer]\nkind = \"sgd\"\nlr = {lr}\nmomentum = 0.9\nweight_decay = 1e-4\n\n[schedule]\n\
             warmup = {{ iterations = {warmup} }}\ndecay = \"cosine\"\n\n[gradient]\nclip_norm = \
             {clip:.1}\n{rest}"
        ),
        "",
    );
}
