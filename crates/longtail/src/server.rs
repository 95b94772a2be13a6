//! The devices of this machine for others.

use std::net::TcpListener;

use burn::server::WebSocketTransport;
use burn::tensor::Device;
use longtail_kernels::device_server;

use crate::DeviceError;

/// Serves `devices` of one backend to clients that open them as `remote:ws://HOST:PORT`, until the
/// process is told to stop (Ctrl-C, `SIGTERM`). The fused operations of this library run here too.
///
/// Nothing is encrypted, and whoever reaches the listener can use the devices: bind it to
/// 127.0.0.1 and reach it by a tunnel, or stay in a network you trust.
///
/// # Errors
/// If there is no device, they belong to several backends, or the listener fails.
pub fn serve(devices: Vec<Device>, listener: TcpListener) -> Result<(), DeviceError> {
    let served = device_server(devices).serve(WebSocketTransport::from_listener(listener));
    served.map_err(|error| DeviceError::Server { problem: error.to_string() })
}
