//! Detectors: recipes, training, evaluation, use.

mod dataset;
mod draw;
mod prediction;
mod predictor;
mod raw_prediction;
mod recipe;
mod result;
mod reweighter;
mod reweighter_task;
mod settings;
mod task;
mod test_set;
mod train;
mod trained;

pub use dataset::{DetectionDatasetConfig, DetectionDatasets, DetectionSource, ground_truth};
pub use draw::{draw_detections, enlarge, side_by_side, write_png};
pub use prediction::ImagePrediction;
pub use predictor::{DetectionPredictor, PreparedImage};
pub use raw_prediction::RawPrediction;
pub use recipe::DetectionRecipe;
pub use result::DetectionResult;
pub use settings::{
    BatchConfig, ClassifierStart, DetectionEvaluationConfig, InitialWeights, MetaLoss,
    MetaReweighterConfig, StageTwo,
};
#[cfg(test)]
pub(crate) use task::DetectionTask;
#[cfg(test)]
pub(crate) use train::Setting;
pub use train::train_detector;
pub(crate) use train::train_detector_from;
pub use trained::TrainedDetector;
