//! Every method against independent numbers, in limit cases, and against what must be refused.
//! One binary: linking Burn takes longer than the tests.

#![allow(clippy::unwrap_used, reason = "tests")]

mod distillation;
mod gradients;
mod groups;
mod limits;
mod published;
mod reference;
mod refusals;
mod sigmoid_family;
mod statistics;
mod support;
