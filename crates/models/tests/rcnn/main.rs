//! Two-stage detectors on tiny images: every loss, empty images, no proposals, one class, refusals.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/formula.rs"]
mod formula;

mod cascade;
mod precision;
mod refusals;
mod sound;
mod tiny;
mod training;
