//! Boxes, anchors, matching, sampling, NMS and RoIAlign for detectors, on any Burn device.
//!
//! What is known on the host stays there: anchors, objects and proposals are slices of
//! [`BBox`](longtail_types::BBox), and matching, sampling and suppression are plain functions on
//! them. Tensors appear where gradients flow: [`RoiAligner`] and the box functions for losses.
//!
//! ```
//! use longtail_ops::{AnchorGenerator, BalancedSampler, BoxCoder, Match, Matcher};
//! use longtail_types::{BBox, KeyedRng, Stream};
//!
//! let anchors = AnchorGenerator::new(&[vec![16.0]], &[vec![0.5, 1.0, 2.0]])?;
//! let anchors = anchors.anchors([64, 64], &[[8, 8]]).concat();
//! let object = BBox::new(16.0, 16.0, 36.0, 32.0);
//! let matches = Matcher::rpn().match_boxes(&[object], &anchors);
//!
//! let sampler = BalancedSampler { num: 64, positive_fraction: 0.5 };
//! let sampled = sampler.sample(&matches, &mut KeyedRng::new(0, Stream::Anchors, 0, 0));
//! let positive = sampled.positives[0];
//! assert_eq!(matches[positive], Match::Positive(0));
//!
//! let coder = BoxCoder::default();
//! let delta = coder.encode(anchors[positive], object);
//! assert!(coder.decode(delta, anchors[positive]).iou(object) > 0.999);
//! # Ok::<(), longtail_ops::OpsError>(())
//! ```

mod anchors;
mod box_coder;
mod boxes;
mod bucket;
mod error;
mod image_batch;
mod masks;
mod matcher;
mod nms;
mod overlap;
mod roi_aligner;
mod sampler;

pub use anchors::AnchorGenerator;
pub use box_coder::BoxCoder;
pub use boxes::{box_area, clip_boxes};
pub use bucket::bucket;
pub use error::OpsError;
pub use image_batch::ImageBatch;
pub use masks::{mask_targets, paste_mask};
pub use matcher::{Match, Matcher};
pub use nms::{batched_nms, nms};
pub use overlap::{giou_loss, paired_giou, paired_iou, pairwise_giou, pairwise_iou};
pub use roi_aligner::RoiAligner;
pub use sampler::{BalancedSampler, Sampled};
