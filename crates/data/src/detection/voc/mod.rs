//! Folders in the form of Pascal VOC: one XML file an image.

mod read;
mod xml;
