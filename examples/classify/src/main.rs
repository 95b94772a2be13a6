//! Classify.
fn main() {}
