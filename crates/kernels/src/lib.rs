//! The few hot tensor operations of longtail, behind plain functions.
//!
//! Each operation has one meaning and up to two forms:
//!
//! - **Composed**: ordinary Burn tensor operations. It runs on every device, Burn differentiates
//!   it, and it is the oracle the other form is tested against. The functions of [`composed`].
//! - **Fused**: one or two passes over memory with a hand-written backward pass, as a Burn backend
//!   extension. It exists where it pays: every operation has one on `flex`, the CPU backend in pure
//!   Rust; [`roi_align`](fn@roi_align) and the losses also have one on CubeCL devices (CUDA, ROCm,
//!   Vulkan, Metal, WebGPU and CubeCL's own CPU runtime), where convolutions and norms are Burn's.
//!
//! The functions at the root of the crate, such as [`conv2d`], look at the device of their input
//! and take the fused form where there is one, else the composed form. Both give the same values
//! and gradients up to rounding. [`set_fused`] switches the fused forms off for a whole process,
//! to compare or to rule them out when a number looks wrong.
//!
//! Fused results do not depend on the order in which threads finish: the same input gives the same
//! bits, whatever the number of threads.
//!
//! # Half precision
//!
//! The float type of the input decides. [`conv2d`], [`linear`] and what is made of them take images
//! in half precision (`F16`, `BF16`) with weights in single precision: the weights are cast, their
//! gradients come back in single precision, and the output is in half. Norms and
//! [`roi_align`](fn@roi_align) compute in single precision in between. There are no fused forms of
//! half precision. Losses and statistics want single precision: [`to_single`].
//!
//! # CubeCL devices
//!
//! The features `cuda`, `rocm`, `vulkan`, `metal`, `webgpu`, `wgpu` and `cpu` compile the kernels in.
//! Where Burn's own feature `fusion` is on, as it is among its defaults, the feature `fusion` of
//! this crate must be on too, else the build stops at a trait that `Fusion` lacks.
//!
//! The tests of the kernels run on `wgpu` with a software Vulkan driver, without fusion:
//! `BURN_DEVICE=wgpu cargo test --release -p longtail-kernels --features longtail-testing/wgpu`.
//! There the fused losses are within 3e-7 of double precision. With `fusion`, and for CUDA, the
//! kernels are type-checked only:
//! `DOCS_RS=1 cargo check -p longtail-kernels --features flex,wgpu,cuda,fusion`, where `DOCS_RS`
//! keeps CubeCL from downloading a compiler. They have not been timed on a GPU.
//!
//! ```
//! # #[cfg(feature = "flex")] {
//! use burn::tensor::{Device, Tensor};
//! use longtail_kernels::{ConvOptions, conv2d, relu};
//!
//! let device = Device::flex();
//! let image = Tensor::<4>::ones([1, 3, 8, 8], &device);
//! let weight = Tensor::<4>::ones([4, 3, 3, 3], &device);
//! let options = ConvOptions { padding: [1, 1], ..Default::default() };
//! let features = relu(conv2d(image, weight, None, &options));
//! assert_eq!(features.dims(), [1, 4, 8, 8]);
//! # }
//! ```

mod activation;
mod batch_norm;
pub mod composed;
mod composed_roi_align;
mod composed_sigmoid_loss;
mod composed_softmax_loss;
mod conv;
#[cfg(feature = "cube")]
mod cube;
#[cfg(feature = "flex")]
mod flex;
mod form;
mod grouped_softmax_loss;
mod host_read;
#[cfg(any(feature = "flex", feature = "cube"))]
mod level_rois;
mod linear;
#[cfg(any(feature = "flex", feature = "cube"))]
mod loss_backend;
mod precision;
mod random_mask;
#[cfg(feature = "remote")]
mod remote;
mod roi_align;
#[cfg(any(feature = "flex", feature = "cube"))]
mod roi_backend;
mod sgd;
mod sigmoid_loss;
mod sigmoid_terms;
mod softmax_loss;
mod winograd;

pub use activation::{add_relu, relu};
pub use batch_norm::{BatchNormOutput, batch_norm_eval, batch_norm_train};
pub use conv::{ConvOptions, conv2d, conv2d_bias_add_relu, conv2d_bias_relu};
pub use form::{has_collectives, has_fused_forms, is_fused, runs_any_shape, set_fused};
pub use grouped_softmax_loss::{ColumnGroups, grouped_softmax_loss};
pub use host_read::{HostReadError, host_reads, read_back, read_floats, read_floats_async};
pub use linear::{linear, linear_relu};
pub use precision::to_single;
pub use random_mask::{BackgroundDraw, DrawUnit, RandomMask};
#[cfg(feature = "remote")]
pub use remote::device_server;
pub use roi_align::{Roi, RoiAlignOptions, RoiAxis, RoiExtent, roi_align};
pub use sgd::{SgdTerms, sgd_step};
pub use sigmoid_loss::{
    SigmoidLossOutput, sigmoid_error_counts, sigmoid_loss, sigmoid_loss_with_sums,
};
pub use sigmoid_terms::{Labels, RowSet, SigmoidTerms};
pub use softmax_loss::{SeesawShift, Shift, SoftmaxTerms, softmax_loss};
pub use winograd::{Winograd, set_winograd, winograd};
