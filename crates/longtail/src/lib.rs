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
#[cfg(feature = "remote")]
mod server;

pub use burn;
pub use device::{BackendInfo, DeviceError, backends, device, devices};
pub use longtail_data as data;
pub use longtail_eval as eval;
pub use longtail_kernels as kernels;
pub use longtail_losses as losses;
pub use longtail_models as models;
pub use longtail_ops as ops;
pub use longtail_training as training;
pub use longtail_types as types;
#[cfg(feature = "remote")]
pub use server::serve;

/// The examples of the README and of the guide compile and run.
#[cfg(doctest)]
mod documents {
    #[doc = include_str!("../../../README.md")]
    struct Readme;
    #[doc = include_str!("../../../docs/src/start.md")]
    struct Start;
    #[doc = include_str!("../../../docs/src/detection.md")]
    struct Detection;
    #[doc = include_str!("../../../docs/src/evaluation.md")]
    struct Evaluation;
    #[doc = include_str!("../../../docs/src/devices.md")]
    struct Devices;
}

#[cfg(test)]
mod tests {
    #[test]
    fn recipes_in_the_documents_are_recipes() {
        let documents = [
            ("README.md", include_str!("../../../README.md")),
            ("your-data.md", include_str!("../../../docs/src/your-data.md")),
            ("recipes.md", include_str!("../../../docs/src/recipes.md")),
            ("detection.md", include_str!("../../../docs/src/detection.md")),
            ("second-stages.md", include_str!("../../../docs/src/second-stages.md")),
        ];
        let mut num_recipes = 0;
        for (name, text) in documents {
            let blocks = text.split("```toml\n").skip(1);
            for block in blocks.filter_map(|block| block.split("```").next()) {
                if block.contains("batch_size") && block.contains("optimizer") {
                    crate::training::AnyRecipe::parse(name, block, &[""; 0]).unwrap();
                    num_recipes += 1;
                }
            }
        }
        assert!(num_recipes >= 5, "{num_recipes} recipes found");
    }
}
