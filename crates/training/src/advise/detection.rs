//! Advice for detection.

use std::path::Path;

use longtail_data::DetectionDataset;

use super::{Advice, Tail, TailShape, dataset_toml};
use crate::detection::DetectionDatasetConfig;
use crate::error::TrainingError;

/// Images per step; the published recipes have 16, which the learning rate is stated for.
const BATCH: u64 = 4;

/// Reads the data set and advises method, sampler, detector and schedule. `weights` are ImageNet
/// weights to start from.
/// # Errors
/// If the data set is refused.
pub fn advise_detection(
    dataset: &DetectionDatasetConfig,
    weights: Option<&Path>,
) -> Result<Advice, TrainingError> {
    let data = dataset.load()?;
    let train = &data.train;
    let counts = train.class_counts()?;
    let mut advice = Advice::new(Tail::of_detection(counts, train.class_map()));
    warn_of_validation_set(&mut advice, &data.val)?;

    let images = train.annotated_images().len() as u64;
    let iterations = (12 * images / BATCH).clamp(2000, 90_000);
    advice.part(
        format!(
            "task = \"detection\"\nseed = 0\nbatch_size = {BATCH}\nreference_batch_size = 16\niterations \
             = {iterations}\n"
        ),
        format!(
            "{iterations} steps of {BATCH} images, {:.0} passes. LVIS v1 recipes make 12 passes; small \
             sets need more. For a first look, `--set iterations=200`.",
            (iterations * BATCH) as f64 / images.max(1) as f64
        ),
    );
    advice.part(dataset_toml(dataset), "");
    advice.part(
        "[transforms]\npreprocess = { resize = { rule = \"shortest-edge\", min = 800, max = 1333 } }\n",
        "The field's size. `min = 320, max = 533` has a sixth of the pixels, and loses small objects.",
    );
    detector(&mut advice, train, weights);
    method(&mut advice);
    advice.part(
        "[optimizer]\nkind = \"sgd\"\nlr = 0.02\nmomentum = 0.9\nweight_decay = \
         1e-4\n\n[schedule]\nwarmup = { iterations = 500 }\ndecay = \"cosine\"\n\n[gradient]\nclip_norm = \
         35.0\n",
        "",
    );
    Ok(advice)
}

fn detector(advice: &mut Advice, train: &DetectionDataset, weights: Option<&Path>) {
    let kind = if train.has_masks() { "mask-rcnn" } else { "faster-rcnn" };
    // A threshold of 0.05 as for COCO leaves rare classes without detections.
    let limits = "detection = { score_threshold = 1e-4, max_per_image = 300 }";
    match weights {
        Some(weights) => {
            let path = toml::Value::from(weights.display().to_string());
            advice.part(
                format!(
                    "[model]\nkind = \"{kind}\"\n{limits}\n\n[init]\npath = {path}\nscope = \"backbone\"\n"
                ),
                "Scores from 1e-4 on and 300 detections an image, as LVIS counts them.",
            );
        }
        None => {
            advice.warnings.push(
                "the backbone starts from nothing, which takes far more images and steps. Get ImageNet \
                 weights with `longtail weights fetch resnet50-imagenet-v1 --out weights`, and give \
                 --weights to this command."
                    .into(),
            );
            advice.part(
                format!(
                    "[model]\nkind = \"{kind}\"\nbackbone = {{ architecture = \"resnet50\", norm = {{ \
                     kind = \"group\" }}, frozen_stages = 0 }}\n{limits}\n"
                ),
                "From nothing: group norm, as batches are small, and nothing frozen. Scores from 1e-4 \
                 on and 300 detections an image, as LVIS counts them.",
            );
        }
    }
}

fn method(advice: &mut Advice) {
    let imbalance = advice.tail.imbalance();
    match advice.tail.shape {
        TailShape::Balanced => {
            advice.part(
                "[loss]\nmethod = \"cross-entropy\"\nbackground = true\n",
                format!(
                    "Softmax cross-entropy, every image once: with an imbalance of {imbalance:.1} \
                     there is no tail to lift."
                ),
            );
            return;
        }
        TailShape::Mild => {
            advice.part(
                "[loss]\nmethod = \"balanced-softmax\"\nbackground = \"keep\"\n",
                format!(
                    "Balanced Softmax, every image once: an imbalance of {imbalance:.1} and no small \
                     class, so the prior is what there is to correct."
                ),
            );
            advice.alternative(
                "Cross-entropy",
                "[loss]\nmethod = \"cross-entropy\"\nbackground = true",
                "the baseline.",
            );
            return;
        }
        TailShape::Long => {}
    }
    advice.part(
        "[loss]\nmethod = \"balanced-sigmoid\"\n",
        format!(
            "Balanced Sigmoid (Balanced Activation, 2020): the prior of an imbalance of \
             {imbalance:.0} moves into the training loss. No knob, and the larger gain of the two \
             core methods in our comparison (results in the guide)."
        ),
    );
    let Some(bound) = advice.tail.boundary() else { return };
    let images = advice.tail.counts.num_images();
    let threshold = (bound + 1) as f64 / images.max(1) as f64;
    advice.part(
        format!("[sampler]\nkind = \"repeat-factor\"\nthreshold = {threshold:.3e}\n"),
        format!(
            "Repeats images with classes in at most {bound} of {images} images, by the square root \
             of what they lack. The usual threshold, 0.001, is for LVIS's 100,000 images.",
        ),
    );
    advice.alternative(
        "Equalization Loss",
        format!("[loss]\nmethod = \"eql\"\ntail = {{ image-count-at-most = {bound} }}"),
        format!(
            "keeps frequent classes as they are. The tail, classes in at most {bound} images, holds at \
             most 9.1 % of the class occurrences, as lambda does on LVIS v0.5."
        ),
    );
    advice.alternative(
        "Seesaw loss",
        "[loss]\nmethod = \"seesaw\"",
        "needs no counts: it gathers its own while it trains.",
    );
    advice.alternative(
        "Sigmoid cross-entropy",
        "[loss]\nmethod = \"binary-cross-entropy\"",
        "the baseline: without it no gain is known.",
    );
}

fn warn_of_validation_set(
    advice: &mut Advice,
    val: &DetectionDataset,
) -> Result<(), TrainingError> {
    let counts = val.class_counts()?;
    let missing = counts.instance_counts().iter().filter(|&&count| count == 0).count();
    if missing > 0 {
        advice.warnings.push(format!(
            "{missing} of {} classes have no object in the validation set: AP leaves them out.",
            counts.num_classes()
        ));
    }
    Ok(())
}
