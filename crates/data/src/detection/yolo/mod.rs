//! Folders in the form of YOLO: one text file an image.

mod label_file;
mod read;
mod settings;
