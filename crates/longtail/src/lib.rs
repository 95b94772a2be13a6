//! Recognition and detection on long-tailed data, in Rust, on any GPU or CPU.
//!
//! One crate to add: it re-exports the others and turns names such as `flex`, `wgpu` or `cuda` into
//! devices. Choose backends by feature; `flex`, a pure Rust CPU backend, is the default.
//!
//! A loss is a value: it states how many logits it wants, computes the training loss, and turns
//! logits into scores at test time, where the class prior is gone.
//!
//! ```
//! use longtail::burn::tensor::Tensor;
//! use longtail::losses::{ClassificationLossConfig, RowLabels};
//! use longtail::types::ClassCounts;
//!
//! let device = longtail::device("flex")?.autodiff();
//! let counts = ClassCounts::from_labels([0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2], 3)?;
//! let config = ClassificationLossConfig::BalancedSoftmax(Default::default());
//! let loss = config.init(&counts, &device)?;
//!
//! let logits = Tensor::from_floats([[2.0, 0.5, 0.1], [0.3, 0.2, 0.1]], &device).require_grad();
//! let labels = RowLabels::from_host(&[0, 2], loss.num_classes(), &device)?;
//! let output = loss.forward(logits.clone(), labels)?;
//! let gradients = output.loss.backward();
//! assert!(logits.grad(&gradients).is_some());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod device;

pub use burn;
pub use device::{BackendInfo, DeviceError, backends, device};
pub use longtail_data as data;
pub use longtail_eval as eval;
pub use longtail_kernels as kernels;
pub use longtail_losses as losses;
pub use longtail_models as models;
pub use longtail_training as training;
pub use longtail_types as types;
