//! Folders in the form of YOLO: one text file an image.

mod label_file;
mod read;
mod settings;
mod write;

pub(super) use write::{settings, write_labels};
