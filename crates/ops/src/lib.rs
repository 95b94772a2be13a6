//! Boxes, anchors, matching, sampling, NMS and RoIAlign for detectors, on any Burn device.

mod image_batch;

pub use image_batch::ImageBatch;
