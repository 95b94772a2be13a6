//! What goes wrong: classes taken for each other, and kinds of errors.

use hotcoco::COCOeval;
use longtail_types::ClassMap;
use serde::{Deserialize, Serialize};

use crate::{ConfusionMatrix, EvalError};

/// A detection overlaps an object from here on.
const OVERLAP: f64 = 0.5;
/// Up to here it lies on background.
const BACKGROUND_OVERLAP: f64 = 0.1;
/// Detections below this score are not looked at in the confusion matrix (as in MMDetection).
const MIN_SCORE: f64 = 0.3;

/// Kinds of errors by TIDE (Bolya et al., ECCV 2020, <https://arxiv.org/abs/2008.08115>) and which
/// class is taken for which.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ErrorAnalysis {
    /// Images behind it.
    pub num_images: u64,
    /// Overlap from which on an object counts as found.
    pub overlap: f64,
    /// Overlap up to which a detection lies on background.
    pub background_overlap: f64,
    /// Lowest score in the confusion matrix.
    pub min_score: f64,
    /// Average precision at this overlap on these images.
    pub ap: f64,
    /// The six kinds of errors.
    pub errors: Vec<TideError>,
    /// What the average precision would gain without any false detection.
    pub false_positive_gain: f64,
    /// What it would gain if nothing were missed.
    pub false_negative_gain: f64,
    /// Labels against detections of at least `min_score`. The last row and column are background:
    /// detections of nothing, and objects not found. LVIS images are not annotated for every class,
    /// so that some detections in the last row are right.
    pub confusion: ConfusionMatrix,
}

/// One kind of error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TideError {
    /// `classification`, `localization`, `classification and localization`, `duplicate`,
    /// `background` or `missed`.
    pub kind: String,
    /// What the average precision would gain if these errors alone were mended.
    pub gain: f64,
    /// How many there are.
    pub count: u64,
}

const KINDS: [(&str, &str); 6] = [
    ("Cls", "classification"),
    ("Loc", "localization"),
    ("Both", "classification and localization"),
    ("Dupe", "duplicate"),
    ("Bkg", "background"),
    ("Miss", "missed"),
];

impl ErrorAnalysis {
    /// Of an evaluation that has matched its images all at once.
    pub(crate) fn of(evaluation: &COCOeval, classes: &ClassMap) -> Result<Self, EvalError> {
        let tide = evaluation.tide_errors(OVERLAP, BACKGROUND_OVERLAP)?;
        let gain = |key: &str| tide.delta_ap.get(key).copied().unwrap_or_default();
        let errors = KINDS.map(|(key, kind)| TideError {
            kind: kind.to_string(),
            gain: gain(key),
            count: tide.counts.get(key).copied().unwrap_or_default(),
        });
        Ok(Self {
            num_images: evaluation.coco_gt().dataset.images.len() as u64,
            overlap: tide.pos_thr,
            background_overlap: tide.bg_thr,
            min_score: MIN_SCORE,
            ap: tide.ap_base,
            errors: errors.into(),
            false_positive_gain: gain("FP"),
            false_negative_gain: gain("FN"),
            confusion: confusion(evaluation, classes),
        })
    }
}

/// Classes in label order, then background.
fn confusion(evaluation: &COCOeval, classes: &ClassMap) -> ConfusionMatrix {
    let counted = evaluation.confusion_matrix(OVERLAP, None, Some(MIN_SCORE));
    let labels = counted.cat_ids.iter().map(|&id| classes.label_of(id));
    let labels: Vec<Option<usize>> = labels.chain([Some(classes.len())]).collect();
    let mut confusion = ConfusionMatrix::new(classes.len() + 1);
    for (row, &label) in labels.iter().enumerate() {
        for (column, &predicted) in labels.iter().enumerate() {
            if let (Some(label), Some(predicted)) = (label, predicted) {
                confusion.add_many(label, predicted, counted.get(row, column));
            }
        }
    }
    confusion
}
