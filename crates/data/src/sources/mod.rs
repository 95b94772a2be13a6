//! Where image sets come from: one file per layout.

mod cifar;
mod class_folders;
mod list_file;
mod synthetic;
mod synthetic_image;
mod write_folders;

pub use cifar::CifarKind;
pub use synthetic::{Split, SyntheticConfig};
pub(crate) use write_folders::{PartialFolder, write_png};
