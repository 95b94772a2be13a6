//! The same steps on every device, compared: what `longtail devices --check` runs.
//!
//! [`run`] takes the devices of a machine and computes the same small cases on each of them, composed
//! of Burn's operations and, where the device has them, with the fused forms of `longtail-kernels`:
//! layers, every loss, RoIAlign, detections after non-maximum suppression, half precision where the
//! device has it, and three training steps of a classifier and of the detectors. Every forward value,
//! gradient and weight is compared with a float64 loop on the host where that is cheap, and else
//! with the first device, composed.
//!
//! The [`Report`] prints as a table of errors beside their tolerances, and knows whether all is well.
//!
//! ```no_run
//! use burn::tensor::Device;
//! use longtail_conformance::{DeviceUnderTest, run};
//!
//! let device = |name: &str, device: Device| DeviceUnderTest { name: name.into(), device };
//! let devices = [device("flex", Device::default())];
//! let report = run(&devices, &mut |case| eprintln!("{case}"));
//! assert!(report.is_passed(), "{report}");
//! ```
//!
//! While it runs, the process-wide switch of the fused forms moves; it stands as before afterwards.

mod case;
mod cases;
mod compare;
mod error;
mod input;
mod known;
mod report;
mod suite;
mod tolerance;

pub use case::Quantity;
pub use error::ConformanceError;
pub use report::{Cell, Column, Form, Report, Row, Verdict};
pub use suite::{DeviceUnderTest, run};
pub use tolerance::Arithmetic;
