//! Losses and activations for long-tailed recognition and detection, on any Burn device.

mod activation;
mod balanced_softmax;
mod check;
mod class_weights;
mod classification_loss;
mod config;
mod cross_entropy;
mod error;
mod layout;
mod method;
mod objectness;
mod output;
mod row_labels;
mod rows;

pub use activation::{balanced_sigmoid, balanced_softmax};
pub use balanced_softmax::{BackgroundPrior, BalancedSoftmaxConfig, BalancedSoftmaxLoss};
pub use check::check;
pub use class_weights::effective_number_weights;
pub use classification_loss::ClassificationLoss;
pub use config::ClassificationLossConfig;
pub use cross_entropy::{CrossEntropyConfig, CrossEntropyLoss};
pub use error::LossError;
pub use layout::{Background, Layout};
pub use method::LossMethod;
pub use output::{LossOutput, Reduction, StatisticsUpdate};
pub use row_labels::{Labels, RowLabels};
