//! Second stages of classification: what is done with features that are learned already.

mod class_draw;
mod config;
mod core;
mod features;
mod fitted;
mod meta_config;
mod meta_set;
mod meta_task;
mod post_hoc;
mod rate_gradient;
mod recipe;
mod retrain;
mod run;
mod start;
mod tau;
mod training;

pub use config::{CrtConfig, LwsConfig, RetrainConfig, SecondStage};
pub(crate) use meta_config::check_rate_lr;
pub use meta_config::{MetaSamplerConfig, MetaSource};
pub use post_hoc::{NcmConfig, TauConfig, TauGrid, TauNormConfig, TauSource};
pub use recipe::ClassifierRecipe;
pub(crate) use run::two_stages;
pub use run::{train_classifier, train_classifier_on};
pub use training::{BatchNormMode, FeatureSource, StageTraining};
