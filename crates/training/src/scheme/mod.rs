//! Schemes: trainings that need more than one loss on one batch. Teachers, momentum encoders, stored
//! features.

mod breadcrumb;
mod class_balanced;
mod config;
mod contrast;
mod feature_trail;
mod key_queue;
mod momentum;
mod self_distillation;
mod start;
mod step;
mod task;
mod teacher;
mod two_heads;

pub use breadcrumb::BreadcrumbConfig;
pub use class_balanced::ClassBalancedDistillationConfig;
pub use config::Scheme;
pub use contrast::ContrastConfig;
pub use self_distillation::SelfDistillationConfig;
pub(crate) use start::SchemeStart;
