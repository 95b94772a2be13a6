//! Folders in the form of Pascal VOC: one XML file an image.

mod read;
mod write;
mod xml;

pub(super) use write::{check_names, write_annotations};
