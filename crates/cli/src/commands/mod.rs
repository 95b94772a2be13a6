//! One file per command.

pub(crate) mod advise;
pub(crate) mod bench;
pub(crate) mod compare;
pub(crate) mod data;
pub(crate) mod demo;
#[cfg(feature = "remote")]
pub(crate) mod device_server;
pub(crate) mod devices;
pub(crate) mod evaluate;
pub(crate) mod predict;
pub(crate) mod report;
pub(crate) mod serve;
pub(crate) mod train;
pub(crate) mod weights;
