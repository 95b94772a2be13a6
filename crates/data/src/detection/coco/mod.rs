//! COCO and LVIS annotation files.

mod annotation;
mod category;
mod entries;
mod image;
mod outline;
mod read;
mod value;
mod write;

pub use write::AnnotationForm;
