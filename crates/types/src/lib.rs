//! Plain host data shared by every longtail crate: what a data set contains, without any tensor.
//!
//! Conventions, stated once:
//! - `num_classes` excludes background; labels are `0..num_classes`, background is `num_classes`;
//! - counts are integers, and thresholds compare integers;
//! - images are RGB, `[batch, 3, height, width]`;
//! - boxes are `[x1, y1, x2, y2]`, absolute pixels, f32, no `+ 1`.
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

mod boxes;
mod class_counts;
mod class_map;
mod error;
mod files;
mod groups;
mod image_limit;
mod instance;
mod mask;
mod preprocess;
mod random;
mod tail_rule;

pub use boxes::BBox;
pub use class_counts::ClassCounts;
pub use class_map::ClassMap;
pub use error::CountsError;
pub use files::write_whole;
pub use groups::{FrequencyGroup, ShotGroup, ShotThresholds};
pub use image_limit::{MAX_IMAGE_PIXELS, is_image_size};
pub use instance::{Detection, Instance};
pub use mask::Mask;
pub use preprocess::{ChannelOrder, Preprocess, ResizeRule};
pub use random::{KeyedRng, Stream};
pub use tail_rule::TailRule;
