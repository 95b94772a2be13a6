//! Plain host data shared by every longtail crate: what a data set contains, without any tensor.
//!
//! Conventions, stated once:
//! - `num_classes` excludes background; labels are `0..num_classes`, background is `num_classes`;
//! - counts are integers, and thresholds compare integers;
//! - images are RGB, `[batch, 3, height, width]`.
//!
//! ```
//! use longtail_types::{ClassCounts, TailRule};
//!
//! let counts = ClassCounts::from_labels([0, 0, 0, 0, 0, 0, 1, 1, 2], 3)?;
//! assert_eq!(counts.image_counts(), [6, 2, 1]);
//! assert_eq!(counts.imbalance_factor(), Some(6.0));
//! assert_eq!(TailRule::ImageCountAtMost(2).tail_classes(&counts)?, [false, true, true]);
//! # Ok::<(), longtail_types::CountsError>(())
//! ```

mod class_counts;
mod class_map;
mod error;
mod groups;
mod tail_rule;

pub use class_counts::ClassCounts;
pub use class_map::ClassMap;
pub use error::CountsError;
pub use groups::{FrequencyGroup, ShotGroup, ShotThresholds};
pub use tail_rule::TailRule;
