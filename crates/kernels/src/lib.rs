//! The few hot tensor operations of longtail, behind plain functions.
