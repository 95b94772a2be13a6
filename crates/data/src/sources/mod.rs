//! Where image sets come from: one file per layout.

mod class_folders;
