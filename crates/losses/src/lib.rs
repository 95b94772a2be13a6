//! Losses and activations for long-tailed recognition and detection, on any Burn device.
