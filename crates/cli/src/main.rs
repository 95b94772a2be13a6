//! The `longtail` command.
fn main() {}
