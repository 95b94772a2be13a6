//! Recognition and detection on long-tailed data, on any Burn device.
