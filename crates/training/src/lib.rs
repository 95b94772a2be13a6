//! Recipes, the training loop, checkpoints and exact resume.
//!
//! A [`Recipe`] is typed TOML; [`train`] turns it into a run folder with weights and report. A run
//! is a function of (recipe, seed, device): stopped at any moment, even by a kill, it continues from
//! its last checkpoint to the same weights, bit for bit on the CPU at the same number of threads.
//! [`evaluate`], [`TrainedModel`] and [`predict`] use the result. [`compare`] trains several recipes
//! over several seeds and puts them into one table.
//!
//! A recipe may have a second stage ([`SecondStage`]): re-trained classifiers, learned scales,
//! tau-normalisation, class means, Meta Sampler. A [`ClassifierRecipe`] does the same on a finished
//! run, so that many methods share one backbone.
//!
//! A recipe may have a [`Scheme`] that needs more than one loss on each batch: Class-Balanced
//! Distillation, the stages of Self-Supervised-to-Distillation, Breadcrumb.
//!
//! Detectors go the same way: a [`DetectionRecipe`], [`train_detector`], [`TrainedDetector`]. A file
//! whose task is not known is an [`AnyRecipe`], a run folder an [`AnyTrained`].
//!
//! The parts work on any Burn module, for a loop of your own: [`Schedule`], [`Optimizer`],
//! [`clip_global_norm`], [`GradientAverage`], [`Ema`].

mod advise;
mod any_recipe;
mod any_trained;
mod calibration;
mod checkpoint;
mod classification;
mod clock;
mod compare;
mod dataset;
mod detection;
mod ema;
mod error;
mod evaluate;
mod exchange;
mod files;
mod first_stages;
mod gradients;
mod interrupt;
mod learner;
mod meta;
mod metrics;
mod optimizer;
mod optimizer_config;
mod overrides;
mod predict;
mod progress;
mod recipe;
mod recipe_file;
mod replica_group;
mod replicas;
mod run;
mod run_folder;
mod schedule;
mod scheme;
mod settings;
mod stage_two;
mod task;
mod tensorboard;
mod tensors;
#[cfg(test)]
mod testing;
mod threads;
mod train;
mod trained;
mod window;
mod workers;

pub use advise::{
    Advice, Alternative, DetectorStart, Part, Tail, TailShape, advise_classification,
    advise_detection,
};
pub use any_recipe::AnyRecipe;
pub use any_trained::AnyTrained;
pub use compare::{AnyComparison, compare};
pub use dataset::{DatasetConfig, DatasetSource, Datasets, ValidationConfig};
pub use detection::{
    BatchConfig, ClassifierStart, DetectionDatasetConfig, DetectionDatasets,
    DetectionEvaluationConfig, DetectionPredictor, DetectionRecipe, DetectionResult,
    DetectionSource, ImagePrediction, InitialWeights, MetaLoss, MetaReweighterConfig,
    PreparedImage, RawPrediction, StageTwo, TrainedDetector, draw_detections, enlarge,
    ground_truth, side_by_side, train_detector, write_png,
};
pub use ema::Ema;
pub use error::TrainingError;
pub use evaluate::evaluate;
pub use gradients::{GradientAverage, clip_global_norm, global_norm};
pub use interrupt::{INTERRUPTED_EXIT_CODE, stop_on_interrupt};
pub use metrics::{EvalPoint, NamedNumbers, TrainPoint};
pub use optimizer::Optimizer;
pub use optimizer_config::{DecayedParameters, OptimizerConfig};
pub use predict::{ClassScore, Prediction, predict};
pub use progress::ProgressMode;
pub use recipe::Recipe;
pub use recipe_file::TaskKind;
pub use schedule::{Decay, MultiStep, Schedule, ScheduleConfig, Span};
pub use scheme::{
    BreadcrumbConfig, ClassBalancedDistillationConfig, ContrastConfig, Scheme,
    SelfDistillationConfig,
};
pub use settings::{
    EmaConfig, EvaluationConfig, GradientConfig, Precision, ReweightingConfig, RunConfig,
};
pub use stage_two::{
    BatchNormMode, ClassifierRecipe, CrtConfig, FeatureSource, LwsConfig, MetaSamplerConfig,
    MetaSource, NcmConfig, RetrainConfig, SecondStage, StageTraining, TauConfig, TauGrid,
    TauNormConfig, TauSource, train_classifier, train_classifier_on,
};
pub use threads::use_threads;
pub use train::{Outcome, TrainOptions, train};
pub use trained::TrainedModel;
