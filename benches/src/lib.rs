//! One harness for every benchmark of longtail: our operations as a user calls them, beside eager
//! PyTorch where a Python with torch is given.
//!
//! - [`run`] measures [`Suite`]s on devices. The sides of a case take turns; each turn begins with a
//!   call that does not count; the device is waited for after each call. The first call of all, with
//!   everything that happens once, is kept apart.
//! - Both sides compute their inputs from the same formula, and a number computed from the outputs
//!   has to agree.
//! - PyTorch runs twice: as it is, and with the thresholds of glibc's malloc raised, which makes
//!   large tensors faster. Our [ratio](Record::ratio) is against the stronger of the two.
//! - A [`Report`] is JSON; it gives Markdown tables and plots, and reports of several devices
//!   [merge](Report::merge).
//!
//! ```
//! use longtail_bench::{BenchOptions, Suite, run};
//!
//! let options = BenchOptions {
//!     suites: vec![Suite::Nms],
//!     is_quick: true,
//!     rounds: 1,
//!     turn_ms: 1.0,
//!     ..Default::default()
//! };
//! let report = run(&options, &mut |_| {})?;
//! assert!(report.markdown().contains("200 boxes in 5 groups"));
//! # Ok::<(), longtail_bench::BenchError>(())
//! ```

mod cases;
pub mod detector;
mod error;
mod fit;
mod harness;
mod machine;
mod markdown;
mod memory;
mod noise;
mod operations;
mod ours;
mod peer;
mod plot;
mod report;
pub mod serve_load;
mod summary;
mod work;

pub use error::BenchError;
pub use fit::{CostFit, cost_fit};
pub use harness::{BenchOptions, run};
pub use machine::Machine;
pub use peer::PeerVersions;
pub use report::{Measurement, Outcome, Record, Report, Session, Side, SideRecord};
pub use summary::{Summary, geometric_mean};
pub use work::{Case, ConvShape, LossShape, Network, Pass, Suite, Work};
