//! Advice for detection.

use longtail_data::DetectionDataset;

use super::detector::{DetectorStart, detector, optimizer, schedule};
use super::{Advice, Tail, TailShape, dataset_toml};
use crate::detection::DetectionDatasetConfig;
use crate::error::TrainingError;

/// Reads the data set and advises method, sampler, detector and schedule.
///
/// # Errors
/// If the data set is refused.
pub fn advise_detection(
    dataset: &DetectionDatasetConfig,
    start: DetectorStart<'_>,
) -> Result<Advice, TrainingError> {
    let data = dataset.load()?;
    let train = &data.train;
    let counts = train.class_counts()?;
    let mut advice = Advice::new(Tail::of_detection(counts, train.class_map()));
    warn_of_validation_set(&mut advice, &data.val)?;

    schedule(&mut advice, train, start);
    advice.part(dataset_toml(dataset), "");
    detector(&mut advice, train, start);
    method(&mut advice);
    optimizer(&mut advice, start);
    Ok(advice)
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
